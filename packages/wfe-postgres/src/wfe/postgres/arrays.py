"""Columns of values, sent as arrays in the server's own form, which always has the same type."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from psycopg import DataError
from psycopg.adapt import AdaptersMap, Buffer, Dumper
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

__all__ = ["Bools", "Ints", "Texts", "packed_ints", "packed_texts", "register"]

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


def packed_ints(values: Sequence[int | None]) -> bytes:
    """Return a ``bigint[]`` as the server takes it."""
    pack = _INT.pack
    return _array(_INT8, values, [_NULL if each is None else pack(8, each) for each in values])


def packed_texts(values: Sequence[str | None]) -> bytes:
    """Return a ``text[]`` as the server takes it.

    Raises:
        UnicodeEncodeError: There is half of a character in one of them.
    """
    parts: _Parts = []
    pack = _LENGTH.pack
    for each in values:
        if each is None:
            parts.append(_NULL)
        else:
            data = each.encode()
            parts += (pack(len(data)), data)
    return _array(_TEXT, values, parts)


def _array(oid: int, values: Sequence[Any], parts: _Parts) -> bytes:
    if not values:
        return _EMPTY.pack(0, 0, oid)
    return b"".join((_HEAD.pack(1, int(None in values), oid, len(values), 1), *parts))


class _IntsDumper(Dumper):
    format = Format.BINARY
    oid = _INT8S

    def dump(self, obj: Any) -> Buffer | None:
        return packed_ints(obj)


class _TextsDumper(Dumper):
    format = Format.BINARY
    oid = _TEXTS

    def dump(self, obj: Any) -> Buffer | None:
        try:
            return packed_texts(obj)
        except UnicodeEncodeError as error:  # half of a character
            raise DataError(str(error)) from error


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
