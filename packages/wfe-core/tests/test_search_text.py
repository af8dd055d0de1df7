"""Words of texts, terms, fields, cursors: what every index is given."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.core.codec import encode
from wfe.core.engine.documents import line_document, run_document
from wfe.core.engine.searching import Wanted
from wfe.core.errors import DataTypeError
from wfe.core.providers import Loaded, LogRow, Row, Snapshot, StoredInstance
from wfe.core.search import LoggedLine, Term, position_in, position_text
from wfe.core.search_text import field_text, fields_of, leaves_of, parse_terms, text_of, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Order-17 of Hauptstraße", ["order", "17", "of", "hauptstrasse"]),
        ("a_b.c/d\x00e", ["a", "b", "c", "d", "e"]),
        ("ﬁne ①", ["fine", "1"]),
        ("E\u0301tude É", ["étude", "é"]),
        ("日本 2026-11-21", ["日本", "2026", "11", "21"]),
        ("x" * 70, ["x" * 64]),
        (" \t?!", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


@given(st.text())
def test_words_are_their_own_words(text: str) -> None:
    found = words(text)

    assert words(" ".join(found)) == found
    assert all(word.isalnum() and " " not in word for word in found)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("one Two", (Term(("one",)), Term(("two",)))),
        ('"one two"', (Term(("one", "two")),)),
        ('-one -"two three"', (Term(("one",), exclude=True), Term(("two", "three"), exclude=True))),
        ("pay* order-1*", (Term(("pay",), prefix=True), Term(("order", "1"), prefix=True))),
        ('"pay*"', (Term(("pay",)),)),
        ("a-b", (Term(("a", "b")),)),
        ('"open ended', (Term(("open", "ended")),)),
        ('* - ** "" \'', ()),
    ],
)
def test_terms(text: str, terms: tuple[Term, ...]) -> None:
    assert parse_terms(text) == terms


@given(st.text())
def test_nothing_that_is_typed_is_wrong(text: str) -> None:
    for term in parse_terms(text):
        assert term.words
        assert list(term.words) == words(" ".join(term.words))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (5.0, "5"),
        (0.1, "0.1"),
        (1e300, str(int(1e300))),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        ("é", "é"),
        ([], None),
        ({}, None),
    ],
)
def test_field_texts(value: object, text: str | None) -> None:
    assert field_text(value) == text


def test_fields_are_scalars_by_path() -> None:
    data: Any = encode(
        {
            "total": Decimal("1.50"),
            "day": date(2026, 1, 31),
            "customer": {"name": "Ann", "tags": ["a", {"deep": 1}, "a"]},
            "empty": [],
        }
    )

    assert fields_of(data) == (
        ("total", "1.50"),
        ("day", "2026-01-31"),
        ("customer.name", "Ann"),
        ("customer.tags", "a"),
        ("customer.tags.deep", "1"),
    )
    assert fields_of(data, ["customer.tags", "total"]) == (
        ("total", "1.50"),
        ("customer.tags", "a"),
        ("customer.tags.deep", "1"),
    )
    assert fields_of(data, []) == ()


def test_fields_have_limits() -> None:
    assert len(fields_of({str(k): k for k in range(1000)})) == 256
    assert fields_of({"a": "x" * 257, "b": "x" * 256, "c" * 201: 1}) == (("b", "x" * 256),)
    nested: Any = 1
    for _ in range(20):
        nested = {"a": nested}
    assert fields_of(nested) == ()
    assert [len(text) for _, text in leaves_of({"a": "x" * 257})] == [257]


def test_a_text_has_an_end_and_parts() -> None:
    assert text_of(["Ann Smith", "", "card refused"]) == "ann smith \ue000 card refused"
    long = text_of(["word " * 10_000, "more " * 10_000])
    assert 60_000 < len(long) < 70_000


def test_cursors_come_back() -> None:
    assert position_in(position_text([1.5, 2**62, 3]), (float, int, int)) == [1.5, 2**62, 3]
    assert position_in(position_text([-1, 0]), (int, int)) == [-1, 0]
    for wrong in ("", "é", position_text([1]), position_text([1, "x"]), position_text([1, 2, 3])):
        with pytest.raises(DataTypeError, match="not a cursor that this search returned"):
            position_in(wrong, (int, int))


def test_what_is_wanted_becomes_a_query() -> None:
    since = datetime(2026, 1, 31, tzinfo=UTC)
    data = {"customer": {"since": date(2026, 1, 1)}, "tags": ["a", "b"], "x.y": None}
    query = Wanted(terms="a -b", since=since, data=data, limit=5000).query()

    assert query.terms == (Term(("a",)), Term(("b",), exclude=True))
    assert query.since == 1_769_817_600_000_000
    assert query.fields == (
        ("customer.since", "2026-01-01"),
        ("tags", "a"),
        ("tags", "b"),
        ("x.y", "null"),
    )
    assert query.limit == 1000
    assert Wanted(limit=-1).query().limit == 1
    with pytest.raises(DataTypeError, match="total"):
        Wanted(data={"total": object()}).query()


# -- documents ------------------------------------------------------------------------------------


def _loaded(**columns: Any) -> Loaded:
    usual: dict[str, Any] = {
        "n": 7,
        "id": "01-ab",
        "d": 1,
        "definition": "order",
        "version": 2,
        "name": None,
        "reference": "Shop/5",
        "status": "failed",
        "wake": None,
        "owner": None,
        "poke": 0,
        "takeovers": 0,
        "faults": 0,
        "parent": None,
        "parent_pointer": None,
        "parent_id": None,
        "root_id": "01-ab",
        "idem": None,
        "error": orjson.dumps({"type": "E", "message": "Card refused", "step": "pay"}).decode(),
        "created_at": 1,
        "completed_at": 2,
    }
    header = StoredInstance(**{**usual, **columns})
    return Loaded(header=header, snapshot=None, tail=(), inbox=())


def test_a_document_has_the_words_of_a_run() -> None:
    document = run_document(_loaded(), 9, None)

    assert (document.n, document.rev, document.name, document.status) == (7, 9, "order-7", "failed")
    assert document.error == "E: Card refused"
    for found in ("order 7", "shop 5", "01 ab", "card refused"):
        assert f" {found} " in f" {document.text} "


def test_a_damaged_run_has_a_document_without_data(caplog: pytest.LogCaptureFixture) -> None:
    loaded = _loaded()
    broken = Loaded(
        header=loaded.header,
        snapshot=Snapshot(0, "nonsense", "{}"),
        tail=(Row(1, 1, "[]"),),
        inbox=(),
    )

    document = run_document(broken, 9, None)

    assert document.fields == ()
    assert "order" in document.text
    assert "run 01-ab is found without its data" in caplog.text
    caplog.clear()
    assert run_document(broken, 9, ()) == document  # nothing of the data is wanted: it is not read
    assert caplog.text == ""


def test_a_line_has_its_words() -> None:
    row = LogRow(n=7, at=5, step="pay", pointer=1, stream="stdout", line="Charging 5 €", l=3)

    document = line_document(LoggedLine(row, "01-ab", "order"))

    assert (document.l, document.n, document.id, document.line) == (3, 7, "01-ab", "Charging 5 €")
    assert document.text == "charging 5"
