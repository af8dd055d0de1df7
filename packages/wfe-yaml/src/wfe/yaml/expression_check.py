"""Check one expression against its scope: syntax, names, types, and what can never be true."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from wfe.core.cel_syntax import NAMESPACES, STATUS, CelCall, CelPath, CelSegment
from wfe.core.cel_types import CelType
from wfe.core.lean import frozen
from wfe.yaml.diagnostics import Problems, Span, nearest
from wfe.yaml.names import resolve_path
from wfe.yaml.resolved import NameProblem, Resolved
from wfe.yaml.scope import Scope

if TYPE_CHECKING:
    from wfe.core.cel import CelError, CelSyntax

__all__ = ["Locate", "check_expression", "constant_truth"]

Locate = Callable[[int, int], Span]

_PATH: Final = re.compile(
    r"[A-Za-z_]\w*"
    r"(?:\s*\.\s*(?:\?\s*)?\w+|\s*\[\s*(?:\?\s*)?(?:'[^'\\]*'|\"[^\"\\]*\")\s*\])*"
)
_VAR: Final = "__v"
# What is not closed is taken to the end: to look for every quote again would take a square.
_TOKENS: Final = re.compile(
    r"'(?:\\(?s:.)|[^'\\])*(?:'|\\?\Z)|\"(?:\\(?s:.)|[^\"\\])*(?:\"|\\?\Z)"
    r"|(?<![\w.])var\b"
)
_MATCHES: Final = re.compile(r"\.\s*matches\(\s*('(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")\s*\)")
_INDEX: Final = re.compile(r"\[\s*(?:\?\s*)?(?:'[^'\\]*'|\"[^\"\\]*\")\s*\]")
_DOT: Final = re.compile(r"\.\s*(?:\?\s*)?\w+")
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_RESERVED: Final = frozenset(
    {
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    }
)


def check_expression(
    text: str, locate: Locate, scope: Scope, problems: Problems
) -> tuple[str, CelType] | None:
    """Return the expression as it is stored, and its type; ``None`` when it is wrong."""
    check = _Check(text, locate, scope, problems)
    if _PLAIN.fullmatch(text):
        found = check.plain()
        if found is not None:
            return found
    return check.checked()


@frozen
class _Check:
    text: str
    locate: Locate
    scope: Scope
    problems: Problems

    def plain(self) -> tuple[str, CelType] | None:
        """Check names joined by dots, which need no parser; ``None``: it needs one, or is wrong."""
        root, *names = self.text.split(".")
        if not _RESERVED.isdisjoint(names) or (root in _RESERVED and root != "var"):
            return None
        segments: list[CelSegment] = []
        at = len(root)
        for name in names:
            segments.append(CelSegment(name, at))
            at += len(name) + 1
        try:
            found = resolve_path(CelPath(root, 0, tuple(segments)), self.text, self.scope)
        except NameProblem:
            return None
        if found.covered == len(segments):
            return found.replace or self.text, found.kind
        if found.kind == CelType.DYN and not found.replace:
            return self.text, found.kind
        return None

    def checked(self) -> tuple[str, CelType] | None:
        from wfe.core.cel import CelError, cel_syntax, check_cel  # noqa: PLC0415 - 10 ms

        # `var` is a reserved word of CEL: a name of the same length stands for it.
        text = _TOKENS.sub(lambda found: _VAR if found[0] == "var" else found[0], self.text)
        try:
            syntax = cel_syntax(text)
        except CelError as error:
            self._report("WFE030", error)
            return None
        known = self._names(syntax, text)
        if known is None or not self._status(syntax.calls):
            return None
        self._compare(syntax, known)
        pairs = list(zip(syntax.paths, known, strict=True))
        checked, stored, declared = _substitute(text, pairs)
        try:
            kind = check_cel(checked, declared, syntax)
        except CelError as error:
            self._report("WFE031", error)
            return None
        if "matches" in text and not self._patterns(text):
            return None
        return stored, kind

    def _patterns(self, text: str) -> bool:
        """Try the constant patterns of ``matches``, which would fail at run time."""
        from wfe.core.cel import compile_cel  # noqa: PLC0415 - loaded by now
        from wfe.core.errors import WfeError  # noqa: PLC0415

        right = True
        for found in _MATCHES.finditer(text):
            try:
                compile_cel(f"''.matches({found[1]})", {}).evaluate({})
            except WfeError:
                message = f"{found[1]} is no regular expression"
                hint = "its syntax is that of RE2: no look-around, no back-references"
                at = self.locate(found.start(1), len(found[1]))
                self.problems.error("WFE030", at, message, hint)
                right = False
        return right

    def _names(self, syntax: CelSyntax, text: str) -> list[Resolved] | None:
        known: list[Resolved] = []
        wrong: list[tuple[CelPath, NameProblem]] = []
        for path in syntax.paths:
            try:
                root = "var" if path.root == _VAR else path.root
                known.append(resolve_path(attrs.evolve(path, root=root), text, self.scope))
            except NameProblem as problem:
                wrong.append((path, problem))
        if wrong:
            self._report_names(wrong)
            return None
        for path, found in zip(syntax.paths, known, strict=True):
            if found.replace and _end_of(path, found.covered, text) is None:
                at = self.locate(path.offset, len(path.root))
                message = "this name is written in a form that is not read"
                hint = "write it without parentheses: `root.name`"
                self.problems.error("WFE030", at, message, hint)
                return None
        return known

    def _status(self, calls: Sequence[CelCall]) -> bool:
        right = True
        for call in calls:
            if call.name not in STATUS or (self.scope.status and not call.arguments):
                continue
            message = f"`{call.name}()` has no meaning here"
            hint = "ask it in the `when` of a step"
            if call.arguments:
                message = f"`{call.name}` takes no arguments"
                hint = f"write `{call.name}()`; it asks about all steps before"
            start = max(0, self.text.rfind(call.name, 0, call.offset))
            self.problems.error("WFE032", self.locate(start, len(call.name)), message, hint)
            right = False
        return right

    def _compare(self, syntax: CelSyntax, known: Sequence[Resolved]) -> None:
        """Report comparisons whose answer is known: with what an enum cannot be, or with two."""
        choices = {p.offset: f for p, f in zip(syntax.paths, known, strict=True) if f.choices}
        wanted: dict[tuple[str, ...], str] = {}
        for each in syntax.comparisons:
            enum = choices.get(each.path.offset)
            at = self.locate(each.offset, len(each.constant) + 2)
            name = ".".join(each.path.names()).replace(_VAR, "var")
            possible = enum.choices if enum and enum.covered == len(each.path.segments) else ()
            if possible and each.constant not in possible:
                near = nearest(each.constant, possible)
                hint = f"did you mean `{near}`?" if near else f"it is one of {', '.join(possible)}"
                message = f"`{name}` is never `{each.constant}`"
                self.problems.error("WFE092", at, message, hint)
            if not each.needed:
                continue
            first = wanted.setdefault(each.path.names(), each.constant)
            if first != each.constant:
                message = f"`{name}` cannot be `{first}` and `{each.constant}` at once"
                self.problems.error("WFE092", at, message, "write `||` for one of several")

    def _report(self, code: str, error: CelError) -> None:
        lines = self.text.split("\n")
        # What the parser says after its first complaint is guesswork.
        for problem in error.problems if code == "WFE031" else error.problems[:1]:
            offset = sum(len(line) + 1 for line in lines[: problem.line - 1]) + problem.column - 1
            unknown = re.fullmatch(r"unknown name `(\w+)`", problem.message)
            if unknown is None:
                at = self.locate(*self._called(offset))
                self.problems.error(code, at, problem.message, problem.hint)
            elif unknown[1] not in NAMESPACES:
                self._unknown_function(unknown[1], offset, problem.hint)

    def _called(self, offset: int) -> tuple[int, int]:
        """Return place and width of the function whose parenthesis is at *offset*."""
        if self.text[offset : offset + 1] != "(":
            return offset, 1
        before = self.text[:offset].rstrip()
        start = len(before)
        while start and (before[start - 1].isalnum() or before[start - 1] == "_"):
            start -= 1
        return (start, len(before) - start) if start < len(before) else (offset, 1)

    def _unknown_function(self, name: str, offset: int, hint: str | None) -> None:
        from wfe.core.cel_forms import FORMS  # noqa: PLC0415 - only for messages

        # The place is that of the parenthesis.
        at_parenthesis = self.text[offset : offset + 1] == "("
        start = self.text.rfind(name, 0, offset) if at_parenthesis else offset
        message = f"there is no function `{name}`"
        if name in FORMS:
            message = f"`{name}` is not called in this way"
        else:
            near = nearest(_SAME.get(name, name), FORMS)
            shown = " or ".join(f"`{form}`" for form in FORMS[near]) if near else ""
            hint = f"did you mean {shown}?" if near else f"functions are {', '.join(FORMS)}"
            hint = _ELSEWHERE.get(name, hint)
        self.problems.error("WFE032", self.locate(max(0, start), len(name)), message, hint)

    def _report_names(self, wrong: Sequence[tuple[CelPath, NameProblem]]) -> None:
        # `steps.fmt-check` reads two wrong names, and one message says it.
        minus = [pair for pair in wrong if pair[1].message.startswith("`-` is minus")]
        for path, problem in minus or wrong:
            offset, name = path.offset, "var" if path.root == _VAR else path.root
            if problem.segment:
                segment = path.segments[problem.segment - 1]
                found = re.compile(r"[.\[]\s*(?:\?\s*)?['\"]?").match(self.text, segment.offset)
                offset, name = (found.end() if found else segment.offset), segment.name
            at = self.locate(offset, len(name))
            self.problems.error(problem.code, at, problem.message, problem.hint)


_SAME: Final = {
    "len": "length",
    "lower": "lowerAscii",
    "upper": "upperAscii",
    "strip": "trim",
    "dumps": "toJson",
    "parseJson": "fromJson",
    "concat": "join",
    "count": "size",
    "coalesce": "default",
}
_ELSEWHERE: Final[Mapping[str, str]] = {
    "now": "an expression gives the same in every attempt: read `run.started`, or what a step made",
    "hashFiles": "expressions read no files; write `cache: {files: [...]}` on the step",
    "cancelled": "write the `on_abort` hook of the step",
    "env": "write `env.NAME`",
    "secret": "write `secrets.NAME`",
}


def _end_of(path: CelPath, covered: int, text: str) -> int | None:
    """Return where the first *covered* segments end, ``None`` if they are not written together."""
    segment = path.segments[covered - 1]
    found = (_INDEX if segment.index else _DOT).match(text, segment.offset)
    if found is None or not _PATH.fullmatch(text, path.offset, found.end()):
        return None
    return found.end()


_aliases: dict[CelType, str] = {}


def _alias(kind: CelType) -> str:
    """Return the name that all values of a type share.

    A set of declared names costs the library 0.2 MB, so there should be few of them.
    """
    return _aliases.setdefault(kind, f"_{len(_aliases)}")


def _substitute(
    text: str, resolved: Sequence[tuple[CelPath, Resolved]]
) -> tuple[str, str, dict[str, CelType]]:
    """Return the text to type-check, the text to store, and the variables of the first.

    In the text to check, what a variable covers is a name and blanks of the same length, so places
    stay right.
    """
    checked = stored = ""
    declared: dict[str, CelType] = {}
    at = 0
    for path, found in resolved:
        end = _end_of(path, found.covered, text) if found.covered else None
        if end is None or path.offset < at:
            declared[path.root] = CelType.DYN if found.covered else found.kind
            continue
        checked += text[at : path.offset] + _alias(found.kind).ljust(end - path.offset)
        stored += text[at : path.offset] + (found.replace or text[path.offset : end])
        at = end
    declared |= {alias: kind for kind, alias in _aliases.items()}
    return checked + text[at:], stored + text[at:], declared


_WORDS: Final = re.compile(r"\b(?:true|false)\b")


def constant_truth(stored: str) -> bool | None:
    """Return what a condition is whatever it reads; ``None`` when that depends on something."""
    from wfe.core.cel import CelType as Type  # noqa: PLC0415 - loaded by now
    from wfe.core.cel import cel_syntax, compile_cel  # noqa: PLC0415
    from wfe.core.errors import WfeError  # noqa: PLC0415

    syntax = cel_syntax(stored)
    if syntax.loops or any(call.name in STATUS for call in syntax.calls):
        return None
    if syntax.paths and not _WORDS.search(stored):
        return None
    # A name that is not there makes an error, which `false && x` and `true || x` do not care for.
    if any(not p.segments or any(s.optional for s in p.segments) for p in syntax.paths):
        return None
    roots = sorted({path.root for path in syntax.paths})
    try:
        program = compile_cel(stored, dict.fromkeys(roots, Type.DYN))
        found = program.evaluate({root: {} for root in roots})
    except WfeError:
        return None
    return found if isinstance(found, bool) else None
