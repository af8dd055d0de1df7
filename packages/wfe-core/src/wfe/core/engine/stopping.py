"""The end of a host: bodies end or are cut off, what is unfinished is handed back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from wfe.core.engine.errands import still_busy
from wfe.core.engine.membership import leave
from wfe.core.errors import ProviderError

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine

__all__ = ["stop"]

_LOG: Final = logging.getLogger("wfe.engine")


async def stop(engine: Engine, grace: float) -> int:
    """End all parts of *engine*, in the order in which they need one another.

    Bodies may take *grace* seconds to end; return how many were cut off.
    """
    engine.activities.offered()  # whoever waits for one finds the host stopping
    await engine.schedules.close()
    await engine.seeker.close()
    await engine.retention.close()
    left = await _drained(engine, grace)
    await engine.committer.close()
    await engine.timers.close()
    await engine.errands.finish()
    await engine.report.close()
    if engine.publishing is not None:
        await engine.publishing.close()
    if engine.search is not None:
        await engine.searching.close()
    await _left(engine)
    await _artifacts_finished(engine)
    engine.runs.clear()
    engine.waits.close()
    await engine.shared.close()
    await engine.vault.close()
    engine.pools.close()
    await engine.store.close()
    return left


async def _drained(engine: Engine, grace: float) -> int:
    """Let bodies end within *grace* seconds, and record what they made; return how many did not."""
    for run in engine.live.values():
        run.draining = True
    deadline = asyncio.get_running_loop().time() + grace
    left = await still_busy(lambda: [t for r in engine.live.values() for t in r.working], grace)
    await engine.lookups.close()
    # What ended in time is recorded before the runs are let go, or it would run again.
    await engine.committer.drain(deadline)
    for run in engine.live.values():
        run.close()
    await asyncio.gather(*left, return_exceptions=True)
    return len(left)


async def _left(engine: Engine) -> None:
    """Say good-bye: what is owned is released at once, so that another host goes on with it."""
    if engine.heartbeat is not None:
        await engine.heartbeat.close()
    try:
        if engine.epoch:
            await engine.store.unregister(engine.epoch)
    except ProviderError as error:
        # What is owned is taken over from a dead worker instead: later, but as surely.
        _LOG.warning("the store did not take the good-bye of this host: %s", error)
    await leave(engine.lock, engine.queue, engine.epoch)


async def _artifacts_finished(engine: Engine) -> None:
    if "artifacts" not in vars(engine):  # nobody asked for them
        return
    try:
        await engine.artifacts.finish()
    except ProviderError as error:  # what is written now only helps
        _LOG.warning("the names of the artifacts were not written for other tools: %s", error)
    await engine.artifacts.close()
