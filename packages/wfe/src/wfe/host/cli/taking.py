"""Whether a worker takes a run that was started for others to drive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from wfe.core.engine.membership import FOREVER, rarely
from wfe.core.errors import ProviderError
from wfe.host.cli.stored import engine_of

if TYPE_CHECKING:
    from wfe.core.engine import Engine
    from wfe.core.providers import LockProvider
    from wfe.host.host import WorkflowHost

__all__ = ["why_left"]

_PATIENCE: Final = 1.0  # seconds; a worker that listens takes a run within milliseconds
_LOOK: Final = 0.02  # seconds between looks
_OWN_ONLY: Final = "wfe-run"  # hosts of this name drive no runs but their own


async def why_left(host: WorkflowHost, id: str) -> str | None:
    """Return why run *id*, which was just started, stays where it is; ``None``: it was taken."""
    engine = engine_of(host)
    try:
        workers = await _workers(engine)
        if not workers:
            return "no worker is there to drive it"
        if await _taken(engine, id):
            return None
    except ProviderError:  # the run is stored, and that is what was asked for
        return None
    there = "1 worker is" if workers == 1 else f"{workers} workers are"
    return f"nobody took it within a second: {there} there, but busy, or without its definition"


async def _workers(engine: Engine) -> int:
    """Return how many workers live that may drive what others started."""
    store, lease = engine.store, engine.settings.lease
    since = engine.clock.now() - 2 * rarely(lease) - lease  # who is well beat at least once
    found = [
        each.epoch
        for each in await store.workers()
        if each.fenced is None and each.beat >= since and each.name != _OWN_ONLY
    ]
    if "deaths" in store.features:
        dead = await cast("LockProvider", store).dead(found, FOREVER)
        found = [each for each in found if each not in dead]
    return len(found)


async def _taken(engine: Engine, id: str) -> bool:
    """Whether somebody takes the run soon."""
    first = await engine.reads.header(id)
    header = first
    end = asyncio.get_running_loop().time() + _PATIENCE
    while header.owner is None and header.wake is not None and header.wake == first.wake:
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(_LOOK)
        header = await engine.reads.header(id)
    return True
