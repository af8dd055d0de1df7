"""What every worker of the shop knows: how an order is filled."""

from __future__ import annotations

import asyncio

from wfe.core import StepExecutionContext, WorkflowBuilder


async def reserve(order: int) -> dict[str, str]:
    """Pretend to put something aside."""
    await asyncio.sleep(0.02)
    return {"shelf": f"shelf {order % 7}"}


async def pack(ctx: StepExecutionContext) -> dict[str, str]:
    """Pretend to pack it; a real packer is told the key, so that a repetition does no harm."""
    await asyncio.sleep(0.02)
    return {"parcel": f"parcel {ctx.data['order']}", "key": ctx.idempotency_key}


async def ship(parcel: str) -> dict[str, str]:
    """Pretend to hand it over."""
    await asyncio.sleep(0.02)
    return {"shipped": parcel}


order = WorkflowBuilder().start_with(reserve).then(pack).then(ship).build("order", version=1)
