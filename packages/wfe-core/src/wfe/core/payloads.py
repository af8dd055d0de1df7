"""A store whose texts are encoded, and kept elsewhere when they are big."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import orjson

from wfe.core.errors import ProviderError, TransactionError
from wfe.core.providers import (
    ActivityRow,
    ActivityStart,
    BlobProvider,
    Event,
    InboxRow,
    InstanceQuery,
    Item,
    Loaded,
    LogRow,
    Message,
    Outcome,
    PayloadCodec,
    PersistenceProvider,
    Row,
    ScheduleRow,
    Snapshot,
    StoredInstance,
    StreamRow,
    Transaction,
)
from wfe.core.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from wfe.core.cache_index import CacheEntry

__all__ = ["StoredTexts", "with_texts"]

_MONTH: Final = 30 * 86_400_000_000  # µs
_CHUNK: Final = 500
_ALL: Final = 2**31 - 1
_CACHE: Final = "cache-"


def _cache_owner(key: str) -> str:
    """Return the owner of an entry's blobs; owners have at most 64 characters."""
    return f"{_CACHE}{key[:56]}"


def with_texts(
    store: PersistenceProvider,
    codec: PayloadCodec | None,
    blobs: BlobProvider | None,
    limit: int,
) -> PersistenceProvider:
    """Return *store*, with its texts encoded and big ones kept in *blobs*.

    Args:
        store: Where everything else goes.
        codec: ``None``: texts stay as they are.
        blobs: ``None``: all texts go to the store.
        limit: Bytes of a text that the store itself keeps.
    """
    if codec is None and blobs is None:
        return store
    return cast("PersistenceProvider", StoredTexts(store, Texts(codec, blobs, limit)))


class _StoredTransaction:
    """A transaction of the store around, whose item is encoded as all others are."""

    def __init__(self, opened: Transaction, encoded: Callable[[Item], Awaitable[Item]]) -> None:
        self._opened = opened
        self._encoded = encoded

    @property
    def connection(self) -> Any:
        return self._opened.connection

    @property
    def problem(self) -> TransactionError | None:
        return self._opened.problem

    def interruption(self, error: BaseException | None) -> ProviderError | None:
        return self._opened.interruption(error)

    async def commit(self, item: Item) -> Outcome:
        return await self._opened.commit(await self._encoded(item))


class StoredTexts:
    """A persistence provider around another; what has no text goes straight through."""

    def __init__(self, store: PersistenceProvider, texts: Texts) -> None:
        self._store = store
        self._texts = texts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    # -- writing ------------------------------------------------------------------------------

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        return await self._store.commit(epoch, [await self._item(item) for item in items])

    async def _item(self, item: Item) -> Item:
        put, owner = self._texts.put, str(item.n)
        fold = item.fold
        if fold is not None:
            state, data = await put(owner, fold.state), await put(owner, fold.data)
            fold = Snapshot(fold.seq, state, data)
        return attrs.evolve(
            item,
            rows=tuple([await put(owner, row) for row in item.rows]),
            fold=fold,
            starts=tuple([await self._item(child) for child in item.starts]),
            messages=tuple([await self._message(item.n, each) for each in item.messages]),
            publish=tuple([await self._event(event) for event in item.publish]),
            activities=tuple([await self._offer(owner, each) for each in item.activities]),
        )

    async def _message(self, n: int, message: Message) -> Message:
        if message.payload == "null":
            return message
        owner = n if message.target is None else message.target
        return attrs.evolve(message, payload=await self._texts.put(str(owner), message.payload))

    async def _event(self, event: Event) -> Event:
        # Whoever it wakes has a copy of the reference: it is kept a month longer than the event.
        owner = "event-ever" if event.expires is None else f"event-{event.expires}"
        return attrs.evolve(event, payload=await self._texts.put(owner, event.payload))

    async def _offer(self, owner: str, activity: ActivityStart) -> ActivityStart:
        return attrs.evolve(activity, parameters=await self._texts.put(owner, activity.parameters))

    async def finish_activity(self, token: str, result: str) -> Outcome:
        owner = "0"
        if len(result) > self._texts.limit // 4:
            for row in await self._store.activities():
                if row.token == token:
                    owner = str(row.n)
        return await self._store.finish_activity(token, await self._texts.put(owner, result))

    async def append_stream(self, rows: Sequence[StreamRow]) -> None:
        put = self._texts.put
        await self._store.append_stream(
            [attrs.evolve(row, payload=await put(str(row.n), row.payload)) for row in rows]
        )

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        line = self._texts.line
        await self._store.append_logs([attrs.evolve(row, line=line(row.line)) for row in rows])

    async def put_schedule(self, row: ScheduleRow) -> bool:
        data = self._texts.here("schedule's data", row.data)
        return await self._store.put_schedule(attrs.evolve(row, data=data))

    async def cache_put(self, entry: CacheEntry, holder: str | None = None) -> None:
        put, owner = self._texts.put, _cache_owner(entry.key)
        document, result = await put(owner, entry.document), await put(owner, entry.result)
        inner: Any = self._store
        await inner.cache_put(attrs.evolve(entry, document=document, result=result), holder)

    def enqueue(self, connection: Any, item: Item) -> Outcome | Awaitable[Outcome]:
        here = self._texts.here
        rows = tuple([here("data of a start within a transaction", row) for row in item.rows])
        publish = tuple(
            [
                attrs.evolve(e, payload=here("event within a transaction", e.payload))
                for e in item.publish
            ]
        )
        inner: Any = self._store
        outcome: Outcome | Awaitable[Outcome] = inner.enqueue(
            connection, attrs.evolve(item, rows=rows, publish=publish)
        )
        return outcome

    @asynccontextmanager
    async def transaction(
        self, epoch: int, lease: int, *, blocking: bool = False
    ) -> AsyncGenerator[Transaction]:
        inner: Any = self._store
        async with inner.transaction(epoch, lease, blocking=blocking) as opened:
            yield _StoredTransaction(opened, self._item)

    # -- reading ------------------------------------------------------------------------------

    async def load(self, numbers: Sequence[int]) -> Sequence[Loaded]:
        return [await self._loaded(each) for each in await self._store.load(numbers)]

    async def _loaded(self, loaded: Loaded) -> Loaded:
        get, snapshot = self._texts.get, loaded.snapshot
        if snapshot is not None:
            snapshot = Snapshot(snapshot.seq, await get(snapshot.state), await get(snapshot.data))
        return attrs.evolve(
            loaded,
            snapshot=snapshot,
            tail=tuple([await self._row(row) for row in loaded.tail]),
            inbox=tuple([await self._received(row) for row in loaded.inbox]),
        )

    async def _row(self, row: Row) -> Row:
        event = await self._texts.get(row.event)
        return row if event is row.event else Row(row.seq, row.at, event)

    async def inbox(
        self, numbers: Sequence[int]
    ) -> Sequence[tuple[int, int, tuple[InboxRow, ...]]]:
        return [
            (n, poke, tuple([await self._received(row) for row in rows]))
            for n, poke, rows in await self._store.inbox(numbers)
        ]

    async def _received(self, row: InboxRow) -> InboxRow:
        """Return a message as it was sent; what the store made of an event has its text inside."""
        if '"$":"' not in row.payload:
            return row
        text = await self._texts.get(row.payload)
        if text is row.payload:
            found: dict[str, Any] = orjson.loads(text)
            if row.kind == "event":
                found["payload"] = await self._value(found["payload"])
            elif row.kind == "activity_done" and "$" in found:
                form = {"$": found.pop("$"), "v": found.pop("v")}
                found.update(orjson.loads(await self._texts.read(form)))
            text = orjson.dumps(found).decode()
        return attrs.evolve(row, payload=text)

    async def _value(self, value: Any) -> Any:
        text = orjson.dumps(value).decode()
        found = await self._texts.get(text)
        return value if found is text else orjson.loads(found)

    async def history(self, n: int, after: int, limit: int) -> Sequence[Row]:
        return [await self._row(row) for row in await self._store.history(n, after, limit)]

    async def find(self, query: InstanceQuery) -> Sequence[StoredInstance]:
        if query.data is not None and self._texts.codec is not None:
            problem = (
                "find(data=...) cannot look into data that a codec encoded; find runs by their"
                " reference= instead"
            )
            raise ProviderError("codec", problem, transient=False)
        return await self._store.find(query)

    async def claim_activity(
        self, names: Sequence[str], worker: str, token: str, lease: int
    ) -> ActivityRow | None:
        row = await self._store.claim_activity(names, worker, token, lease)
        return None if row is None else await self._activity(row)

    async def activities(self, n: int | None = None) -> Sequence[ActivityRow]:
        return [await self._activity(row) for row in await self._store.activities(n)]

    async def _activity(self, row: ActivityRow) -> ActivityRow:
        return attrs.evolve(row, parameters=await self._texts.get(row.parameters))

    async def stream(self, n: int, after: int, limit: int) -> Sequence[StreamRow]:
        get = self._texts.get
        return [
            attrs.evolve(row, payload=await get(row.payload))
            for row in await self._store.stream(n, after, limit)
        ]

    async def logs(self, n: int, after: int, limit: int) -> Sequence[LogRow]:
        get = self._texts.get
        return [
            attrs.evolve(row, line=await get(row.line))
            for row in await self._store.logs(n, after, limit)
        ]

    async def schedules(
        self, id: str | None = None, definition: str | None = None
    ) -> Sequence[ScheduleRow]:
        return [await self._schedule(row) for row in await self._store.schedules(id, definition)]

    async def due_schedules(self, limit: int) -> tuple[Sequence[ScheduleRow], int | None]:
        rows, following = await self._store.due_schedules(limit)
        return [await self._schedule(row) for row in rows], following

    async def _schedule(self, row: ScheduleRow) -> ScheduleRow:
        return attrs.evolve(row, data=await self._texts.get(row.data))

    async def cache_get(self, key: str) -> CacheEntry | None:
        inner: Any = self._store
        entry: CacheEntry | None = await inner.cache_get(key)
        return None if entry is None else await self._entry(entry)

    async def cache_find(
        self, definition: str | None = None, step: str | None = None, limit: int = 100
    ) -> Sequence[CacheEntry]:
        inner: Any = self._store
        entries: Sequence[CacheEntry] = await inner.cache_find(definition, step, limit)
        return [await self._entry(entry) for entry in entries]

    async def _entry(self, entry: CacheEntry) -> CacheEntry:
        get = self._texts.get
        document, result = await get(entry.document), await get(entry.result)
        return attrs.evolve(entry, document=document, result=result)

    # -- forgetting ---------------------------------------------------------------------------

    async def cache_purge(self, limit: int, **which: Any) -> Sequence[str]:
        inner: Any = self._store
        gone: Sequence[str] = await inner.cache_purge(limit, **which)
        if self._texts.blobs is not None and gone:
            await self._texts.blobs.delete([_cache_owner(key) for key in gone])
        return gone

    async def purge(self, roots: Sequence[int]) -> int:
        blobs = self._texts.blobs
        if blobs is None:
            return await self._store.purge(roots)
        members = [each.n for root in roots for each in await self._store.family(root)]
        deleted = await self._store.purge(roots)
        # Only now, and only of those that are gone: a crash leaves orphans, which are swept.
        await blobs.delete([str(n) for n in await self._gone(members)])
        return deleted

    async def _gone(self, numbers: Sequence[int]) -> list[int]:
        """Return those of *numbers* of which there is no instance."""
        gone: list[int] = []
        for k in range(0, len(numbers), _CHUNK):
            some = numbers[k : k + _CHUNK]
            there = {n for n, _, _ in await self._store.inbox(some)}
            gone += [n for n in some if n not in there]
        return gone

    async def sweep(self, age: int) -> int:
        """Delete the blobs of owners that do not exist (any more) and are *age* µs old.

        A crash between a blob and the commit that refers to it leaves such ones.  Returns the
        number of owners.
        """
        blobs = self._texts.blobs
        if blobs is None:
            return 0
        owners = await blobs.owners(age)
        gone = [str(n) for n in await self._gone([int(o) for o in owners if o.isdigit()])]
        before = self._store.clock.now() - _MONTH
        for owner in owners:
            _, event, until = owner.partition("event-")
            if event and until.isdigit() and int(until) < before:
                gone.append(owner)
        await blobs.delete(gone)
        return len(gone)

    async def sweep_results(self, age: int) -> int:
        """Delete the blobs of results that are not kept (any more) and are *age* µs old.

        A crash between a blob and its entry leaves such ones.  All entries are looked at.  Returns
        the number of results.
        """
        blobs = self._texts.blobs
        owners: Sequence[str] = () if blobs is None else await blobs.owners(age)
        found = [owner for owner in owners if owner.startswith(_CACHE)]
        if blobs is None or not found:
            return 0
        inner: Any = self._store
        kept = {_cache_owner(entry.key) for entry in await inner.cache_find(limit=_ALL)}
        gone = [owner for owner in found if owner not in kept]
        await blobs.delete(gone)
        return len(gone)
