"""Types of CEL, and the Python annotations and values that correspond to them."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any, Final
from uuid import UUID

import attrs

from wfe.core.lean import frozen

__all__ = ["CelType", "UnfitError", "cel_type_of", "cel_value", "plain_value"]


@frozen
class CelType:
    """A type of CEL by its signature, for example ``list<string>`` or ``map<string,dyn>``."""

    signature: str

    BOOL: typing.ClassVar[CelType]
    BYTES: typing.ClassVar[CelType]
    DOUBLE: typing.ClassVar[CelType]
    DURATION: typing.ClassVar[CelType]
    DYN: typing.ClassVar[CelType]
    INT: typing.ClassVar[CelType]
    NULL: typing.ClassVar[CelType]
    STRING: typing.ClassVar[CelType]
    TIMESTAMP: typing.ClassVar[CelType]

    @classmethod
    def list_of(cls, item: CelType) -> CelType:
        """Return the type of lists of *item*."""
        return cls(f"list<{item.signature}>")

    @classmethod
    def map_of(cls, value: CelType) -> CelType:
        """Return the type of maps from strings to *value*."""
        return cls(f"map<string,{value.signature}>")

    def accepts(self, other: CelType) -> bool:
        """Whether a value of type *other* may stand where this type is wanted (``dyn`` may)."""
        if "dyn" in (self.signature, other.signature) or self == other:
            return True
        mine, theirs = _inner(self.signature), _inner(other.signature)
        same_container = self.signature.partition("<")[0] == other.signature.partition("<")[0]
        return bool(mine and theirs and same_container) and CelType(mine).accepts(CelType(theirs))

    def __str__(self) -> str:
        return self.signature


def _inner(signature: str) -> str:
    head, _, rest = signature.partition("<")
    if not rest:
        return ""
    return rest[:-1].partition(",")[2] if head == "map" else rest[:-1]


CelType.BOOL = CelType("bool")
CelType.BYTES = CelType("bytes")
CelType.DOUBLE = CelType("double")
CelType.DURATION = CelType("duration")
CelType.DYN = CelType("dyn")
CelType.INT = CelType("int")
CelType.NULL = CelType("null")
CelType.STRING = CelType("string")
CelType.TIMESTAMP = CelType("timestamp")

_PLAIN: Final[Mapping[object, CelType]] = {
    bool: CelType.BOOL,
    int: CelType.INT,
    float: CelType.DOUBLE,
    str: CelType.STRING,
    bytes: CelType.BYTES,
    datetime: CelType.TIMESTAMP,
    timedelta: CelType.DURATION,
    type(None): CelType.NULL,
    None: CelType.NULL,
}
_LISTS: Final = (list, tuple, set, frozenset, Sequence, AbstractSet)


def cel_type_of(python_type: object) -> CelType:
    """Return the CEL type for a Python annotation; what CEL cannot express is ``dyn``."""
    if python_type in _PLAIN:
        return _PLAIN[python_type]
    origin, args = typing.get_origin(python_type), typing.get_args(python_type)
    if origin is typing.Annotated:
        return cel_type_of(args[0])
    found: object = origin or python_type
    if not isinstance(found, type):
        return CelType.DYN
    return _cel_type_of_class(typing.cast("type[Any]", found), args)


def _cel_type_of_class(kind: type[Any], args: tuple[object, ...]) -> CelType:
    record = typing.is_typeddict(kind)
    for plain in (str, int, float):
        if issubclass(kind, plain):
            return _PLAIN[plain]
    listed = any(issubclass(kind, base) for base in _LISTS)
    if listed and not issubclass(kind, bytes | bytearray | memoryview):
        item = cel_type_of(args[0]) if args and kind is not tuple else CelType.DYN
        return CelType.list_of(item)
    if issubclass(kind, Mapping) and not record:
        keyed = len(args) == 2 and args[0] is str
        return CelType.map_of(cel_type_of(args[1]) if keyed else CelType.DYN)
    return CelType.DYN


class UnfitError(Exception):
    """A Python value has no counterpart in CEL."""


def cel_value(value: object, path: str) -> object:
    """Return *value* as the library takes it; *path* names it in errors.

    Raises:
        UnfitError: It, or something in it, has no counterpart.
    """
    match value:
        case None | bool() | float():
            return value
        case bytes() if b"\0" not in value:
            return value
        case Enum():
            return cel_value(value.value, path)
        case str() if "\0" not in value and value.isprintable():
            return value
        case str() | bytes():
            return _cel_text(value, path)
        case int():
            if not -(2**63) <= value < 2**63:
                problem = f"`{path}` is {value}, beyond the 64-bit integers of expressions"
                raise UnfitError(problem)
            return value
        case Mapping():
            items = typing.cast("Mapping[object, object]", value).items()
            return {key: cel_value(item, f"{path}.{key}") for key, item in items}
        case list() | tuple() | set() | frozenset():
            every = _listed(typing.cast("object", value))
            return [cel_value(item, f"{path}[{i}]") for i, item in enumerate(every)]
        case _:
            return _cel_scalar(value, path)


def _listed(value: object) -> list[object]:
    """Return the items; those of a set in an order that is the same in every process."""
    every = typing.cast("list[object]", value)
    return sorted(every, key=repr) if isinstance(value, set | frozenset) else every


def _cel_text(value: str | bytes, path: str) -> str | bytes:
    """Return *value* if the library, which cuts at NUL and fails on surrogates, can hold it."""
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
    problem = None
    if b"\0" in raw:
        problem = f"`{path}` contains a NUL character, which an expression cannot hold"
    elif isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        problem = f"`{path}` contains a lone surrogate, which an expression cannot hold"
    if problem:
        raise UnfitError(problem)
    return value


def _cel_scalar(value: object, path: str) -> object:
    match value:
        case datetime():
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return f"{value.total_seconds():.6f}s"
        case date() | UUID():
            return str(value)
        case bytearray():
            return cel_value(bytes(value), path)
        case _:
            return _cel_object(value, path)


def _cel_object(value: object, path: str) -> object:
    kind = type(value)
    if attrs.has(kind):
        fields = attrs.fields_dict(kind)
        return cel_value({name: getattr(value, name) for name in fields}, path)
    if hasattr(kind, "__dataclass_fields__"):
        return cel_value(dict(vars(value)), path)
    problem = f"`{path}` is a {type(value).__name__}, which has no counterpart in expressions"
    raise UnfitError(problem)


def _by_key(item: tuple[object, object]) -> tuple[str, object]:
    """Return what puts the keys of a map in order: texts, numbers and booleans do not mix."""
    return type(item[0]).__name__, item[0]


def plain_value(value: object) -> object:
    """Return a result of the library without its own containers.

    The order of a map's keys is another in each process; here it is that of the keys.
    """
    match value:
        case bytearray():
            return bytes(value)
        case dict():
            items = typing.cast("dict[object, object]", value).items()
            return {key: plain_value(item) for key, item in sorted(items, key=_by_key)}
        case list():
            return [plain_value(item) for item in typing.cast("list[object]", value)]
        case _:
            return value
