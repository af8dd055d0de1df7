"""What happens every evening: the closing, a graph with triggers, and the report, a task flow."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypedDict

from wfe.core import Dag, Flow, StepExecutionContext, WorkflowDefinition, task

__all__ = ["closing", "report"]

Ctx = StepExecutionContext[dict[str, Any]]


# -- the closing


def count_till(ctx: Ctx) -> dict[str, Decimal]:
    return {"till": sum(ctx.app.payments.values(), Decimal(0))}


def count_larder(ctx: Ctx) -> dict[str, int]:
    if any(left < 0 for left in ctx.app.larder.values()):
        raise ValueError("the larder owes us something")
    return {"left": sum(ctx.app.larder.values())}


def lock_up(ctx: Ctx) -> None:
    ctx.app.note(ctx.now(), "closing", f"{ctx.data['till']} € and {ctx.data.get('left')} portions")


def call_owner(ctx: Ctx) -> None:
    ctx.app.note(ctx.now(), "closing", "something is wrong, the owner must come")


def lights_off(ctx: Ctx) -> None:
    ctx.app.note(ctx.now(), "closing", "lights off")


def closing() -> WorkflowDefinition:
    """Return the graph: count both at the same time, then lock up, or call the owner."""
    dag = Dag("closing", version=1)
    dag.step("till", count_till)
    dag.step("larder", count_larder)
    dag.step("lock up", lock_up, depends_on=["till", "larder"])
    dag.step("call owner", call_owner, depends_on=["till", "larder"], trigger="any_failed")
    dag.step("lights off", lights_off, depends_on=["lock up", "call owner"], trigger="all_done")
    return dag.build()


# -- the report


class Sales(TypedDict):
    """What the till knows."""

    orders: int
    euros: Decimal


@task(retry=3, timeout=30)
def sales(ctx: Ctx) -> Sales:
    """Read the till."""
    paid = ctx.app.payments.values()
    return {"orders": len(paid), "euros": sum(paid, Decimal(0))}


@task
def average(orders: int, euros: Decimal) -> Decimal:
    """Take two names of what the task before returned."""
    return (euros / orders).quantize(Decimal("0.01"))


@task
def text(mean: Decimal, shop: str) -> str:
    """Take the whole result of the task before, and an input."""
    return f"{shop}: {mean} € an order"


report = Flow("report", inputs=["shop"]) >> sales >> average >> text
