"""Read the code of a step; no value may ever become part of it."""

from __future__ import annotations

from typing import Final

import attrs

from wfe.yaml.context import Context
from wfe.yaml.pieces import Expression, Literal, Unclosed, Variable, has_pieces, split
from wfe.yaml.scope import Scope
from wfe.yaml.scripts import Script
from wfe.yaml.tree import Node, Scalar

__all__ = ["read_code"]

SHELLS: Final = ("bash", "sh")
_BY_VARIABLE: Final = (*SHELLS, "python", "pwsh")
"""Languages in which an interpolation becomes a reference to an environment variable."""
_REFUSED: Final = "javascript"
"""A language that has a way of its own to read values, which the message names."""


def read_code(
    node: Node,
    key: str,
    language: str | None,
    context: Context,
    scope: Scope,
    *,
    variables: bool,
) -> Script | None:
    """Read code; ``None`` when it is wrong.

    Args:
        node: The value.
        key: Of ``config``, for messages.
        language: Of the code; ``None``: of one that has no way to take values.
        context: Of the workflow.
        scope: Of the step.
        variables: Whether the step type has an environment.
    """
    shell = language in SHELLS
    thing, noun = ("a shell command", "commands") if shell else ("the code", "code")
    if not isinstance(node, Scalar):
        hint = f"write the {noun} as one text: `{key}: |`"
        context.problems.error("WFE011", node.span, f"`{key}` is a text", hint)
        return None
    if node.original is None and context.reader.text(_bare(node), f"`{key}`") is None:
        return None
    if language is not None and (language == _REFUSED or (language in _BY_VARIABLE and variables)):
        script = context.expressions.script(node, scope, language=language)
    else:
        script = _without_values(node, key, context)
    if script is not None and not script.text.strip():
        context.problems.error("WFE013", node.span, f"`{key}` is empty", f"write {thing}")
        return None
    return script


def _bare(code: Scalar) -> Scalar:
    """Return *code* so that only its kind is looked at: expressions are allowed in it."""
    return attrs.evolve(code, fixed=((0, len(code.value)),))


def _without_values(node: Scalar, key: str, context: Context) -> Script | None:
    scalar = node.original or node
    if not has_pieces(scalar.value):
        return Script(scalar.value, {})
    text: list[str] = []
    wrong = False
    for piece in split(scalar.value):
        match piece:
            case Literal():
                text.append(piece.text)
            case Expression() | Unclosed() | Variable():
                _refuse(piece, scalar, key, context)
                wrong = True
    return None if wrong else Script("".join(text), {})


def _refuse(
    piece: Expression | Unclosed | Variable, scalar: Scalar, key: str, context: Context
) -> None:
    start = piece.start if isinstance(piece, Expression) else piece.offset
    width = piece.end - start if isinstance(piece, Expression) else 2
    message = f"`{key}` is code: a value that is put in would become part of it"
    hint = "give it to the step in another key, or in `inputs`"
    context.problems.error("WFE036", scalar.locate(start, width), message, hint)
