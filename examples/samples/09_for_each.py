"""A branch for each item, several at a time; the workflow goes on when all are done."""

from __future__ import annotations

import operator

import attrs

from wfe.core import StepExecutionContext, WorkflowBuilder, merged
from wfe.host import run


@attrs.define
class Basket:
    """What was bought; what branches add at the same time is merged."""

    items: list[str]
    letters: int = merged(operator.add, default=0)


async def count(ctx: StepExecutionContext[Basket]) -> dict[str, int]:
    """See the item of this branch; what is returned is added."""
    return {"letters": len(ctx.item)}


def show(letters: int) -> None:
    print(f"{letters} letters")


definition = (
    WorkflowBuilder(Basket)
    .for_each(lambda d: d.items, lambda b: b.then(count), max_concurrency=2)
    .then(show)
    .build("for-each")
)

if __name__ == "__main__":
    run(definition, Basket(["apple", "bread", "tea"]))
