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
    """Stands for services.  A step may run more than once, so each does a thing once per key.

    Attributes:
        larder: How many pizzas of each name there is dough and cheese for.
        reserved: What was taken from it, by order.
        accounts: What the customers have in the bank.
        payments: What they paid, by order.
        busy: How often the bank does not answer before it does.
        clumsy: Pizzas that burn the first time.
        courier_url: Where the courier service is.
        points: Of the loyalty programme, by customer.
        open: Whether orders are taken.
        minute: How long a minute of the kitchen takes; shorter for a show on the real clock.
        diary: What happened, with the time of the host's clock.
    """

    larder: dict[str, int] = attrs.field(factory=dict[str, int])
    reserved: dict[str, list[str]] = attrs.field(factory=dict[str, list[str]])
    accounts: dict[str, Decimal] = attrs.field(factory=dict[str, Decimal])
    payments: dict[str, Decimal] = attrs.field(factory=dict[str, Decimal])
    busy: int = 0
    clumsy: set[str] = attrs.field(factory=set[str])
    courier_url: str = ""
    points: dict[str, Decimal] = attrs.field(factory=dict[str, Decimal])
    open: bool = True
    minute: timedelta = timedelta(minutes=1)
    diary: list[str] = attrs.field(factory=list[str])
    _keys: set[str] = attrs.field(factory=set[str])

    def note(self, when: datetime, who: str, what: str) -> None:
        """Write a line into the diary."""
        self.diary.append(f"{when:%a %H:%M} {who}: {what}")

    def reserve(self, order: str, pizzas: list[str]) -> None:
        """Take ingredients out of the larder."""
        if order not in self.reserved:
            self.reserved[order] = pizzas
            for name in pizzas:
                self.larder[name] -= 1

    def put_back(self, order: str) -> None:
        """Put back what was taken, if anything was."""
        for name in self.reserved.pop(order, []):
            self.larder[name] += 1

    def charge(self, order: str, customer: str, amount: Decimal) -> str:
        """Take money.

        Raises:
            ConnectionError: The bank does not answer.
            CardRefusedError: There is not enough money.
        """
        if self.busy > 0:
            self.busy -= 1
            raise ConnectionError("the bank does not answer")
        if order not in self.payments:
            if self.accounts.get(customer, Decimal(0)) < amount:
                raise CardRefusedError(f"{customer} cannot pay {amount} €")
            self.accounts[customer] -= amount
            self.payments[order] = amount
        return f"paid {amount:.2f} €"

    def refund(self, order: str, customer: str) -> None:
        """Give back what was paid, if anything was."""
        self.accounts[customer] += self.payments.pop(order, Decimal(0))

    def add_points(self, customer: str, points: Decimal, key: str) -> Decimal:
        """Add points (or take some), once per *key*; return how many there are."""
        if key not in self._keys:
            self._keys.add(key)
            self.points[customer] = self.points.get(customer, Decimal(0)) + points
        return self.points[customer]
