"""Workflows that ask for something, for the tests of what is asked of runs."""

from __future__ import annotations

from typing import Any

from wfe.core import (
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
)

__all__ = ["Ctx", "asking", "counter", "opened", "release"]

Ctx = StepExecutionContext[Any]


def asking() -> WorkflowDefinition:
    return WorkflowBuilder().wait_for("go", scope="run", output="answer").build("asking")


async def opened(ctx: Ctx) -> None:
    await ctx.app.open.wait()


def counter() -> WorkflowDefinition:
    def positive(_data: Any, by: int) -> None:
        if by <= 0:
            problem = "must be positive"
            raise ValueError(problem)

    def add(data: dict[str, Any], by: int) -> int:
        data["count"] = data.get("count", 0) + by
        count: int = data["count"]
        return count

    builder = WorkflowBuilder()
    builder.on_update("add", add, positive)
    builder.on_query("count", lambda data: data.get("count", 0))
    return builder.wait_for("go", key="1").build("counter")


def bill(ctx: Ctx) -> None:
    ctx.app.do("bill")


def release() -> WorkflowDefinition:
    return (
        WorkflowBuilder()
        .approval("Release it?", options=["yes", "no"], output="answer")
        .when("yes", lambda b: b.then(bill))
        .build("release")
    )
