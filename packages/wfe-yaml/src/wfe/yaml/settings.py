"""The types of a step type's settings: what a file may write, and what the class gets."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Final, Literal, Union, cast

import attrs

from wfe.core.cel_types import CelType
from wfe.core.lean import frozen
from wfe.yaml.scalars import duration_text, kind_of, parse_duration
from wfe.yaml.value_types import UnfitValueError

__all__ = ["SettingType", "setting_type"]


@frozen(kw_only=True)
class SettingType:
    """What values a setting takes, made from the annotation of its field.

    Attributes:
        kind: ``any string integer number boolean duration timestamp path choice list map record``
            or ``union``.
        make: Turns a plain value of the kind into what the annotation says.
        item: Of a list or map.
        choices: Constants, of a choice.
        options: Of a union.
        fields: Of a record: name to (type, whether it must be there).
        optional: Whether null is allowed.
    """

    kind: str
    make: Callable[[Any], Any] | None = attrs.field(default=None, eq=False)
    item: SettingType | None = None
    choices: tuple[Any, ...] = ()
    options: tuple[SettingType, ...] = ()
    fields: Mapping[str, tuple[SettingType, bool]] = attrs.field(
        factory=dict[str, tuple["SettingType", bool]]
    )
    optional: bool = False

    @property
    def wanted(self) -> str:
        """What messages say is expected."""
        match self.kind:
            case "choice":
                return "one of " + ", ".join(str(choice) for choice in self.choices)
            case "union":
                return " or ".join(option.wanted for option in self.options)
            case _:
                return _WANTED[self.kind]

    @property
    def cel(self) -> CelType:
        """The type that an expression must give; durations and paths are texts."""
        match self.kind:
            case "list":
                return CelType.list_of(self.item.cel if self.item else CelType.DYN)
            case "map":
                return CelType.map_of(self.item.cel if self.item else CelType.DYN)
            case "choice" if all(isinstance(choice, str) for choice in self.choices):
                return CelType.STRING
            case _:
                return _CEL.get(self.kind, CelType.DYN)

    def takes(self, kind: CelType) -> bool:
        """Whether an expression of type *kind* may stand here."""
        if self.optional and kind == CelType.NULL:
            return True
        if self.kind == "union":
            return any(option.takes(kind) for option in self.options)
        if self.kind == "number" and kind == CelType.INT:
            return True
        if self.kind == "duration" and kind == CelType.DURATION:
            return True
        if self.kind == "timestamp" and kind == CelType.TIMESTAMP:
            return True
        return self.cel.accepts(kind)

    def convert(self, value: object) -> Any:
        """Return *value*, plain JSON, as the class wants it.

        Raises:
            UnfitValueError: It does not fit; the message says what is expected.
        """
        if value is None and (self.optional or self.kind == "any"):
            return None
        plain = self._plain(value)
        return plain if self.make is None else self._made(plain)

    def _made(self, plain: object) -> Any:
        try:
            return None if self.make is None else self.make(plain)
        except (TypeError, ValueError) as error:
            raise UnfitValueError(str(error)) from None

    def _plain(self, value: object) -> Any:
        match self.kind, value:
            case "any", _:
                return value
            case "union", _:
                return self._first(value)
            case "list", list():
                return self._list(cast("list[object]", value))
            case "map", dict():
                return self._map(cast("dict[str, object]", value))
            case "record", dict():
                return self._record(cast("dict[str, object]", value))
            case "choice", _ if any(_same(value, choice) for choice in self.choices):
                return value
            case _ if self.kind in _SIMPLE and (found := _SIMPLE[self.kind](value)) is not None:
                return found
            case _:
                raise self.unfit(value)

    def unfit(self, value: object) -> UnfitValueError:
        """Return the error that says *value* is not what is wanted."""
        shown = repr(value) if isinstance(value, str) else str(value)
        shown = shown if len(shown) <= 40 else shown[:37] + "..."
        shown = "" if value is None else f" ({shown})"
        return UnfitValueError(f"expected {self.wanted}, got {kind_of(value)}{shown}")

    def _first(self, value: object) -> Any:
        for option in self.options:
            try:
                return option.convert(value)
            except UnfitValueError:
                continue
        raise self.unfit(value)

    def _list(self, value: list[object]) -> list[Any]:
        if self.item is None:
            return value
        return [_inside(self.item, each, f"item {i + 1}") for i, each in enumerate(value)]

    def _map(self, value: dict[str, object]) -> dict[str, Any]:
        if self.item is None:
            return value
        return {key: _inside(self.item, each, f"`{key}`") for key, each in value.items()}

    def _record(self, value: dict[str, object]) -> dict[str, Any]:
        for key in value:
            if key not in self.fields:
                raise UnfitValueError(f"there is no `{key}`, only {', '.join(self.fields)}")
        for key, (_, required) in self.fields.items():
            if required and key not in value:
                raise UnfitValueError(f"`{key}` is missing")
        return {key: _inside(self.fields[key][0], each, f"`{key}`") for key, each in value.items()}


def _inside(kind: SettingType, value: object, where: str) -> Any:
    try:
        return kind.convert(value)
    except UnfitValueError as error:
        raise UnfitValueError(f"{where}: {error}") from None


def _same(value: object, choice: object) -> bool:
    return type(value) is type(choice) and value == choice


def _integer(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _duration(value: object) -> str | None:
    if isinstance(value, timedelta):  # an expression such as duration('90s')
        return duration_text(value // timedelta(microseconds=1))
    return value if isinstance(value, str) and parse_duration(value) is not None else None


def _timestamp(value: object) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat()
    try:
        aware = isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return None
    return value if aware and isinstance(value, str) else None


_SIMPLE: Final[Mapping[str, Callable[[object], Any]]] = {
    "string": lambda value: value if isinstance(value, str) else None,
    "path": lambda value: value if isinstance(value, str) and value else None,
    "boolean": lambda value: value if isinstance(value, bool) else None,
    "integer": _integer,
    "number": _number,
    "duration": _duration,
    "timestamp": _timestamp,
}
_WANTED: Final = {
    "any": "any value",
    "string": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "duration": "a duration such as 30s or 1h30m",
    "timestamp": "a timestamp such as 2026-01-31T12:00:00Z",
    "path": "a path",
    "list": "a list",
    "map": "a map",
    "record": "a map",
}
_CEL: Final = {
    "string": CelType.STRING,
    "path": CelType.STRING,
    "duration": CelType.STRING,
    "timestamp": CelType.STRING,
    "boolean": CelType.BOOL,
    "integer": CelType.INT,
    "number": CelType.DOUBLE,
    "record": CelType.map_of(CelType.DYN),
}


def _as_timedelta(text: str) -> timedelta:
    return timedelta(microseconds=parse_duration(text) or 0)


_CLASSES: Final[Sequence[tuple[type, str, Callable[[Any], Any] | None]]] = (
    (bool, "boolean", None),
    (int, "integer", None),
    (float, "number", None),
    (str, "string", None),
    (timedelta, "duration", _as_timedelta),
    (datetime, "timestamp", datetime.fromisoformat),
    (PurePath, "path", Path),
)


@cache
def setting_type(annotation: Any) -> SettingType:
    """Return what the annotation of a field takes; what it does not know takes anything."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return setting_type(args[0])
    if origin is Literal:
        return SettingType(kind="choice", choices=args)
    if origin in {Union, types.UnionType}:
        return _union(args)
    found = origin or annotation
    if not isinstance(found, type):
        return SettingType(kind="any")
    return _of_class(cast("type[Any]", found), args)


def _union(args: tuple[Any, ...]) -> SettingType:
    options = [setting_type(each) for each in args if each is not type(None)]
    optional = len(options) < len(args)
    if len(options) == 1:
        return attrs.evolve(options[0], optional=options[0].optional or optional)
    if any(option.kind == "any" for option in options):
        return SettingType(kind="any", optional=optional)
    return SettingType(kind="union", options=tuple(options), optional=optional)


def _of_class(cls: type[Any], args: tuple[Any, ...]) -> SettingType:
    if issubclass(cls, Enum):
        return SettingType(kind="choice", choices=tuple(each.value for each in cls), make=cls)
    if attrs.has(cls) or typing.is_typeddict(cls):
        return _record(cls)
    for base, kind, make in _CLASSES:
        if issubclass(cls, base):
            return SettingType(kind=kind, make=make)
    if issubclass(cls, Mapping):
        item = setting_type(args[1]) if len(args) == 2 else None
        return SettingType(kind="map", item=item)
    if issubclass(cls, Sequence | AbstractSet) and not issubclass(cls, bytes | bytearray):
        item = setting_type(args[0]) if args else None
        return SettingType(kind="list", item=item, make=_list_of(cast("type[Any]", cls)))
    return SettingType(kind="any")


def _list_of(cls: type[Any]) -> Callable[[Any], Any] | None:
    concrete: Mapping[type[Any], Callable[[Any], Any]]
    concrete = {tuple: tuple, set: set, frozenset: frozenset}
    return next((make for base, make in concrete.items() if issubclass(cls, base)), None)


def _record(cls: type[Any]) -> SettingType:
    hints = typing.get_type_hints(cls)
    if not attrs.has(cls):
        required: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
        typed = {name: (setting_type(hint), name in required) for name, hint in hints.items()}
        return SettingType(kind="record", fields=typed)
    known = {
        field.alias or field.name: (
            setting_type(hints.get(field.name, Any)),
            field.default is attrs.NOTHING,
        )
        for field in attrs.fields(cls)
        if field.init
    }
    return SettingType(kind="record", fields=known, make=lambda values: cls(**values))
