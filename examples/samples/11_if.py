"""Takes one branch or the other; conditions are functions or CEL texts, checked beforehand."""

from __future__ import annotations

import attrs

from wfe.core import DefinitionError, WorkflowBuilder
from wfe.host import run


@attrs.define
class Purchase:
    """Something to pay for, in cents."""

    amount: int


definition = (
    WorkflowBuilder(Purchase)
    .if_do("data.amount > 10000", lambda b: b.then(lambda: print("ask the boss")))
    .else_do(lambda b: b.then(lambda: print("just buy it")))
    .if_do(lambda d: d.amount % 100 == 0, lambda b: b.then(lambda: print("no change needed")))
    .build("purchase")
)

if __name__ == "__main__":
    run(definition, Purchase(200_00))
    run(definition, Purchase(9_99))
    try:
        WorkflowBuilder(Purchase).if_do("data.price > 1", lambda b: b.then(print)).build("typo")
    except DefinitionError as error:
        print(error)
