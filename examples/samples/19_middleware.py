"""What goes around every step and every run: a log, a guard, a receipt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from wfe.core import StepExecutionContext, WorkflowBuilder, WorkflowInstance
from wfe.host import WorkflowHost


class Trace:
    """Step middleware: the first one given is outermost."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def handle(
        self, ctx: StepExecutionContext[Any], call_next: Callable[[], Awaitable[Any]]
    ) -> Any:
        print(f"{self.name}: before {ctx.pointer.step}")
        result = await call_next()
        print(f"{self.name}: after {ctx.pointer.step}")
        return result


class Guard:
    """Workflow middleware: before a run is stored, and once it is final, whatever became of it."""

    async def pre(self, instance: WorkflowInstance[Any]) -> None:
        if not instance.data.get("name"):
            raise PermissionError("who are you?")

    async def post(self, instance: WorkflowInstance[Any]) -> None:
        print(f"{instance.name} is {instance.status}")


def hello(name: str) -> None:
    print(f"Hello, {name}!")


definition = WorkflowBuilder().start_with(hello).build("hello")


async def main() -> None:
    async with WorkflowHost(middleware=[Trace("outer"), Trace("inner"), Guard()]) as host:
        try:
            await host.start_workflow(definition)
        except PermissionError as error:
            print(f"refused: {error}")
        run = await host.start_workflow(definition, {"name": "Ada"})
        await run.wait(timeout=10)


if __name__ == "__main__":
    asyncio.run(main())
