"""The workflows of the crash tests, and the processes that run them.

``python -m tests.crash_workflow serve`` is the server that forks a process for each request;
``python -m tests.crash_workflow work DB EFFECTS`` is a worker that runs until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import timedelta
from typing import Any

import attrs
from tests.crash_outside import kill_switch, serve

from wfe.core import StepExecutionContext, WorkflowBuilder, WorkflowDefinition
from wfe.core.engine import seeking
from wfe.core.rules.state import Pointer
from wfe.host import WorkflowHost
from wfe.sqlite import open_url

RUN_KEY = "the-run"


@attrs.frozen
class Effects:
    """Counts effects outside of the store: one line each, appended in one write."""

    path: str

    def note(self, ctx: StepExecutionContext[Any]) -> None:
        """Write down that a body ran."""
        line = f"{ctx.idempotency_key} {ctx.pointer.step} {os.getpid()}\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


async def effect(ctx: StepExecutionContext[Any]) -> None:
    """Have one effect."""
    ctx.app.note(ctx)


async def turn(ctx: StepExecutionContext[Any]) -> dict[str, int]:
    """Have one effect and count the turns of the loop."""
    ctx.app.note(ctx)
    return {"turns": ctx.data.get("turns", 0) + 1}


def child() -> WorkflowDefinition:
    """Return the sub-workflow."""
    return WorkflowBuilder().start_with(effect).name("c1").then(effect).name("c2").build("child")


def pipeline() -> WorkflowDefinition:
    """Return a workflow of twenty-odd step executions over every kind of branch."""
    return (
        WorkflowBuilder()
        .start_with(effect).name("first")
        .then(effect).name("second")
        .then(effect).name("third")
        .then(effect).name("fourth")
        .if_do(lambda d: d["big"], lambda b: b.then(effect).name("yes").then(effect).name("yes2"))
        .else_do(lambda b: b.then(effect).name("no"))
        .parallel(
            lambda p: p.branch(lambda b: b.then(effect).name("left").then(effect).name("left2"))
            .branch(lambda b: b.then(effect).name("right"))
            .branch(lambda b: b.then(effect).name("far").then(effect).name("far2"))
        )
        .for_each(lambda d: d["items"], lambda b: b.then(effect).name("item"))
        .while_do(lambda d: d.get("turns", 0) < 2, lambda b: b.then(turn).name("turn"))
        .decide(lambda d: d["kind"], {"a": lambda b: b.then(effect).name("case-a")})
        .wait_for("go", key="1", output="went")
        .sub_workflow("child", data=lambda _: {})
        .then(effect).name("almost")
        .delay(timedelta(milliseconds=1))
        .then(effect).name("last")
        .build("crash")
    )  # fmt: skip


def short() -> WorkflowDefinition:
    """Return the workflow of the tests with two processes."""
    builder = WorkflowBuilder().start_with(effect).name("s0")
    for number in range(1, 5):
        builder = builder.then(effect).name(f"s{number}")
    return builder.build("short")


def _plant_a_rerun() -> None:
    """Make loading forget that the first completed step is done."""
    honest = vars(seeking)["state_of"]

    def forgetful(loaded: Any) -> Any:
        state, snapshot, tail = honest(loaded)
        for row in loaded.tail:
            _, kind, pointer, step, attempt, _, _ = json.loads(row.event)
            if kind == "step_completed" and pointer not in state.pointers:
                state.pointers[pointer] = Pointer(pointer, step, None, "pending", attempt, None, {})
                break
        return state, snapshot, tail

    setattr(seeking, "state_of", forgetful)  # noqa: B010 - it is not public there


async def _drive(request: dict[str, Any]) -> None:
    if request["plant"]:
        _plant_a_rerun()
    on_commit = kill_switch(request["kill_at"], request["phase"], request["marker"])
    store = open_url(f"sqlite:///{request['db']}", on_commit=on_commit)
    async with WorkflowHost(store, app=Effects(request["effects"])) as host:
        host.register(child(), pipeline())
        data = {"big": True, "items": [1, 2, 3], "kind": "a"}
        run = await host.start_workflow("crash", data, idempotency_key=RUN_KEY)
        await host.publish_event("go", "1", {"by": "test"}, id="go-1")
        instance = await run.wait(timedelta(seconds=30))
        if instance.status != "complete":
            message = f"{instance.status}: {instance.error}"
            raise RuntimeError(message)


async def _work(db: str, effects: str) -> None:
    lease = timedelta(seconds=2)
    options: dict[str, Any] = {"app": Effects(effects), "lease": lease, "max_live": 50}
    async with WorkflowHost(f"sqlite:///{db}", **options) as host:
        host.register(short())
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(_drive)
    else:
        asyncio.run(_work(sys.argv[2], sys.argv[3]))
