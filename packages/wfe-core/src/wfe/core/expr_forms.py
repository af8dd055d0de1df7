"""What a definition computes, as data: constants, CEL texts, callables, and trees of these."""

from __future__ import annotations

from typing import Any, TypeAlias

from wfe.core.lean import frozen

__all__ = [
    "Call",
    "Cel",
    "Expr",
    "Json",
    "ListOf",
    "Record",
    "Text",
    "Value",
    "expr_from_json",
    "expr_to_json",
]

Json: TypeAlias = Any
"""Plain JSON: None, bool, int, float, str, list, dict with str keys."""


@frozen
class Value:
    """A constant."""

    value: Json


@frozen
class Cel:
    """A CEL expression; it reads ``data``, ``inputs``, ``steps``, ``item``, ``event`` and more."""

    text: str


@frozen
class Call:
    """A callable that the host's registration supplies, found by step name and role."""


@frozen
class Text:
    """Parts rendered one after the other into a string."""

    parts: tuple[Expr, ...]


@frozen
class Record:
    """A mapping whose values are computed."""

    fields: tuple[tuple[str, Expr], ...]


@frozen
class ListOf:
    """A list whose items are computed."""

    items: tuple[Expr, ...]


Expr: TypeAlias = Value | Cel | Call | Text | Record | ListOf


def expr_to_json(expr: Expr) -> Json:
    """Return the stored form of *expr*."""
    match expr:
        case Value(value):
            return {"v": value}
        case Cel(text):
            return {"cel": text}
        case Call():
            return {"call": True}
        case Text(parts):
            return {"text": [expr_to_json(part) for part in parts]}
        case Record(fields):
            return {"map": [[name, expr_to_json(field)] for name, field in fields]}
        case ListOf(items):
            return {"list": [expr_to_json(item) for item in items]}


def expr_from_json(stored: Json) -> Expr:
    """Return the expression that :func:`expr_to_json` stored."""
    ((form, content),) = stored.items()
    match form:
        case "v":
            return Value(content)
        case "cel":
            return Cel(content)
        case "call":
            return Call()
        case "text":
            return Text(tuple(expr_from_json(part) for part in content))
        case "map":
            return Record(tuple((name, expr_from_json(field)) for name, field in content))
        case _:
            return ListOf(tuple(expr_from_json(item) for item in content))
