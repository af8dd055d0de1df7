"""Data fields of rounds: what a step of a for-each recorded is seen by its own round.

A step of a workflow file records itself in the data field ``steps.NAME``.  Inside a for-each the
rounds run at the same time, so the field's name carries the round: ``steps.NAME[2]``, and
``steps.NAME[2/0]`` in a nested one.  When a round ends its fields go, except the last round's:
that is what is seen after the loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

__all__ = ["PREFIX", "of_round", "outputs_of", "recorded", "round_field", "round_name"]

PREFIX: Final = "steps."
_SCALARS: Final = (str, int, float, bool)
_LONGEST: Final = 80  # characters of one item in the name of a round


def round_field(field: str, path: Sequence[int]) -> str:
    """Return the name of *field* in the round *path* (numbers of the items, outermost first)."""
    return f"{field}[{'/'.join(map(str, path))}]" if path else field


def recorded(data: Mapping[str, Any], path: Sequence[int]) -> dict[str, Any]:
    """Return what each step recorded, by its name, as seen from the round *path*.

    A step of the own round, or of one around it, comes first; else the last round counts.
    """
    found: dict[str, tuple[tuple[int, tuple[int, ...]], Any]] = {}
    for field, value in data.items():
        if not field.startswith(PREFIX):
            continue
        name, theirs = _parsed(field)
        mine = theirs == tuple(path[: len(theirs)])
        rank = (len(theirs) + 1 if mine else 0, theirs)
        if name not in found or rank > found[name][0]:
            found[name] = (rank, value)
    return {name: value for name, (_, value) in found.items()}


def of_round(fields: Iterable[str], path: Sequence[int]) -> list[str]:
    """Return which of *fields* belong to the round *path* or to rounds inside it."""
    wanted = tuple(path)
    mine: list[str] = []
    for field in fields:
        if field.startswith(PREFIX) and field.endswith("]"):
            _, theirs = _parsed(field)
            if theirs[: len(wanted)] == wanted:
                mine.append(field)
    return mine


def outputs_of(records: Mapping[str, Any], path: Sequence[int]) -> dict[str, Any]:
    """Return the outputs of all steps that stand in the round *path* itself, by output name."""
    wanted = tuple(path)
    found: dict[str, Any] = {}
    for field, record in records.items():
        if _parsed(field)[1] == wanted:
            found.update(record.get("outputs") or {})
    return found


def round_name(rounds: Iterable[Sequence[Any]]) -> str:
    """Return what people call a round: its items, outermost first; ``""`` outside of a loop.

    Args:
        rounds: (index, item in stored form, step) of each for-each around, innermost first.
    """
    return ", ".join(reversed([_item_name(each[0], each[1]) for each in rounds]))


def _item_name(index: int, item: Any) -> str:
    if isinstance(item, dict):
        parts = cast("dict[str, Any]", item)
        if parts and all(isinstance(part, _SCALARS) for part in parts.values()):
            return _short(", ".join(f"{key}={_text(part)}" for key, part in parts.items()))
    elif isinstance(item, _SCALARS):
        return _short(_text(item))
    return str(index + 1)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _parsed(field: str) -> tuple[str, tuple[int, ...]]:
    name, bracket, rest = field[len(PREFIX) :].rpartition("[")
    numbers = rest.removesuffix("]").split("/")
    if not bracket or not rest.endswith("]") or not all(map(str.isdecimal, numbers)):
        return field[len(PREFIX) :], ()
    return name, tuple(map(int, numbers))
