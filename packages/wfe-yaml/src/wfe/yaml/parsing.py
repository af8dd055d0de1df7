"""Build the tree of a file from the events of ruamel.yaml's own parser, within limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from wfe.core.lean import define
from wfe.yaml.diagnostics import Problems, Source, Span, TooManyProblemsError, nearest
from wfe.yaml.tree import Entry, Limits, ListNode, MapNode, Node, Scalar

if TYPE_CHECKING:
    from ruamel.yaml.events import Event

__all__ = ["parse"]


class _AbandonedError(Exception):
    """The file cannot be read further; the reason is recorded."""


def parse(source: Source, problems: Problems, limits: Limits) -> Node | None:
    """Return the tree of *source*, ``None`` when it cannot be read; *problems* say why."""
    builder = _Builder(source, problems, limits)
    size = len(source.text.encode("utf-8", "replace"))
    try:
        if size > limits.file:
            message = f"the file has {size:,} bytes, more than {limits.file:,}"
            builder.abandon("WFE002", Span(source, 1, 1), message, "split it into several files")
        builder.check_lines()
        builder.check_directives()
        return builder.document()
    except (_AbandonedError, TooManyProblemsError):
        return None


_DIRECTIVE = re.compile(r"^%YAML[ \t]+(\S+)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"\s+")


@define
class _Builder:
    source: Source
    problems: Problems
    limits: Limits
    anchors: dict[str, Node | None] = attrs.field(factory=dict[str, "Node | None"])
    places: dict[str, Span] = attrs.field(factory=dict[str, Span])

    def abandon(self, code: str, at: Span, message: str, hint: str | None = None) -> NoReturn:
        self.problems.error(code, at, message, hint)
        raise _AbandonedError

    def check_lines(self) -> None:
        """Refuse lines that hold more than a value may, before time is spent on them."""
        if len(self.source.text) <= self.limits.scalar:
            return
        for number, line in enumerate(self.source.lines, 1):
            if len(line) > self.limits.scalar:
                size, most = len(line), self.limits.scalar
                message = f"a line has {size:,} characters, more than {most:,}"
                at = Span(self.source, number, 1)
                self.abandon("WFE002", at, message, "keep what is so long in a file of its own")

    def check_directives(self) -> None:
        for number, line in enumerate(self.source.lines, 1):
            if line.strip() and not line.startswith(("%", "#")):
                return
            found = _DIRECTIVE.match(line)
            if found and found[1] != "1.2":
                at = Span(self.source, number, 1, len(found[0]))
                message = f"YAML {found[1]} is not supported, files are YAML 1.2"
                self.abandon("WFE009", at, message, "remove the `%YAML` line")

    def document(self) -> Node | None:
        from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415 - 60 ms

        try:
            return self._document(_events(self.source.text))
        except MarkedYAMLError as error:
            self._report_marked(error)
        except (YAMLError, ValueError, OverflowError) as error:
            # ruamel lets chr() fail on escapes beyond Unicode.
            place = Span(self.source, *_position(self.source.text, getattr(error, "position", 0)))
            reason = getattr(error, "reason", None) or _SPACE.sub(" ", str(error))
            if isinstance(error, OverflowError):
                reason = "an escape gives a character beyond Unicode"
            self.problems.error("WFE001", place, f"not well-formed YAML: {reason}")
        return None

    def _report_marked(self, error: Any) -> None:
        mark = error.problem_mark or error.context_mark
        if "end of stream" in str(error.problem) and error.context_mark:
            mark = error.context_mark
        elif mark and error.context_mark and not self.source.line(mark.line + 1).strip():
            mark = error.context_mark  # what is open, where the end of the file says nothing
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message, hint = _syntax(error.problem or str(error), self.source.line(line))
        self.problems.error("WFE001", Span(self.source, line, column), message, hint)

    def _document(self, events: Iterator[Event]) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in events:
            match type(event).__name__:
                case "DocumentStartEvent":
                    documents += 1
                    if documents > 1:
                        message = "a second document begins here, a file holds one"
                        self.abandon(
                            "WFE008", self._span(event), message, "put it into a file of its own"
                        )
                case "StreamStartEvent" | "StreamEndEvent" | "DocumentEndEvent":
                    pass
                case _:
                    root = self._node(event, events, 1)
        if root is None:
            hint = "begin with `workflow:` and an `id`, a `version` and `steps`"
            self.problems.error("WFE008", Span(self.source, 1, 1), "the file is empty", hint)
        return root

    def _span(self, event: Any) -> Span:
        mark = event.start_mark
        same_line = event.end_mark.line == mark.line
        width = event.end_mark.column - mark.column if same_line else 1
        return Span(self.source, mark.line + 1, mark.column + 1, max(1, width))

    def _node(self, event: Any, events: Iterator[Event], depth: int) -> Node:
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event)
        if depth > self.limits.depth and kind != "ScalarEvent":
            message = f"maps and lists are nested more than {self.limits.depth} deep"
            self.abandon("WFE002", self._span(event), message)
        if event.ctag is not None and str(event.ctag) not in {"", "!"}:
            self._refuse_tag(event)
        anchor = self._define(event)
        node: Node
        match kind:
            case "ScalarEvent":
                node = self._scalar(event)
            case "MappingStartEvent":
                node = self._map(event, events, depth)
            case _:
                node = self._list(event, events, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def _refuse_tag(self, event: Any) -> None:
        tag = str(event.ctag).replace("tag:yaml.org,2002:", "!!")
        message = f"the tag `{tag}` is not allowed, files hold plain data"
        self.problems.error(
            "WFE007", self._span(event), message, "remove it; quote a value to make it text"
        )

    def _define(self, event: Any) -> str | None:
        anchor: str | None = event.anchor
        if anchor is None:
            return None
        if anchor in self.anchors:
            first = self.places[anchor].line
            message = f"the anchor `&{anchor}` is defined twice, first in line {first}"
            self.problems.error("WFE005", self._span(event), message, "give it another name")
            return None
        if len(self.anchors) >= 1000:
            self.abandon("WFE002", self._span(event), "the file has more than 1,000 anchors")
        self.anchors[anchor] = None
        self.places[anchor] = self._span(event)
        return anchor

    def _alias(self, event: Any) -> Node:
        name = event.anchor
        if name not in self.anchors:
            message = f"the alias `*{name}` names no anchor before it"
            near = nearest(name, self.anchors)
            hint = f"anchors so far: {self._names()}"
            hint = f"did you mean `*{near}`?" if near else hint
            if not self.anchors:
                hint = f"define it with `&{name}`; templates of other files: `extends: {name}`"
            self.abandon("WFE006", self._span(event), message, hint)
        node = self.anchors[name]
        if node is None:
            self.abandon(
                "WFE006", self._span(event), f"the alias `*{name}` stands inside its own anchor"
            )
        return node

    def _names(self) -> str:
        names = [f"`&{name}`" for name in self.anchors]
        return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")

    def _scalar(self, event: Any) -> Scalar:
        if len(event.value) > self.limits.scalar:
            size, most = len(event.value), self.limits.scalar
            message = f"a value has {size:,} characters, more than {most:,}"
            self.abandon("WFE002", self._span(event), message, "keep it in a file of its own")
        if _SURROGATE.search(event.value):
            message = "an escape gives half of a character (a lone surrogate)"
            self.abandon("WFE001", self._span(event), message, "write the character itself")
        if "\0" in event.value:
            message = "an escape gives a NUL character, which no program takes in a text"
            self.abandon("WFE001", self._span(event), message, "remove it")
        mark = event.start_mark
        # Anchors and tags stand before the value, and belong to the event.
        start, line, column = mark.index, mark.line, mark.column
        if event.anchor is not None or event.ctag is not None:
            start, line, column = self._after_properties(mark.index, mark.line, mark.column)
        return Scalar(
            value=event.value,
            style=event.style,
            source=self.source,
            start=start,
            end=event.end_mark.index,
            line=line + 1,
            column=column + 1,
        )

    def _scalar_at(self, event: Any) -> Scalar:
        mark = event.start_mark
        return Scalar(
            value="",
            style=None,
            source=self.source,
            start=mark.index,
            end=mark.index + 1,
            line=mark.line + 1,
            column=mark.column + 1,
        )

    def _after_properties(self, start: int, line: int, column: int) -> tuple[int, int, int]:
        found = re.compile(r"(?:[&!]\S*\s+)+").match(self.source.text, start)
        if found is None:
            return start, line, column
        skipped = found[0]
        if "\n" in skipped:
            return found.end(), line + skipped.count("\n"), len(skipped) - skipped.rfind("\n") - 1
        return found.end(), line, column + len(skipped)

    def _list(self, event: Any, events: Iterator[Event], depth: int) -> ListNode:
        mark = event.start_mark
        node = ListNode(items=[], source=self.source, line=mark.line + 1, column=mark.column + 1)
        for inner in events:
            if type(inner).__name__ == "SequenceEndEvent":
                break
            item = self._node(inner, events, depth + 1)
            node.items.append(item)
            self._weigh(node, item, inner)
        return node

    def _map(self, event: Any, events: Iterator[Event], depth: int) -> Node:
        mark = event.start_mark
        broken = False
        node = MapNode(entries={}, source=self.source, line=mark.line + 1, column=mark.column + 1)
        merges: list[tuple[Scalar, Node]] = []
        for inner in events:
            if type(inner).__name__ == "MappingEndEvent":
                break
            key = self._key(inner, events, depth)
            follow = next(events)
            value = self._node(follow, events, depth + 1)
            self._weigh(node, value, inner)
            if key is None:
                broken = True
                continue
            if key.value == "<<" and key.style is None:
                merges.append((key, value))
            elif key.value in node.entries:
                self._refuse_repeated(key, node.entries[key.value].key)
            else:
                node.entries[key.value] = Entry(key=key, value=value)
        if broken:
            # A text stands for it, so that no further error follows from this one.
            at = self._scalar_at(event)
            return attrs.evolve(at, value="{}", style="'")
        self._merge(node, merges)
        return node

    def _refuse_repeated(self, key: Scalar, first: Scalar) -> None:
        message = f"the key `{key.value}` stands twice in one map, first in line {first.line}"
        self.problems.error("WFE003", key.span, message, "keep one of them")

    def _key(self, event: Any, events: Iterator[Event], depth: int) -> Scalar | None:
        node = self._node(event, events, depth + 1)
        if isinstance(node, Scalar):
            return node
        at = self._span(event)
        if self.source.line(at.line)[at.column - 2 : at.column] == "{{":
            message = "a value cannot begin with `{{`"
            hint = "write `${{ ... }}` for an expression, or quote the text"
            self.problems.error("WFE001", at, message, hint)
        else:
            hint = "quote the text if it begins with `{` or `[`"
            self.problems.error("WFE011", at, "a key must be a text", hint)
        return None

    def _weigh(self, container: MapNode | ListNode, item: Node, event: Any) -> None:
        container.weight += 1 if isinstance(item, Scalar) else item.weight
        if container.weight > self.limits.nodes:
            message = (
                f"with its aliases expanded the file has more than {self.limits.nodes:,} nodes"
            )
            self.abandon("WFE002", self._span(event), message, "use fewer aliases of aliases")

    def _merge(self, node: MapNode, merges: list[tuple[Scalar, Node]]) -> None:
        for key, _ in merges[1:]:
            message = f"`<<` stands twice in one map, first in line {merges[0][0].line}"
            self.problems.error(
                "WFE004", key.span, message, "merge several maps with `<<: [*a, *b]`"
            )
        for key, value in merges[:1]:
            for base in value.items if isinstance(value, ListNode) else [value]:
                if not isinstance(base, MapNode):
                    message = "`<<` takes a map or a list of maps"
                    self.problems.error(
                        "WFE004", key.span, message, "write `<<: *name` of an anchored map"
                    )
                    continue
                for name, entry in base.entries.items():
                    # Own keys win, then the earlier map.
                    node.entries.setdefault(name, attrs.evolve(entry, merged=True))


def _events(text: str) -> Iterator[Event]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - 60 ms

    yaml: Any = YAML(typ="safe", pure=True)
    yield from yaml.parse(text)


def _position(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


_FLOW = "close it, and quote texts with `[ ] { } ,` in it"
_SYNTAX = (
    ("found character '\\t'", "a tab stands where only blanks may indent", "indent with blanks"),
    ("mapping values are not allowed here", "a `:` stands where no key can be", None),
    ("found unexpected end of stream", "the file ends inside a quoted text", "close the quote"),
    (
        "could not find expected ':'",
        "a key has no `:` after it",
        "check the indentation of this line",
    ),
    ("expected <block end>", "this line is not indented like the ones before it", None),
    ("expected ',' or '}'", "a `,` or `}` is missing in a `{ }` map", _FLOW),
    ("expected ',' or ']'", "a `,` or `]` is missing in a `[ ]` list", _FLOW),
    ("cannot start any token", "a plain text cannot begin with this character", "quote the text"),
    ("expected '<document start>'", "nothing can follow here, or the document is missing", None),
    (
        "found unknown escape character",
        "an escape in a double-quoted text is not known",
        "double the backslash, or use single quotes",
    ),
)


def _syntax(problem: str, line: str) -> tuple[str, str | None]:
    problem = _SPACE.sub(" ", problem)
    for start, message, hint in _SYNTAX:
        if start in problem:
            colon = "quote a text that contains `: `, and indent keys of one map alike"
            return message, hint or (colon if ": " in line else None)
    return f"not well-formed YAML: {problem}", None
