"""An order from check to shipping: typed data, retry, a decision, parallel branches, an event.

Run it with ``python examples/order_pipeline/order_pipeline.py``.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import attrs

from wfe.core import (
    ExecutionResult,
    Retry,
    StepBody,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
)
from wfe.host import WorkflowHost


@attrs.define
class Order:
    """What the workflow knows of an order; amounts are in cents."""

    id: str
    amount: int
    items: list[str] = attrs.field(factory=list[str])
    receipt: str = ""
    approval: dict[str, str] | None = None
    shipped: list[str] = attrs.field(factory=list[str])


class Validate(StepBody):
    """Refuse what cannot be sold; a failure like this one is not worth a retry."""

    async def run(self, ctx: StepExecutionContext[Order]) -> ExecutionResult:
        """Look at the amount."""
        if ctx.data.amount <= 0:
            return ExecutionResult.fail("amount must be positive", retryable=False)
        return ExecutionResult.next()


class PaymentService:
    """Stands for a remote service that fails now and then."""

    def __init__(self) -> None:
        """Fail the first call."""
        self.calls = 0

    async def charge(self, amount: int, key: str) -> str:
        """Charge once per *key*, however often it is called."""
        self.calls += 1
        if self.calls == 1:
            message = "the bank does not answer"
            raise ConnectionError(message)
        return f"receipt for {amount / 100:.2f} ({len(key)} characters of key)"


@attrs.define
class Charge(StepBody):
    """Take the money; inputs and outputs are fields."""

    amount: int = 0
    receipt: str = ""

    async def run(self, ctx: StepExecutionContext[Order]) -> None:
        """Ask the payment service, with a key that stays the same over retries."""
        self.receipt = await ctx.app.charge(self.amount, ctx.idempotency_key)


async def pack(ctx: StepExecutionContext[Order]) -> None:
    """Pack one item."""
    ctx.log.info("packed %s", ctx.item)


async def tell_customer(ctx: StepExecutionContext[Order]) -> None:
    """Send a mail."""
    ctx.log.info("mail about %s", ctx.data.id)


async def ship(ctx: StepExecutionContext[Order]) -> None:
    """Hand everything to the carrier."""
    ctx.data.shipped = sorted(ctx.data.items)


def order_pipeline() -> WorkflowDefinition:
    """Return the workflow."""
    return (
        WorkflowBuilder(Order)
        .start_with(Validate)
        .then(Charge)
        .input("amount", lambda d: d.amount)
        .output("receipt", lambda s: s.receipt)
        .on_error(Retry(max_retries=3, interval=timedelta(milliseconds=10), backoff=2.0))
        .if_do(
            lambda d: d.amount > 100_00,
            lambda b: b.wait_for(
                "approved", key=lambda d: d.id, timeout=timedelta(days=2), output="approval"
            ),
        )
        .parallel(
            lambda p: p.branch(
                lambda b: b.for_each(lambda d: d.items, lambda i: i.then(pack), max_concurrency=2)
            ).branch(lambda b: b.then(tell_customer))
        )
        .then(ship)
        .build("order-pipeline", version=1)
    )


async def main() -> None:
    """Run one large order: it waits for an approval, which arrives as an event."""
    async with WorkflowHost("memory://", app=PaymentService()) as host:
        host.register(order_pipeline())
        order = Order(id="o-42", amount=250_00, items=["book", "lamp", "desk"])
        run = await host.start_workflow("order-pipeline", order, idempotency_key=order.id)
        await host.publish_event("approved", "o-42", {"by": "Ada"})

        instance = await run.wait(timeout=timedelta(seconds=30))

        print(instance.status, instance.data.receipt, instance.data.approval)
        for entry in await run.history():
            print(f"{entry.seq:3} {entry.kind:20} {entry.step or ''}")


if __name__ == "__main__":
    asyncio.run(main())
