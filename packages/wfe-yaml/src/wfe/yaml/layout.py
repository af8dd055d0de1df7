"""A YAML text as nodes with their places in it, nothing resolved: what a formatter works on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from wfe.core.lean import frozen

__all__ = ["Leaf", "Place", "Written", "WrittenList", "WrittenMap", "compose", "meaning"]


@frozen
class Place:
    """A place in a text, all from 0."""

    index: int
    line: int
    column: int


@frozen(eq=False, kw_only=True)
class Leaf:
    """A scalar, an alias, or a collection in flow style: kept as it is written.

    Attributes:
        style: ``|`` or ``>`` of a block scalar, else something else.
        end: Behind it; of a block scalar behind its last line break.
    """

    start: Place
    end: Place
    style: str | None
    names: frozenset[str]
    uses: frozenset[str]
    alias: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing is written, not even an anchor."""
        return self.start.index == self.end.index

    @property
    def block(self) -> bool:
        """Whether it is a block scalar."""
        return self.style is not None and self.style in "|>"


@frozen(eq=False, kw_only=True)
class WrittenMap:
    """A map in block style; *start* is that of its anchor when it has one."""

    start: Place
    anchor: str | None
    entries: list[tuple[Leaf, Written]]

    @property
    def body(self) -> Place:
        """Where its first key begins."""
        return self.entries[0][0].start


@frozen(eq=False, kw_only=True)
class WrittenList:
    """A list in block style."""

    start: Place
    anchor: str | None
    items: list[Written]


Written: TypeAlias = Leaf | WrittenMap | WrittenList


def compose(text: str) -> Written | None:
    """Return the only document of *text*, ``None`` when there is none.

    Raises:
        YAMLError: It is not well-formed.
    """
    events = _events(text)
    for event in events:
        if type(event).__name__ not in _AROUND:
            return _node(event, events)
    return None


_AROUND = {"StreamStartEvent", "DocumentStartEvent", "DocumentEndEvent", "StreamEndEvent"}


def _events(text: str) -> Iterator[Any]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import

    yaml: Any = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    return iter(yaml.parse(text))


def _place(mark: Any) -> Place:
    return Place(mark.index, mark.line, mark.column)


def _node(event: Any, events: Iterator[Any]) -> Written:
    kind = type(event).__name__
    anchor: str | None = event.anchor
    own = frozenset[str]() if anchor is None else frozenset({anchor})
    if kind == "AliasEvent":
        start, end = _place(event.start_mark), _place(event.end_mark)
        return Leaf(start=start, end=end, style=None, names=frozenset(), uses=own, alias=True)
    if kind == "ScalarEvent":
        start, end = _place(event.start_mark), _place(event.end_mark)
        return Leaf(start=start, end=end, style=event.style, names=own, uses=frozenset())
    if event.flow_style:
        return _flow(event, events, own)
    start = _place(event.start_mark)
    if kind == "MappingStartEvent":
        return WrittenMap(start=start, anchor=anchor, entries=list(_entries(events)))
    return WrittenList(start=start, anchor=anchor, items=list(_items(events)))


def _entries(events: Iterator[Any]) -> Iterator[tuple[Leaf, Written]]:
    for event in events:
        if type(event).__name__ == "MappingEndEvent":
            return
        key = _node(event, events)
        value = _node(next(events), events)
        if not isinstance(key, Leaf):
            raise TypeError("a key is a collection")
        yield key, value


def _items(events: Iterator[Any]) -> Iterator[Written]:
    for event in events:
        if type(event).__name__ == "SequenceEndEvent":
            return
        yield _node(event, events)


def _flow(event: Any, events: Iterator[Any], own: frozenset[str]) -> Leaf:
    """Pass over a collection in flow style."""
    names, uses, depth, last = set(own), set[str](), 1, event
    while depth:
        last = next(events)
        kind = type(last).__name__
        depth += kind in {"MappingStartEvent", "SequenceStartEvent"}
        depth -= kind in {"MappingEndEvent", "SequenceEndEvent"}
        name = getattr(last, "anchor", None)
        if name is not None:
            (uses if kind == "AliasEvent" else names).add(name)
    start, end = _place(event.start_mark), _place(last.end_mark)
    return Leaf(start=start, end=end, style=None, names=frozenset(names), uses=frozenset(uses))


def meaning(text: str) -> object:
    """Return what *text* says, without its layout and without the order of the keys of a map."""
    stack: list[list[Any]] = [[]]
    heads: list[tuple[Any, ...]] = []
    for event in _events(text):
        kind = type(event).__name__
        if kind in {"MappingStartEvent", "SequenceStartEvent"}:
            stack.append([])
            heads.append((kind, event.anchor, str(event.ctag)))
        elif kind in {"MappingEndEvent", "SequenceEndEvent"}:
            inside, head = stack.pop(), heads.pop()
            if head[0] == "MappingStartEvent":
                pairs = zip(inside[::2], inside[1::2], strict=True)
                inside = sorted(pairs, key=lambda pair: repr(pair[0]))
            stack[-1].append((*head, tuple(inside)))
        elif kind == "AliasEvent":
            stack[-1].append(("alias", event.anchor))
        elif kind == "ScalarEvent":
            plain = event.style is None or event.style == ""
            stack[-1].append(("scalar", event.anchor, str(event.ctag), event.value, plain))
    return stack[0]
