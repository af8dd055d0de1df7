"""What steps emit: stored in order, and read from an offset while the run goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator, Sequence
from typing import TYPE_CHECKING, Final

import orjson

from wfe.core.codec import decode
from wfe.core.engine.pumps import Pump
from wfe.core.models import StreamItem, WorkflowStatus, from_micros
from wfe.core.providers import PersistenceProvider, StreamRow

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine

__all__ = ["StreamPump", "Streams"]

_PAGE: Final = 1000
_POLL: Final = (0.02, 0.5)  # seconds between looks at what another process may emit


class StreamPump(Pump[StreamRow]):
    """Takes what is emitted, from any thread, and tells readers when it is stored."""

    def __init__(self, store: PersistenceProvider) -> None:
        """Store in *store*."""
        super().__init__("emitted items", self._append)
        self._to = store
        self._readers: set[asyncio.Event] = set()

    async def _append(self, rows: Sequence[StreamRow]) -> None:
        await self._to.append_stream(rows)
        self.tell()

    @contextlib.contextmanager
    def reading(self) -> Generator[asyncio.Event]:
        """Give an event that is set whenever there is news here: rows, or the end of a run."""
        news = asyncio.Event()
        self._readers.add(news)
        try:
            yield news
        finally:
            self._readers.discard(news)

    def tell(self) -> None:
        """Have all readers look again."""
        for reader in self._readers:
            reader.set()


class Streams:
    """The read side."""

    def __init__(self, engine: Engine) -> None:
        """Read from *engine*'s store."""
        self._engine = engine

    async def items(
        self, id_or_name: str, after: int, *, follow: bool
    ) -> AsyncIterator[StreamItem]:
        """Yield what was emitted after *after*; with *follow*, until the run is final.

        Raises:
            WorkflowNotFoundError: There is no such run.
            HostStoppingError: The host was stopped meanwhile.
        """
        engine = self._engine
        id_ = (await engine.reads.header(id_or_name)).id
        pause = _POLL[0]
        with engine.report.streams.reading() as news:
            while True:
                engine.check_running()
                news.clear()
                # First whether it is over, then the rows: none comes after the last look.
                header = await engine.reads.header(id_)
                over = not follow or WorkflowStatus(header.status).final
                async for item in self._stored(header.n, after):
                    after, pause = item.offset, _POLL[0]
                    yield item
                if over:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await news.wait()
                pause = min(2 * pause, _POLL[1])

    async def _stored(self, n: int, after: int) -> AsyncIterator[StreamItem]:
        await self._engine.report.streams.flush()
        while rows := await self._engine.store.stream(n, after, _PAGE):
            for row in rows:
                yield _item(row)
            after = rows[-1].s


def _item(row: StreamRow) -> StreamItem:
    return StreamItem(
        offset=row.s,
        name=row.name,
        payload=decode(orjson.loads(row.payload)),
        at=from_micros(row.at),
        step=row.step,
    )
