"""Typed data goes into a step through its inputs and comes back through its outputs."""

from __future__ import annotations

import attrs

from wfe.core import StepBody, StepExecutionContext, WorkflowBuilder
from wfe.host import run


@attrs.define
class Sum:
    """The data of a run."""

    a: int
    b: int
    result: int = 0


@attrs.define
class Add(StepBody):
    """Knows nothing of the data: its fields are its inputs and outputs."""

    left: int = 0
    right: int = 0
    total: int = 0

    def run(self, ctx: StepExecutionContext[Sum]) -> None:
        self.total = self.left + self.right


def show(ctx: StepExecutionContext[Sum]) -> None:
    """Use the data itself."""
    print(f"{ctx.data.a} + {ctx.data.b} = {ctx.data.result}")


definition = (
    WorkflowBuilder(Sum)
    .start_with(Add)
    .input("left", lambda d: d.a)
    .input("right", lambda d: d.b)
    .output("result", lambda s: s.total)
    .then(show)
    .build("sum")
)

if __name__ == "__main__":
    print(run(definition, Sum(a=2, b=3)).data)
