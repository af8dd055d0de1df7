"""The one codec: Python values to plain JSON and back, the same for every store.

What JSON has no form for is an object with the key ``$``, which names the type, and ``v``, its
value: ``{"$": "decimal", "v": "1.50"}``.  A user's dict that has the key ``$``, or keys that are
no text, becomes a list of pairs, so that nothing of a user's is ever taken for a tag.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import orjson

from wfe.core.definition import Json
from wfe.core.errors import DataTypeError
from wfe.core.fields import stored_names

__all__ = ["decode", "encode"]

_TAG: Final = "$"
_N: Final = 1 << 63  # integers below it fit every store
_DEEPEST: Final = 200  # levels of the stored form; the JSON library ends at 254
_MICROSECOND: Final = timedelta(microseconds=1)


class _UnfitError(Exception):
    """A value without a stored form; *where* grows, innermost part first, on the way out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where: list[str] = []


def encode(value: object, path: str = "data") -> Json:
    """Return the stored form of *value*: plain JSON that shares nothing with it.

    Tuples are stored as lists, enum members as their values, attrs and dataclass instances as
    dicts of their fields: only a declared type (``wfe.core.data``) brings these back.  Subclasses
    of plain types (``OrderedDict``, ``StrEnum``) are stored as the plain type.  All else comes
    back from :func:`decode` as it was.

    Args:
        value: Anything.
        path: Where it stands, for error messages.

    Raises:
        DataTypeError: It contains NaN, an infinity, a lone surrogate, an object of another
            class, or is nested more than 200 levels deep.
    """
    try:
        return _encode(value, _DEEPEST)
    except _UnfitError as unfit:
        where = path + _shortened("".join(reversed(unfit.where)))
        raise DataTypeError(where, unfit.problem) from None


def _encode(value: Any, depth: int) -> Json:
    cls = value.__class__
    encoder = _ENCODERS.get(cls)
    if encoder is None:
        encoder = _encoder_for(cls)
    return encoder(value, depth)


def _same(value: Any, _depth: int) -> Json:
    return value


def _text(value: str, _depth: int) -> Json:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            problem = f"contains a lone surrogate at position {error.start}, which is no valid text"
            raise _UnfitError(problem) from None
    return value


def _int(value: int, _depth: int) -> Json:
    if -_N <= value < _N:
        return value
    return {_TAG: "int", "v": hex(value)}  # decimal text of long integers is refused by Python


def _float(value: float, _depth: int) -> Json:
    if value - value != 0:
        problem = f"{value} cannot be stored; use None or a text for no finite number"
        raise _UnfitError(problem)
    return value


def _decimal(value: Decimal, _depth: int) -> Json:
    if not value.is_finite():
        problem = f"Decimal {value} cannot be stored; use None or a text for no finite number"
        raise _UnfitError(problem)
    return {_TAG: "decimal", "v": str(value)}


def _dict(value: Mapping[Any, Any], depth: int) -> Json:
    if depth <= 0:
        raise _too_deep()
    if _TAG in value:
        return _pairs(value, depth)
    encoders = _ENCODERS
    stored: dict[str, Json] = {}
    key: Any = None
    try:
        for key, item in value.items():
            if type(key) is str:
                name = key if key.isascii() else _text(key, depth)
            elif isinstance(key, str):
                name = _text(str.__str__(key), depth)
            else:
                break
            cls = item.__class__
            if cls is str and item.isascii():
                stored[name] = item
            else:
                encoder = encoders.get(cls) or _encoder_for(cls)
                stored[name] = item if encoder is _same else encoder(item, depth - 1)
        else:
            return stored
    except _UnfitError as unfit:
        unfit.where.append(_step(key))
        raise
    return _pairs(value, depth)


def _list(value: Iterable[Any], depth: int) -> Json:
    if depth <= 0:
        raise _too_deep()
    stored: list[Json] = []
    try:
        for item in value:
            stored.append(_encode(item, depth - 1))  # noqa: PERF401 - the handler needs its length
    except _UnfitError as unfit:
        unfit.where.append(f"[{len(stored)}]")
        raise
    return stored


def _pairs(value: Mapping[Any, Any], depth: int) -> Json:
    pairs: list[Json] = []
    key: Any = None
    try:
        for key, item in value.items():
            pairs.append([_hashable(key, depth - 3), _encode(item, depth - 3)])
    except _UnfitError as unfit:
        unfit.where.append(_step(key))
        raise
    return {_TAG: "dict", "v": pairs}


def _members(value: Iterable[Any], depth: int) -> list[Json]:
    try:
        stored = [_hashable(item, depth - 2) for item in value]
    except _UnfitError as unfit:
        unfit.where.append("{}")
        raise
    # In one order whatever the hash seed: equal sets must have equal stored forms.
    return sorted(stored, key=lambda each: orjson.dumps(each, option=orjson.OPT_SORT_KEYS))


def _hashable(value: Any, depth: int) -> Json:
    """Return the stored form of a key or set member, which must come back hashable."""
    if depth <= 0:
        raise _too_deep()
    if issubclass(value.__class__, tuple):
        return {_TAG: "tuple", "v": [_hashable(item, depth - 2) for item in value]}
    stored = _encode(value, depth)
    kind = stored.__class__
    if kind is list or (kind is dict and stored.get(_TAG) in _UNHASHABLE):
        problem = f"a {_named(value)} cannot be stored as a key or in a set; use a text or a number"
        raise _UnfitError(problem)
    return stored


_UNHASHABLE: Final = frozenset({None, "dict", "set"})


def _record(value: Any, depth: int) -> Json:
    if depth <= 0:
        raise _too_deep()
    stored: dict[str, Json] = {}
    name = ""
    try:
        for name in stored_names(value.__class__):
            stored[name] = _encode(getattr(value, name), depth - 1)
    except _UnfitError as unfit:
        unfit.where.append(_step(name))
        raise
    except AttributeError:
        unset = _UnfitError(f"the field was never set on {_named(value)}")
        unset.where.append(_step(name))
        raise unset from None
    return stored


def _step(key: object) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"


def _shortened(where: str) -> str:
    return where if len(where) <= 200 else f"{where[:100]} ... {where[-100:]}"


def _too_deep() -> _UnfitError:
    problem = f"is nested more than {_DEEPEST} levels deep, or contains itself"
    return _UnfitError(problem)


def _named(value: object) -> str:
    cls = type(value)
    module = "" if cls.__module__ == "builtins" else f"{cls.__module__}."
    return module + cls.__qualname__


def _zone(value: datetime | time) -> str:
    """Return the zone's name in brackets: the offset alone would forget its rules."""
    zone: tzinfo | None = value.tzinfo
    return f"[{zone.key}]" if isinstance(zone, ZoneInfo) and zone.key else ""


def _tagged(tag: str, form: Callable[[Any], Json]) -> Callable[[Any, int], Json]:
    return lambda value, _depth: {_TAG: tag, "v": form(value)}


def _iso(value: datetime | time) -> str:
    return value.isoformat() + _zone(value)


_ENCODERS: Final[dict[type, Callable[[Any, int], Json]]] = {
    type(None): _same,
    bool: _same,
    str: _text,
    int: _int,
    float: _float,
    dict: _dict,
    list: _list,
    tuple: _list,
    set: lambda value, depth: {_TAG: "set", "v": _members(value, depth)},
    frozenset: lambda value, depth: {_TAG: "frozenset", "v": _members(value, depth)},
    bytes: _tagged("bytes", lambda value: base64.b64encode(value).decode()),
    bytearray: _tagged("bytes", lambda value: base64.b64encode(value).decode()),
    Decimal: _decimal,
    datetime: _tagged("datetime", _iso),
    date: _tagged("date", date.isoformat),
    time: _tagged("time", _iso),
    timedelta: _tagged("timedelta", lambda value: _int(value // _MICROSECOND, 0)),
    UUID: _tagged("uuid", str),
}

# datetime before date, of which it is a subclass; the enum test comes first of all.
_BASES: Final[tuple[type, ...]] = (
    str,
    int,
    float,
    dict,
    list,
    tuple,
    frozenset,
    set,
    bytes,
    datetime,
    date,
    Decimal,
    UUID,
)


def _encoder_for(cls: type) -> Callable[[Any, int], Json]:
    """Return (and remember) the encoder of a class that is no plain type itself."""
    known: Any = cls  # what the questions below narrow it to is of no use
    if issubclass(cls, Enum):
        encoder: Callable[[Any, int], Json] = _member
    elif attrs.has(known) or dataclasses.is_dataclass(known):
        encoder = _record
    else:
        base = next((base for base in _BASES if issubclass(cls, base)), None)
        encoder = _as_base(base) if base else _dict if issubclass(cls, Mapping) else _refuse
    _ENCODERS[cls] = encoder
    return encoder


def _member(value: Enum, depth: int) -> Json:
    return _encode(value.value, depth)


def _as_base(base: type) -> Callable[[Any, int], Json]:
    encoder = _ENCODERS[base]
    plain = _PLAIN.get(base)
    return encoder if plain is None else lambda value, depth: encoder(plain(value), depth)


# What the JSON library sees must be the plain type itself.
_PLAIN: Final[Mapping[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
}


def _refuse(value: Any, _depth: int) -> Json:
    problem = (
        f"an object of class {_named(value)} cannot be stored; use plain values, an attrs class"
        " or a dataclass, or keep it out of the data with transient() or WorkflowHost(app=...)"
    )
    raise _UnfitError(problem)


_CONTAINERS: Final[frozenset[type]] = frozenset({dict, list})


def decode(value: Json) -> Any:
    """Return what :func:`encode` stored, as fresh objects.

    Raises:
        DataTypeError: It has a tag that this version does not know, or is damaged.
    """
    kind = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is dict:
        if _TAG in value:
            return _untagged(value)
        return {
            key: decode(item) if item.__class__ in _CONTAINERS else item
            for key, item in value.items()
        }
    if kind is list:
        return [decode(item) if item.__class__ in _CONTAINERS else item for item in value]
    return value


def _untagged(stored: Mapping[str, Json]) -> Any:
    tag = stored[_TAG]
    decoder = _DECODERS.get(tag) if isinstance(tag, str) else None
    if decoder is None:
        problem = f"has the unknown tag {tag!r}; it was stored by a newer version or damaged"
        raise DataTypeError("stored value", problem)
    try:
        return decoder(stored["v"])
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        problem = f"is a damaged {tag} ({error!r})"
        raise DataTypeError("stored value", problem) from error


def _zoned(text: str) -> tuple[str, ZoneInfo | None]:
    plain, _, zone = text.partition("[")
    if not zone:
        return plain, None
    try:
        return plain, ZoneInfo(zone[:-1])
    except (OSError, ValueError):  # a machine without this zone: the offset still is exact
        return plain, None


def _datetime(text: str) -> datetime:
    plain, zone = _zoned(text)
    exact = datetime.fromisoformat(plain)
    if zone is None:
        return exact
    local = exact.replace(tzinfo=zone)
    later = local.replace(fold=1)
    return local if local.utcoffset() == exact.utcoffset() else later


def _time(text: str) -> time:
    plain, zone = _zoned(text)
    exact = time.fromisoformat(plain)
    return exact if zone is None else exact.replace(tzinfo=zone)


_DECODERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "int": lambda text: int(text, 16),
    "decimal": Decimal,
    "dict": lambda pairs: {decode(key): decode(item) for key, item in pairs},
    "set": lambda items: {decode(item) for item in items},
    "frozenset": lambda items: frozenset(decode(item) for item in items),
    "tuple": lambda items: tuple(decode(item) for item in items),
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "datetime": _datetime,
    "date": date.fromisoformat,
    "time": _time,
    "timedelta": lambda micros: decode(micros) * _MICROSECOND,
    "uuid": UUID,
}
