"""``wfe fmt``: one layout for all workflow files; comments, anchors and meaning stay.

Nothing is printed from data: the lines of the file are indented anew and moved, so that what a
formatter does not understand stays as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from wfe.core.lean import define, frozen
from wfe.yaml.diagnostics import Diagnostic, Problems, Source
from wfe.yaml.key_order import ROOT, Role, rank, role_of
from wfe.yaml.layout import Leaf, Written, WrittenList, WrittenMap, compose, meaning
from wfe.yaml.parsing import parse
from wfe.yaml.tree import Limits

__all__ = ["Formatted", "format_text"]

_INDENT: Final = 2
_ODD_BREAKS: Final = re.compile("[\x85\u2028\u2029]")
_HEADER: Final = re.compile(r"(?P<indicators>[|>][-+0-9]*)(?P<rest>.*)")


class _UnusualError(Exception):
    """A form that is left as it is, such as an explicit key or an anchor on its own line."""


@frozen(kw_only=True)
class Formatted:
    """A formatted file.

    Attributes:
        text: Equal to what was given when nothing is to be done, or when it cannot be formatted.
        diagnostics: Why it cannot be read; empty when it can.
        left: Whether it has a form that is left as it is.
    """

    text: str
    diagnostics: tuple[Diagnostic, ...] = ()
    left: bool = False


def format_text(text: str, name: str = "<text>", limits: Limits | None = None) -> Formatted:
    """Return *text* laid out anew; what it says is the same, and a second time changes nothing.

    Args:
        text: Of a workflow file.
        name: Shown in diagnostics.
        limits: Of the file.
    """
    problems = Problems()
    parse(Source(name, text), problems, limits or Limits())
    if problems.failed:
        return Formatted(text=text, diagnostics=problems.in_order())
    if _ODD_BREAKS.search(text):
        return Formatted(text=text, left=True)
    given = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        made = _laid_out(given)
    except _UnusualError:
        return Formatted(text=text, left=True)
    # The last line of defence: a formatter must never change what a file says.
    if meaning(made) != meaning(given) or _comments(made) != _comments(given):
        return Formatted(text=text, left=True)
    return Formatted(text=made)


def _comments(text: str) -> list[str]:
    """Return what may be comments, sorted: lines may have moved."""
    return sorted(line[line.index("#") :].strip() for line in text.split("\n") if "#" in line)


def _laid_out(text: str) -> str:
    try:
        root = compose(text)
    except TypeError as error:
        raise _UnusualError from error
    if root is None or isinstance(root, Leaf):
        return text
    page = _Page(text, text.split("\n"), keeps="+" in _indicators(text))
    first = _first_line(root)
    head = page.head(first)
    page.cursor = first - len(head)
    body = page.block(root, 0, ROOT)
    tail = page.gap(len(page.lines), 0)
    lines = _tidy([*body, *tail])
    while lines and not lines[-1]:
        lines.pop()
    end = "\n" * max(1, page.kept_breaks())
    return "\n".join([*page.lines[: first - len(head)], *lines]) + end


def _indicators(text: str) -> str:
    return "".join(
        found
        for found in re.findall(
            r"[:\-]\s+(?:&\S+\s+)?[|>]([-+0-9]*)\s*(?:#.*)?$", text, re.MULTILINE
        )
    )


def _first_line(node: WrittenMap | WrittenList) -> int:
    return node.start.line


def _tidy(lines: Iterable[str]) -> list[str]:
    return list(lines)


@frozen
class _Chunk:
    """The lines of an entry of a map, comments before it included."""

    key: str
    before: list[str]
    lines: list[str]
    names: frozenset[str]
    uses: frozenset[str]


@define
class _Page:
    """Turns the nodes of a text into lines; *cursor* is the first line that is not used yet."""

    text: str
    lines: list[str]
    keeps: bool
    cursor: int = 0

    def head(self, first: int) -> list[str]:
        """Return the comments directly before the document's first line."""
        at = first
        while at > 0 and (not self.lines[at - 1].strip() or self._comment(at - 1)):
            at -= 1
        return self.lines[at:first]

    def kept_breaks(self) -> int:
        """Return how many line breaks end the text, when they may be part of a value."""
        return len(self.text) - len(self.text.rstrip("\n")) if self.keeps else 1

    # -- comments and blank lines

    def _comment(self, number: int) -> bool:
        return self.lines[number].lstrip().startswith("#")

    def gap(self, until: int, indent: int) -> list[str]:
        """Return the comments up to line *until*, and single blank lines where there were some."""
        found: list[str] = []
        for number in range(self.cursor, until):
            line = self.lines[number].strip()
            if not line and (not found or found[-1]):
                found.append("")
            elif line.startswith("#"):
                found.append(" " * indent + line)
            elif line not in {"", "...", "---"}:
                raise _UnusualError
        self.cursor = max(self.cursor, until)
        return found

    def _trailing(self, least: int, indent: int) -> list[str]:
        """Return comments behind the last item that are indented as if they belonged to it."""
        last = self.cursor
        for number in range(self.cursor, len(self.lines)):
            line = self.lines[number]
            if self._comment(number) and len(line) - len(line.lstrip()) >= least:
                last = number + 1
            elif line.strip():
                break
        return self.gap(last, indent)

    # -- collections

    def block(self, node: WrittenMap | WrittenList, indent: int, role: Role) -> list[str]:
        """Return the lines of a collection in block style."""
        if isinstance(node, WrittenMap):
            return self._map(node, indent, role)
        return self._list(node, indent, role)

    def _map(self, node: WrittenMap, indent: int, role: Role) -> list[str]:
        column = node.body.column
        chunks = [self._entry(key, value, indent, column, role) for key, value in node.entries]
        trailing = self._trailing(column, indent)
        if role.order is not None and not self.keeps:
            chunks = _in_order(chunks, role.order)
        lines: list[str] = []
        for chunk in chunks:
            before = chunk.before if lines else _without_blanks(chunk.before)
            lines += [*before, *chunk.lines]
        return [*lines, *trailing]

    def _entry(self, key: Leaf, value: Written, indent: int, column: int, role: Role) -> _Chunk:
        before = self.gap(key.start.line, indent)
        self._check_key(key)
        written = self.text[key.start.index : key.end.index].rstrip()
        head = f"{' ' * indent}{written}:"
        name = written.strip("'\"")
        lines = self._value(head, key, value, indent, column, role_of(name, role))
        names, uses = _anchors(value)
        return _Chunk(name, before, lines, key.names | names, key.uses | uses)

    def _check_key(self, key: Leaf) -> None:
        lead = self.lines[key.start.line][: key.start.column].replace("-", " ").strip()
        colon = self.text[key.end.index :].lstrip(" \t").startswith(":")
        if lead or not colon or key.start.line != key.end.line:
            raise _UnusualError

    def _value(
        self, head: str, key: Leaf, value: Written, indent: int, column: int, role: Role
    ) -> list[str]:
        line = key.end.line
        colon = self.text.index(":", key.end.index) + 1 - (key.end.index - key.end.column)
        if isinstance(value, Leaf):
            return self._leaf_value(head, value, indent, column, line, colon)
        rest = self._head_rest(value, line, colon)
        self.cursor = line + 1
        inner = self.block(value, indent + _INDENT, role)
        return [head + rest, *_without_blanks(inner)]

    def _head_rest(self, value: WrittenMap | WrittenList, line: int, column: int) -> str:
        """Return the anchor and the comment that follow a key or a dash on its line."""
        if value.anchor is not None and value.start.line != line:
            raise _UnusualError
        rest = self.lines[line][column:].strip()
        if not rest:
            return ""
        if rest.startswith("#"):
            return f"  {rest}"
        anchor, _, comment = rest.partition(" ")
        if anchor != f"&{value.anchor}" or (
            comment.strip() and not comment.strip().startswith("#")
        ):
            raise _UnusualError
        return f" {anchor}" + (f"  {comment.strip()}" if comment.strip() else "")

    def _leaf_value(
        self, head: str, value: Leaf, indent: int, column: int, line: int, colon: int
    ) -> list[str]:
        if value.empty:
            comment = self.lines[line][colon:].strip()
            self.cursor = line + 1
            return [f"{head}  {comment}" if comment else head]
        if value.start.line == line:
            first, *more = self._leaf(value, indent, column)
            return [f"{head} {first}", *more]
        if value.block:
            raise _UnusualError
        comment = self.lines[line][colon:].strip()
        self.cursor = line + 1
        before = self.gap(value.start.line, indent + _INDENT)
        first, *more = self._leaf(value, indent + _INDENT, value.start.column)
        lead = f"{head}  {comment}" if comment else head
        return [lead, *_without_blanks(before), " " * (indent + _INDENT) + first, *more]

    def _list(self, node: WrittenList, indent: int, role: Role) -> list[str]:
        column = node.start.column if node.anchor is None else self._dash_column(node)
        lines: list[str] = []
        for item in node.items:
            dash = self._dash(column)
            before = self.gap(dash, indent)
            lines += before if lines else _without_blanks(before)
            lines += self._item(item, indent, column, dash, role)
        inside = node.start.column > 0 and self._deeper(node)
        return [*lines, *self._trailing(column if inside else column + 1, indent)]

    def _deeper(self, node: WrittenList) -> bool:
        """Whether the list stands to the right of the key that it is the value of."""
        number = node.start.line - 1
        while number >= 0 and (not self.lines[number].strip() or self._comment(number)):
            number -= 1
        line = self.lines[number] if number >= 0 else ""
        return len(line) - len(line.lstrip(" -")) < node.start.column

    def _dash_column(self, node: WrittenList) -> int:
        for number in range(node.start.line + 1, len(self.lines)):
            line = self.lines[number]
            if line.strip() and not self._comment(number):
                return len(line) - len(line.lstrip())
        raise _UnusualError

    def _dash(self, column: int) -> int:
        """Return the line of the next dash in *column*."""
        for number in range(self.cursor, len(self.lines)):
            line = self.lines[number]
            if line[column : column + 1] == "-" and not line[:column].replace("-", " ").strip():
                return number
            if line.strip() and not self._comment(number):
                break
        raise _UnusualError

    def _item(self, item: Written, indent: int, column: int, dash: int, role: Role) -> list[str]:
        lead = " " * indent + "-"
        if isinstance(item, Leaf):
            return self._leaf_item(lead, item, indent, column, dash)
        start = item.body if isinstance(item, WrittenMap) else item.start
        if start.line == dash and item.anchor is None:
            self.cursor = dash
            return _dashed(self.block(item, indent + _INDENT, role), indent)
        rest = self._head_rest(item, dash, column + 1)
        self.cursor = dash + 1
        inner = _without_blanks(self.block(item, indent + _INDENT, role))
        return [lead + rest, *inner] if rest else _dashed(inner, indent)

    def _leaf_item(self, lead: str, item: Leaf, indent: int, column: int, dash: int) -> list[str]:
        if item.empty:
            comment = self.lines[dash][column + 1 :].strip()
            self.cursor = dash + 1
            return [f"{lead}  {comment}" if comment else lead]
        if item.start.line != dash:
            raise _UnusualError
        first, *more = self._leaf(item, indent, column)
        return [f"{lead} {first}", *more]

    # -- leaves

    def _leaf(self, leaf: Leaf, indent: int, column: int) -> list[str]:
        """Return the lines of a leaf, the first one without its indentation.

        Args:
            leaf: That is written here.
            indent: That the collection around it gets.
            column: That it had.
        """
        if leaf.block:
            return self._block_scalar(leaf, indent, column)
        raw = self.text[leaf.start.index : leaf.end.index].split("\n")
        shift = indent - column
        first, *more = raw
        lines = [first.rstrip() if more else first, *(_moved(line, shift) for line in more)]
        comment = self.lines[leaf.end.line][leaf.end.column :].strip()
        if comment and not comment.startswith("#"):
            raise _UnusualError
        self.cursor = leaf.end.line + 1
        return [*lines[:-1], f"{lines[-1]}  {comment}" if comment else lines[-1]]

    def _block_scalar(self, leaf: Leaf, indent: int, column: int) -> list[str]:
        raw = self.lines[leaf.start.line][leaf.start.column :].rstrip()
        header = _HEADER.search(raw)
        if header is None:
            raise _UnusualError
        keeps = "+" in header["indicators"]
        last = leaf.end.line if leaf.end.column == 0 else leaf.end.line + 1
        content = self.lines[leaf.start.line + 1 : last]
        while content and not content[-1].strip() and not keeps:
            content.pop()
        self.cursor = leaf.start.line + 1 + len(content)
        if leaf.end.index >= len(self.text) and not self.text.endswith("\n"):
            raw = _stripping(raw, header)
        if re.search(r"\d", header["indicators"]):
            shift = indent - column
        else:
            filled = [len(line) - len(line.lstrip(" ")) for line in content if line.strip(" ")]
            shift = indent + _INDENT - (filled[0] if filled else indent + _INDENT)
        comment = header["rest"].strip()
        start = raw[: header.start()] + raw[header.start() : header.end("indicators")]
        if not leaf.end.index >= len(self.text) or self.text.endswith("\n"):
            raw = start + (f"  {comment}" if comment else "")
        return [raw, *(_moved(line, shift, keep=True) for line in content)]


def _stripping(raw: str, header: re.Match[str]) -> str:
    """Return the head of a scalar that ends with the text, without a line break, saying so."""
    if "-" in header["indicators"] or "+" in header["indicators"]:
        return raw
    at = header.end("indicators")
    return f"{raw[:at]}-{raw[at:]}"


def _moved(line: str, shift: int, *, keep: bool = False) -> str:
    """Return *line* moved to the right; *keep* its blanks at the end, which are part of a value."""
    bare = line.lstrip(" ")
    if not bare.strip() and not keep:
        return ""
    depth = len(line) - len(bare) + shift
    if not bare:
        return " " * depth if keep and depth > 0 and line else ""
    return " " * max(depth, 0) + (bare if keep else bare.rstrip())


def _without_blanks(lines: Sequence[str]) -> list[str]:
    """Return the lines without blank ones in front."""
    first = next((number for number, line in enumerate(lines) if line), len(lines))
    return list(lines[first:])


def _dashed(lines: Sequence[str], indent: int) -> list[str]:
    """Put a dash before the first of the lines that is no comment; comments go before it."""
    lines = _without_blanks(lines)
    at = next(number for number, line in enumerate(lines) if not _only_comment(line))
    before = [" " * indent + line.strip() if line else "" for line in lines[:at]]
    first = " " * indent + "- " + lines[at][indent + _INDENT :]
    return [*before, first, *lines[at + 1 :]]


def _only_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _anchors(node: Written) -> tuple[frozenset[str], frozenset[str]]:
    """Return the anchors that stand in *node*, and those that it uses."""
    if isinstance(node, Leaf):
        return node.names, node.uses
    inner: list[Written] = []
    if isinstance(node, WrittenMap):
        for key, value in node.entries:
            inner += [key, value]
    else:
        inner = node.items
    found = [_anchors(each) for each in inner]
    own = frozenset[str]() if node.anchor is None else frozenset({node.anchor})
    names = own.union(*(names for names, _ in found))
    return names, frozenset[str]().union(*(uses for _, uses in found))


def _in_order(chunks: list[_Chunk], order: tuple[str, ...]) -> list[_Chunk]:
    """Return the chunks in *order*, unless an anchor would then stand behind its use."""
    moved = sorted(chunks, key=lambda chunk: rank(order, chunk.key))
    every = frozenset[str]().union(*(chunk.names for chunk in chunks))
    seen: set[str] = set()
    for chunk in moved:
        seen |= chunk.names
        if not chunk.uses & every <= seen:
            return chunks
    return moved
