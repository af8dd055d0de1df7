"""From the first word to the paid order: checks, a question to a person, a saga."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TypeAlias

import attrs

from examples.pizza_shop.menu import PRICES, Order, Pizza
from examples.pizza_shop.shop import Ctx
from wfe.core import (
    BranchBuilder,
    Compensate,
    Continue,
    ExecutionResult,
    Retry,
    StepBody,
    StepExecutionContext,
    step,
)

__all__ = [
    "ask_the_chef",
    "check",
    "offer_another",
    "paying",
    "price",
    "print_receipt",
    "regret",
    "tipped",
]

Branch: TypeAlias = BranchBuilder[Order]


def check(ctx: Ctx) -> ExecutionResult:
    """Look at the order; its outcome says how the workflow goes on."""
    if not ctx.data.pizzas:
        return ExecutionResult.fail("an order has at least one pizza", retryable=False)
    sold_out = any(pizza.name not in PRICES for pizza in ctx.data.pizzas)
    return ExecutionResult.outcome("sold out" if sold_out else "fine")


async def offer_another(ctx: Ctx) -> None:
    """Put a Margherita in the place of what is not on the menu."""
    names = [pizza.name for pizza in ctx.data.pizzas if pizza.name not in PRICES]
    ctx.app.note(ctx.now(), ctx.data.customer, f"no {names[0]} today, Margherita instead")
    ctx.data.pizzas = [
        pizza if pizza.name in PRICES else Pizza("Margherita", pizza.size)
        for pizza in ctx.data.pizzas
    ]


@attrs.define
class price(StepBody):  # noqa: N801 - named like the other steps
    """Knows nothing of orders: its fields are its inputs and outputs."""

    pizzas: list[Pizza] = attrs.field(factory=list[Pizza])
    total: Decimal = Decimal(0)

    def run(self, ctx: StepExecutionContext) -> None:
        self.total = sum((pizza.price for pizza in self.pizzas), Decimal(0))


# -- a big order: somebody must agree


async def no_answer(ctx: Ctx) -> None:
    ctx.app.note(ctx.now(), "chef", "does not answer, ask the owner")


def ask_the_chef(b: Branch) -> object:
    """Ask the chef for ten minutes, then the owner; a no ends the order."""
    return (
        b.approval(
            lambda d: f"{len(d.pizzas)} pizzas for {d.customer}, {d.total} €?",
            options=["yes", "no"],
            output="allowed",
            timeout=timedelta(minutes=10),
        )
        .name("chef")
        .on_error(Continue())
        .on_failure(no_answer)
        .if_do(
            lambda d: d.allowed is None,
            lambda o: o.approval("The chef is silent: yes?", output="allowed").name("owner"),
        )
        .if_do(
            lambda d: d.allowed == "no",
            lambda n: n.then(regret).name("too much for us").end_workflow(),
        )
    )


# -- the payment: all of it, or nothing


async def reserve(ctx: Ctx) -> None:
    """Take dough and cheese out of the larder."""
    ctx.app.reserve(ctx.data.id, [pizza.name for pizza in ctx.data.pizzas])
    ctx.app.note(ctx.now(), ctx.data.customer, "ingredients reserved")


async def put_back(ctx: Ctx) -> None:
    ctx.app.put_back(ctx.data.id)
    ctx.app.note(ctx.now(), ctx.data.customer, "ingredients put back")


async def redeem(ctx: Ctx) -> None:
    """Take the voucher: five euros less."""
    ctx.data.total -= 5
    ctx.app.note(ctx.now(), ctx.data.customer, f"voucher {ctx.data.voucher} redeemed")


async def give_back(ctx: Ctx) -> None:
    if ctx.data.voucher is not None:
        ctx.data.total += 5
        ctx.app.note(ctx.now(), ctx.data.customer, f"voucher {ctx.data.voucher} valid again")


@step(timeout=20)
async def charge(ctx: Ctx) -> dict[str, str]:
    """Ask the bank, which takes the money of an order once, however often it is asked."""
    receipt = ctx.app.charge(ctx.data.id, ctx.data.customer, ctx.data.total)
    ctx.app.note(ctx.now(), ctx.data.customer, receipt)
    return {"receipt": receipt}


async def cancel_charge(ctx: Ctx) -> None:
    """Undo what may have been half done: a refused card comes here, too."""
    ctx.app.refund(ctx.data.id, ctx.data.customer)
    ctx.app.note(ctx.now(), ctx.data.customer, "payment cancelled")


def paying(b: Branch) -> object:
    """Do these three, or undo what was done of them, the last first."""
    return (
        b.then(reserve)
        .compensate_with(put_back)
        .then(redeem)
        .run_if(lambda d: d.voucher is not None)
        .compensate_with(give_back)
        .then(charge)
        .on_error(
            Retry(max_retries=3, interval=timedelta(seconds=20), backoff=2.0, then=Compensate())
        )
        .compensate_with(cancel_charge, on_error=Retry(max_retries=5))
    )


async def print_receipt(ctx: Ctx) -> None:
    """Run when all of the saga went well."""
    ctx.app.note(ctx.now(), ctx.data.customer, "receipt printed")


async def regret(ctx: Ctx) -> None:
    ctx.app.note(ctx.now(), ctx.data.customer, "no pizza, we are sorry")


# -- an update from outside, while the run goes on


def tipped(order: Order, amount: str) -> str:
    """Add a tip; what is returned goes to the caller."""
    order.tip += Decimal(amount)
    return f"thank you, {order.customer}"
