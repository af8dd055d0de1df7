"""Tells observers and the log what happens on a host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from wfe.core.engine.lifecycle import Lifecycle
from wfe.core.engine.logs import LogPump
from wfe.core.engine.streams import StreamPump
from wfe.core.engine.surroundings import rounds_around
from wfe.core.models import LifecycleEvent, from_micros
from wfe.core.providers import Done, Item, LogRow, PersistenceProvider, StreamRow
from wfe.core.rounds import round_name
from wfe.core.steps import PointerRef

if TYPE_CHECKING:
    from wfe.core.engine.live import LiveRun
    from wfe.core.rules.state import Pointer

__all__ = ["Reporter"]


class Reporter:
    """Makes lifecycle events and log rows of what runs do.

    Attributes:
        streams: What steps emitted, on its way to the store; from :meth:`open` on.
    """

    streams: StreamPump

    def __init__(self, store: PersistenceProvider, live: Mapping[int, LiveRun]) -> None:
        """Report on the runs in *live*; log lines go to *store*."""
        self.lifecycle: Lifecycle = Lifecycle()
        self._clock = store.clock
        self._store = store
        self._live = live
        self._loop: asyncio.AbstractEventLoop | None = None
        self._logs: LogPump | None = None

    def open(self) -> None:
        """Begin, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._logs = LogPump(self._store, self._logged)
        self.streams = StreamPump(self._store)

    async def flush(self) -> None:
        """Store the log lines that were taken so far."""
        if self._logs is not None:
            await self._logs.flush()

    async def close(self) -> None:
        """Store the last log lines and emitted items, and end every subscription."""
        if self._logs is not None:
            await self._logs.close()
            await self.streams.close()
            self.streams.tell()
        self.lifecycle.close()

    @property
    def watched(self) -> bool:
        """Whether anybody wants to be told of what happens."""
        return self.lifecycle.watched

    def happened(self, run: LiveRun, rows: list[list[Any]], at: int) -> None:
        """Tell observers about committed rows."""
        if self.lifecycle.watched:
            self._rows(run.ref.id, run.ref.definition, rows, at)

    def _rows(self, id: str, definition: str, rows: Iterable[list[Any]], at: int) -> None:
        when = from_micros(at)
        for _, kind, pointer, step, attempt, info, _ops in rows:
            self.lifecycle.send(
                LifecycleEvent(
                    kind=kind,
                    instance_id=id,
                    definition=definition,
                    at=when,
                    step=step,
                    pointer=pointer,
                    attempt=attempt,
                    data=info,
                )
            )

    def started(self, items: Sequence[Item], done: Done) -> None:
        """Tell observers about runs that were stored and are not driven yet."""
        if not self.lifecycle.watched:
            return
        for item in items:
            if item.new is not None:
                rows = [orjson.loads(row) for row in item.rows]
                self._rows(item.new.id, item.new.definition, rows, done.at)

    def began(self, run: LiveRun, pointer: Pointer) -> None:
        """Tell observers that a body starts."""
        if self.lifecycle.watched:
            ref = PointerRef(pointer.id, pointer.step, pointer.attempt, ())
            place = run.ready.plan.places.get(pointer.step)
            name = ""
            if place is not None and place.looped:
                name = round_name(rounds_around(run.state.pointers, pointer.id))
            self._send("step_started", run, ref, {"round": name} if name else None)

    def _send(
        self, kind: str, run: LiveRun, pointer: PointerRef, data: Mapping[str, Any] | None
    ) -> None:
        self.lifecycle.send(
            LifecycleEvent(
                kind=kind,
                instance_id=run.ref.id,
                definition=run.ref.definition,
                at=from_micros(self._clock.now()),
                step=pointer.step,
                pointer=pointer.id,
                attempt=pointer.attempt,
                data=data,
            )
        )

    def fenced(self) -> None:
        """Tell observers that another host took over from this one."""
        now = from_micros(self._clock.now())
        event = LifecycleEvent(kind="host_fenced", instance_id="", definition="", at=now)
        self.lifecycle.send(event)

    def log(self, run: LiveRun, pointer: PointerRef, stream: str, line: str) -> None:
        """Take a log line; from any thread."""
        if self._logs is None:
            return
        now = self._clock.now()
        self._logs.take(
            LogRow(n=run.n, at=now, step=pointer.step, pointer=pointer.id, stream=stream, line=line)
        )

    def _logged(self, row: LogRow) -> None:
        run = self._live.get(row.n)
        if run is not None and self.lifecycle.observed:
            ref = PointerRef(row.pointer or 0, row.step or "", 0, ())
            self._send("log", run, ref, {"stream": row.stream, "line": row.line})

    def emit(self, run: LiveRun, pointer: PointerRef, name: str, payload: str) -> None:
        """Take what a step emitted (*payload*: JSON); from any thread."""
        row = StreamRow(
            n=run.n,
            at=self._clock.now(),
            step=pointer.step,
            pointer=pointer.id,
            name=name,
            payload=payload,
        )
        self.streams.take(row)

    def emitting(self) -> bool:
        """Whether emitted items wait to be stored."""
        return self.streams.waiting

    def emitted(self) -> Awaitable[None] | None:
        """Return what stores the items that wait for it; ``None``: none does."""
        return self.streams.flush() if self.streams.waiting else None

    def progress(self, run: LiveRun, pointer: PointerRef, name: str, payload: Any) -> None:
        """Tell observers about progress; from any thread."""
        if self.lifecycle.observed and self._loop is not None:
            data = {"name": name, "payload": payload}
            self._loop.call_soon_threadsafe(self._send, "progress", run, pointer, data)
