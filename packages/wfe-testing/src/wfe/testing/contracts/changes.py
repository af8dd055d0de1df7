"""The contract of feeds: a store says all that changed, in an order in which nothing is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from wfe.core.errors import DataTypeError
from wfe.core.providers import Done, HeaderChange, Item, LogRow, PersistenceProvider
from wfe.core.search import Changes, ChangesProvider, Gone
from wfe.testing.contracts.runs import begin, final, header, message, one, parked, worker

__all__ = ["ChangesContract"]


async def _feed(store: Any, cursor: str | None = None, limit: int = 100) -> tuple[list[Any], str]:
    """Return all pages of changes after *cursor*, and where the feed stands."""
    pages: list[Changes] = []
    more = True
    while more:
        assert len(pages) < 50, "the feed does not end"
        page: Changes = await store.changes(cursor, limit)
        assert len(page.changed) + len(page.gone) <= limit
        pages.append(page)
        cursor, more = page.cursor, page.more
    assert cursor is not None
    return [each for page in pages for each in (*page.changed, *page.gone)], cursor


def _numbers(changes: Sequence[Any]) -> set[int]:
    return {each.n for each in changes}


class ChangesContract:
    """Subclass as ``TestMyChanges`` with a ``store`` fixture: open and empty."""

    async def test_the_feed_begins_with_what_is_there(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        ns = {await begin(store, epoch) for _ in range(5)}

        changes, _ = await _feed(store, limit=2)

        assert _numbers(changes) == ns

    async def test_a_start_and_an_end_are_changes(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        first = await begin(store, epoch)
        _, cursor = await _feed(store)

        second = await begin(store, epoch)
        changes, cursor = await _feed(store, cursor)
        assert _numbers(changes) == {second}
        assert isinstance(await one(store, epoch, Item(n=first, base=0, header=final())), Done)
        changes, cursor = await _feed(store, cursor)
        assert _numbers(changes) == {first}
        assert await _feed(store, cursor) == ([], cursor)

    async def test_starts_of_all_kinds_are_changes(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        parent = await begin(store, epoch)
        _, cursor = await _feed(store)
        child = await header(store, "child", parent=parent, parent_pointer=1)
        nobodys = await header(store)
        owned = await header(store, owner=epoch)

        starts = (Item(n=child.n, new=child, rows=("[]",)),)
        await one(store, epoch, Item(n=parent, base=0, rows=("[]",), starts=starts))
        await one(store, None, Item(n=nobodys.n, new=nobodys, rows=("[]",)))
        await one(store, epoch, Item(n=owned.n, new=owned, rows=("[]",)))

        changes, _ = await _feed(store, cursor)
        assert _numbers(changes) == {child.n, nobodys.n, owned.n}

    async def test_suspending_and_parking_are_changes(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        ns = [await begin(store, epoch) for _ in range(3)]
        _, cursor = await _feed(store)

        suspended = HeaderChange(status="suspended", release=True)
        await one(store, epoch, Item(n=ns[0], base=0, header=suspended))
        await one(store, epoch, Item(n=ns[1], base=0, header=parked()))
        await store.fault(epoch, ns[2], 1, '{"type":"E","message":"m"}', 1)

        changes, _ = await _feed(store, cursor)
        assert _numbers(changes) == set(ns)

    async def test_mere_rows_and_messages_are_none(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        _, cursor = await _feed(store)

        await one(store, epoch, Item(n=n, base=0, rows=("[1]", "[2]")))
        await one(store, None, Item(messages=(message(n),)))

        assert (await _feed(store, cursor))[0] == []

    async def test_a_refused_item_is_none(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        _, cursor = await _feed(store)

        assert not isinstance(await one(store, epoch, Item(n=n, base=7, header=final())), Done)

        assert (await _feed(store, cursor))[0] == []

    async def test_revs_of_a_run_grow(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        revs = [each.rev for each in (await _feed(store))[0]]

        for header_change in (HeaderChange(status="suspended"), parked(), final()):
            stored = (await store.load([n]))[0].header
            if stored.owner is None:
                await store.claim(epoch, [stored.d], 10, [n])
            await one(store, epoch, Item(n=n, base=0, header=header_change, seen=stored.poke))
            revs += [each.rev for each in (await _feed(store))[0]]

        assert revs == sorted(revs)
        assert len(revs) == 4
        assert len(set(revs)) >= 3  # giving up may or may not be noted

    async def test_a_deleted_run_is_gone(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n, other = await begin(store, epoch), await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, header=final()))
        before, cursor = await _feed(store)
        (stored,) = [each.header for each in await store.load([n])]

        assert await store.purge([n]) == 1

        (gone,), cursor = await _feed(store, cursor)
        assert gone == Gone(n, gone.rev, stored.id, stored.created_at)
        assert gone.rev > max(each.rev for each in before)
        assert (await _feed(store, cursor))[0] == []
        anew, _ = await _feed(store)
        assert {each.n for each in anew if not isinstance(each, Gone)} == {other}

    async def test_all_that_many_hosts_do_is_fed(self, store: PersistenceProvider) -> None:
        epochs = [await worker(store, f"w{k}") for k in range(4)]
        known: set[int] = set()
        started: set[int] = set()
        cursor: str | None = (await _feed(store))[1]

        async def start(epoch: int) -> None:
            for _ in range(10):
                started.add(await begin(store, epoch))

        async def follow() -> None:
            nonlocal cursor
            while len(known) < 40:
                changes, cursor = await _feed(store, cursor, limit=3)
                known.update(_numbers(changes))
                await asyncio.sleep(0)

        async with asyncio.timeout(60):
            await asyncio.gather(follow(), *(start(epoch) for epoch in epochs))

        assert known == started

    async def test_lines_are_fed_in_order(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        a, b = await begin(store, epoch), await begin(store, epoch, "refund")
        await store.append_logs([_row(b, "1"), _row(a, "2"), _row(b, "3")])

        first = await _log_changes(store, None, 2)
        await store.append_logs([_row(a, "4")])
        rest = await _log_changes(store, first.cursor, 2)

        both = [*first.lines, *rest.lines]
        ids = {a: await _id(store, a), b: await _id(store, b)}
        assert [each.row.line for each in both] == ["1", "2", "3", "4"]
        assert [each.id for each in both] == [ids[b], ids[a], ids[b], ids[a]]
        assert [each.definition for each in both] == ["refund", "order", "refund", "order"]
        assert first.more
        assert [each.row.l for each in both] == sorted({each.row.l for each in both})
        last = await _log_changes(store, rest.cursor, 2)
        assert (last.lines, last.more) == ((), False)

    async def test_lines_after_deleted_ones_are_fed(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n, other = await begin(store, epoch), await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, header=final()))
        await store.append_logs([_row(other, "1"), _row(n, "2"), _row(n, "3")])
        cursor = (await _log_changes(store, None, 10)).cursor
        await store.purge([n])

        await store.append_logs([_row(other, "4")])

        page = await _log_changes(store, cursor, 10)
        assert [each.row.line for each in page.lines] == ["4"]
        again = await _log_changes(store, None, 10)
        assert [each.row.line for each in again.lines] == ["1", "4"]

    @pytest.mark.parametrize("cursor", ["", "x", "a:b:c:d:e"])
    async def test_a_foreign_cursor_is_refused_or_a_beginning(
        self, store: PersistenceProvider, cursor: str
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)

        try:
            changes, _ = await _feed(store, cursor)
        except DataTypeError:
            return
        assert _numbers(changes) == {n}


def _row(n: int, line: str) -> LogRow:
    return LogRow(n=n, at=1, step="a", pointer=1, stream="stdout", line=line)


async def _log_changes(store: Any, cursor: str | None, limit: int) -> Any:
    assert isinstance(store, ChangesProvider)
    return await store.log_changes(cursor, limit)


async def _id(store: PersistenceProvider, n: int) -> str:
    return (await store.load([n]))[0].header.id
