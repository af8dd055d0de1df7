"""Conditions in words: the expression, and the values that it reads. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from wfe.core.definition import Call, Cel, Expr, Kind, ListOf, Node, Record, Text, Value

__all__ = ["condition", "expression", "readings", "skip_reason", "when_of"]

_WIDEST: Final = 80
_PATH: Final = re.compile(
    r"""\b(?P<root>inputs|data|steps|run)
        (?P<rest>(?:\s*\.\s*\??[A-Za-z_]\w*+(?!\s*\()|\[\??(?:'[^']*'|"[^"]*")\])+)""",
    re.VERBOSE,
)
_PART: Final = re.compile(r"""\.\s*\??([A-Za-z_]\w*)|\[\??(?:'([^']*)'|"([^"]*)")\]""")
_MISSING: Final = object()


def expression(expr: Expr | None) -> str:
    """Return an expression as text."""
    match expr:
        case None:
            return ""
        case Cel(text):
            return " ".join(text.split())
        case Value(value):
            return json.dumps(value, ensure_ascii=False, default=str)
        case Call():
            return "a Python function"
        case Text(parts):
            return "".join(_part(part) for part in parts)
        case Record(fields):
            return "{" + ", ".join(f"{name}: {expression(each)}" for name, each in fields) + "}"
        case ListOf(items):
            return "[" + ", ".join(expression(item) for item in items) + "]"


def when_of(node: Node) -> str:
    """Return the condition of a step as it was written, ``""`` when it has none."""
    written = node.config.get("when")  # a tree, of which the expression was made
    return written if isinstance(written, str) else expression(node.run_if)


def _part(part: Expr) -> str:
    if isinstance(part, Value) and isinstance(part.value, str):
        return part.value
    return "${{ " + expression(part) + " }}"


def readings(expr: Expr | None, data: Any) -> list[str]:
    """Return ``path = value`` for what an expression reads from a run's data."""
    if not isinstance(expr, Cel):
        return []
    found: dict[str, str] = {}
    for match in _PATH.finditer(expr.text):
        parts = [part[1] or part[2] or part[3] for part in _PART.finditer(match["rest"])]
        value = _read(match["root"], parts, data)
        path = "".join(match.group().split())
        found[path] = "nothing" if value is _MISSING else _shown(value)
    return [f"{path} = {value}" for path, value in found.items()]


def _read(root: str, parts: list[str], data: Any) -> Any:
    fields: Mapping[str, Any] = getattr(data, "__dict__", {})
    if isinstance(data, Mapping):
        fields = cast("Mapping[str, Any]", data)
    if root == "steps" and parts:
        value: Any = fields.get(f"steps.{parts[0]}", _MISSING)
        rest = parts[1:]
    elif root == "inputs":
        value, rest = fields.get("inputs", _MISSING), parts
    elif root == "data":
        value, rest = fields, parts
    else:
        return _MISSING
    for part in rest:
        if not isinstance(value, Mapping):
            return _MISSING
        value = cast("Mapping[str, Any]", value).get(part, _MISSING)
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


_DECIDING: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.IF: ("condition", "if"),
    Kind.WHILE: ("condition", "while"),
    Kind.DECIDE: ("value", "switch"),
    Kind.FOR_EACH: ("items", "for_each"),
}


def condition(node: Node) -> tuple[str, Expr] | None:
    """Return what a control node decides by: the word of the language, and the expression."""
    name, word = _DECIDING.get(node.kind, ("", ""))
    expr = node.expr(name) if name else None
    return None if expr is None else (word, expr)


def skip_reason(node: Node | None) -> str:
    """Return why a node was skipped as far as its definition tells: its condition was false."""
    if node is None or node.run_if is None:
        return ""
    text = when_of(node)
    return f"when {text if len(text) <= _WIDEST else text[: _WIDEST - 1] + '…'} is false"
