"""What hosts tell one another about work; all of it may be lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from wfe.core.cancelling import cancelled
from wfe.core.errors import ProviderError
from wfe.core.providers import Hint, QueueProvider, SeparateQueue

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine

__all__ = ["Hints"]

_LOG: Final = logging.getLogger("wfe.engine")
_HOUR: Final = 3_600_000_000  # µs
_MOST: Final = 10_000  # hints that wait to be told


class Hints:
    """Tells and hears; a queue that fails or hangs costs nothing but the time of a poll.

    Attributes:
        deaf_until: Until when (µs) the queue is left alone, because listening failed.
    """

    def __init__(self, engine: Engine, queue: QueueProvider, poll: int) -> None:
        """Tell and hear for *engine*; after a failure listen again *poll* µs later."""
        self._engine = engine
        self._queue = queue
        self._separate = queue if isinstance(queue, SeparateQueue) else None
        self._poll = poll
        self._away: dict[Hint, None] = {}
        self._telling = False
        self._untold = False
        self._listen: asyncio.Task[Sequence[int]] | None = None
        self._heard_as = 0
        self._deaf = False
        self.deaf_until: int = 0

    async def tell(self, hints: Sequence[Hint]) -> None:
        """Tell other hosts about work; one call at a time, and what comes meanwhile is the next."""
        if len(self._away) < _MOST:
            self._away.update(dict.fromkeys(hints))
        if self._telling:
            return
        self._telling = True
        try:
            while self._away:
                away, self._away = list(self._away), {}
                await self._queue.hint(away)
                self._untold = False
        except ProviderError as error:
            # Only hints: whoever they were for finds the work by its own poll.
            self._away.clear()
            if not self._untold:
                _LOG.warning("hints are not delivered: %s", error)
            self._untold = True
        finally:
            self._telling = False

    async def listening(self) -> asyncio.Task[Sequence[int]] | None:
        """Return what hears hints; ``None``: the queue just failed, and is left alone."""
        engine = self._engine
        if engine.settings.guest:  # there is nothing that it could take
            self.deaf_until = engine.clock.now() + _HOUR
            return None
        if self._listen is not None and self._heard_as != engine.epoch:
            await cancelled(self._listen)  # hints go to the epoch that this host has now
            self._listen = None
            if self._separate is not None:
                self._separate.forget(self._heard_as)
        if self._separate is not None:  # who has no room, or its own runs only, takes none's runs
            takes = engine.runs.roots is None and engine.runs.room > 0
            self._separate.serve(engine.epoch, (0, *engine.gates.numbers) if takes else ())
        if self._listen is None and engine.clock.now() >= self.deaf_until:
            self._heard_as = engine.epoch
            self._listen = asyncio.ensure_future(self._queue.wait(engine.epoch, _HOUR))
        return self._listen

    def heard(self) -> Sequence[int]:
        """Return the numbers that were hinted since the last call."""
        if self._listen is None or not self._listen.done():
            return ()
        listen, self._listen = self._listen, None
        try:
            heard = listen.result()
        except ProviderError as error:
            if not self._deaf:
                _LOG.warning("listening for hints failed, the store is asked instead: %s", error)
            self._deaf = True
            self.deaf_until = self._engine.clock.now() + self._poll
            return ()
        self._deaf = False
        return heard

    async def close(self) -> None:
        """Listen no more."""
        await cancelled(self._listen)
        self._listen = None
