"""A branch for each item, one after the other."""

from __future__ import annotations

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.host import run


def visit(ctx: StepExecutionContext) -> None:
    print(f"{ctx.index}: {ctx.item}")


definition = (
    WorkflowBuilder()
    .for_each(lambda d: d["cities"], lambda b: b.then(visit), parallel=False)
    .then(lambda: print("home again"))
    .build("round-trip")
)

if __name__ == "__main__":
    run(definition, {"cities": ["Oslo", "Rome", "Bern"]})
