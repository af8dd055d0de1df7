"""Turn scalars, lists and maps with expressions into what the engine evaluates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from wfe.core.cel_types import CelType
from wfe.core.definition import Cel, Expr, ListOf, Record, Text, Value
from wfe.core.lean import frozen
from wfe.yaml.diagnostics import Problems
from wfe.yaml.expression_check import Locate, check_expression, constant_truth
from wfe.yaml.flows import secrets_in
from wfe.yaml.pieces import Expression, Literal, Piece, Unclosed, Variable, has_pieces, split
from wfe.yaml.scalars import resolve
from wfe.yaml.scope import Scope
from wfe.yaml.scripts import Script, with_references
from wfe.yaml.shell_quoting import HOLE
from wfe.yaml.tree import ListNode, MapNode, Node, Scalar
from wfe.yaml.value_types import described, type_of_value
from wfe.yaml.variables import MISSING

__all__ = ["Expressions", "Script"]


@frozen
class Expressions:
    """Checks what it reads; what is wrong goes to *problems*."""

    problems: Problems

    def check(self, text: str, locate: Locate, scope: Scope) -> tuple[str, CelType] | None:
        """Return the expression as it is stored, and its type; ``None`` when it is wrong."""
        return check_expression(text, locate, scope, self.problems)

    def bare(self, node: Node, scope: Scope, what: str) -> tuple[Expr, CelType] | None:
        """Read a field that takes bare CEL or one whole ``${{ }}``."""
        if not isinstance(node, Scalar):
            kind = "a list" if isinstance(node, ListNode) else "a map"
            message = f"`{what}` takes an expression, not {kind}"
            self.problems.error("WFE011", node.span, message)
            return None
        scalar, scope = node.original or node, scope.into(f"`{what}`")
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
        if piece.text in {"true", "false"}:
            return Value(piece.text == "true"), CelType.BOOL
        checked = self.check(piece.text, lambda o, w: scalar.locate(piece.offset + o, w), scope)
        return None if checked is None else (Cel(checked[0]), checked[1])

    def condition(self, node: Node, scope: Scope, what: str) -> Expr | None:
        """Read a field that takes true or false."""
        found = self.bare(node, scope, what)
        if found is None:
            return None
        if not CelType.BOOL.accepts(found[1]):
            message = f"`{what}` takes true or false, this gives {described(found[1])}"
            test = {"string": " != ''", "int": " > 0", "double": " > 0.0"}.get(found[1].signature)
            text = getattr(node, "value", "").removeprefix("${{").removesuffix("}}").strip()
            hint = f"compare it: `{text}{test}`" if test and text.isprintable() else None
            self.problems.error("WFE035", node.span, message, hint or "write a comparison")
            return None
        if isinstance(found[0], Cel) and isinstance(node, Scalar):
            self._refuse_constant(found[0].text, node, what)
        return found[0]

    def _refuse_constant(self, stored: str, node: Scalar, what: str) -> None:
        """Report a condition that is the same whatever it reads, unless load-time variables say."""
        written = (node.original or node).value
        if "((" in written or _VAR.search(written) or (what == "while" and "true" in written):
            return
        truth = constant_truth(stored)
        if truth is not None:
            word = str(truth).lower()
            message = f"`{what}` is always {word}, whatever it reads"
            hint = f"write `{what}: {word}` if that is meant"
            self.problems.error("WFE092", node.span, message, hint)

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

    def secret_name(self, node: Node, scope: Scope) -> Expr | None:
        """Read the value of an input of type ``secret``: its name, or an expression of one.

        ``${{ secrets.token }}`` gives the name ``token``, and ``${{ inputs.token }}`` (of an input
        of type secret) the name that the input holds: what is handed on is never the value.
        """
        if not isinstance(node, Scalar):
            message = "a secret is given by its name, or as `${{ secrets.NAME }}`"
            self.problems.error("WFE011", node.span, message)
            return None
        if "${{" not in node.value:
            return Value(node.value)
        found = self.value(node, scope.for_secrets())
        if found is None:
            return None
        names = secrets_in(found[0])
        whole = isinstance(found[0], Cel) and _SECRET.fullmatch(found[0].text)
        if len(names) != 1 or not whole:
            message = "the input takes a secret, and this gives a value that is none"
            hint = "write `${{ secrets.NAME }}`, or an input of type secret, and nothing else"
            self.problems.error("WFE090", node.span, message, hint)
            return None
        return names[0]

    def script(
        self,
        node: Scalar,
        scope: Scope,
        prefix: str = "WFE_EXPR_",
        *,
        language: str = "bash",
    ) -> Script | None:
        """Read code; each interpolation becomes a variable, so no value can become code.

        Args:
            node: The code.
            scope: Of the step.
            prefix: Of the variables' names.
            language: ``bash``, ``sh``, ``python``, ``pwsh`` or ``javascript``.
        """
        scope = scope.for_secrets()
        scalar = node.original or node
        if not has_pieces(scalar.value):
            return Script(scalar.value, {})
        text: list[str] = []
        holes: list[tuple[Piece, Expr]] = []
        wrong = False
        for piece in split(scalar.value):
            found = self._hole(scalar, piece, scope)
            if isinstance(found, str):
                # No program takes a NUL, and here it would be a hole that nothing fills.
                text.append(found.replace(HOLE, "\ufffd"))
            elif found is None:
                wrong = True
            else:
                text.append(HOLE)
                holes.append((piece, found))
        if wrong:
            return None
        code = "".join(text)
        return with_references(code, holes, scalar, prefix, language, self.problems)

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


_VAR: Final = re.compile(r"(?<![\w.])var\b")
_INPUT: Final = r"inputs(?:\.\w+|\[[^\]]*\])"
_SECRET: Final = re.compile(
    rf"secrets(?:\.\w+|\[\s*(?:'[^'\\]*'|\"[^\"\\]*\"|{_INPUT})\s*\])"
    # An optional input, which may be null.
    rf"|\(({_INPUT}) == null \? null : secrets\[\1\]\)"
)
