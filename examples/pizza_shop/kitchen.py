"""The kitchen: a branch per pizza, dough and toppings side by side, one small oven for all."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias, cast

from examples.pizza_shop.menu import Order
from examples.pizza_shop.shop import Ctx, Shop
from wfe.core import BranchBuilder, ExecutionResult

__all__ = ["cooking", "listening", "ready", "throw_away", "wipe_the_table"]

Branch: TypeAlias = BranchBuilder[Order]

OVEN = 2  # pizzas at a time
DOOR = 2  # times that it is filled in ten minutes, or it gets cold


def mine(ctx: Ctx) -> str:
    """Return the name of the pizza that a branch is about."""
    return ctx.data.pizzas[ctx.index or 0].name


async def stretch(ctx: Ctx) -> None:
    ctx.emit("progress", f"{mine(ctx)}: dough")


def rest(_order: Order, ctx: Ctx) -> timedelta:
    """Return how long dough rests."""
    return 2 * cast("Shop", ctx.app).minute


async def chop(ctx: Ctx) -> None:
    ctx.emit("progress", f"{mine(ctx)}: toppings")


async def bake(ctx: Ctx) -> ExecutionResult:
    """Put it in and sleep; come back with what was remembered and take it out.

    While it sleeps it holds its place in the oven, but no thread and no memory.
    """
    if ctx.persistence_data is None:
        ctx.app.note(ctx.now(), ctx.data.customer, f"{mine(ctx)} into the oven")
        return ExecutionResult.sleep(8 * ctx.app.minute, data="in the oven")
    if mine(ctx) in ctx.app.clumsy:
        ctx.app.clumsy.remove(mine(ctx))
        ctx.app.note(ctx.now(), ctx.data.customer, f"{mine(ctx)} is burnt, once more")
        return ExecutionResult.next()
    ctx.emit("progress", f"{mine(ctx)}: baked")
    return ExecutionResult.output(good=[ctx.index])


async def box(ctx: Ctx) -> dict[str, list[str]]:
    """Return what this branch adds to the field; other branches add theirs."""
    return {"boxed": [mine(ctx)]}


def pizza(b: Branch) -> object:
    """Make one pizza: number ``ctx.index``."""
    return (
        b.parallel(
            lambda p: p.branch(lambda d: d.then(stretch).delay(rest)).branch(lambda t: t.then(chop))
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
        b.for_each(lambda d: d.pizzas, pizza, max_concurrency=3)
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
