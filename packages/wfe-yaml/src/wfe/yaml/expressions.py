"""Check expressions against their scope, and turn scalars into what the engine evaluates."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from wfe.core.cel import CelError, CelPath, CelType, cel_paths, compile_cel
from wfe.core.definition import Cel, Expr, ListOf, Record, Text, Value
from wfe.yaml.diagnostics import Problems, Span, nearest
from wfe.yaml.pieces import Expression, Literal, Piece, Unclosed, Variable, has_pieces, split
from wfe.yaml.scalars import resolve
from wfe.yaml.scope import NameProblem, Resolved, Scope, resolve_path
from wfe.yaml.shell_quoting import HOLE, Context, Place, places
from wfe.yaml.tree import ListNode, MapNode, Node, Scalar
from wfe.yaml.value_types import type_of_value
from wfe.yaml.variables import MISSING

__all__ = ["Expressions", "Script"]

Locate = Callable[[int, int], Span]

_PATH: Final = re.compile(
    r"[A-Za-z_]\w*(?:\s*\.\s*\??\s*\w+|\s*\[\s*\??\s*(?:'[^'\\]*'|\"[^\"\\]*\")\s*\])*"
)
_FUNCTIONS: Final = (
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "split",
    "join",
    "replace",
    "substring",
    "trim",
    "lowerAscii",
    "upperAscii",
    "indexOf",
    "int",
    "double",
    "string",
    "bool",
    "duration",
    "timestamp",
    "type",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "orValue",
    "hasValue",
)
_VAR: Final = "__v"
_TOKENS: Final = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|(?<![\w.])var(?=\s*[.\[])")
_INDEX: Final = re.compile(r"\[\s*\??\s*(?:'[^'\\]*'|\"[^\"\\]*\")\s*\]")
_DOT: Final = re.compile(r"\.\s*\??\s*\w+")


@attrs.frozen
class Script:
    """Code in which every interpolation became a reference to an environment variable.

    Attributes:
        text: The code.
        env: Those variables.
    """

    text: str
    env: Mapping[str, Expr]


@attrs.frozen
class Expressions:
    """Checks what it reads; what is wrong goes to *problems*."""

    problems: Problems

    def check(self, text: str, locate: Locate, scope: Scope) -> tuple[str, CelType] | None:
        """Return the expression as it is stored, and its type; ``None`` when it is wrong."""
        # `var` is a reserved word of CEL: a name of the same length stands for it.
        text = _TOKENS.sub(lambda found: _VAR if found[0] == "var" else found[0], text)
        try:
            paths = cel_paths(text)
        except CelError as error:
            self._report("WFE030", error, text, locate)
            return None
        known: list[Resolved] = []
        wrong: list[tuple[CelPath, NameProblem]] = []
        for path in paths:
            try:
                root = "var" if path.root == _VAR else path.root
                known.append(resolve_path(attrs.evolve(path, root=root), text, scope))
            except NameProblem as problem:
                wrong.append((path, problem))
        if wrong:
            self._report_names(wrong, text, locate)
            return None
        for path, found in zip(paths, known, strict=True):
            if found.replace and _end_of(path, found.covered, text) is None:
                at = locate(path.offset, len(path.root))
                message = "this name is written in a form that is not read"
                hint = "write it without parentheses: `root.name`"
                self.problems.error("WFE030", at, message, hint)
                return None
        checked, stored, declared = _substitute(text, list(zip(paths, known, strict=True)))
        try:
            program = compile_cel(checked, declared)
        except CelError as error:
            self._report("WFE031", error, text, locate)
            return None
        return stored, program.result_type

    def _report(self, code: str, error: CelError, text: str, locate: Locate) -> None:
        lines = text.split("\n")
        # What the parser says after its first complaint is guesswork.
        for problem in error.problems if code == "WFE031" else error.problems[:1]:
            offset = sum(len(line) + 1 for line in lines[: problem.line - 1]) + problem.column - 1
            unknown = re.fullmatch(r"unknown name `(\w+)`", problem.message)
            if unknown is None:
                self.problems.error(code, locate(offset, 1), problem.message)
                continue
            # The place is that of the parenthesis.
            name, near = unknown[1], nearest(unknown[1], _FUNCTIONS)
            start = max(0, offset - len(name)) if text[offset : offset + 1] == "(" else offset
            message = f"there is no function `{name}`"
            hint = f"did you mean `{near}`?" if near else f"functions are {', '.join(_FUNCTIONS)}"
            self.problems.error("WFE032", locate(start, len(name)), message, hint)

    def _report_names(
        self, wrong: Sequence[tuple[CelPath, NameProblem]], text: str, locate: Locate
    ) -> None:
        # `steps.fmt-check` reads two wrong names, and one message says it.
        minus = [pair for pair in wrong if pair[1].message.startswith("`-` is minus")]
        for path, problem in minus or wrong:
            offset, name = path.offset, path.root
            if problem.segment:
                segment = path.segments[problem.segment - 1]
                found = re.compile(r"[.\[]\s*\??\s*['\"]?").match(text, segment.offset)
                offset, name = (found.end() if found else segment.offset), segment.name
            self.problems.error(
                problem.code, locate(offset, len(name)), problem.message, problem.hint
            )

    def bare(self, node: Node, scope: Scope, what: str) -> tuple[Expr, CelType] | None:
        """Read a field that takes bare CEL or one whole ``${{ }}``."""
        if not isinstance(node, Scalar):
            kind = "a list" if isinstance(node, ListNode) else "a map"
            message = f"`{what}` takes an expression, not {kind}"
            self.problems.error("WFE011", node.span, message)
            return None
        scalar = node.original or node
        pieces = split(scalar.value)
        if len(pieces) == 1 and isinstance(pieces[0], Expression):
            return self._cel(pieces[0], scalar, scope)
        inner = next((p for p in pieces if isinstance(p, Expression | Unclosed)), None)
        if inner is not None:
            offset = inner.start if isinstance(inner, Expression) else inner.offset
            message = f"`{what}` is an expression as a whole, it cannot contain `${{{{ }}}}`"
            hint = "remove `${{` and `}}`"
            self.problems.error("WFE036", scalar.locate(offset, 3), message, hint)
            return None
        return self._bare_text(scalar, pieces, scope)

    def _bare_text(
        self, scalar: Scalar, pieces: Sequence[Piece], scope: Scope
    ) -> tuple[Expr, CelType] | None:
        plain = resolve(scalar.value) if scalar.style is None else scalar.value
        if isinstance(plain, bool):
            return Value(plain), CelType.BOOL
        text = scalar.value
        for piece in pieces:
            if isinstance(piece, Variable):
                if scope.variables.find(piece.name) is MISSING:
                    if piece.default is None:  # reported when variables were put in
                        return None
                    values = {**scope.variables.values, piece.name: resolve(piece.default.strip())}
                    scope = attrs.evolve(
                        scope, variables=attrs.evolve(scope.variables, values=values)
                    )
                name = f"var.{piece.name}".ljust(len(piece.text))
                text = text[: piece.offset] + name + text[piece.offset + len(piece.text) :]
        lead = len(text) - len(text.lstrip())
        checked = self.check(text.strip(), lambda o, w: scalar.locate(lead + o, w), scope)
        return None if checked is None else (Cel(checked[0]), checked[1])

    def _cel(self, piece: Expression, scalar: Scalar, scope: Scope) -> tuple[Expr, CelType] | None:
        checked = self.check(piece.text, lambda o, w: scalar.locate(piece.offset + o, w), scope)
        return None if checked is None else (Cel(checked[0]), checked[1])

    def condition(self, node: Node, scope: Scope, what: str) -> Expr | None:
        """Read a field that takes true or false."""
        found = self.bare(node, scope, what)
        if found is None:
            return None
        if not CelType.BOOL.accepts(found[1]):
            message = f"`{what}` takes true or false, this gives {_article(found[1])}"
            test = {"string": " != ''", "int": " > 0", "double": " > 0.0"}.get(found[1].signature)
            text = getattr(node, "value", "").removeprefix("${{").removesuffix("}}").strip()
            hint = f"compare it: `{text}{test}`" if test and text.isprintable() else None
            self.problems.error("WFE035", node.span, message, hint or "write a comparison")
            return None
        return found[0]

    def value(self, node: Node, scope: Scope) -> tuple[Expr, CelType] | None:
        """Read a field that is literal but for its ``${{ }}``; ``None`` when something is wrong."""
        match node:
            case Scalar():
                return self._scalar(node, scope)
            case ListNode():
                found = [self.value(item, scope) for item in node.items]
                parts = [part for part in found if part is not None]
                return self._list(parts) if len(parts) == len(found) else None
            case MapNode():
                fields = {name: self.value(e.value, scope) for name, e in node.entries.items()}
                known = {name: field for name, field in fields.items() if field is not None}
                return self._map(known) if len(known) == len(fields) else None

    def _list(self, parts: Sequence[tuple[Expr, CelType]]) -> tuple[Expr, CelType]:
        kinds = {kind for _, kind in parts}
        kind = CelType.list_of(kinds.pop() if len(kinds) == 1 else CelType.DYN)
        if all(isinstance(part, Value) for part, _ in parts):
            return Value([part.value for part, _ in parts if isinstance(part, Value)]), kind
        return ListOf(tuple(part for part, _ in parts)), kind

    def _map(self, fields: Mapping[str, tuple[Expr, CelType]]) -> tuple[Expr, CelType]:
        kind = CelType.map_of(CelType.DYN)
        if all(isinstance(part, Value) for part, _ in fields.values()):
            constant = {n: part.value for n, (part, _) in fields.items() if isinstance(part, Value)}
            return Value(constant), kind
        return Record(tuple((name, part) for name, (part, _) in fields.items())), kind

    def _scalar(self, node: Scalar, scope: Scope) -> tuple[Expr, CelType] | None:
        if not has_pieces(node.value) or (node.original is not None and not node.fixed):
            value = resolve(node.value) if node.style is None else node.value
            return Value(value), type_of_value(value)
        pieces = split(node.value, node.fixed)
        if not any(isinstance(piece, Expression | Unclosed) for piece in pieces):
            literal = "".join(
                piece.text for piece in pieces if isinstance(piece, Literal | Variable)
            )
            value = resolve(literal) if node.style is None and literal == node.value else literal
            return Value(value), type_of_value(value)
        if len(pieces) == 1 and isinstance(pieces[0], Expression):
            return self._cel(pieces[0], node, scope)
        return self._text(node, pieces, scope)

    def _text(
        self, node: Scalar, pieces: Sequence[Piece], scope: Scope
    ) -> tuple[Expr, CelType] | None:
        parts: list[Expr] = []
        wrong = False
        for piece in pieces:
            match piece:
                case Expression():
                    found = self._cel(piece, node, scope)
                    wrong = wrong or found is None
                    parts += [found[0]] if found else []
                case Unclosed():
                    self._unclosed(node, piece)
                    wrong = True
                case Literal() | Variable():
                    parts.append(Value(piece.text))
        return None if wrong else (Text(tuple(parts)), CelType.STRING)

    def _unclosed(self, node: Scalar, piece: Unclosed) -> None:
        message = "`${{` has no `}}`"
        hint = "close it, or write `$${{` for the characters themselves"
        self.problems.error("WFE036", node.locate(piece.offset, 3), message, hint)

    def script(self, node: Scalar, scope: Scope, prefix: str = "WFE_EXPR_") -> Script | None:
        """Read shell code; each interpolation becomes a variable, so no value can become code."""
        scalar = node.original or node
        if not has_pieces(scalar.value):
            return Script(scalar.value, {})
        text: list[str] = []
        holes: list[tuple[Piece, Expr]] = []
        wrong = False
        for piece in split(scalar.value):
            found = self._hole(scalar, piece, scope)
            if isinstance(found, str):
                text.append(found)
            elif found is None:
                wrong = True
            else:
                text.append(HOLE)
                holes.append((piece, found))
        if wrong:
            return None
        return self._quoted("".join(text), holes, scalar, prefix)

    def _hole(self, scalar: Scalar, piece: Piece, scope: Scope) -> str | Expr | None:
        match piece:
            case Literal():
                return piece.text
            case Unclosed():
                self._unclosed(scalar, piece)
                return None
            case Expression():
                found = self._cel(piece, scalar, scope)
                return None if found is None else found[0]
            case Variable():
                value = scope.variables.find_text(piece.name)
                if value is None and piece.default is not None:
                    value = piece.default.strip()
                return None if value is None else Value(value)

    def _quoted(
        self, script: str, holes: Sequence[tuple[Piece, Expr]], scalar: Scalar, prefix: str
    ) -> Script | None:
        found = sorted(places(script), key=lambda place: place.offset)
        text, env, at, wrong = "", dict[str, Expr](), 0, False
        for number, (place, (piece, expr)) in enumerate(zip(found, holes, strict=True), 1):
            name = f"{prefix}{number}"
            reference = _REFERENCES.get(place.context)
            if reference is None:
                self._misplaced(place, piece, scalar, script)
                wrong = True
                continue
            env[name] = expr
            text += script[at : place.offset] + reference.format(name=name)
            at = place.offset + 1
        return None if wrong else Script(text + script[at:], env)

    def _misplaced(self, place: Place, piece: Piece, scalar: Scalar, script: str) -> None:
        start = piece.start if isinstance(piece, Expression) else getattr(piece, "offset", 0)
        width = (
            piece.end - start if isinstance(piece, Expression) else len(getattr(piece, "text", " "))
        )
        message = f"the shell does not expand an interpolation {place.context.value}"
        if place.context is Context.ARITHMETIC:
            message = "an interpolation in shell arithmetic would be evaluated as code"
        word = re.compile(r"<<-?\s*(\S+)").match(script, place.opened)
        hint = _FIXES[place.context].format(word=word[1] if word else "'EOF'")
        self.problems.error("WFE037", scalar.locate(start, width), message, hint)


_REFERENCES: Final = {
    Context.UNQUOTED: '"${{{name}}}"',
    Context.DOUBLE: "${{{name}}}",
    Context.HEREDOC: "${{{name}}}",
    Context.COMMENT: "${{{name}}}",
}
_FIXES: Final = {
    Context.SINGLE: "put it in double quotes, or end the single quotes: 'a '${{{{ ... }}}}' b'",
    Context.ANSI: "end the $'...' text before it",
    Context.QUOTED_HEREDOC: "remove the quotes around {word}, or use a variable set before it",
    Context.ARITHMETIC: "compute it in the expression, for example `${{{{ inputs.n + 1 }}}}`",
    Context.ESCAPED: "remove the backslash; write `$${{{{` for the characters themselves",
    Context.PARAMETER: "assign it to a variable first, and expand that",
    Context.DELIMITER: "write the end word itself",
}


def _article(kind: CelType) -> str:
    name = kind.signature
    return f"an {name}" if name[:1] in "aeiou" else f"a {name}"


def _end_of(path: CelPath, covered: int, text: str) -> int | None:
    """Return where the first *covered* segments end, ``None`` if they are not written together."""
    segment = path.segments[covered - 1]
    found = (_INDEX if segment.index else _DOT).match(text, segment.offset)
    if found is None or not _PATH.fullmatch(text, path.offset, found.end()):
        return None
    return found.end()


def _substitute(
    text: str, resolved: Sequence[tuple[CelPath, Resolved]]
) -> tuple[str, str, dict[str, CelType]]:
    """Return the text to type-check, the text to store, and the variables of the first.

    In the text to check, what a variable covers is a name of the same length, so places stay right.
    """
    checked = stored = ""
    declared: dict[str, CelType] = {}
    at = 0
    for number, (path, found) in enumerate(resolved):
        end = _end_of(path, found.covered, text) if found.covered else None
        if end is None or path.offset < at:
            declared[path.root] = CelType.DYN if found.covered else found.kind
            continue
        alias = f"_{number}".ljust(end - path.offset, "_")
        declared[alias] = found.kind
        checked += text[at : path.offset] + alias
        stored += text[at : path.offset] + (found.replace or text[path.offset : end])
        at = end
    return checked + text[at:], stored + text[at:], declared
