"""Waits for an event from outside and uses what it brings."""

from __future__ import annotations

import asyncio

from wfe.core import WorkflowBuilder
from wfe.host import WorkflowHost


def ask(order: str) -> None:
    print(f"waiting for the payment of {order}")


def thank(payment: dict[str, str]) -> None:
    print(f"thank you for {payment['amount']}, {payment['from']}")


definition = (
    WorkflowBuilder()
    .start_with(ask)
    .wait_for("paid", key=lambda d: d["order"], output="payment")
    .then(thank)
    .build("payment")
)


async def main() -> None:
    async with WorkflowHost() as host:
        for order, data in (
            ("A-1", {"amount": "12 €", "from": "Ada"}),
            ("A-2", {"amount": "9 €", "from": "Ben"}),
        ):
            run = await host.start_workflow(definition, {"order": order})
            # The run may not have come to its wait yet: from its start on, no event is lost.
            await host.publish_event("paid", order, data)
            await run.wait(timeout=10)


if __name__ == "__main__":
    asyncio.run(main())
