"""The workflow of an order, from first word to last; its parts stand in other modules."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TypeAlias

from examples.pizza_shop import intake, kitchen
from examples.pizza_shop.menu import Order, Way
from examples.pizza_shop.shop import Ctx
from wfe.core import BranchBuilder, Compensate, Retry, WorkflowBuilder, WorkflowDefinition

__all__ = ["BIG", "pizza_order"]

Branch: TypeAlias = BranchBuilder[Order]

BIG = Decimal(100)


async def remind(ctx: Ctx) -> None:
    ctx.app.note(ctx.now(), ctx.data.customer, "your pizza is getting cold")


def pickup(b: Branch) -> object:
    """Wait for the customer, and remind her every ten minutes; the first branch done ends both."""
    return b.parallel(
        lambda p: p.branch(
            lambda w: w.wait_for("collected", key=lambda d: d.id, output="collected_by")
        ).branch(
            lambda r: r.recur(
                timedelta(minutes=10),
                lambda m: m.then(remind),
                until="data.collected_by != null",
            )
        ),
        join="any",
    )


def bring(b: Branch) -> object:
    """Run another workflow as a part of this one."""
    return b.sub_workflow(
        "delivery",
        data=lambda d: {
            "order": d.id,
            "customer": d.customer,
            "street": d.address.street if d.address else "",
        },
        name=lambda d: f"delivery of {d.id}",
        output="trip",
    )


async def thank(ctx: Ctx) -> None:
    who = ctx.data.trip.signed_by if ctx.data.trip else ctx.data.collected_by
    ctx.app.note(ctx.now(), ctx.data.customer, f"handed to {who}, thank you")


def check_tip(order: Order, amount: str) -> None:
    """Refuse an update before it is taken."""
    if not 0 < Decimal(amount) <= order.total:
        raise ValueError("a tip is more than nothing, and not more than the bill")


def progress(order: Order) -> str:
    """Answer a query."""
    return f"{len(order.boxed)} of {len(order.pizzas)} boxed"


def pizza_order() -> WorkflowDefinition:
    """Return the workflow."""
    return (
        WorkflowBuilder(Order)
        .concurrency(lambda d: d.customer, limit=1)  # a customer's orders one after the other
        .default_retry(Retry(max_retries=2, interval=timedelta(seconds=10)))
        .definition_timeout(timedelta(hours=12))
        .retention(timedelta(days=90))
        .requires("oven")
        .on_update("tip", intake.tipped, check_tip)
        .on_query("progress", progress)
        .then(intake.check)
        .id("check")
        .when("sold out", lambda b: b.then(intake.offer_another).goto("check"))
        .then(intake.price)
        .input("pizzas", lambda d: d.pizzas)
        .output("total", lambda s: s.total)
        .if_do(lambda d: d.total > BIG, intake.ask_the_chef)
        .schedule(at=lambda d: d.begin_at)
        .saga(intake.paying)
        .on_error(Compensate())
        .on_success(intake.print_receipt)
        .if_do(lambda d: not d.receipt, lambda b: b.then(intake.regret).end_workflow())
        .parallel(lambda p: p.branch(kitchen.cooking).branch(kitchen.listening))
        .decide(lambda d: d.way, {Way.PICKUP: pickup, Way.DELIVERY: bring})
        .sub_workflow(  # nobody waits for it: vouchers take their time
            "loyalty",
            data=lambda d: {"customer": d.customer, "spent": d.total},
            detached=True,
            output="loyalty",
        )
        .then(thank)
        .build("pizza-order", version=1)
    )
