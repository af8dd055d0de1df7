"""A workflow whose process dies in the middle, and the next process that finishes it.

Run it twice: ``python examples/resume_after_crash/resume.py DIRECTORY``.  The first run kills
itself (SIGKILL, no clean-up) while the third step works; the second one goes on at that step.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from wfe.core import StepExecutionContext, WorkflowBuilder, WorkflowDefinition
from wfe.host import WorkflowHost


async def download(ctx: StepExecutionContext) -> dict[str, int]:
    """Pretend to fetch something large."""
    print(f"downloading (attempt {ctx.attempt})", flush=True)
    return {"size": 1234}


async def convert(size: int) -> dict[str, int]:
    """Pretend to work on it."""
    print("converting", flush=True)
    return {"pages": size // 100}


async def publish(ctx: StepExecutionContext) -> None:
    """Die the first time, work the second."""
    marker: Path = ctx.app
    if not marker.exists():
        marker.touch()
        print("publishing: the process dies now", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    print(f"publishing {ctx.data['pages']} pages", flush=True)


def pipeline() -> WorkflowDefinition:
    """Return the workflow."""
    return WorkflowBuilder().start_with(download).then(convert).then(publish).build("book")


async def main(folder: Path) -> None:
    """Start the run, or find it again by its key, and wait for its end."""
    async with WorkflowHost(f"sqlite:///{folder}/book.db", app=folder / "died-once") as host:
        host.register(pipeline())
        run = await host.start_workflow("book", idempotency_key="book-1")
        instance = await run.wait()
        print(instance.status, instance.data)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).absolute()))
