"""A workflow of its own, part of an order: a courier, his way, and the door."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from wfe.core import (
    Continue,
    Retry,
    StepExecutionContext,
    Suspend,
    WorkflowBuilder,
    WorkflowDefinition,
    expr,
)

__all__ = ["Trip", "delivery"]


@dataclass
class Trip:
    """The data of a delivery; a dataclass does as well as attrs."""

    order: str
    customer: str
    street: str
    courier: str | None = None
    booking: dict[str, Any] | None = None
    position: dict[str, Any] | None = None
    signed_by: str | None = None


def look_up(street: str) -> None:
    """Make sure that there is somewhere to go; a person may put it right."""
    if not street:
        raise ValueError("there is no address")


async def ring_again(ctx: StepExecutionContext[Trip]) -> None:
    ctx.app.note(ctx.now(), ctx.data.customer, "nobody opens the door")


def leave_with_neighbour() -> dict[str, str]:
    return {"signed_by": "the neighbour"}


def delivery() -> WorkflowDefinition:
    """Return the workflow."""
    return (
        WorkflowBuilder(Trip)
        .start_with(look_up)
        .on_error(Suspend())
        # Tell the couriers' service; it may be asked twice, so it gets a key.
        .http(
            "POST",
            lambda _, ctx: f"{ctx.app.courier_url}/trips",
            headers=lambda _, ctx: {"Idempotency-Key": ctx.idempotency_key},
            json={"order": expr("data.order"), "street": expr("data.street")},
            output="booking",
        )
        .on_error(Retry(max_retries=5, interval=timedelta(seconds=30)))
        # Whoever claims it drives.  A courier who is not heard of for a while is replaced.
        .activity(
            "courier",
            parameters=lambda d: {"order": d.order, "street": d.street},
            output="courier",
            timeout=timedelta(hours=2),
        )
        .on_error(Retry(max_retries=2, interval=timedelta(minutes=1)))
        # Then ask his service where he is.  Between two looks the run sleeps.
        .poll_endpoint(
            lambda d, ctx: f"{ctx.app.courier_url}/trips/{d.order}",
            until="response.json.place == 'at the door'",
            interval=timedelta(minutes=2),
            timeout=timedelta(hours=1),
            output="position",
        )
        # At the door somebody signs, or nobody does: then the run goes its own way.
        .wait_for("signed", key=lambda d: d.order, timeout=timedelta(minutes=5), output="signed_by")
        .on_error(Continue())
        .on_failure(ring_again)
        .if_do(lambda d: d.signed_by is None, lambda b: b.then(leave_with_neighbour))
        .build("delivery", version=1)
    )
