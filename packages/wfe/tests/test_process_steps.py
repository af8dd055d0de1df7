"""Steps with ``process=True``: what a time limit, a stop and a crash do to their processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.core import DefinitionError, Retry, WorkflowBuilder, WorkflowContext, step, task, workflow
from wfe.host import WorkflowHost
from wfe.testing import WorkflowTest

__all__: list[str] = []

HOUR = timedelta(hours=1)
LONG = 60  # s; for a machine that does much else
SPINNING = ("for_ever", "spinning")
pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@step(process=True)
def for_ever(told: str) -> None:
    """Say that it runs, and never return; the pipe ends when its process does."""
    os.write(os.open(told, os.O_WRONLY), b"here\n")
    while True:
        pass


@step(process=True, retry=Retry(max_retries=1, interval=timedelta(0)))
def dies_at_first(mark: str) -> dict[str, int]:
    """Die in the first attempt, as if the machine had no memory left."""
    if not Path(mark).exists():
        Path(mark).touch()
        os._exit(9)
    return {"pid": os.getpid()}


@step(process=True)
def where() -> int:
    """Say which process this is."""
    return os.getpid()


@step(process=True, timeout=3600)
def limited(told: str) -> None:
    """Run until the time is over."""
    for_ever(told)


@workflow("spinning")
async def spinning(ctx: WorkflowContext, told: str) -> None:
    await ctx.step(for_ever, told)


@workflow("apart")
async def apart(ctx: WorkflowContext) -> list[int]:
    return list(await ctx.gather(*(ctx.step(where) for _ in range(4))))


@pytest.fixture
def told(tmp_path: Path) -> Path:
    path = tmp_path / "told"
    os.mkfifo(path)
    return path


async def lived(told: Path, then: Callable[[], Any]) -> None:
    """Wait until a body runs, call *then*, and wait until its process is gone."""
    pipe = await asyncio.wait_for(asyncio.to_thread(told.open), LONG)
    with pipe:
        assert await asyncio.to_thread(pipe.readline) == "here\n"
        await then()
        assert await asyncio.wait_for(asyncio.to_thread(pipe.read), LONG) == ""


async def test_a_time_limit_ends_the_process(told: Path) -> None:
    async with WorkflowTest() as test:
        run = await test.start(
            WorkflowBuilder().start_with(limited).build("w"), {"told": str(told)}
        )
        await lived(told, lambda: test.clock.advance(HOUR))
        instance = await run.wait(LONG)

    assert instance.error is not None
    assert instance.error.type == "StepTimeoutError"


@pytest.mark.parametrize("name", SPINNING)
async def test_ending_a_run_ends_the_process(told: Path, name: str) -> None:
    flow = WorkflowBuilder().start_with(for_ever).build("for_ever")
    async with WorkflowTest(flow, spinning) as test:
        data = {"told": str(told)} if name == "for_ever" else str(told)
        run = await test.host.start_workflow(name, data)
        await lived(told, lambda: test.host.terminate(run.id))

        assert (await run.wait(LONG)).status == "terminated"


async def test_a_stopping_host_ends_the_process(told: Path) -> None:
    host = WorkflowHost("memory://")
    host.register(WorkflowBuilder().start_with(for_ever).build("w"))
    await host.start()
    await host.start_workflow("w", {"told": str(told)})

    await lived(told, lambda: host.stop(grace=0))


async def test_a_process_that_dies_fails_an_attempt(tmp_path: Path) -> None:
    flow = WorkflowBuilder().start_with(dies_at_first).build("w")
    async with WorkflowTest() as test:
        run = await test.start(flow, {"mark": str(tmp_path / "mark")})
        instance = await run.wait(LONG)
        (error,) = [e.error for e in await run.history() if e.kind == "step_retrying"]

    assert instance.status == "complete"
    assert error is not None
    assert error.type == "StepCrashedError"
    assert error.message.endswith("test_process_steps.dies_at_first ended with exit code 9")


async def test_a_host_with_one_process_uses_it_for_all() -> None:
    async with WorkflowTest(apart, processes=1) as test:
        run = await test.host.start_workflow(apart)
        found = await run.result(LONG)

    assert len(found) == 4
    assert len(set(found)) == 1
    assert found[0] != os.getpid()


@pytest.mark.parametrize("given", [0, -1, "2"])
def test_a_number_of_processes_is_one_at_least(given: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="processes"):
        WorkflowHost("memory://", processes=given)


def with_ctx(ctx: Any) -> None:
    """Ask for what cannot be handed over."""


async def waits() -> None:
    """Be no sync function."""


class Body:
    """Be no function."""

    def run(self, ctx: Any) -> None:
        """Do nothing."""


def inner() -> Callable[[], None]:
    def inside() -> None: ...

    return inside


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (with_ctx, "with_ctx: ctx cannot be handed to a worker process; take what"),
        (waits, "waits: process=True is for sync functions"),
        (Body, "Body: process=True is for sync functions"),
        (inner(), "inside: a worker process cannot import what stands inside of a function"),
        (lambda: None, "or a lambda; put it at the top of a module"),
    ],
)
@pytest.mark.parametrize("decorator", [step, task])
def test_what_no_worker_could_call_is_refused_where_it_stands(
    decorator: Any, body: Any, said: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        decorator(process=True)(body)

    assert said in str(caught.value)


def test_a_flow_in_a_file_runs_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "squares.py").write_text(
        textwrap.dedent("""
            import os
            from wfe.core import WorkflowBuilder, step

            @step(process=True)
            def square(n: int) -> dict[str, int | bool]:
                return {"n": n * n, "apart": os.getppid() != 1 and __name__ == "squares"}

            flow = WorkflowBuilder().start_with(square).build("squares")
        """)
    )
    command = [str(Path(sys.executable).with_name("wfe")), "run", "squares.py", "-i", "n=7"]
    done = subprocess.run(
        [*command, "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"n":49' in done.stdout.replace(" ", "")
