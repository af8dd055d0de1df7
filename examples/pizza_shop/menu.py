"""What an order is: the data of a run, in types of every kind."""

from __future__ import annotations

import enum
import operator
from datetime import UTC, datetime
from decimal import Decimal

import attrs

from examples.pizza_shop.delivery import Trip
from wfe.core import merged

__all__ = ["PRICES", "Address", "Order", "Pizza", "Size", "Way"]


class Size(enum.Enum):
    """Of a pizza, and what it multiplies the price by."""

    NORMAL = Decimal("1.0")
    FAMILY = Decimal("2.5")


class Way(enum.Enum):
    """How a pizza gets to the customer."""

    PICKUP = "pickup"
    DELIVERY = "delivery"


PRICES = {
    "Margherita": Decimal("8.50"),
    "Funghi": Decimal("10.00"),
    "Diavola": Decimal("11.20"),
    "Tartufo": Decimal("19.90"),
}


@attrs.frozen
class Pizza:
    """One line of an order."""

    name: str
    size: Size = Size.NORMAL

    @property
    def price(self) -> Decimal:
        """What it costs, in euros."""
        return PRICES[self.name] * self.size.value


@attrs.frozen
class Address:
    """Where a courier goes."""

    street: str
    floor: int = 0


@attrs.define(kw_only=True)
class Order:
    """All that a run knows; each step stores what it changed.

    Attributes:
        begin_at: When the shop begins with it; a time that has passed means: at once.
        allowed: The answer of the chef to a big order.
        receipt: Of the payment; empty while there is none.
        boxed: Pizzas that are done; branches that run at the same time each add theirs.
        good: Numbers of the pizzas that came out of the oven well.
    """

    id: str
    customer: str
    pizzas: list[Pizza]
    way: Way = Way.PICKUP
    address: Address | None = None
    begin_at: datetime = datetime(2025, 1, 1, tzinfo=UTC)
    voucher: str | None = None
    total: Decimal = Decimal(0)
    tip: Decimal = Decimal(0)
    allowed: str | None = None
    receipt: str = ""
    boxed: list[str] = merged(operator.add, factory=list)
    good: list[int] = merged(operator.add, factory=list)
    ready: bool = False
    collected_by: str | None = None
    trip: Trip | None = None
    loyalty: str | None = None
