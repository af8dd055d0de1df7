"""The contracts of searching catch what is broken in one place."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from inspect import getmembers
from typing import Any

import attrs
import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.errors import DataTypeError
from wfe.core.memory import MemoryStore
from wfe.core.memory_run import MemoryCommit, MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.memory_search import MemoryFeed, MemoryIndex
from wfe.core.providers import Header, HeaderChange, Item, LogRow
from wfe.core.search import (
    Changes,
    Gone,
    LogChanges,
    LogDocument,
    LogHit,
    LogPage,
    SearchDocument,
    SearchHit,
    SearchPage,
    SearchQuery,
    Term,
)
from wfe.testing.contracts.changes import ChangesContract
from wfe.testing.contracts.search import SearchContract

FAILURES = (AssertionError, LookupError, ValueError, TimeoutError, DataTypeError, TypeError)
FAILED = (*FAILURES, pytest.fail.Exception)

# -- indexes --------------------------------------------------------------------------------------


class SplitsNothing(MemoryIndex):
    """Takes its words apart at other places: parts of words are found."""

    def runs(self, query: SearchQuery) -> SearchPage:
        terms = tuple([attrs.evolve(term, prefix=True) for term in query.terms])
        return super().runs(attrs.evolve(query, terms=terms))


class FindsAnyOfTheWords(MemoryIndex):
    def runs(self, query: SearchQuery) -> SearchPage:
        wanted = [term for term in query.terms if not term.exclude][:1]
        rest = [term for term in query.terms if term.exclude]
        return super().runs(attrs.evolve(query, terms=(*wanted, *rest)))


class IgnoresExclusions(MemoryIndex):
    def log_lines(self, query: SearchQuery) -> LogPage:
        terms = tuple([term for term in query.terms if not term.exclude])
        return super().log_lines(attrs.evolve(query, terms=terms))


class IgnoresTheOrderOfWords(MemoryIndex):
    def runs(self, query: SearchQuery) -> SearchPage:
        terms = [
            Term((word,), prefix=term.prefix and word == term.words[-1], exclude=term.exclude)
            for term in query.terms
            for word in term.words
        ]
        return super().runs(attrs.evolve(query, terms=tuple(terms)))


class KeepsTheFirst(MemoryIndex):
    def put(self, document: SearchDocument) -> None:
        if document.n not in self.documents:
            super().put(document)


class KeepsTheLast(MemoryIndex):
    def put(self, document: SearchDocument) -> None:
        self.documents[document.n] = document


class RefusesTheSame(MemoryIndex):
    def put(self, document: SearchDocument) -> None:
        known = self.documents.get(document.n)
        if known is None or known.rev < document.rev:
            super().put(document)


class ForgetsTheGone(MemoryIndex):
    def remove(self, gone: Gone) -> None:
        super().remove(gone)
        self.gone.clear()


class KeepsTheirLines(MemoryIndex):
    def remove(self, gone: Gone) -> None:
        lines = dict(self.lines)
        super().remove(gone)
        self.lines = lines


class RemovesTooMuch(MemoryIndex):
    def remove(self, gone: Gone) -> None:
        super().remove(gone)
        self.documents.clear()


class KeepsFieldsForEver(MemoryIndex):
    def put(self, document: SearchDocument) -> None:
        known = self.documents.get(document.n)
        if known is not None:
            document = attrs.evolve(document, fields=(*known.fields, *document.fields))
        super().put(document)


class RoundsNumbers(MemoryIndex):
    def put(self, document: SearchDocument) -> None:
        super().put(attrs.evolve(document, rev=int(float(document.rev))))


class IgnoresFields(MemoryIndex):
    def runs(self, query: SearchQuery) -> SearchPage:
        return super().runs(attrs.evolve(query, fields=query.fields[:1]))


class TrimsTexts(MemoryIndex):
    def put(self, document: SearchDocument) -> None:
        fields = tuple([(path, text[:100]) for path, text in document.fields])
        super().put(attrs.evolve(document, fields=fields))


class NormalizesLines(MemoryIndex):
    def put_line(self, line: LogDocument) -> None:
        super().put_line(attrs.evolve(line, line=line.line.strip()))


class IgnoresTheRun(MemoryIndex):
    def log_lines(self, query: SearchQuery) -> LogPage:
        return super().log_lines(attrs.evolve(query, run=None))


class SkipsOneAtThePage(MemoryIndex):
    def runs(self, query: SearchQuery) -> SearchPage:
        page = super().runs(query)
        hits = page.hits[1:] if query.cursor is not None else page.hits
        return SearchPage(hits, page.cursor)


class AlwaysAnotherPage(MemoryIndex):
    def runs(self, query: SearchQuery) -> SearchPage:
        whole = (
            super().runs(attrs.evolve(query, limit=query.limit - 1)) if query.limit > 1 else None
        )
        page = super().runs(query)
        return page if whole is None else SearchPage(page.hits, page.cursor or whole.cursor)


class PagesByTime(MemoryIndex):
    """Goes on after a time: those at the same time are lost."""

    def log_lines(self, query: SearchQuery) -> LogPage:
        page = super().log_lines(query)
        if query.cursor is None or query.order == "oldest":
            return page
        times = [hit.document.at for hit in page.hits]
        return LogPage(tuple([h for h in page.hits if h.document.at < max(times)]), page.cursor)


class ScoresBackwards(MemoryIndex):
    def runs(self, query: SearchQuery) -> SearchPage:
        page = super().runs(query)
        if query.order != "relevance":
            return page
        hits = [
            SearchHit(hit.n, hit.id, None if hit.score is None else -hit.score) for hit in page.hits
        ]
        return SearchPage(tuple(hits[::-1]), page.cursor)


class TakesAnyCursor(MemoryIndex):
    def log_lines(self, query: SearchQuery) -> LogPage:
        try:
            return super().log_lines(query)
        except DataTypeError:
            return super().log_lines(attrs.evolve(query, cursor=None))


class NamesTheWrongRun(MemoryIndex):
    def runs(self, query: SearchQuery) -> SearchPage:
        page = super().runs(query)
        return SearchPage(tuple([SearchHit(hit.n, str(hit.n)) for hit in page.hits]), page.cursor)


class AddsLinesTwice(MemoryIndex):
    def log_lines(self, query: SearchQuery) -> LogPage:
        page = super().log_lines(query)
        hits: list[LogHit] = [hit for hit in page.hits for _ in range(2)]
        return LogPage(tuple(hits), page.cursor)


class TakesHundred(MemoryIndex):
    def put(self, document: SearchDocument) -> None:
        if len(self.documents) < 100:
            super().put(document)


def _broken_index(index: type[MemoryIndex]) -> MemoryStore:
    store = MemoryStore()
    store._index = index()
    return store


class OneCursor(MemoryStore):
    async def search_apply_logs(self, lines: Sequence[LogDocument], cursor: str) -> None:
        await super().search_apply_logs(lines, cursor)
        self._index.cursors = (cursor, cursor)


class OpensEmpty(MemoryStore):
    async def open(self) -> Any:
        self._index = MemoryIndex()
        return await super().open()


class ClearsNoLines(MemoryStore):
    async def search_clear(self) -> None:
        lines = self._index.lines
        await super().search_clear()
        self._index.lines = lines


class BeginsSomewhere(MemoryStore):
    async def search_cursors(self) -> tuple[str | None, str | None]:
        runs, lines = await super().search_cursors()
        return runs or "0", lines or "0"


def _index(kind: type[MemoryIndex]) -> Callable[[], MemoryStore]:
    return lambda: _broken_index(kind)


INDEXES: list[tuple[str, Callable[[], MemoryStore], str]] = [
    ("begins somewhere", BeginsSomewhere, "an_empty_index_finds_nothing"),
    ("opens empty", OpensEmpty, "opening_again_changes_nothing"),
    ("names the wrong run", _index(NamesTheWrongRun), "a_hit_says_which_run_it_is"),
    ("adds lines twice", _index(AddsLinesTwice), "the_same_again_is_there_once"),
    ("keeps the first", _index(KeepsTheFirst), "a_later_document_takes_the_place_of_the_former"),
    (
        "keeps fields for ever",
        _index(KeepsFieldsForEver),
        "a_later_document_takes_the_place_of_the_former",
    ),
    ("refuses the same", _index(RefusesTheSame), "of_the_same_rev_the_later_counts"),
    ("keeps the last", _index(KeepsTheLast), "what_comes_late_changes_nothing"),
    ("rounds numbers", _index(RoundsNumbers), "big_numbers_are_kept_exactly"),
    ("one cursor", OneCursor, "the_cursors_are_two"),
    ("takes a hundred", _index(TakesHundred), "many_at_a_time"),
    ("keeps their lines", _index(KeepsTheirLines), "what_is_gone_is_not_found"),
    ("forgets the gone", _index(ForgetsTheGone), "what_is_gone_does_not_come_back"),
    ("removes too much", _index(RemovesTooMuch), "nobody_goes_who_was_never_there"),
    ("clears no lines", ClearsNoLines, "clearing_forgets_everything"),
    ("splits nothing", _index(SplitsNothing), "words_find"),
    ("finds any of the words", _index(FindsAnyOfTheWords), "words_find"),
    ("ignores exclusions", _index(IgnoresExclusions), "words_find"),
    ("ignores the order of words", _index(IgnoresTheOrderOfWords), "words_find"),
    ("ignores fields", _index(IgnoresFields), "filters_of_runs"),
    ("ignores the run", _index(IgnoresTheRun), "filters_of_lines"),
    ("normalizes lines", _index(NormalizesLines), "a_line_comes_back_as_it_was"),
    ("trims texts", _index(TrimsTexts), "strange_texts_are_kept"),
    ("skips one at the page", _index(SkipsOneAtThePage), "pages_show_each_run_once"),
    ("pages by time", _index(PagesByTime), "pages_of_lines"),
    ("always another page", _index(AlwaysAnotherPage), "a_full_last_page_is_the_last"),
    ("scores backwards", _index(ScoresBackwards), "the_better_fit_comes_first"),
    ("takes any cursor", _index(TakesAnyCursor), "a_foreign_cursor_is_refused"),
]

# -- feeds ----------------------------------------------------------------------------------------


class ForgetsTheOld(MemoryStore):
    async def changes(self, cursor: str | None, limit: int) -> Changes:
        if self._runs.feed is None:
            self._runs.feed = MemoryFeed(())
        return await super().changes(cursor, limit)


class MissesEnds(MemoryRuns):
    def _head(self, run: MemoryRun, header: HeaderChange, seen: int, commit: MemoryCommit) -> None:
        feed, self.feed = self.feed, None if header.final else self.feed
        super()._head(run, header, seen, commit)
        self.feed = feed


class MissesChildren(MemoryRuns):
    def _start(self, item: Item, new: Header, commit: Any) -> None:
        feed, self.feed = self.feed, None if new.parent is not None else self.feed
        super()._start(item, new, commit)
        self.feed = feed


class MissesFaults(MemoryRuns):
    def suspend(self, run: MemoryRun, error: str) -> None:
        feed, self.feed = self.feed, None
        super().suspend(run, error)
        self.feed = feed


class NotesEveryRow(MemoryStore):
    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Any:
        outcomes = await super().commit(epoch, items)
        for item in items:
            if self._runs.feed is not None and item.n in self._runs.by_n:
                self._runs.feed.note(self._runs.by_n[item.n])
        return outcomes


class NotesTheRefused(MemoryStore):
    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Any:
        for item in items:
            if self._runs.feed is not None and item.header and item.n in self._runs.by_n:
                self._runs.feed.note(self._runs.by_n[item.n])
        return await super().commit(epoch, items)


class OneRev(MemoryStore):
    async def changes(self, cursor: str | None, limit: int) -> Changes:
        page = await super().changes(cursor, limit)
        return attrs.evolve(page, changed=tuple([attrs.evolve(c, rev=1) for c in page.changed]))


class DeletesInSilence(MemoryRuns):
    def forget(self, run: MemoryRun) -> None:
        feed, self.feed = self.feed, None
        super().forget(run)
        self.feed = feed


class SkipsTheLate(MemoryStore):
    """Its numbers are given out before they can be seen, as a sequence's are."""

    async def changes(self, cursor: str | None, limit: int) -> Changes:
        page = await super().changes(cursor, limit)
        if cursor is None or not page.changed:
            return page
        return attrs.evolve(page, cursor=str(int(page.cursor) + 1))


class LinesByRun(MemoryStore):
    async def log_changes(self, cursor: str | None, limit: int) -> LogChanges:
        page = await super().log_changes(cursor, limit)
        return attrs.evolve(page, lines=tuple(sorted(page.lines, key=lambda each: each.row.n)))


class UsesNumbersAgain(MemoryStore):
    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        self._last_l = max((row.l for rows in self._logs.values() for row in rows), default=0)
        await super().append_logs(rows)


class EndsAtAForeignCursor(MemoryStore):
    async def changes(self, cursor: str | None, limit: int) -> Changes:
        if cursor is not None and not cursor.isdecimal():
            return Changes((), (), cursor, more=False)
        return await super().changes(cursor, limit)


def _runs(kind: type[MemoryRuns]) -> Callable[[Any], MemoryStore]:
    def new_store(clock: Any) -> MemoryStore:
        store = MemoryStore(clock)
        store._runs = kind()
        return store

    return new_store


FEEDS: list[tuple[str, Callable[[Any], MemoryStore], str]] = [
    ("forgets the old", ForgetsTheOld, "the_feed_begins_with_what_is_there"),
    ("misses ends", _runs(MissesEnds), "a_start_and_an_end_are_changes"),
    ("misses children", _runs(MissesChildren), "starts_of_all_kinds_are_changes"),
    ("misses faults", _runs(MissesFaults), "suspending_and_parking_are_changes"),
    ("notes every row", NotesEveryRow, "mere_rows_and_messages_are_none"),
    ("notes the refused", NotesTheRefused, "a_refused_item_is_none"),
    ("one rev", OneRev, "revs_of_a_run_grow"),
    ("deletes in silence", _runs(DeletesInSilence), "a_deleted_run_is_gone"),
    ("skips the late", SkipsTheLate, "all_that_many_hosts_do_is_fed"),
    ("lines by run", LinesByRun, "lines_are_fed_in_order"),
    ("uses numbers again", UsesNumbersAgain, "lines_after_deleted_ones_are_fed"),
    (
        "ends at a foreign cursor",
        EndsAtAForeignCursor,
        "a_foreign_cursor_is_refused_or_a_beginning",
    ),
]


@pytest.mark.parametrize(("name", "broken", "law"), INDEXES, ids=[each[0] for each in INDEXES])
async def test_the_contract_of_indexes_catches(
    name: str, broken: Callable[[], MemoryStore], law: str
) -> None:
    run = getattr(SearchContract(), f"test_{law}")
    await run(MemoryStore())

    with pytest.raises(FAILED):
        await run(broken())


@pytest.mark.parametrize(("name", "broken", "law"), FEEDS, ids=[each[0] for each in FEEDS])
async def test_the_contract_of_feeds_catches(
    name: str, broken: Callable[[Any], MemoryStore], law: str
) -> None:
    run = getattr(ChangesContract(), f"test_{law}")
    more: dict[str, Any] = {"cursor": "x"} if "cursor" in law else {}
    await run(MemoryStore(VirtualClock()), **more)

    with pytest.raises(FAILED):
        async with asyncio.timeout(5):
            await run(broken(VirtualClock()), **more)


@pytest.mark.parametrize(("contract", "zoo"), [(SearchContract, INDEXES), (ChangesContract, FEEDS)])
def test_every_law_of_searching_is_broken_by_somebody(contract: type, zoo: list[Any]) -> None:
    laws = {name for name, _ in getmembers(contract) if name.startswith("test_")}

    assert {f"test_{law}" for _, _, law in zoo} == laws
