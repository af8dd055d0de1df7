"""A YAML file as a tree in which every key and value knows where it stands."""

from __future__ import annotations

from typing import TypeAlias

from wfe.core.lean import define, frozen
from wfe.yaml.diagnostics import Source, Span

__all__ = ["Entry", "Limits", "ListNode", "MapNode", "Node", "Scalar"]


@frozen(kw_only=True)
class Limits:
    """What a file may have at most.

    Attributes:
        file: Bytes of a file.
        scalar: Characters of one scalar.
        depth: Nested maps and lists.
        nodes: Nodes after aliases and templates are expanded; of all included files together.
        files: Files that are included, the first one among them.
    """

    file: int = 5 * 1024 * 1024
    scalar: int = 1024 * 1024
    depth: int = 100
    nodes: int = 100_000
    files: int = 64


_MOST_FINDS = 1000  # of a word in a text, beyond which the place of one of them is not looked for


@define(eq=False, kw_only=True)
class Scalar:
    """A text, number, boolean or null, as it is written.

    Attributes:
        value: Its text, with quotes and escapes undone.
        style: ``'``, ``"``, ``|``, ``>``, or ``None`` when it is plain.
        fixed: Ranges of *value* that load-time variables gave; nothing is interpolated there.
        original: The scalar before load-time variables were put in, ``None`` if there were none.
    """

    value: str
    style: str | None
    source: Source
    start: int
    end: int
    line: int
    column: int
    fixed: tuple[tuple[int, int], ...] = ()
    original: Scalar | None = None

    @property
    def span(self) -> Span:
        """Where it stands."""
        raw = self.source.text[self.start : self.end]
        return Span(
            self.source, self.line, self.column, max(1, len(raw.partition("\n")[0].rstrip()))
        )

    @property
    def raw(self) -> str:
        """The text of the file that it was read from."""
        return self.source.text[self.start : self.end]

    def locate(self, offset: int, width: int = 1) -> Span:
        """Return the place of the character at *offset* of the value (of the original's value)."""
        origin = self.original or self
        place = origin.place_of(offset)
        if place is None and 0 < offset == len(origin.value):
            before = origin.place_of(offset - 1)
            place = before and (before[0], before[1] + 1)
        return self.span if place is None else Span(self.source, *place, width)

    def place_of(self, offset: int) -> tuple[int, int] | None:
        """Return line and column of a character of the value, ``None`` where that is not known."""
        before = self.value[:offset]
        if self.style == "|":
            return self._place_in_block(before)
        rest = self.value[offset:].partition("\n")[0]
        if self.style == ">" or "\n" in self.raw or not rest:
            return self._place_by_search(before, rest)
        lead = 0 if self.style is None else 1
        written = self.raw[lead : lead + offset]
        if written == before:
            return self.line, self.column + lead + offset
        return self._place_by_search(before, rest)

    def _place_in_block(self, before: str) -> tuple[int, int] | None:
        row, column = before.count("\n"), len(before) - (before.rfind("\n") + 1)
        line = self.line + 1 + row
        text, content = self.source.line(line), self.value.split("\n")[row]
        indent = len(text) - len(content)
        return (line, indent + column + 1) if text[max(indent, 0) :] == content else None

    def _place_by_search(self, before: str, rest: str) -> tuple[int, int] | None:
        """Find the text that follows in the raw text: the same occurrence of its first word."""
        word = rest.split(" ", maxsplit=1)[0][:40]
        if not word:
            return None
        raw, times = self.raw, before.count(word)
        if times > _MOST_FINDS:
            return None
        at = -1
        for _ in range(times + 1):
            at = raw.find(word, at + 1)
            if at < 0:
                return None
        head = raw[:at]
        if "\n" not in head:
            return self.line, self.column + at
        return self.line + head.count("\n"), at - head.rfind("\n")


@frozen(eq=False, kw_only=True)
class Entry:
    """A key with its value.

    Attributes:
        merged: Whether it came by a merge key from another map.
    """

    key: Scalar
    value: Node
    merged: bool = False


@define(eq=False, kw_only=True)
class MapNode:
    """A map: keys are texts, in order, own ones before merged ones."""

    entries: dict[str, Entry]
    source: Source
    line: int
    column: int
    weight: int = 1

    @property
    def span(self) -> Span:
        """Where it begins."""
        return Span(self.source, self.line, self.column)

    def get(self, key: str) -> Node | None:
        """Return the value of *key*, ``None`` when it is absent."""
        entry = self.entries.get(key)
        return None if entry is None else entry.value


@define(eq=False, kw_only=True)
class ListNode:
    """A list."""

    items: list[Node]
    source: Source
    line: int
    column: int
    weight: int = 1

    @property
    def span(self) -> Span:
        """Where it begins."""
        return Span(self.source, self.line, self.column)


Node: TypeAlias = Scalar | MapNode | ListNode
