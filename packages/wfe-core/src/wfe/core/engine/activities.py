"""Work for whoever claims it: claims, answers and heartbeats of external workers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from wfe.core.codec import decode, encode
from wfe.core.engine.ids import shown_name
from wfe.core.engine.json_text import dumps
from wfe.core.engine.sizes import check_index, storable_text
from wfe.core.errors import ActivityTokenError, LeaseLostError
from wfe.core.models import Activity, OpenActivity, from_micros
from wfe.core.providers import ActivityRow, Done, Refused, StoredInstance

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine

__all__ = ["Activities", "check_names"]

_BATCH: Final = 200  # runs that are read at once


def check_names(names: Sequence[str], worker: str) -> None:
    """Refuse names that no store could index.

    Raises:
        DataTypeError: One is too long, or no text.
    """
    for name in names:
        check_index("activity name", name)
    check_index("worker", worker)


class Activities:
    """The activities of a store, as one host sees them."""

    def __init__(self, engine: Engine) -> None:
        """Act on the activities of *engine*'s store."""
        self._engine = engine
        self._waiting: set[asyncio.Event] = set()
        self._asked = 0

    @property
    def busy(self) -> bool:
        """Whether the store is being asked about one."""
        return self._asked > 0

    @contextlib.contextmanager
    def _asking(self) -> Generator[None]:
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1

    def offered(self) -> None:
        """There is something new to claim, or the host stops: waiting claims look again."""
        for event in self._waiting:
            event.set()

    async def claim(
        self, names: Sequence[str], worker: str, wait: int, lease: int
    ) -> Activity | None:
        """Claim the oldest activity of *names*, waiting for one at most *wait* µs.

        Raises:
            DataTypeError: A name or the worker cannot be indexed.
            HostStoppingError: The host is not running.
        """
        check_names(names, worker)
        engine = self._engine
        deadline = engine.clock.now() + wait
        news = asyncio.Event()
        self._waiting.add(news)  # listen first, then look: nothing offered in between is missed
        try:
            while True:
                engine.check_running()
                news.clear()
                token = secrets.token_urlsafe(24)
                with self._asking():
                    row = await engine.store.claim_activity(names, worker, token, lease)
                    if row is not None:
                        return await self._claimed(row, token)
                now = engine.clock.now()
                if now >= deadline:
                    return None
                await self._rest(news, min(deadline, now + engine.settings.poll))
        finally:
            self._waiting.discard(news)

    async def _rest(self, news: asyncio.Event, until: int) -> None:
        """Return at news, or at *until* (µs): another process may offer, or a lease may end."""
        told = asyncio.ensure_future(news.wait())
        alarm = asyncio.ensure_future(self._engine.clock.sleep_until(until))
        try:
            await asyncio.wait({told, alarm}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            alarm.cancel()

    async def _claimed(self, row: ActivityRow, token: str) -> Activity | None:
        for header in await self._headers([row.n]):
            return Activity(
                token=token,
                name=row.name,
                parameters=decode(orjson.loads(row.parameters)),
                attempt=row.attempt,
                run_id=header.id,
                run_name=shown_name(header.name, header.definition, header.n),
                pointer=row.pointer,
                lease_until=from_micros(row.lease_until or 0),
            )
        return None  # its run was purged this moment

    async def _headers(self, numbers: Sequence[int]) -> list[StoredInstance]:
        headers: list[StoredInstance] = []
        for start in range(0, len(numbers), _BATCH):
            loaded = await self._engine.store.load(numbers[start : start + _BATCH])
            headers.extend(each.header for each in loaded)
        return headers

    async def complete(self, token: str, result: Any) -> None:
        """Hand in a result; the run goes on with it.

        Raises:
            ActivityTokenError: The claim does not count any more.
            DataTypeError: The result cannot be stored; the claim still counts.
        """
        await self._finish(token, {"result": encode(result, "activity result")})

    async def fail(self, token: str, kind: str, message: str, *, retryable: bool) -> None:
        """Say that the work failed; what follows is the step's error policy.

        Raises:
            ActivityTokenError: The claim does not count any more.
        """
        error = {"type": encode(kind, "error type"), "message": storable_text(message)}
        await self._finish(token, {"error": error, "retryable": retryable})

    async def _finish(self, token: str, answer: dict[str, Any]) -> None:
        self._engine.check_running()
        text = dumps(answer)
        self._engine.sizes.check("activity result", text)
        with self._asking():
            outcome = await self._engine.store.finish_activity(token, text)
        if isinstance(outcome, Refused):
            raise ActivityTokenError(token)
        if not isinstance(outcome, Done):
            raise LeaseLostError
        self._engine.runs.woken(outcome.woken)

    async def heartbeat(self, token: str, progress: Any, lease: int) -> None:
        """Hold a claim for another *lease* µs.

        Raises:
            ActivityTokenError: The claim does not count any more.
            DataTypeError: The progress cannot be stored.
        """
        self._engine.check_running()
        told = None if progress is None else dumps(encode(progress, "progress"))
        self._engine.sizes.check("progress", told or "")
        with self._asking():
            held = await self._engine.store.beat_activity(token, lease, told)
        if not held:
            raise ActivityTokenError(token)

    async def find(self, run: str | None) -> list[OpenActivity]:
        """Return the open activities, oldest first; *run*: only those of one run.

        Raises:
            WorkflowNotFoundError: There is no such run.
        """
        self._engine.check_running()
        n = None if run is None else (await self._engine.reads.header(run)).n
        rows = await self._engine.store.activities(n)
        headers = {each.n: each for each in await self._headers(list({row.n for row in rows}))}
        now = self._engine.clock.now()
        return [_open(row, headers[row.n], now) for row in rows if row.n in headers]


def _open(row: ActivityRow, header: StoredInstance, now: int) -> OpenActivity:
    until = row.lease_until
    return OpenActivity(
        name=row.name,
        run_id=header.id,
        run_name=shown_name(header.name, header.definition, header.n),
        pointer=row.pointer,
        attempt=row.attempt,
        parameters=decode(orjson.loads(row.parameters)),
        worker=row.worker,
        lease_until=None if until is None else from_micros(until),
        claimed=row.token is not None and until is not None and until >= now,
        progress=None if row.progress is None else decode(orjson.loads(row.progress)),
    )
