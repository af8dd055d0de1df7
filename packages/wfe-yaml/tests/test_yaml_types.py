"""Declared types: what they take from data and from a command line, and how they are stored."""

from __future__ import annotations

from typing import Any

import pytest

from wfe.yaml.value_types import TypeTextError, UnfitValueError, ValueType, parse_type

DIGEST = "sha256:" + "0a" * 32
POINT = ValueType(
    "record", fields=(("x", ValueType("number")), ("note", parse_type("string?", {}))), name="Point"
)
RECORDS = {"Point": POINT}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bytes", "aGVsbG8=", "aGVsbG8="),
        ("bytes", "", ""),
        ("bytes?", "null", None),
        ("artifact", "app-1.2.tar.gz", "app-1.2.tar.gz"),
        ("artifact", DIGEST, DIGEST),
        ("secret", "npm-token", "npm-token"),
        ("secret", "vault/prod.token", "vault/prod.token"),
        ("string", "3", "3"),
        ("string?", "", None),
        ("integer", "3", 3),
        ("integer", "-0", 0),
        ("number", "3", 3.0),
        ("number", "1e3", 1000.0),
        ("bool", "true", True),
        ("any", "3", 3),
        ("any", "a: b", "a: b"),
        ("any", ".inf", ".inf"),
        ("duration", "1h30m", "5400s"),
        ("timestamp", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("enum(a|b c)", "b c", "b c"),
        ("list<integer>", "[1, 2.0]", [1, 2]),
        ("map<bool?>", '{"a": null}', {"a": None}),
        ("list<Point>", '[{"x": 1}]', [{"x": 1.0, "note": None}]),
        ("map<list<Point?>>", '{"a": [null, {"x": 2, "note": "n"}]}', None),
    ],
)
def test_a_text_of_a_command_line_becomes_a_value(kind: str, text: str, value: Any) -> None:
    found = parse_type(kind, RECORDS).read(text)

    expected = {"a": [None, {"x": 2.0, "note": "n"}]} if kind.startswith("map<list") else value
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("bytes", "not base64!", "bytes as base64 text"),
        ("bytes", "abc", "bytes as base64 text"),
        ("artifact", "", "an artifact"),
        ("artifact", "sha256:12", "an artifact"),
        ("artifact", "../../etc/passwd", "an artifact"),
        ("artifact", "a b", "an artifact"),
        ("secret", "a b", "the name of a secret"),
        ("secret", "-x", "the name of a secret"),
        ("integer", "3.5", "an integer"),
        ("integer", "three", "an integer"),
        ("integer", "", "an integer"),
        ("number", ".nan", "a number"),
        ("bool", "yes", "true or false"),
        ("bool", "1", "true or false"),
        ("duration", "5 minutes", "a duration such as"),
        ("timestamp", "2026-01-31", "a timestamp such as"),
        ("enum(a|b)", "c", "one of a, b"),
        ("list<integer>", "1,2", "JSON"),
        ("list<integer>", '[1, "2"]', "item 2: expected an integer"),
        ("Point", '{"x": 1, "y": 2}', "Point has no field `y`"),
        ("Point", "{}", "the field `x` of Point is missing"),
        ("list<Point>", '[{"x": "1"}]', "item 1: field `x`: expected a number"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(kind: str, text: str, problem: str) -> None:
    with pytest.raises(UnfitValueError, match=problem.replace("(", r"\(")):
        parse_type(kind, RECORDS).read(text)


def test_what_describes_an_artifact_is_kept_as_its_digest() -> None:
    kind = ValueType("artifact")

    assert kind.convert({"name": "app", "digest": DIGEST}) == DIGEST
    with pytest.raises(UnfitValueError):
        kind.convert({"name": "app"})


def test_bytes_are_kept_as_base64() -> None:
    assert ValueType("bytes").convert(b"hello") == "aGVsbG8="


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("lst<string>", 0),
        ("list<strng>", 5),
        ("list<map<integer>", 17),
        ("list<string> x", 13),
        ("map<list<secret>>", 9),
        ("list", 4),
        ("enum()", 4),
        ("", 0),
    ],
)
def test_a_wrong_type_is_told_at_its_place(text: str, offset: int) -> None:
    with pytest.raises(TypeTextError) as caught:
        parse_type(text, {})

    assert caught.value.offset == offset


@pytest.mark.parametrize(
    "text", ["bytes", "artifact?", "secret", "list<Point?>?", "map<list<enum(a|b)>>", "Point"]
)
def test_a_type_is_stored_as_data(text: str) -> None:
    kind = parse_type(text, RECORDS)

    assert ValueType.from_json(kind.to_json()) == kind
