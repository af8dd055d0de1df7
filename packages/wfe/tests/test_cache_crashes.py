"""A host that is killed around its use of the cache: no result is lost, torn or waited for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

_PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.host import WorkflowHost
from wfe.sqlite import SqliteStore

where, directory = sys.argv[1], Path(sys.argv[2])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

async def work(ctx: StepExecutionContext, x: int):
    with (directory / "ran").open("a") as file:
        file.write("x")
    (directory / "out").write_text(str(x))
    if where == "body":
        die()
    await ctx.artifacts.upload("out", directory / "out")
    if where == "uploaded":
        die()
    return {"y": x * 2}

async def use(ctx: StepExecutionContext):
    (path,) = await ctx.artifacts.download("out", directory / "got")
    return {"z": path.read_text()}

class Store(SqliteStore):
    async def cache_put(self, entry, holder=None):
        if where == "before":
            die()
        await super().cache_put(entry, holder)
        if where == "after":
            die()

async def main():
    flow = WorkflowBuilder().start_with(work).cache().then(use).build("flow", 1)
    async with WorkflowHost(Store(directory / "wfe.db")) as host:
        host.register(flow)
        run = await host.start_workflow(flow, {"x": 4}, name="one", idempotency_key="one")
        ended = await run.wait(20)
        print(ended.status, ended.data["y"], ended.data["z"])
        for entry in await host.cache.find():
            print("entry", entry.step, entry.result)

asyncio.run(main())
"""


def _go(where: str, directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _PROGRAM, where, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("where", "ran"), [("body", 2), ("uploaded", 2), ("before", 2), ("after", 1)]
)
async def test_a_killed_host_leaves_a_usable_cache(tmp_path: Path, where: str, ran: int) -> None:
    first = await asyncio.to_thread(_go, where, tmp_path)
    assert first.returncode == -9, first.stderr

    begun = time.monotonic()
    second: Any = await asyncio.to_thread(_go, "nowhere", tmp_path)

    assert second.returncode == 0, second.stderr
    lines = second.stdout.splitlines()
    assert lines[0] == "complete 8 4"
    assert len([line for line in lines if line.startswith("entry work")]) == 1
    assert len((tmp_path / "ran").read_text()) == ran
    assert time.monotonic() - begun < 15  # the claim of the dead (30 s) is not waited for
