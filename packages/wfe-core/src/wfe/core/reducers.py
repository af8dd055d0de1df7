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

_OPERATORS: Final[Any] = operator  # its functions are typed as overloads without a common form
_NAMES: Final[dict[Any, str]] = {
    _OPERATORS.add: "add",
    _OPERATORS.iadd: "add",
    _OPERATORS.concat: "add",
    append: "append",
    union: "union",
    _OPERATORS.or_: "union",
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
    find = _DIFFERENCES.get(name)
    return (False, after) if find is None or before is None else find(before, after)


def _added(before: Any, after: Any) -> tuple[bool, Any]:
    kinds: set[type] = {type(before), type(after)}
    if kinds <= {int, float}:
        return True, after - before
    if kinds in ({list}, {str}) and after[: len(before)] == before:
        return True, after[len(before) :]
    return False, after


def _appended(before: Any, after: Any) -> tuple[bool, Any]:
    if {type(before), type(after)} == {list} and after and after[:-1] == before:
        return True, after[-1]
    return False, after


def _united(before: Any, after: Any) -> tuple[bool, Any]:
    if {type(before), type(after)} != {list}:
        return False, after
    known = {_key(item) for item in before}
    return True, [item for item in after if _key(item) not in known]


_DIFFERENCES: Final[Mapping[str, Callable[[Any, Any], tuple[bool, Any]]]] = {
    "add": _added,
    "append": _appended,
    "union": _united,
}
