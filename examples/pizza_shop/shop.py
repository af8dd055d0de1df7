"""The shop itself: till, larder, diary.  Steps find it in ``ctx.app``; it is never stored."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

import attrs

from examples.pizza_shop.menu import Order
from wfe.core import StepExecutionContext

__all__ = ["CardRefusedError", "Ctx", "Shop"]

Ctx: TypeAlias = StepExecutionContext[Order]
"""The context of the steps of an order."""


class CardRefusedError(Exception):
    """The bank said no; another attempt makes no sense."""

    retryable = False


@attrs.define
class Shop:
    """Stands for services: each keeps what was done to it.

    Attributes:
        larder: How many pizzas of each name there is dough and cheese for.
        accounts: What the customers have in the bank.
        payments: By idempotency key: a payment is made once, however often it is asked for.
        busy: How often the bank does not answer before it does.
        clumsy: Pizzas that burn the first time.
        courier_url: Where the courier service says where a courier is.
        points: Of the loyalty programme, by customer.
        open: Whether orders are taken.
        minute: How long a minute of the kitchen takes; shorter for a show on the real clock.
        diary: What happened, with the time of the host's clock.
    """

    larder: dict[str, int] = attrs.field(factory=dict[str, int])
    accounts: dict[str, Decimal] = attrs.field(factory=dict[str, Decimal])
    payments: dict[str, Decimal] = attrs.field(factory=dict[str, Decimal])
    busy: int = 0
    clumsy: set[str] = attrs.field(factory=set[str])
    courier_url: str = ""
    points: dict[str, Decimal] = attrs.field(factory=dict[str, Decimal])
    open: bool = True
    minute: timedelta = timedelta(minutes=1)
    diary: list[str] = attrs.field(factory=list[str])

    def note(self, when: datetime, who: str, what: str) -> None:
        """Write a line into the diary."""
        self.diary.append(f"{when:%a %H:%M} {who}: {what}")

    def charge(self, customer: str, amount: Decimal, key: str) -> str:
        """Take money, once per *key*.

        Raises:
            ConnectionError: The bank does not answer.
            CardRefusedError: There is not enough money.
        """
        if self.busy > 0:
            self.busy -= 1
            raise ConnectionError("the bank does not answer")
        if key not in self.payments:
            if self.accounts.get(customer, Decimal(0)) < amount:
                raise CardRefusedError(f"{customer} cannot pay {amount} €")
            self.accounts[customer] -= amount
            self.payments[key] = amount
        return f"paid {amount:.2f} €"
