"""Columns of values, sent as arrays in the server's own form, which always has the same type."""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

from psycopg import DataError
from psycopg.adapt import AdaptersMap, Buffer, Dumper
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

__all__ = ["Bools", "Ints", "Texts", "register"]

_EMPTY: Final = struct.Struct("!iiI")  # dimensions, whether there are nulls, type of the elements
_HEAD: Final = struct.Struct("!iiIii")  # ... length, first index
_INT: Final = struct.Struct("!iq")
_BOOL: Final = struct.Struct("!i?")
_LENGTH: Final = struct.Struct("!i")
_NULL: Final = _LENGTH.pack(-1)
_INT8, _INT8S = 20, 1016
_TEXT, _TEXTS = 25, 1009
_BOOLEAN, _BOOLEANS = 16, 1000


class Ints(list[int | None]):
    """A ``bigint[]``."""


class Texts(list[str | None]):
    """A ``text[]``."""


class Bools(list[bool]):
    """A ``boolean[]``."""


_Parts: TypeAlias = list[bytes]


def _array(oid: int, values: list[Any], parts: _Parts) -> bytes:
    if not values:
        return _EMPTY.pack(0, 0, oid)
    return b"".join((_HEAD.pack(1, int(None in values), oid, len(values), 1), *parts))


class _IntsDumper(Dumper):
    format = Format.BINARY
    oid = _INT8S

    def dump(self, obj: Any) -> Buffer | None:
        pack = _INT.pack
        return _array(_INT8, obj, [_NULL if each is None else pack(8, each) for each in obj])


class _TextsDumper(Dumper):
    format = Format.BINARY
    oid = _TEXTS

    def dump(self, obj: Any) -> Buffer | None:
        parts: _Parts = []
        pack = _LENGTH.pack
        for each in obj:
            if each is None:
                parts.append(_NULL)
                continue
            try:
                data = each.encode()
            except UnicodeEncodeError as error:  # half of a character
                raise DataError(str(error)) from error
            parts += (pack(len(data)), data)
        return _array(_TEXT, obj, parts)


class _BoolsDumper(Dumper):
    format = Format.BINARY
    oid = _BOOLEANS

    def dump(self, obj: Any) -> Buffer | None:
        pack = _BOOL.pack
        return _array(_BOOLEAN, obj, [pack(1, each) for each in obj])


def register(adapters: AdaptersMap) -> None:
    """Make *adapters* send these, and whole numbers always as ``bigint``.

    So a statement has one form, and is prepared once.
    """
    # Both forms: the one in lists of the standard kind is text.
    adapters.register_dumper(int, Int8Dumper)
    adapters.register_dumper(int, Int8BinaryDumper)
    adapters.register_dumper(Ints, _IntsDumper)
    adapters.register_dumper(Texts, _TextsDumper)
    adapters.register_dumper(Bools, _BoolsDumper)
