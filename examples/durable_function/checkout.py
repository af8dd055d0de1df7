"""A checkout as a durable function: it survives kill -9 between any two of its lines.

``python checkout.py FOLDER`` starts an order, and dies before it ships.  The same command again
finds the run in the file and goes on: nothing that was done is done again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import attrs

from wfe.core import Retry, StepExecutionContext, StepFailedError, WorkflowContext, workflow
from wfe.host import WorkflowHost


@attrs.define
class Order:
    """What somebody bought."""

    id: str
    amount: int


@attrs.define
class Receipt:
    """What they get for it."""

    order: str
    payment: str
    parcel: str


async def charge(ctx: StepExecutionContext, order: str, amount: int) -> str:
    """Take the money; a bank that knows the key takes it once."""
    print(f"charging {amount} for {order} (attempt {ctx.attempt})", flush=True)
    if ctx.attempt == 0:
        message = "the bank does not answer"
        raise ConnectionError(message)
    return f"payment-{order}"


def refund(payment: str) -> None:
    """Give the money back."""
    print(f"refunding {payment}", flush=True)


async def ship(ctx: StepExecutionContext, order: str) -> str:
    """Send the parcel; the first time the process dies here."""
    marker: Path = ctx.app
    if not marker.exists():
        marker.touch()
        print("shipping: the process dies now", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    print(f"shipping {order}", flush=True)
    return f"parcel-{order}"


async def mail(order: str) -> None:
    """Tell the customer."""
    print(f"writing to the customer of {order}", flush=True)


@workflow("checkout")
async def checkout(ctx: WorkflowContext, order: Order) -> Receipt:
    """Charge, ship and tell; if shipping fails for good, give the money back."""
    try:
        async with ctx.saga() as saga:
            patient = ctx.options(retry=Retry(max_retries=5, interval=timedelta(milliseconds=10)))
            payment = await patient.step(charge, order.id, order.amount)
            saga.compensate(refund, payment)
            await ctx.sleep(timedelta(milliseconds=50))
            parcel = await ctx.step(ship, order.id)
    except StepFailedError:
        await ctx.step(mail, order.id)
        raise
    await ctx.step(mail, order.id)
    return Receipt(order.id, payment, parcel)


async def main(folder: Path) -> None:
    """Start the order, or go on with it."""
    url = f"sqlite:///{folder}/checkout.db"
    async with WorkflowHost(url, app=folder / "died") as host:
        run = await host.start_workflow(checkout, Order("7", 250), idempotency_key="order-7")
        print(await run.result(timeout=20))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
