"""The contract of searching: an index keeps what it is given, and finds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest

from wfe.core.errors import DataTypeError
from wfe.core.search import (
    Gone,
    LogDocument,
    Order,
    SearchDocument,
    SearchProvider,
    SearchQuery,
)
from wfe.core.search_text import parse_terms, words

__all__ = ["SearchContract"]

_MONTH = 31 * 86_400_000_000  # µs
_START = 1_700_000_000_000_000  # µs: some day in 2023


_TEXTS = ("Payment: card refused.", "Payment, ø 日本", "order-17 to Hauptstraße/Straße")
_FOUND = {
    "payment": [2, 1],
    "PAYMENT": [2, 1],
    "payment refused": [1],
    "pay": [],
    "pay*": [2, 1],
    '"card refused"': [1],
    '"refused card"': [],
    "card refused payment": [1],
    "payment -refused": [2],
    "-payment": [3],
    '-"card refused"': [3, 2],
    "order-17": [3],
    "order-1": [],
    "order-1*": [3],
    "straße": [3],
    "STRASSE": [3],
    "ol": [],
    "ø": [2],
    "o": [],
    "日本": [2],
    "?!": [3, 2, 1],
    "": [3, 2, 1],
}
"""Which of the texts are found by which terms, newest first."""

_FILTERED: Sequence[tuple[dict[str, Any], list[int]]] = (
    ({"definition": "order"}, [3, 1]),
    ({"definition": "Order"}, []),
    ({"definition": "no such"}, []),
    ({"status": "failed"}, [2]),
    ({"reference": "customer 5/é"}, [1]),
    ({"reference": "customer"}, []),
    ({"since": _START + 2}, [3, 2]),
    ({"until": _START + 2}, [1]),
    ({"since": _START + 2, "until": _START + 3}, [2]),
    ({"fields": (("total", "5"),)}, [2, 1]),
    ({"fields": (("total", "5"), ("customer.city", "Aarhus C"))}, [1]),
    ({"fields": (("customer.city", "Aarhus"),)}, []),
    ({"fields": (("city", "Aarhus C"),)}, []),
    ({"fields": (("tags", "a"), ("tags", "b"))}, [1]),
    ({"definition": "order", "status": "complete"}, [3, 1]),
)


def _orders(oldest: list[int]) -> Sequence[tuple[Order, list[int]]]:
    """Return each order with what it is of *oldest*, when nothing fits better than the rest."""
    newest = oldest[::-1]
    return (("newest", newest), ("oldest", oldest), ("relevance", newest))


def _run(n: int, text: str = "", **columns: Any) -> SearchDocument:
    usual = SearchDocument(
        n=n,
        rev=1,
        id=f"run-{n}",
        definition="order",
        version=1,
        name=f"order-{n}",
        reference=None,
        status="complete",
        created_at=_START + n,
        completed_at=None,
        parent_id=None,
        root_id=f"run-{n}",
        text=" ".join(words(text)),
    )
    return attrs.evolve(usual, **columns)


def _line(l: int, line: str = "", **columns: Any) -> LogDocument:  # noqa: E741 - the field's name
    usual = LogDocument(
        l=l,
        n=1,
        id="run-1",
        definition="order",
        at=_START + l,
        step="build",
        pointer=3,
        stream="stdout",
        line=line,
        text=" ".join(words(line)),
    )
    return attrs.evolve(usual, **columns)


class SearchContract:
    """Subclass as ``TestMyIndex`` with an ``index`` fixture: open and empty.

    Override :meth:`shown` when the index shows only after a while what was applied.
    """

    async def shown(self, index: SearchProvider) -> None:
        """Return when all that was applied is found."""

    async def _runs(self, index: SearchProvider, terms: str = "", **rest: Any) -> list[int]:
        await self.shown(index)
        page = await index.search_runs(SearchQuery(terms=parse_terms(terms), **rest))
        return [hit.n for hit in page.hits]

    async def _lines(self, index: SearchProvider, terms: str = "", **rest: Any) -> list[int]:
        await self.shown(index)
        page = await index.search_logs(SearchQuery(terms=parse_terms(terms), **rest))
        return [hit.document.l for hit in page.hits]

    async def _paged(
        self, find: Callable[[SearchQuery], Any], query: SearchQuery
    ) -> list[list[Any]]:
        pages: list[list[Any]] = []
        cursor: str | None = None
        while not pages or cursor is not None:
            assert len(pages) < 20, "the pages do not end"
            page = await find(attrs.evolve(query, cursor=cursor))
            pages.append(list(page.hits))
            cursor = page.cursor
        return pages

    # -- what is kept -------------------------------------------------------------------------

    async def test_an_empty_index_finds_nothing(self, index: SearchProvider) -> None:
        assert await index.search_cursors() == (None, None)
        assert await self._runs(index) == []
        assert await self._lines(index, "word") == []

    async def test_opening_again_changes_nothing(self, index: SearchProvider) -> None:
        await index.search_apply([_run(1)], [], "a")

        await index.open()

        assert await self._runs(index) == [1]
        assert await index.search_cursors() == ("a", None)

    async def test_a_hit_says_which_run_it_is(self, index: SearchProvider) -> None:
        await index.search_apply([_run(7, id="seven")], [], "a")
        await self.shown(index)

        (hit,) = (await index.search_runs(SearchQuery())).hits

        assert (hit.n, hit.id) == (7, "seven")

    async def test_the_same_again_is_there_once(self, index: SearchProvider) -> None:
        for _ in range(3):
            await index.search_apply([_run(1, "word")], [], "a")
            await index.search_apply_logs([_line(1, "word")], "a")

        assert await self._runs(index, "word") == [1]
        assert await self._lines(index, "word") == [1]

    async def test_a_later_document_takes_the_place_of_the_former(
        self, index: SearchProvider
    ) -> None:
        old = _run(1, "old both", status="runnable", fields=(("a", "1"), ("b", "1")))
        new = _run(1, "new both", rev=2, fields=(("a", "2"), ("b", "1")))
        await index.search_apply([old], [], "a")

        await index.search_apply([new], [], "b")

        assert await self._runs(index, "both") == [1]
        assert await self._runs(index, "new") == [1]
        assert await self._runs(index, "old") == []
        assert await self._runs(index, status="runnable") == []
        assert await self._runs(index, fields=(("a", "1"),)) == []
        assert await self._runs(index, fields=(("a", "2"), ("b", "1"))) == [1]

    async def test_of_the_same_rev_the_later_counts(self, index: SearchProvider) -> None:
        await index.search_apply([_run(1, "old")], [], "a")

        await index.search_apply([_run(1, "new")], [], "b")

        assert await self._runs(index, "new") == [1]

    async def test_what_comes_late_changes_nothing(self, index: SearchProvider) -> None:
        await index.search_apply([_run(1, "new", rev=5)], [], "b")

        await index.search_apply([_run(1, "old", rev=4), _run(2, "other")], [], "a")

        assert await self._runs(index, "old") == []
        assert await self._runs(index, "new") == [1]
        assert await self._runs(index, "other") == [2]  # and keeps nothing else out

    async def test_big_numbers_are_kept_exactly(self, index: SearchProvider) -> None:
        n, rev = 2**62 + 1, 2**61 + 1
        await index.search_apply([_run(n, "new", created_at=_START, rev=rev)], [], "a")

        await index.search_apply([_run(n, "old", created_at=_START, rev=rev - 1)], [], "a")

        assert await self._runs(index, "new") == [n]

    async def test_the_cursors_are_two(self, index: SearchProvider) -> None:
        await index.search_apply([], [], "runs/1:ü")
        assert await index.search_cursors() == ("runs/1:ü", None)

        await index.search_apply_logs([], "logs 7")
        assert await index.search_cursors() == ("runs/1:ü", "logs 7")

        await index.search_apply([_run(1)], [], "runs 2")

        assert await index.search_cursors() == ("runs 2", "logs 7")

    async def test_many_at_a_time(self, index: SearchProvider) -> None:
        await index.search_apply([_run(n, f"word{n}") for n in range(1, 501)], [], "a")
        await index.search_apply_logs([_line(l, f"word{l}") for l in range(1, 501)], "a")  # noqa: E741

        assert await self._runs(index, "word500") == [500]
        assert await self._lines(index, "word499") == [499]
        assert len(await self._runs(index, limit=1000)) == 500

    # -- what is deleted ----------------------------------------------------------------------

    async def test_what_is_gone_is_not_found(self, index: SearchProvider) -> None:
        await index.search_apply([_run(1, "word"), _run(2, "word")], [], "a")
        await index.search_apply_logs([_line(1, "word"), _line(2, "word", n=2, id="run-2")], "a")
        await self.shown(index)

        await index.search_apply([], [Gone(1, 9, "run-1", _START + 1)], "b")

        assert await self._runs(index, "word") == [2]
        assert await self._lines(index, "word") == [2]

    async def test_what_is_gone_does_not_come_back(self, index: SearchProvider) -> None:
        gone = Gone(1, 9, "run-1", _START + 1)
        await index.search_apply([], [gone], "b")

        await index.search_apply([_run(1, rev=8)], [gone], "a")

        assert await self._runs(index) == []

    async def test_nobody_goes_who_was_never_there(self, index: SearchProvider) -> None:
        await index.search_apply([_run(1)], [], "a")

        await index.search_apply([], [Gone(2, 9, "run-2", _START)], "b")

        assert await self._runs(index) == [1]

    async def test_clearing_forgets_everything(self, index: SearchProvider) -> None:
        await index.search_apply([_run(1, "word", rev=7)], [Gone(2, 9, "run-2", _START)], "b")
        await index.search_apply_logs([_line(1, "word")], "a")
        await self.shown(index)

        await index.search_clear()

        assert await index.search_cursors() == (None, None)
        assert await self._runs(index) == []
        assert await self._lines(index) == []
        await index.search_apply([_run(1, "word", rev=3), _run(2, "word")], [], "c")
        await index.search_apply_logs([_line(1, "word")], "c")
        assert await self._runs(index, "word") == [2, 1]
        assert await self._lines(index, "word") == [1]

    # -- words --------------------------------------------------------------------------------

    async def test_words_find(self, index: SearchProvider) -> None:
        documents = [_run(n, text) for n, text in enumerate(_TEXTS, start=1)]
        lines = [_line(l, text) for l, text in enumerate(_TEXTS, start=1)]  # noqa: E741
        await index.search_apply(documents, [], "a")
        await index.search_apply_logs(lines, "a")
        await self.shown(index)

        assert {terms: await self._runs(index, terms) for terms in _FOUND} == _FOUND
        assert {terms: await self._lines(index, terms) for terms in _FOUND} == _FOUND
        by_score = {terms: await self._runs(index, terms, order="relevance") for terms in _FOUND}
        assert {terms: sorted(found)[::-1] for terms, found in by_score.items()} == _FOUND

    # -- filters ------------------------------------------------------------------------------

    async def test_filters_of_runs(self, index: SearchProvider) -> None:
        fields = (("total", "5"), ("customer.city", "Aarhus C"), ("tags", "a"), ("tags", "b"))
        documents = [
            _run(1, "word", reference="customer 5/é", fields=fields),
            _run(2, "word", definition="refund", status="failed", fields=(("total", "5"),)),
            _run(3, "word", fields=(("total", "50"), ("tags", "ab"))),
        ]
        await index.search_apply(documents, [], "a")
        await self.shown(index)

        for given, found in _FILTERED:
            assert await self._runs(index, **given) == found, given
            assert await self._runs(index, "word", **given) == found, given
            assert await self._runs(index, "-word", **given) == [], given

    async def test_filters_of_lines(self, index: SearchProvider) -> None:
        lines = [
            _line(1, "word"),
            _line(2, "word", n=2, id="run-2", definition="refund"),
            _line(3, "word", n=3, id="run-3"),
        ]
        await index.search_apply_logs(lines, "a")

        assert await self._lines(index, run="run-1") == [1]
        assert await self._lines(index, "word", definition="order") == [3, 1]
        assert await self._lines(index, since=_START + 2, until=_START + 3) == [2]

    async def test_a_line_comes_back_as_it_was(self, index: SearchProvider) -> None:
        full = _line(2**40, 'Ünï "quoted" \\ {"json": 1}  two spaces\t', stream="stderr")
        bare = _line(2, "bare", step=None, pointer=None)
        await index.search_apply_logs([full, bare], "a")
        await self.shown(index)

        page = await index.search_logs(SearchQuery())

        found = [attrs.evolve(hit.document, text="") for hit in page.hits]
        assert found == [attrs.evolve(full, text=""), attrs.evolve(bare, text="")]

    async def test_strange_texts_are_kept(self, index: SearchProvider) -> None:
        strange = "a.b=c:d *?\\\"'%_\n" + "x" * 200
        fields = ((strange[:30], strange), ("a b", ""), ("$x.y", "-1.5"), ("a", "1"), ("a.b", "2"))
        document = _run(1, strange, reference=strange, definition=strange[:40], fields=fields)
        await index.search_apply([document], [], "a")

        assert await self._runs(index, reference=strange) == [1]
        assert await self._runs(index, definition=strange[:40]) == [1]
        for field in fields:
            assert await self._runs(index, fields=(field,)) == [1], field

    # -- order and pages ----------------------------------------------------------------------

    async def test_pages_show_each_run_once(self, index: SearchProvider) -> None:
        # Of several months, and some at the same time.
        documents = [
            _run(n, "word " * (n % 4 + 1) + "and more", created_at=_START + (n % 3) * _MONTH)
            for n in range(1, 12)
        ]
        await index.search_apply(documents, [], "a")
        await self.shown(index)
        oldest = [n for _, n in sorted((each.created_at, each.n) for each in documents)]

        for order, expected in _orders(oldest):
            for terms in ("", "word"):
                query = SearchQuery(terms=parse_terms(terms), order=order, limit=4)
                pages = await self._paged(index.search_runs, query)
                hits = [hit for page in pages for hit in page]
                assert [len(page) for page in pages] == [4, 4, 3]
                if order == "relevance" and terms:
                    assert sorted(hit.n for hit in hits) == sorted(expected)
                    scores = [hit.score for hit in hits]
                    assert None in scores or scores == sorted(scores, reverse=True)
                else:
                    assert [hit.n for hit in hits] == expected

    async def test_pages_of_lines(self, index: SearchProvider) -> None:
        lines = [_line(l, "word", at=_START + l // 2 * 86_400_000_000) for l in range(1, 10)]  # noqa: E741
        await index.search_apply_logs(lines, "a")
        await self.shown(index)

        for order, expected in _orders(list(range(1, 10)))[:2]:
            query = SearchQuery(terms=parse_terms("word"), order=order, limit=3)
            pages = await self._paged(index.search_logs, query)
            assert [[hit.document.l for hit in page] for page in pages] == [
                expected[:3],
                expected[3:6],
                expected[6:],
            ]

    async def test_a_full_last_page_is_the_last(self, index: SearchProvider) -> None:
        await index.search_apply([_run(1), _run(2)], [], "a")
        await self.shown(index)

        page = await index.search_runs(SearchQuery(limit=2))

        assert ([hit.n for hit in page.hits], page.cursor) == ([2, 1], None)

    async def test_the_better_fit_comes_first(self, index: SearchProvider) -> None:
        filler = " ".join(f"filler{k}" for k in range(60))
        documents = [
            _run(1, f"word {filler}"),
            _run(2, "word word word"),
            *(_run(n, filler) for n in range(3, 12)),
        ]
        await index.search_apply(documents, [], "a")

        assert await self._runs(index, "word", order="newest") == [2, 1]
        assert await self._runs(index, "word", order="oldest") == [1, 2]
        documents[1] = _run(2, f"word {filler}", rev=2)
        documents[0] = _run(1, "word word word", rev=2)
        await index.search_apply(documents[:2], [], "b")
        assert await self._runs(index, "word", order="newest") == [2, 1]
        found = await self._runs(index, "word", order="relevance")
        assert found == await self._expected_by_relevance(index, [1, 2])

    async def _expected_by_relevance(self, index: SearchProvider, found: list[int]) -> list[int]:
        """Return *found*, or by time when the index has no relevance and says so by no scores."""
        query = SearchQuery(terms=parse_terms("word"), order="relevance")
        page = await index.search_runs(query)
        return found if all(hit.score is not None for hit in page.hits) else found[::-1]

    async def test_a_foreign_cursor_is_refused(self, index: SearchProvider) -> None:
        await index.search_apply([_run(1)], [], "a")
        await index.search_apply_logs([_line(1)], "a")

        for cursor in ("", "x", "bm9uZQ==", "W10=", "WzEsMiwzLDRd", "é"):
            for find in (index.search_runs, index.search_logs):
                with pytest.raises(DataTypeError, match="cursor"):
                    await find(SearchQuery(cursor=cursor))
