"""Find how a shell would read a place of a script: quoted, in a here-document, in a comment.

A scanner, not a parser: it follows quotes, substitutions, here-documents and comments, which is
what decides whether a parameter is expanded at a place and how it must be quoted there.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import attrs

from wfe.core.lean import define, frozen

__all__ = ["HOLE", "Context", "Place", "places"]

HOLE: Final = "\0"
"""Stands for an interpolation; YAML text cannot contain it."""


class Context(Enum):
    """How a place in a script is read."""

    UNQUOTED = "unquoted"
    DOUBLE = "in double quotes"
    HEREDOC = "in a here-document"
    COMMENT = "in a comment"
    SINGLE = "in single quotes"
    ANSI = "in a $'...' text"
    QUOTED_HEREDOC = "in a quoted here-document"
    ARITHMETIC = "in shell arithmetic"
    ESCAPED = "after a backslash"
    PARAMETER = "as the name of a parameter"
    DELIMITER = "in the end word of a here-document"


@frozen
class Place:
    """One hole: how it is read, and where the quote or here-document around it begins."""

    offset: int
    context: Context
    opened: int


class _Mode(Enum):
    CODE = "code"
    DOUBLE = "double"
    PARAMETER = "parameter"
    ARITHMETIC = "arithmetic"
    HEREDOC = "heredoc"


@define
class _Frame:
    mode: _Mode
    opened: int
    closer: str = ""
    depth: int = 0  # open parentheses of this frame
    cases: int = 0  # open `case` commands, whose patterns have a lone `)`
    quoted: bool = False  # a parameter expansion inside double quotes or a here-document


@frozen
class _Heredoc:
    word: str
    literal: bool
    tabs: bool
    opened: int


_SPECIAL: Final = {
    _Mode.CODE: re.compile(r"[\\'\"`$#()<\n\0ce]"),
    _Mode.DOUBLE: re.compile(r"[\\\"`$\0]"),
    _Mode.PARAMETER: re.compile(r"[\\'\"`$}\0]"),
    _Mode.ARITHMETIC: re.compile(r"[()$`\0]"),
    _Mode.HEREDOC: re.compile(r"[\\`$\0]"),
}
_DEEPEST: Final = 20  # here-documents in here-documents
_NEAR: Final = 100  # characters that are looked back at, so that a long line takes no square of it
_WORD: Final = re.compile(r"(?:case|esac)(?![\w-])")
_DELIMITER: Final = re.compile(r"<<(-?)[ \t]*((?:'[^'\n]*'|\"[^\"\n]*\"|\\.|[^\s;&|<>()'\"\\])+)")
_COMMAND_START: Final = re.compile(r"(?:^|[;&|(\n]|\b(?:then|do|else|if|while|until))[ \t]*$")


def places(script: str) -> list[Place]:
    """Return a place for every :data:`HOLE` in *script*, in order."""
    scanner = _Scanner(script)
    scanner.run()
    found = {place.offset: place for place in reversed(scanner.found)}
    # A hole can be all of the line that ends a here-document: it is no place in a text.
    for at in (at for at, char in enumerate(script) if char == HOLE and at not in found):
        found[at] = Place(at, Context.DELIMITER, at)
    return [found[at] for at in sorted(found)]


@define
class _Scanner:
    script: str
    level: int = 0  # here-documents around it
    at: int = 0
    found: list[Place] = attrs.field(factory=list[Place])
    stack: list[_Frame] = attrs.field(factory=lambda: [_Frame(_Mode.CODE, 0)])
    pending: list[_Heredoc] = attrs.field(factory=list[_Heredoc])

    def run(self) -> None:
        while self.at < len(self.script):
            frame = self.stack[-1]
            special = _SPECIAL[frame.mode].search(self.script, self.at)
            if special is None:
                return
            self.at = special.start()
            self._handle(special[0], frame)

    def _handle(self, char: str, frame: _Frame) -> None:
        match char:
            case "\0":
                self._hole(frame)
            case "\\":
                self._escape(frame)
            case "$":
                self._dollar(frame)
            case "`":
                self._backtick(frame)
            case '"':
                self._double(frame)
            case _ if frame.mode is _Mode.CODE:
                self._code(char, frame)
            case _:
                self._inner(char, frame)

    def _hole(self, frame: _Frame) -> None:
        context = {
            _Mode.CODE: Context.UNQUOTED,
            _Mode.DOUBLE: Context.DOUBLE,
            _Mode.PARAMETER: Context.DOUBLE if frame.quoted else Context.UNQUOTED,
            _Mode.ARITHMETIC: Context.ARITHMETIC,
            _Mode.HEREDOC: Context.HEREDOC,
        }[frame.mode]
        if frame.mode is _Mode.PARAMETER and self.at - frame.opened < _NEAR:
            before = self.script[frame.opened : self.at].strip("${#!")
            context = context if before else Context.PARAMETER
        self._record(context, frame.opened)
        self.at += 1

    def _record(self, context: Context, opened: int) -> None:
        self.found.append(Place(self.at, context, opened))

    def _record_all(self, start: int, end: int, context: Context, opened: int) -> None:
        for at in range(start, end):
            if self.script[at] == HOLE:
                self.found.append(Place(at, context, opened))

    def _escape(self, frame: _Frame) -> None:
        if self.script[self.at + 1 : self.at + 2] == HOLE:
            self.at += 1
            self._record(Context.ESCAPED, frame.opened)
            self.at += 1
            return
        self.at += 2

    def _quoted(self) -> bool:
        frame = self.stack[-1]
        return frame.mode in {_Mode.DOUBLE, _Mode.HEREDOC} or frame.quoted

    def _dollar(self, frame: _Frame) -> None:
        rest = self.script[self.at + 1 : self.at + 3]
        start = self.at
        if rest == "((":
            self.stack.append(_Frame(_Mode.ARITHMETIC, start, depth=2))
            self.at += 3
        elif rest[:1] == "(":
            self.stack.append(_Frame(_Mode.CODE, start, closer=")"))
            self.at += 2
        elif rest[:1] == "{":
            self.stack.append(_Frame(_Mode.PARAMETER, start, quoted=self._quoted()))
            self.at += 2
        elif rest[:1] == "'" and frame.mode is _Mode.CODE:
            self._ansi(start)
        else:
            self.at += 1

    def _ansi(self, start: int) -> None:
        at = start + 2
        while at < len(self.script) and self.script[at] != "'":
            at += 2 if self.script[at] == "\\" else 1
        self._record_all(start, min(at, len(self.script)), Context.ANSI, start)
        self.at = at + 1

    def _backtick(self, frame: _Frame) -> None:
        if frame.closer == "`":
            self.stack.pop()
        else:
            self.stack.append(_Frame(_Mode.CODE, self.at, closer="`"))
        self.at += 1

    def _double(self, frame: _Frame) -> None:
        if frame.mode is _Mode.DOUBLE:
            self.stack.pop()
        elif frame.mode is _Mode.CODE or not frame.quoted:
            self.stack.append(_Frame(_Mode.DOUBLE, self.at))
        self.at += 1

    def _code(self, char: str, frame: _Frame) -> None:
        match char:
            case "'":
                self._single()
            case "#":
                self._comment()
            case "(":
                self._open(frame)
            case ")":
                self._close(frame)
            case "<":
                self._redirect()
            case "\n":
                self.at += 1
                if self.pending:
                    self._enter_heredocs()
            case _:
                self._word(frame)

    def _inner(self, char: str, frame: _Frame) -> None:
        if frame.mode is _Mode.ARITHMETIC:
            frame.depth += 1 if char == "(" else -1
            if frame.depth == 0:
                self.stack.pop()
        elif char == "}":
            self.stack.pop()
        elif char == "'" and not frame.quoted:
            self._single()
            return
        self.at += 1

    def _single(self) -> None:
        end = self.script.find("'", self.at + 1)
        end = len(self.script) if end < 0 else end
        self._record_all(self.at, end, Context.SINGLE, self.at)
        self.at = end + 1

    def _comment(self) -> None:
        before = self.script[self.at - 1 : self.at]
        if before and before not in " \t\n;&|()`":
            self.at += 1
            return
        end = self.script.find("\n", self.at)
        end = len(self.script) if end < 0 else end
        self._record_all(self.at, end, Context.COMMENT, self.at)
        self.at = end

    def _open(self, frame: _Frame) -> None:
        if self.script.startswith("((", self.at) and self._begins_command():
            self.stack.append(_Frame(_Mode.ARITHMETIC, self.at, depth=2))
            self.at += 2
            return
        frame.depth += 1
        self.at += 1

    def _begins_command(self) -> bool:
        """Whether a command may begin here, as far as some characters before it tell."""
        start = max(0, self.at - _NEAR)
        line = self.script[start : self.at].rpartition("\n")
        # What stands before a window that has no line break is no beginning of a line.
        begun = line[2] if line[1] or start == 0 else "x" + line[2]
        return _COMMAND_START.search(begun) is not None

    def _close(self, frame: _Frame) -> None:
        if frame.depth:
            frame.depth -= 1
        elif frame.closer == ")" and not frame.cases:
            self.stack.pop()
        self.at += 1

    def _word(self, frame: _Frame) -> None:
        before = self.script[self.at - 1 : self.at]
        found = _WORD.match(self.script, self.at)
        if found is None or (before and before not in " \t\n;&|("):
            self.at += 1
            return
        if found[0] == "case":
            frame.cases += 1
        elif frame.cases:
            frame.cases -= 1
        self.at = found.end()

    def _redirect(self) -> None:
        if self.script.startswith("<<<", self.at):
            self.at += 3
            return
        found = _DELIMITER.match(self.script, self.at)
        if found is None:
            self.at += 1
            return
        self._record_all(found.start(), found.end(), Context.DELIMITER, self.at)
        word = re.sub(r"\\(.)|['\"]", r"\1", found[2])
        literal = any(char in found[2] for char in "'\"\\")
        self.pending.append(_Heredoc(word, literal, bool(found[1]), self.at))
        self.at = found.end()

    def _enter_heredocs(self) -> None:
        at = self.at
        for heredoc in self.pending:
            end, after = self._body_end(at, heredoc)
            if heredoc.literal:
                self._record_all(at, end, Context.QUOTED_HEREDOC, heredoc.opened)
            else:
                self._expanding(at, end, heredoc)
            at = after
        self.pending.clear()
        self.at = at

    def _expanding(self, start: int, end: int, heredoc: _Heredoc) -> None:
        if self.level > _DEEPEST:
            self._record_all(start, end, Context.DELIMITER, heredoc.opened)
            return
        inner = _Scanner(self.script[start:end], self.level + 1)
        inner.stack = [_Frame(_Mode.HEREDOC, 0)]
        inner.run()
        for place in inner.found:
            opened = heredoc.opened if place.context is Context.HEREDOC else start + place.opened
            self.found.append(Place(start + place.offset, place.context, opened))

    def _body_end(self, at: int, heredoc: _Heredoc) -> tuple[int, int]:
        while at < len(self.script):
            end = self.script.find("\n", at)
            end = len(self.script) if end < 0 else end
            line = self.script[at:end]
            if (line.lstrip("\t") if heredoc.tabs else line) == heredoc.word:
                return at, min(end + 1, len(self.script))
            at = end + 1
        return len(self.script), len(self.script)
