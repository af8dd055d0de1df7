"""Repeats a branch as long as a condition holds."""

from __future__ import annotations

import attrs

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.host import run


@attrs.define
class Countdown:
    """How much is left."""

    counter: int


def count_down(ctx: StepExecutionContext[Countdown]) -> None:
    """Change the data; the change is stored when the step is done."""
    print(ctx.data.counter)
    ctx.data.counter -= 1


definition = (
    WorkflowBuilder(Countdown)
    .while_do(lambda d: d.counter > 0, lambda b: b.then(count_down))
    .then(lambda: print("lift-off"))
    .build("countdown")
)

if __name__ == "__main__":
    run(definition, Countdown(3))
