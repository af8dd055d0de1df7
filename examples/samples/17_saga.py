"""A journey is booked; when a part of it fails, what was booked is undone, the last part first."""

from __future__ import annotations

from wfe.core import Compensate, StepExecutionContext, WorkflowBuilder, WorkflowDefinition
from wfe.host import run


def book_train() -> None:
    print("train booked")


def cancel_train() -> None:
    print("train cancelled")


def book_hotel(ctx: StepExecutionContext) -> dict[str, bool]:
    if not ctx.data["rooms"]:
        raise ValueError("the hotel is full")
    print("hotel booked")
    return {"booked": True}


def cancel_hotel() -> None:
    print("hotel cancelled, in case that half of it was booked")


def report(ctx: StepExecutionContext) -> None:
    """See what became of the saga: it set the field, or it was undone."""
    print("enjoy it!" if ctx.data.get("booked") else "we are sorry")


definition: WorkflowDefinition = (
    WorkflowBuilder()
    .saga(
        lambda b: (
            b.then(book_train)
            .compensate_with(cancel_train)
            .then(book_hotel)
            .compensate_with(cancel_hotel)
        )
    )
    .on_error(Compensate())  # then go on after the saga; without it the run would fail
    .then(report)
    .build("journey")
)

if __name__ == "__main__":
    for rooms in (1, 0):
        print(run(definition, {"rooms": rooms}).status)
