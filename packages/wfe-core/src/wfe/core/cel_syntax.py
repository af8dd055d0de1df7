"""Which names a CEL expression reads, taken from the serialised syntax tree of its parser."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

__all__ = ["CelPath", "CelSegment", "CelSyntaxTooDeepError", "read_paths"]

# Left-hand chains (a + b + c …) nest as deep as they are long.
_DEEPEST = 250


class CelSyntaxTooDeepError(Exception):
    """The tree is nested deeper than it is walked."""


@attrs.frozen
class CelSegment:
    """One name below the first of a path.

    Attributes:
        name: The field or key.
        offset: Where its ``.`` or ``[`` stands, in characters from 0.
        index: Whether it is written ``['name']``.
        optional: Whether it may be missing (``.?name``, ``[?'name']`` or inside ``has()``).
        tested: Whether it is what a ``has()`` asks for.
    """

    name: str
    offset: int
    index: bool = False
    optional: bool = False
    tested: bool = False


@attrs.frozen
class CelPath:
    """A name that an expression reads: a variable and what is selected from it by constant names.

    Attributes:
        root: The variable.
        offset: Where it stands in the expression, in characters from 0.
        segments: What is selected from it.
    """

    root: str
    offset: int
    segments: tuple[CelSegment, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Return the root and the segments' names up to the first that may be missing."""
        names = [self.root]
        for segment in self.segments:
            if segment.optional:
                break
            names.append(segment.name)
        return tuple(names)


def read_paths(serialized: bytes) -> tuple[CelPath, ...]:
    """Return the paths of a serialised, unchecked expression, in order of their places.

    Raises:
        CelSyntaxTooDeepError: It is nested deeper than 250 levels.

    Source:
        ``syntax.proto`` of the CEL specification, for the numbers of the fields.
    """
    parsed = _one(serialized, 2)
    positions = {_number(entry, 1): _number(entry, 2) for entry in _all(_one(parsed, 3), 4)}
    walker = _Walker(positions)
    walker.visit(_one(parsed, 2), frozenset(), 0)
    return tuple(sorted(walker.paths, key=lambda path: path.offset))


@attrs.define
class _Walker:
    positions: dict[int, int]
    paths: list[CelPath] = attrs.field(factory=list[CelPath])

    def visit(self, expr: bytes, bound: frozenset[str], depth: int) -> None:
        """Record the paths in *expr*; names in *bound* are loop variables, not references."""
        path = self._path(expr, depth)
        if path is not None:
            if path.root not in bound:
                self.paths.append(path)
            return
        if depth > _DEEPEST:
            raise CelSyntaxTooDeepError
        for number, content in _fields(expr):
            if number in _CHILDREN and isinstance(content, bytes):
                for child in _children(content, number):
                    self.visit(child, bound, depth + 1)
            elif number == _COMPREHENSION and isinstance(content, bytes):
                self._comprehension(content, bound, depth + 1)

    def _comprehension(self, content: bytes, bound: frozenset[str], depth: int) -> None:
        names = {_text(content, number) for number in (1, 3, 8)}
        inner = bound | names
        for number, child in _fields(content):
            if isinstance(child, bytes) and number in {2, 4, 5, 6, 7}:
                self.visit(child, bound if number in {2, 4} else inner, depth)

    def _path(self, expr: bytes, depth: int) -> CelPath | None:
        if depth > _DEEPEST:
            raise CelSyntaxTooDeepError
        offset = self.positions.get(_number(expr, 2), 0)
        for number, content in _fields(expr):
            if not isinstance(content, bytes):
                continue
            if number == _IDENT:
                return CelPath(_text(content, 1), offset)
            if number == _SELECT:
                tested = _number(content, 3) == 1
                segment = CelSegment(_text(content, 2), offset, optional=tested, tested=tested)
                return self._below(_one(content, 1), segment, depth)
            if number == _CALL:
                return self._call(content, offset, depth)
        return None

    def _call(self, content: bytes, offset: int, depth: int) -> CelPath | None:
        function, args = _text(content, 2), _all(content, 3)
        if function not in _SELECTIONS or len(args) != 2:
            return None
        key = _string_constant(args[1])
        if key is None:
            return None
        segment = CelSegment(key, offset, index="[" in function, optional="?" in function)
        return self._below(args[0], segment, depth)

    def _below(self, operand: bytes, segment: CelSegment, depth: int) -> CelPath | None:
        path = self._path(operand, depth + 1)
        if path is None:
            return None
        if path.segments and path.segments[-1].optional:
            segment = attrs.evolve(segment, optional=True)
        return attrs.evolve(path, segments=(*path.segments, segment))


_IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = 4, 5, 6, 7, 8, 9
_CHILDREN = {_SELECT: (1,), _CALL: (1, 3), _LIST: (1,), _STRUCT: (2,)}
_SELECTIONS = {"_[_]", "_?._", "_[?_]"}


def _children(content: bytes, number: int) -> Iterator[bytes]:
    for wanted in _CHILDREN[number]:
        for child in _all(content, wanted):
            if number == _STRUCT:
                yield from (entry for key in (3, 4) for entry in _all(child, key))
            else:
                yield child


def _string_constant(expr: bytes) -> str | None:
    for constant in _all(expr, 3):
        for number, content in _fields(constant):
            if number == 6 and isinstance(content, bytes):
                return content.decode()
    return None


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, content) of each field: an int, or bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(message, at)
            yield number, message[at : at + length]
            at += length
        else:
            at += 8 if wire == 1 else 4


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _all(message: bytes, number: int) -> list[bytes]:
    return [c for n, c in _fields(message) if n == number and isinstance(c, bytes)]


def _one(message: bytes, number: int) -> bytes:
    return next(iter(_all(message, number)), b"")


def _number(message: bytes, number: int) -> int:
    return next((c for n, c in _fields(message) if n == number and isinstance(c, int)), 0)


def _text(message: bytes, number: int) -> str:
    return _one(message, number).decode()
