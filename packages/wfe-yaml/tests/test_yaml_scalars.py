"""Plain scalars, durations and types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.yaml.scalars import duration_text, parse_duration, resolve
from wfe.yaml.value_types import TypeTextError, UnfitValueError, ValueType, parse_type


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("12", 12),
        ("-7", -7),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1.10", 1.1),
        ("22:22", "22:22"),
        ("2024-01-02", "2024-01-02"),
        (".inf", float("inf")),
        ("-", "-"),
        ("+", "+"),
        (".", "."),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = resolve(text)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("500ms", 500_000),
        ("30s", 30_000_000),
        ("5m", 300_000_000),
        ("2h", 7_200_000_000),
        ("1d", 86_400_000_000),
        ("1h30m", 5_400_000_000),
        ("1d1h1m1s1ms", 90_061_001_000),
        ("0s", 0),
    ],
)
def test_durations(text: str, micros: int) -> None:
    assert parse_duration(text) == micros


@pytest.mark.parametrize(
    "text", ["", "1", "1.5s", "1h 30m", "30m1h", "3M", "-5s", "1s1s", "s", "5min", "\u0661s"]
)
def test_what_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None


@given(st.integers(0, 10**9).map(lambda ms: ms * 1000))
def test_a_duration_is_read_as_it_is_written(micros: int) -> None:
    assert parse_duration(duration_text(micros)) == micros


RECORD = ValueType("record", fields=(("version", ValueType("string")),), name="Release")


@pytest.mark.parametrize(
    "text",
    [
        "string",
        "integer?",
        "list<string>",
        "map<list<number?>>",
        "enum(a|b-c)",
        "list<Release>?",
        "any",
    ],
)
def test_a_type_is_stored_and_read_again(text: str) -> None:
    kind = parse_type(text, {"Release": RECORD})

    assert str(kind) == text
    assert ValueType.from_json(kind.to_json()) == kind


@pytest.mark.parametrize(
    ("text", "offset", "hint"),
    [
        ("int", 0, "did you mean `integer`?"),
        ("lst<string>", 0, "did you mean `list`?"),
        ("list", 4, "write `list<string>`"),
        ("list<string", 11, "write `list<string>`"),
        ("enum(a|a)", 4, "write `enum(a|b)`"),
        ("string x", 7, None),
    ],
)
def test_what_is_no_type(text: str, offset: int, hint: str | None) -> None:
    with pytest.raises(TypeTextError) as caught:
        parse_type(text, {})

    assert (caught.value.offset, caught.value.hint) == (offset, hint)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "3", "3"),
        ("integer", "3", 3),
        ("number", "3", 3.0),
        ("bool", "true", True),
        ("any", "1.5", 1.5),
        ("any", "a b", "a b"),
        ("enum(a|b)", "b", "b"),
        ("list<integer>", "[1, 2]", [1, 2]),
        ("map<number>", '{"a": 1}', {"a": 1.0}),
        ("integer?", "null", None),
        ("duration", "1h30m", "5400s"),
        ("timestamp", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
    ],
)
def test_text_is_read_as_its_type(kind: str, text: str, value: object) -> None:
    found = parse_type(kind, {}).read(text)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("integer", "many", "expected an integer, got a text ('many')"),
        ("integer", "1.5", "expected an integer, got a number (1.5)"),
        ("integer", "true", "expected an integer, got a boolean (True)"),
        ("number", ".inf", "expected a number, got a number (inf)"),
        ("bool", "yes", "expected true or false, got a text ('yes')"),
        ("enum(a|b)", "c", "expected one of a, b, got a text ('c')"),
        ("list<integer>", "[1, null]", "item 2: expected an integer, got null"),
        ("map<bool>", '{"a": 1}', "`a`: expected true or false, got a number (1)"),
        ("duration", "soon", "expected a duration such as 30s or 1h30m, got a text ('soon')"),
        (
            "timestamp",
            "2026-01-31",
            "expected a timestamp such as 2026-01-31T12:00:00Z, got a text ('2026-01-31')",
        ),
    ],
)
def test_text_that_does_not_fit_its_type(kind: str, text: str, problem: str) -> None:
    with pytest.raises(UnfitValueError) as caught:
        parse_type(kind, {}).read(text)

    assert str(caught.value) == problem


def test_a_record_is_checked_field_by_field() -> None:
    assert RECORD.convert({"version": "1"}) == {"version": "1"}
    with pytest.raises(UnfitValueError, match="Release has no field `versoin`"):  # codespell:ignore
        RECORD.convert({"versoin": "1"})  # codespell:ignore
    with pytest.raises(UnfitValueError, match="the field `version` of Release is missing"):
        RECORD.convert({})
