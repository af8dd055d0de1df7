"""How concurrent writes to one data field are merged.

Values here are in their stored form (plain JSON), so that folding a journal needs no user code.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

__all__ = ["REDUCERS", "append", "difference", "reducer_name", "union"]


def append(current: list[Any], operand: Any) -> list[Any]:
    """Add *operand* as one item to the end of a list."""
    return [*current, operand]


def union(current: list[Any], operand: list[Any]) -> list[Any]:
    """Add those items of *operand* that the list does not have yet, in order."""
    known = {_key(item) for item in current}
    return [*current, *(item for item in operand if _key(item) not in known)]


def _key(item: Any) -> bytes:
    return orjson.dumps(item, option=orjson.OPT_SORT_KEYS)


def _add(current: Any, operand: Any) -> Any:
    return current + operand


def _min(current: Any, operand: Any) -> Any:
    return min(current, operand)


def _max(current: Any, operand: Any) -> Any:
    return max(current, operand)


REDUCERS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "add": _add,
    "append": append,
    "union": union,
    "min": _min,
    "max": _max,
}
"""The built-in reducers by the name that stands in the journal."""

_NAMES: Final[dict[Any, str]] = {
    operator.add: "add",
    operator.iadd: "add",
    operator.concat: "add",
    append: "append",
    union: "union",
    operator.or_: "union",
    min: "min",
    max: "max",
}


def reducer_name(reducer: Callable[[Any, Any], Any]) -> str | None:
    """Return the journal's name of a built-in *reducer*, ``None`` for a user's own."""
    return _NAMES.get(reducer)


def difference(name: str, before: Any, after: Any) -> tuple[bool, Any]:
    """Return the operand that turns *before* into *after* under built-in reducer *name*.

    Returns:
        (whether there is one, the operand).  There is none when the step did something else
        with the field than the reducer does; then the whole new value is the operand.
    """
    if before is None:
        return False, after
    match name, before, after:
        case ("add", list(), list()) if after[: len(before)] == before:
            return True, after[len(before) :]
        case ("add", str(), str()) if after.startswith(before):
            return True, after[len(before) :]
        case ("add", int() | float(), int() | float()):
            return True, after - before
        case ("append", list(), list()) if len(after) == len(before) + 1 and after[:-1] == before:
            return True, after[-1]
        case ("union", list(), list()):
            known = {_key(item) for item in before}
            return True, [item for item in after if _key(item) not in known]
        case _:
            return False, after
