"""The search index of a memory store, and its feed of changes, in dictionaries."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import attrs

from wfe.core.errors import DataTypeError
from wfe.core.memory_run import MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.providers import LogRow
from wfe.core.search import (
    Changed,
    Changes,
    Gone,
    LogChanges,
    LogDocument,
    LoggedLine,
    LogHit,
    LogPage,
    SearchDocument,
    SearchHit,
    SearchPage,
    SearchQuery,
    Term,
    position_in,
    position_text,
)

__all__ = ["MemoryFeed", "MemoryIndex", "changed_after", "lines_after"]

_SPARE: Final = 1000  # overtaken changes before the list is made anew


class MemoryFeed:
    """The latest change of each run, in order; made when somebody asks for the first time."""

    def __init__(self, runs: Iterable[MemoryRun]) -> None:
        self._rev = 0
        self._latest: dict[int, int] = {}
        self._gone: dict[int, Gone] = {}
        self._order: list[tuple[int, int]] = []
        for run in runs:
            self.note(run)

    def note(self, run: MemoryRun) -> None:
        self._rev += 1
        self._latest[run.new.n] = self._rev
        self._order.append((self._rev, run.new.n))
        if len(self._order) > 2 * len(self._latest) + _SPARE:
            self._order = [each for each in self._order if self._latest[each[1]] == each[0]]

    def forget(self, run: MemoryRun) -> None:
        """Note that a run was deleted."""
        self.note(run)
        self._gone[run.new.n] = Gone(run.new.n, self._rev, run.new.id, run.created_at)

    def after(self, rev: int, limit: int) -> Changes:
        first = bisect_right(self._order, (rev, 2**63))
        left = iter(self._order[first:])
        page = list(islice((each for each in left if self._latest[each[1]] == each[0]), limit))
        changed = [Changed(n, at) for at, n in page if n not in self._gone]
        gone = [self._gone[n] for _, n in page if n in self._gone]
        last = page[-1][0] if page else rev
        return Changes(tuple(changed), tuple(gone), str(last), more=len(page) == limit)


class MemoryIndex:
    """Documents by number, lines by position."""

    def __init__(self) -> None:
        self.documents: dict[int, SearchDocument] = {}
        self.lines: dict[int, LogDocument] = {}
        self.gone: dict[int, int] = {}
        self.cursors: tuple[str | None, str | None] = (None, None)

    def put(self, document: SearchDocument) -> None:
        known = self.documents.get(document.n)
        if known is not None and known.rev > document.rev:
            return
        if self.gone.get(document.n, -1) < document.rev:
            self.documents[document.n] = document

    def remove(self, gone: Gone) -> None:
        known = self.documents.get(gone.n)
        if known is not None and known.rev > gone.rev:
            return
        self.documents.pop(gone.n, None)
        self.gone[gone.n] = max(gone.rev, self.gone.get(gone.n, -1))
        for position in [line.l for line in self.lines.values() if line.n == gone.n]:
            del self.lines[position]

    def put_line(self, line: LogDocument) -> None:
        if line.n not in self.gone:
            self.lines[line.l] = line

    def runs(self, query: SearchQuery) -> SearchPage:
        found = [
            (score, each.created_at, each.n, each)
            for each in self.documents.values()
            if _fits_run(each, query) and (score := _score(each.text, query.terms)) is not None
        ]
        page, cursor = _page(found, query)
        return SearchPage(tuple([SearchHit(e.n, e.id, score) for score, e in page]), cursor)

    def log_lines(self, query: SearchQuery) -> LogPage:
        found = [
            (score, each.at, each.l, each)
            for each in self.lines.values()
            if _fits_line(each, query) and (score := _score(each.text, query.terms)) is not None
        ]
        page, cursor = _page(found, query)
        hits = [LogHit(attrs.evolve(each, text=""), score) for score, each in page]
        return LogPage(tuple(hits), cursor)


def changed_after(runs: MemoryRuns, cursor: str | None, limit: int) -> Changes:
    """Return what changed; the first asking begins to note it."""
    if runs.feed is None:
        runs.feed = MemoryFeed(runs.by_n.values())
    return runs.feed.after(_number(cursor), limit)


def lines_after(
    runs: Mapping[int, MemoryRun],
    logs: Mapping[int, list[LogRow]],
    cursor: str | None,
    limit: int,
) -> LogChanges:
    """Return the lines that were written later, in order."""
    after = _number(cursor)
    new = ((row for row in rows if row.l > after) for rows in logs.values())
    page = list(islice(heapq.merge(*new, key=lambda row: row.l), limit))
    lines = [
        LoggedLine(row, runs[row.n].new.id, runs[row.n].new.definition)
        for row in page
        if row.n in runs
    ]
    last = page[-1].l if page else after
    return LogChanges(tuple(lines), str(last), more=len(page) == limit)


def _number(cursor: str | None) -> int:
    if cursor is not None and not cursor.isdecimal():
        raise DataTypeError("cursor", f"{cursor!r} is no cursor of a feed of this store")
    return int(cursor or 0)


def _fits_run(document: SearchDocument, query: SearchQuery) -> bool:
    return (
        query.definition in (None, document.definition)
        and query.status in (None, document.status)
        and query.reference in (None, document.reference)
        and query.run in (None, document.id)
        and _within(document.created_at, query)
        and all(field in document.fields for field in query.fields)
    )


def _fits_line(line: LogDocument, query: SearchQuery) -> bool:
    return (
        query.definition in (None, line.definition)
        and query.run in (None, line.id)
        and _within(line.at, query)
    )


def _within(at: int, query: SearchQuery) -> bool:
    late_enough = query.since is None or at >= query.since
    return late_enough and (query.until is None or at < query.until)


def _score(text: str, terms: Sequence[Term]) -> float | None:
    """Return how often the terms occur, for the length of the text; ``None``: it does not fit."""
    padded, found = f" {text} ", 0
    for term in terms:
        count = padded.count(f" {' '.join(term.words)}{'' if term.prefix else ' '}")
        if bool(count) is term.exclude:
            return None
        found += count
    return found / (1 + len(padded))


def _page(
    found: list[tuple[float, int, int, Any]], query: SearchQuery
) -> tuple[list[tuple[float | None, Any]], str | None]:
    """Return the page of (score, what was found), and the cursor of the next one."""
    by_score = query.order == "relevance" and any(not term.exclude for term in query.terms)
    rows = sorted(found, key=lambda row: row[:3] if by_score else row[1:3])
    if query.order != "oldest":
        rows.reverse()
    if query.cursor is not None and by_score:
        last = tuple(position_in(query.cursor, (float, int, int)))
        rows = [row for row in rows if row[:3] < last]
    elif query.cursor is not None:
        place = tuple(position_in(query.cursor, (int, int)))
        oldest = query.order == "oldest"
        rows = [row for row in rows if (row[1:3] > place if oldest else row[1:3] < place)]
    page, cursor = rows[: query.limit], None
    if len(rows) > query.limit:
        cursor = position_text(page[-1][:3] if by_score else page[-1][1:3])
    return [(row[0] if by_score else None, row[3]) for row in page], cursor
