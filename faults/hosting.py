"""A host that works until it is killed: ``python -m faults.hosting SETTINGS NAME``."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from faults.settings import Settings, end_with_parent
from faults.workload import Effects, definitions, review
from wfe.core import ProviderError
from wfe.host import WorkflowHost

__all__ = ["make_host"]

_DEATHS = 200
"""Hosts die much more often here than a run should forgive elsewhere."""


def make_host(settings: Settings, name: str, *, drives: bool = True) -> WorkflowHost:
    """Return a host that is not started."""
    host = WorkflowHost(
        settings.db,
        queue=settings.queue,
        lock=settings.lock,
        lifecycle=settings.lifecycle,
        search=settings.search if drives else None,
        app=Effects(Path(settings.folder) / f"effects-{name}.jsonl"),
        lease=settings.long_enough,
        linger=timedelta(seconds=1),
        max_live=400 if drives else 0,
        max_interruptions=_DEATHS,
        name=name,
    )
    host.register(*definitions())
    return host


async def _work(settings: Settings, name: str, stop: asyncio.Event) -> None:
    effects = Effects(Path(settings.folder) / f"effects-{name}.jsonl")
    handler = functools.partial(review, effects)
    async with make_host(settings, name) as host:
        logging.getLogger("faults").warning("%s is ready, pid %d", name, os.getpid())
        lease = timedelta(seconds=2)
        work = asyncio.ensure_future(
            host.activities.work("review", handler, concurrency=4, lease=lease)
        )
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def _tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the loop complains of, and where in its code a task was."""
    places: list[str] = []
    inner: Any = context["task"].get_coro() if "task" in context else None
    while inner is not None:
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "gi_frame", None)
        if frame is not None:
            places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        inner = getattr(inner, "cr_await", None) or getattr(inner, "gi_yieldfrom", None)
    logging.getLogger("asyncio").error(
        "%s %r at %s", context.get("message"), context.get("exception"), " > ".join(places)
    )


async def _until_it_works(settings: Settings, name: str) -> None:
    """Work; while the store is away, try again as a supervisor of services would."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(_tell)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        try:
            await _work(settings, name, stop)
        except ProviderError as error:
            logging.getLogger("faults").warning("%s could not start: %s", name, error)
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    end_with_parent()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s"
    )
    asyncio.run(_until_it_works(Settings.read(sys.argv[1]), sys.argv[2]))
