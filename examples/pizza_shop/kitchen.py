"""The kitchen: a branch per pizza, dough and toppings side by side, one small oven for all."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

from examples.pizza_shop.menu import Order, Pizza
from examples.pizza_shop.shop import Ctx
from wfe.core import BranchBuilder, ExecutionResult

__all__ = ["cooking", "listening", "ready", "throw_away", "wipe_the_table"]

Branch: TypeAlias = BranchBuilder[Order]

OVEN = 2  # pizzas at a time
DOOR = 2  # times that it is filled in ten minutes, or it gets cold


async def stretch(ctx: Ctx) -> None:
    ctx.emit("progress", f"{ctx.item.name}: dough")


async def chop(ctx: Ctx) -> None:
    ctx.emit("progress", f"{ctx.item.name}: toppings")


async def bake(ctx: Ctx) -> ExecutionResult:
    """Put it in and sleep; come back with what was remembered and take it out.

    While it sleeps it holds its place in the oven, but no thread and no memory.
    """
    if ctx.persistence_data is None:
        ctx.app.note(ctx.now(), ctx.data.customer, f"{ctx.item.name} into the oven")
        return ExecutionResult.sleep(8 * ctx.app.minute, data="in the oven")
    if ctx.item.name in ctx.app.clumsy:
        ctx.app.clumsy.remove(ctx.item.name)
        ctx.app.note(ctx.now(), ctx.data.customer, f"{ctx.item.name} is burnt, once more")
        return ExecutionResult.next()
    ctx.emit("progress", f"{ctx.item.name}: baked")
    return ExecutionResult.output(good=[ctx.index])


async def box(ctx: Ctx) -> dict[str, list[str]]:
    """Return what this branch adds to the field; other branches add theirs."""
    return {"boxed": [ctx.item.name]}


def pizza(b: Branch) -> object:
    """Make one pizza: ``ctx.item``."""
    return (
        b.parallel(
            lambda p: p.branch(
                lambda d: d.then(stretch).delay(lambda _, ctx: 2 * ctx.app.minute)
            ).branch(lambda t: t.then(chop))
        )
        .while_do(
            lambda d, ctx: ctx.index not in d.good,
            lambda w: (
                w.then(bake)
                .concurrency("oven", limit=OVEN)
                .rate_limit("oven door", limit=DOOR, per=timedelta(minutes=10))
            ),
        )
        .then(box)
    )


async def ready(ctx: Ctx) -> None:
    ctx.data.ready = True
    ctx.app.note(ctx.now(), ctx.data.customer, f"ready: {', '.join(sorted(ctx.data.boxed))}")


async def throw_away(ctx: Ctx) -> None:
    """Run when the order was cancelled while the kitchen was at it."""
    ctx.app.note(ctx.now(), ctx.data.customer, "pizza thrown away")


async def wipe_the_table(ctx: Ctx) -> None:
    """Run whatever became of the kitchen's work."""
    ctx.app.note(ctx.now(), ctx.data.customer, "table wiped")


def cooking(b: Branch) -> object:
    """Make all pizzas, three at a time, and clean up after it in any case."""
    return (
        b.for_each(lambda d: d.pizzas, pizza, max_concurrency=3, item_type=Pizza)
        .name("kitchen")
        .on_abort(throw_away)
        .ensure(wipe_the_table)
        .then(ready)
    )


async def new_address(ctx: Ctx) -> None:
    if not ctx.data.ready and ctx.data.address is not None:
        street = ctx.data.address.street
        ctx.app.note(ctx.now(), ctx.data.customer, f"deliver to {street} instead")


def listening(b: Branch) -> object:
    """Take changes of the address until the kitchen is done."""
    return b.while_do(
        lambda d: not d.ready,
        lambda w: (
            w.wait_for("new address", scope="run", output="address")
            .cancel_when(lambda d: d.ready, proceed=True)
            .then(new_address)
        ),
    )
