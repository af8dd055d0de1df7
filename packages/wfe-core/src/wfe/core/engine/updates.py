"""Requests that a run handles and answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import orjson

from wfe.core.codec import decode, encode
from wfe.core.engine.ids import uuid7
from wfe.core.engine.sizes import check_name
from wfe.core.errors import InvalidStateTransitionError, UpdateRejectedError
from wfe.core.models import WorkflowStatus
from wfe.core.providers import StoredInstance

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine

__all__ = ["Updates"]

_POLL: Final = (0.02, 0.5)  # seconds between looks at a run that another process drives
_PAGE: Final = 1000
_ANSWERS: Final = frozenset({"update_completed", "update_rejected"})


class Updates:
    """Who waits for an answer; the answers stand in the history."""

    def __init__(self, engine: Engine) -> None:
        """Ask runs of *engine*'s store."""
        self._engine = engine
        self._waiting: dict[str, asyncio.Event] = {}
        self._storing: set[asyncio.Task[tuple[int, StoredInstance]]] = set()

    def answered(self, update: str) -> None:
        """The answer is in the history."""
        event = self._waiting.get(update)
        if event is not None:
            event.set()

    async def ask(self, id_or_name: str, name: str, data: Any, actor: str | None) -> Any:
        """Send an update and return the answer; it is sent too when the caller gives up.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final, or ended before it answered.
            UpdateRejectedError: It refused.
        """
        self._engine.check_running()
        check_name("update name", name)
        update = uuid7()
        payload = {"id": update, "name": name, "data": encode(data, "update data")}
        event = self._waiting[update] = asyncio.Event()
        try:
            storing = asyncio.create_task(self._stored(id_or_name, payload, actor))
            self._storing.add(storing)
            storing.add_done_callback(self._was_stored)
            seen, header = await asyncio.shield(storing)
            return await self._answer(header, update, name, seen, event)
        finally:
            del self._waiting[update]

    async def _stored(
        self, id_or_name: str, payload: Any, actor: str | None
    ) -> tuple[int, StoredInstance]:
        """Send an update; return the run's last row before it, and the run."""
        seen = await self._last(id_or_name)
        return seen, await self._engine.control.ask(id_or_name, "update", payload, actor=actor)

    def _was_stored(self, storing: asyncio.Task[tuple[int, StoredInstance]]) -> None:
        self._storing.discard(storing)
        if not storing.cancelled():
            storing.exception()  # who still waits gets it

    async def _last(self, id_or_name: str) -> int:
        """Return the seq of a run's last row: the answer comes after it."""
        header = await self._engine.reads.header(id_or_name)
        for loaded in await self._engine.store.load([header.n]):
            if loaded.tail:
                return loaded.tail[-1].seq
            return -1 if loaded.snapshot is None else loaded.snapshot.seq
        return -1

    async def _answer(
        self, header: StoredInstance, update: str, name: str, seen: int, event: asyncio.Event
    ) -> Any:
        pause = _POLL[0]
        while True:
            event.clear()  # before looking, so that an answer that comes meanwhile is not missed
            over = WorkflowStatus((await self._engine.reads.header(header.id)).status).final
            for row in await self._engine.store.history(header.n, seen, _PAGE):
                seen = row.seq
                _, kind, _, _, _, info, _ = orjson.loads(row.event)
                if kind in _ANSWERS and info["update"] == update:
                    return _said(kind, info, header.id, name)
            if over:
                raise InvalidStateTransitionError(header.id, f"answer update {name!r}", "final")
            await self._news(event, pause)
            pause = min(2 * pause, _POLL[1])

    async def _news(self, event: asyncio.Event, pause: float) -> None:
        """Wait until this host answered, or for *pause* seconds if another one may."""
        try:
            async with asyncio.timeout(pause):
                await event.wait()
        except TimeoutError:
            return


def _said(kind: str, info: dict[str, Any], run: str, name: str) -> Any:
    if kind == "update_completed":
        return decode(info["result"])
    error = info["error"]
    raise UpdateRejectedError(run, name, error["type"], error["message"])
