"""The runs that a host drives: how they come, and what becomes of them when they go."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from wfe.core.engine.json_text import dumps
from wfe.core.engine.live import LiveRun
from wfe.core.engine.seeking import FAULTS
from wfe.core.errors import ProviderError
from wfe.core.providers import Hint

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.registry import Registered
    from wfe.core.rules.state import State
    from wfe.core.steps import InstanceRef

__all__ = ["Runs"]

_LOG: Final = logging.getLogger("wfe.engine")
_SECOND: Final = 1_000_000  # µs


class Runs:
    """The live runs of one engine.

    Attributes:
        live: By number.
        roots: Which runs are driven here, with what they start; ``None``: all.
    """

    def __init__(self, engine: Engine, *, own_only: bool) -> None:
        """Drive none yet; with *own_only*, only what is started here."""
        self._engine = engine
        self.live: dict[int, LiveRun] = {}
        self.roots: set[str] | None = set() if own_only else None
        self._by_id: dict[str, LiveRun] = {}

    @property
    def room(self) -> int:
        """How many more runs may be live."""
        return self._engine.settings.max_live - len(self.live)

    def driven(self, id: str) -> LiveRun | None:
        """Return the live run with this id, ``None`` when it is not driven here."""
        return self._by_id.get(id)

    def make(
        self, ref: InstanceRef, ready: Registered, n: int, state: State, created_at: int
    ) -> LiveRun:
        """Return a live run that is not driven yet."""
        return LiveRun(
            owner=self._engine,
            ready=ready,
            ref=ref,
            n=n,
            parent=None,
            parent_pointer=None,
            created_at=created_at,
            state=state,
        )

    def adopt(self, run: LiveRun) -> None:
        """Drive a run that this worker owns."""
        self.live[run.n] = run
        self._by_id[run.ref.id] = run
        run.begin()
        if run.poked:
            self._engine.committer.changed(run)
        if run.idle:
            self._engine.seeker.idled(run)

    def poke(self, run: LiveRun) -> None:
        """Have *run* read its inbox."""
        run.poked += 1
        self._engine.committer.changed(run)

    def woken(self, woken: Sequence[tuple[int, int, int | None]]) -> None:
        """Pass on which instances have work now: (number, definition, owner) of each."""
        engine = self._engine
        away: list[Hint] = []
        for n, d, owner in woken:
            run = self.live.get(n)
            if run is not None:
                self.poke(run)
                continue
            mine = owner is None and engine.registry.number(d) is not None
            if mine:
                engine.nudge()
            if not mine or self.room <= 0 or self.roots is not None:
                away.append(Hint(n, d, owner))
        if away:
            engine.errands.run(engine.seeker.hint(away))

    # -- letting go

    def forget(self, run: LiveRun) -> None:
        """Drive *run* no more; whoever waits for it is told."""
        if self.live.get(run.n) is run:  # else it was loaded again meanwhile
            del self.live[run.n]
            self._by_id.pop(run.ref.id, None)
        self._engine.committer.forget(run)
        self._engine.seeker.room_made()
        self._engine.waits.told(run)

    def lost(self, run: LiveRun) -> None:
        """A commit was refused: what is in memory is not the truth any more."""
        _LOG.warning("run %s moved on without this host; loading it again", run.ref.id)
        self.forget(run)
        run.close()
        self._engine.doubt(run.n)

    def broken(self, run: LiveRun, error: Exception) -> None:
        """The engine failed on *run*: set it aside for a while, and for good after five times."""
        if run.masks is None:
            _LOG.error("internal error on run %s", run.ref.id, exc_info=error)
        else:
            trace = "".join(traceback.format_exception(error)).rstrip()
            _LOG.error("internal error on run %s\n%s", run.ref.id, run.masks.mask(trace))
        self.forget(run)
        run.close()
        message = str(error) if run.masks is None else run.masks.mask(str(error))
        reason = dumps({"type": type(error).__name__, "message": message, "step": None})
        self._engine.errands.run(self.set_aside(run.n, run.ref.id, reason, FAULTS))

    async def set_aside(self, n: int, id: str, reason: str, limit: int) -> None:
        """Give a run up for a second; at *limit* faults it is suspended for *reason* (JSON)."""
        engine = self._engine
        wake = engine.clock.now() + _SECOND
        try:
            await engine.store.fault(engine.epoch, n, wake, reason, limit)
        except ProviderError as error:
            _LOG.warning("run %s is not given up yet: %s", id, error)
            engine.doubt(n)  # loaded and tried again, until the store takes it
            return
        engine.waits.again(id)
        engine.nudge()

    async def drop(self) -> None:
        """Drive nothing any more: the worker that owned them counts as dead."""
        runs = list(self.live.values())
        level = logging.WARNING if runs else logging.INFO  # after idling it is no news
        _LOG.log(level, "this host was fenced; it registers anew (%d runs dropped)", len(runs))
        for run in runs:
            self.forget(run)
            run.close()
        await asyncio.gather(*(t for r in runs for t in r.working), return_exceptions=True)

    def clear(self) -> None:
        """Forget all, as the host stops."""
        self.live.clear()
        self._by_id.clear()
