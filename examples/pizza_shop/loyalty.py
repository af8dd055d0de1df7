"""The loyalty programme as a durable function: plain Python that survives the process."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from wfe.core import StepExecutionContext, StepTimeoutError, WorkflowContext, workflow

__all__ = ["loyalty"]

Ctx = StepExecutionContext[Any]
ENOUGH = Decimal(50)  # points for a voucher


async def add_points(ctx: Ctx, customer: str, spent: Decimal) -> Decimal:
    """Add a point per euro; the sum of them is recorded and never computed again."""
    points: Decimal = ctx.app.add_points(customer, spent, ctx.idempotency_key)
    return points


async def print_voucher(ctx: Ctx, customer: str) -> str:
    ctx.app.add_points(customer, -ENOUGH, ctx.idempotency_key)
    return f"{customer.upper()}-5"


async def void_voucher(ctx: Ctx, customer: str, voucher: str) -> None:
    ctx.app.add_points(customer, ENOUGH, ctx.idempotency_key)
    ctx.app.note(ctx.now(), customer, f"voucher {voucher} is void, points are back")


async def send(ctx: Ctx, customer: str, by: str, voucher: str) -> None:
    ctx.app.note(ctx.now(), customer, f"{by}: voucher {voucher} for you")


@workflow("loyalty", version=1)
async def loyalty(ctx: WorkflowContext, customer: str, spent: Decimal) -> str:
    """Collect points; enough of them are a voucher, which is void when it is not used."""
    points = await ctx.step(add_points, customer, spent)
    await ctx.set(points=points)
    if points < ENOUGH:
        return f"{points} points"
    await ctx.sleep(timedelta(days=1))
    try:
        async with ctx.saga() as saga:
            voucher = await saga.step(print_voucher, customer)
            saga.compensate(void_voucher, customer, voucher)
            await ctx.gather(
                ctx.options(name="mail").step(send, customer, "mail", voucher),
                ctx.options(name="text").step(send, customer, "text", voucher),
            )
            await ctx.wait_for("redeemed", key=voucher, timeout=timedelta(days=30))
    except StepTimeoutError:
        return "the voucher was not used"
    return f"{voucher} was used"


@loyalty.query("points")
def points_of(data: dict[str, Any]) -> str:
    """Answer ``host.query(run, "points")``."""
    return f"{data.get('points', 0)} points"
