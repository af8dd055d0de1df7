"""Which names a CEL expression reads, taken from the serialised syntax tree of its parser."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias

import attrs

from wfe.core.lean import define, frozen

__all__ = [
    "NAMESPACES",
    "STATUS",
    "CelCall",
    "CelComparison",
    "CelPath",
    "CelSegment",
    "CelSyntax",
    "CelSyntaxTooDeepError",
    "read_syntax",
]

STATUS = ("success", "failure", "always")
"""Calls without arguments that ask how the steps before ended; the engine gives their values."""

NAMESPACES = frozenset({"base64", "math", "strings"})
"""What stands before the ``.`` of some functions, and is no variable."""


_DEEPEST = 250  # the parser refuses what is deeper than 32; this bounds what it makes of it
_LOOPS = 3
_TOO_DEEP = "it is nested more than 250 deep"


class CelSyntaxTooDeepError(Exception):
    """The tree is nested deeper than it is walked; the argument says how deep it may be."""


@frozen
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


@frozen
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


@frozen
class CelCall:
    """A call of a named function.

    Attributes:
        offset: Where its ``(`` stands, in characters from 0.
        arguments: How many there are, without what stands before the ``.`` of a member.
        member: Whether it is written behind a value: ``text.trim()``.
    """

    name: str
    offset: int
    arguments: int
    member: bool


@frozen
class CelComparison:
    """A name that is compared with a constant text.

    Attributes:
        constant: The text.
        offset: Where the text stands, in characters from 0.
        needed: Whether the expression is false unless both are equal.
    """

    path: CelPath
    constant: str
    offset: int
    needed: bool


@frozen
class CelSyntax:
    """What an expression reads and calls, in order of the places.

    Attributes:
        loops: Whether it has ``map``, ``filter``, ``all`` or ``exists``.
        comparisons: With ``==`` and ``!=``, of a name with a constant text.
    """

    paths: tuple[CelPath, ...]
    calls: tuple[CelCall, ...]
    loops: bool
    comparisons: tuple[CelComparison, ...] = ()


def read_syntax(serialized: bytes) -> CelSyntax:
    """Return what a serialised, unchecked expression reads and calls.

    Raises:
        CelSyntaxTooDeepError: It is nested too deeply, or its loops are more than 3 deep.

    Source:
        ``syntax.proto`` of the CEL specification, for the numbers of the fields.
    """
    parsed = _one(serialized, 2)
    places = (dict(_decoded(entry)) for entry in _all(_one(parsed, 3), 4))
    positions = {int(place.get(1, 0)): int(place.get(2, 0)) for place in places}
    walker = _Walker(positions)
    walker.visit(_one(parsed, 2), _Around(needed=True))
    paths = sorted(walker.paths, key=lambda path: path.offset)
    calls = sorted(walker.calls, key=lambda call: call.offset)
    return CelSyntax(tuple(paths), tuple(calls), walker.loops, tuple(walker.comparisons))


@frozen
class _Around:
    """What is around an expression: loop variables, and how deep it is.

    Attributes:
        depth: Nodes around it.
        loops: Loops around it.
        needed: Whether the whole is false unless this is true.
    """

    bound: frozenset[str] = frozenset()
    depth: int = 0
    loops: int = 0
    needed: bool = False

    def inner(self, *, needed: bool = False) -> _Around:
        if self.depth >= _DEEPEST:
            raise CelSyntaxTooDeepError(_TOO_DEEP)
        return _Around(self.bound, self.depth + 1, self.loops, needed and self.needed)

    def loop(self, names: frozenset[str]) -> _Around:
        if self.loops >= _LOOPS:
            message = f"loops (`map`, `filter`, `exists` ...) are nested more than {_LOOPS} deep"
            raise CelSyntaxTooDeepError(message)
        return attrs.evolve(self, bound=self.bound | names, loops=self.loops + 1)


@define
class _Walker:
    positions: dict[int, int]
    paths: list[CelPath] = attrs.field(factory=list[CelPath])
    calls: list[CelCall] = attrs.field(factory=list[CelCall])
    comparisons: list[CelComparison] = attrs.field(factory=list[CelComparison])
    loops: bool = False

    def visit(self, expr: bytes, around: _Around) -> None:
        """Record what *expr* reads and calls; loop variables are no references."""
        path = self._path(expr, around.depth)
        if path is not None:
            if path.root not in around.bound:
                self.paths.append(path)
            return
        for number, content in _fields(expr):
            if number == _CALL and isinstance(content, bytes):
                self._call(expr, content, around)
            elif number in _CHILDREN and isinstance(content, bytes):
                inner = around.inner()
                for child in _children(content, number):
                    self.visit(child, inner)
            elif number == _COMPREHENSION and isinstance(content, bytes):
                self._comprehension(content, around.inner())

    def _call(self, expr: bytes, content: bytes, around: _Around) -> None:
        name, target, arguments = _text(content, 2), _all(content, 1), _all(content, 3)
        if name.isidentifier() and not name.startswith("_"):
            offset = self.positions.get(_number(expr, 2), 0)
            self.calls.append(CelCall(name, offset, len(arguments), bool(target)))
        if name in _EQUALITIES:
            self._compared(arguments, around, needed=name == "_==_")
        first, *rest = [*target, *arguments] or [b""]
        needed = name == "_&&_"
        if not (target and self._namespace(first, around)):
            self.visit(first, around.inner(needed=needed))
        for child in rest:
            self.visit(child, around.inner(needed=needed))

    def _namespace(self, target: bytes, around: _Around) -> bool:
        path = self._path(target, around.depth)
        return path is not None and not path.segments and path.root in NAMESPACES - around.bound

    def _compared(self, sides: list[bytes], around: _Around, *, needed: bool) -> None:
        for one, other in (sides, sides[::-1]):
            constant = _string_constant(other)
            path = None if constant is None else self._path(one, around.depth)
            if path is None or constant is None or path.root in around.bound:
                continue
            offset = self.positions.get(_number(other, 2), 0)
            found = CelComparison(path, constant, offset, needed and around.needed)
            self.comparisons.append(found)

    def _comprehension(self, content: bytes, around: _Around) -> None:
        self.loops = True
        names = frozenset(_text(content, number) for number in (1, 3, 8))
        inner = around.loop(names)
        for number, child in _fields(content):
            if isinstance(child, bytes) and number in {2, 4, 5, 6, 7}:
                self.visit(child, around if number in {2, 4} else inner)

    def _path(self, expr: bytes, depth: int) -> CelPath | None:
        if depth > _DEEPEST:
            raise CelSyntaxTooDeepError(_TOO_DEEP)
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
                return self._selected(content, offset, depth)
        return None

    def _selected(self, content: bytes, offset: int, depth: int) -> CelPath | None:
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
_CHILDREN = {_SELECT: (1,), _LIST: (1,), _STRUCT: (2,)}
_SELECTIONS = {"_[_]", "_?._", "_[?_]"}
_EQUALITIES = {"_==_", "_!=_"}


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


_Fields: TypeAlias = "list[tuple[int, int | bytes]]"


# A message is asked for several of its fields, one after the other.
@lru_cache(maxsize=1024)
def _fields(message: bytes) -> _Fields:
    return _decoded(message)


def _decoded(message: bytes) -> _Fields:
    """Return (number, content) of each field: an int, or bytes."""
    found: _Fields = []
    at, end = 0, len(message)
    while at < end:
        tag = message[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(message, at - 1)
        wire = tag & 7
        if wire > 2:
            at += 4  # no field that is read here has a fixed width
            continue
        if wire == 1:
            at += 8
            continue
        value = message[at]
        at += 1
        if value >= 0x80:
            value, at = _varint(message, at - 1)
        if wire == 0:
            found.append((tag >> 3, value))
        else:
            found.append((tag >> 3, message[at : at + value]))
            at += value
    return found


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
