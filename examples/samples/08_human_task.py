"""Asks a person, and somebody else when the first one does not answer in time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import attrs

from wfe.core import Continue, WorkflowBuilder
from wfe.testing import WorkflowTest


@attrs.define
class Leave:
    """A request for days off."""

    who: str
    days: int
    answer: str | None = None


def escalate(who: str) -> None:
    print(f"nobody answered {who}: asking the head of the department")


def go(who: str) -> None:
    print(f"{who} may go")


def stay(who: str) -> None:
    print(f"{who} must stay")


definition = (
    WorkflowBuilder(Leave)
    .approval(
        lambda d: f"{d.days} days off for {d.who}?",
        options=["yes", "no"],
        output="answer",
        timeout=timedelta(days=2),
    )
    .name("team lead")
    .on_error(Continue())
    .on_failure(escalate)
    .if_do(
        lambda d: d.answer is None,
        lambda b: b.approval(
            lambda d: f"Still open: {d.days} days off for {d.who}?",
            options=["yes", "no"],
            output="answer",
        ).name("head"),
    )
    .decide(
        lambda d: d.answer,
        {"yes": lambda b: b.then(go)},
        default=lambda b: b.then(stay),
    )
    .build("leave")
)


async def main() -> None:
    async with WorkflowTest(definition) as test:
        quick = await test.start(definition, Leave("Ada", 3))
        await test.host.approve(quick.id, "yes", actor="Tim", comment="have fun")
        await quick.wait(timeout=10)

        slow = await test.start(definition, Leave("Ben", 30))
        await test.clock.advance(timedelta(days=2))
        (question,) = await test.host.approvals()
        print(f"{question.step}: {question.prompt}")
        await test.host.approve(slow.id, "no", actor="Helen")
        await slow.wait(timeout=10)


if __name__ == "__main__":
    asyncio.run(main())
