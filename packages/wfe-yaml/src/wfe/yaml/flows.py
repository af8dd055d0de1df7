"""Which secrets a value holds, and whether a condition asks how earlier steps ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from wfe.core.cel_syntax import CelPath
from wfe.core.definition import Call, Cel, Expr, ListOf, Record, Text, Value

__all__ = ["secrets_in", "source_of", "texts_of", "uses_status"]

_BY_INPUT: Final = re.compile(
    r"secrets\[\s*(inputs(?:\.\w+|\[\s*(?:'[^'\\]*'|\"(?:\\.|[^\"\\])*\")\s*\]))\s*\]"
)


def texts_of(*exprs: Expr | None) -> Iterator[str]:
    """Yield the CEL texts in *exprs*."""
    for expr in exprs:
        match expr:
            case Cel(text):
                yield text
            case Text(parts) | ListOf(parts):
                yield from texts_of(*parts)
            case Record(fields):
                yield from texts_of(*(field for _, field in fields))
            case Value() | Call() | None:
                pass


def secrets_in(*exprs: Expr | None) -> tuple[Expr, ...]:
    """Return the secrets that *exprs*, as they are stored, read: each gives a secret's name.

    ``Value("token")`` for ``secrets.token``; ``Cel("inputs.token")`` for an input of type secret.
    """
    found: dict[str, Expr] = {}
    for text in texts_of(*exprs):
        if "secrets" not in text:
            continue
        for path in _paths(text):
            if path.root != "secrets":
                continue
            if path.segments:
                found.setdefault(path.segments[0].name, Value(path.segments[0].name))
                continue
            by_input = _BY_INPUT.match(text, path.offset)
            if by_input:
                found.setdefault(by_input[1], Cel(by_input[1]))
    return tuple(found.values())


def source_of(secret: Expr) -> str:
    """Return how messages name one of :func:`secrets_in`."""
    if isinstance(secret, Value):
        return f"`secrets.{secret.value}`"
    return f"the secret that `{secret.text}` names" if isinstance(secret, Cel) else "a secret"


def uses_status(expr: Expr | None) -> bool:
    """Whether a condition calls ``failure()`` or ``always()``: its step may run after a failure."""
    from wfe.core.cel import cel_syntax  # noqa: PLC0415 - only where the words stand

    for text in texts_of(expr):
        if "failure" not in text and "always" not in text:
            continue
        if any(c.name in {"failure", "always"} and not c.member for c in cel_syntax(text).calls):
            return True
    return False


def _paths(text: str) -> tuple[CelPath, ...]:
    from wfe.core.cel import cel_paths  # noqa: PLC0415 - only where the word stands

    return cel_paths(text)
