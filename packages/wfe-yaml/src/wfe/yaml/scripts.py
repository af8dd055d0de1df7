"""Put interpolations into code as references to environment variables, so none becomes code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from wfe.core.definition import Expr
from wfe.core.lean import frozen
from wfe.yaml.diagnostics import Problems
from wfe.yaml.pieces import Expression, Piece
from wfe.yaml.shell_quoting import HOLE, Context, Place, places
from wfe.yaml.tree import Scalar

__all__ = ["Script", "with_references"]


@frozen
class Script:
    """Code in which every interpolation became a reference to an environment variable.

    Attributes:
        text: The code.
        env: Those variables.
    """

    text: str
    env: Mapping[str, Expr]


@frozen(kw_only=True)
class _Language:
    """How a language reads an environment variable at a place, and what to do where it does not.

    Attributes:
        references: By context; where there is none, an interpolation is an error.
        fixes: By context.
        words: What messages call a context, where that is not what a shell calls it.
        message: What is said instead wherever an interpolation stands.
    """

    reader: str
    references: Mapping[Context, str]
    fixes: Mapping[Context, str]
    words: Mapping[Context, str] = attrs.field(factory=dict[Context, str])
    message: str = ""


def with_references(
    script: str,
    holes: Sequence[tuple[Piece, Expr]],
    scalar: Scalar,
    prefix: str,
    language: str,
    problems: Problems,
) -> Script | None:
    """Return the code with a reference for each :data:`HOLE`; ``None`` when one cannot stand there.

    Args:
        script: The code.
        holes: What stands for each hole, in order.
        scalar: Where it is from, for messages.
        prefix: Of the names of the variables.
        language: ``bash``, ``sh``, ``python``, ``pwsh`` or ``javascript``.
        problems: Take what is wrong.
    """
    rules = _LANGUAGES[language]
    found = sorted(_SCANNERS.get(language, places)(script), key=lambda place: place.offset)
    text, env, at, wrong = "", dict[str, Expr](), 0, False
    for number, (place, (piece, expr)) in enumerate(zip(found, holes, strict=True), 1):
        name = f"{prefix}{number}"
        reference = rules.references.get(place.context)
        if reference is None:
            _misplaced(place, piece, scalar, script, rules, problems)
            wrong = True
            continue
        env[name] = expr
        text += script[at : place.offset] + reference.format(name=name)
        at = place.offset + 1
    return None if wrong else Script(text + script[at:], env)


def _misplaced(
    place: Place, piece: Piece, scalar: Scalar, script: str, rules: _Language, problems: Problems
) -> None:
    start = piece.start if isinstance(piece, Expression) else getattr(piece, "offset", 0)
    width = piece.end - start if isinstance(piece, Expression) else len(getattr(piece, "text", " "))
    where = rules.words.get(place.context, place.context.value)
    message = rules.message or f"{rules.reader} does not expand an interpolation {where}"
    if place.context is Context.ARITHMETIC:
        message = "an interpolation in shell arithmetic would be evaluated as code"
    word = re.compile(r"<<-?\s*(\S+)").match(script, place.opened)
    hint = rules.fixes[place.context].format(word=word[1] if word else "'EOF'")
    problems.error("WFE037", scalar.locate(start, width), message, hint)


_PYTHON_TOKEN: Final = re.compile(
    r"#[^\n]*|[A-Za-z]{0,2}(?P<quote>\"\"\"|'''|\"|')|\0",
)


def _python_places(script: str) -> list[Place]:
    """Return how Python reads each hole: as code, in a text, or in a comment."""
    found: list[Place] = []
    at = 0
    while (token := _PYTHON_TOKEN.search(script, at)) is not None:
        at = token.end()
        context = Context.UNQUOTED
        if token["quote"]:
            at = _end_of_text(script, at, token["quote"])
            context = Context.SINGLE
        elif token[0][0] == "#":
            context = Context.COMMENT
        holes = [i for i in range(token.start(), at) if script[i] == HOLE]
        found += [Place(i, context, token.start()) for i in holes]
    return found


def _end_of_text(script: str, at: int, quote: str) -> int:
    """Return where a Python text that began before *at* ends; one quote's ends with its line."""
    end = re.compile(rf"\\.|{quote}" + ("" if len(quote) == 3 else r"|\n"), re.DOTALL)
    while (found := end.search(script, at)) is not None:
        at = found.end()
        if found[0][0] != "\\":
            return at
    return len(script)


_PWSH_TOKEN: Final = re.compile(
    r"(?P<block><\#.*?(?:\#>|\Z))|(?P<comment>(?<![^\s;(){}|&])\#[^\n]*)"
    r"|(?P<literal>@'[ \t]*\n.*?(?:\n'@|\Z)|'(?:''|[^'])*(?:'|\Z))"
    r"|(?P<text>@\"[ \t]*\n.*?(?:\n\"@|\Z)|\"(?:`.|\"\"|[^\"`])*(?:\"|\Z))"
    r"|(?P<escape>`.)|(?P<hole>\0)",
    re.DOTALL,
)
_PWSH_CONTEXTS: Final[Mapping[str, Context]] = {
    "block": Context.COMMENT,
    "comment": Context.COMMENT,
    "literal": Context.SINGLE,
    "text": Context.DOUBLE,
    "escape": Context.ESCAPED,
    "hole": Context.UNQUOTED,
}


def _pwsh_places(script: str) -> list[Place]:
    """Return how PowerShell reads each hole."""
    found: list[Place] = []
    for token in _PWSH_TOKEN.finditer(script):
        context = _PWSH_CONTEXTS[str(token.lastgroup)]
        for i in range(token.start(), token.end()):
            if script[i] != HOLE:
                continue
            here = context
            if here is Context.DOUBLE and script[i - 1] == "`":
                here = Context.ESCAPED
            if here is Context.UNQUOTED and _in_switch(script, i):
                here = Context.PARAMETER
            found.append(Place(i, here, token.start()))
    return found


_BREAKS: Final = " \t\r\n\f\v\x85\xa0;|&(){}"
_NEAR: Final = 1000  # characters of a word that are looked back at


def _in_switch(script: str, at: int) -> bool:
    """Whether *at* is inside a word that begins with a dash, which PowerShell does not expand."""
    window = max(0, at - _NEAR)
    start = max(script.rfind(char, window, at) for char in _BREAKS) + 1
    if start == 0 and window:
        return True  # a word that long is nothing that anybody writes: an error is the safe answer
    return script.startswith("-", start) and at > start + 1


def _every_place(script: str) -> list[Place]:
    return [Place(i, Context.SINGLE, i) for i, char in enumerate(script) if char == HOLE]


_SHELL: Final = _Language(
    reader="the shell",
    references={
        Context.UNQUOTED: '"${{{name}}}"',
        Context.DOUBLE: "${{{name}}}",
        Context.HEREDOC: "${{{name}}}",
        Context.COMMENT: "${{{name}}}",
    },
    fixes={
        Context.SINGLE: "put it in double quotes, or end the single quotes: 'a '${{{{ ... }}}}' b'",
        Context.ANSI: "end the $'...' text before it",
        Context.QUOTED_HEREDOC: "remove the quotes around {word}, or use a variable set before it",
        Context.ARITHMETIC: "compute it in the expression, for example `${{{{ inputs.n + 1 }}}}`",
        Context.ESCAPED: "remove the backslash; write `$${{{{` for the characters themselves",
        Context.PARAMETER: "assign it to a variable first, and expand that",
        Context.DELIMITER: "write the end word itself",
    },
)
_PYTHON: Final = _Language(
    reader="Python",
    references={
        # The script need not import `os`.
        Context.UNQUOTED: '__import__("os").environ["{name}"]',
        Context.COMMENT: "{name}",
    },
    fixes={
        Context.SINGLE: "write it outside of quotes, it is a text already: `name = ${{{{ ... }}}}`"
    },
    words={Context.SINGLE: "inside a text"},
)
_PWSH: Final = _Language(
    reader="PowerShell",
    references={
        Context.UNQUOTED: "${{env:{name}}}",
        Context.DOUBLE: "${{env:{name}}}",
        Context.COMMENT: "{name}",
    },
    fixes={
        Context.SINGLE: "put it in double quotes",
        Context.ESCAPED: "remove the backtick; write `$${{{{` for the characters themselves",
        Context.PARAMETER: 'put the whole argument in double quotes: `"--name=${{{{ ... }}}}"`',
    },
    words={
        Context.ESCAPED: "after a backtick",
        Context.PARAMETER: "in a word that begins with `-`",
    },
)
_JAVASCRIPT: Final = _Language(
    reader="JavaScript",
    references={},
    fixes={Context.SINGLE: "give it to the step in `inputs`, and read it with `inputs().name`"},
    message="a value in a script would become JavaScript code",
)
_LANGUAGES: Final[Mapping[str, _Language]] = {
    "bash": _SHELL,
    "sh": _SHELL,
    "python": _PYTHON,
    "pwsh": _PWSH,
    "javascript": _JAVASCRIPT,
}
_SCANNERS: Final = {
    "python": _python_places,
    "pwsh": _pwsh_places,
    "javascript": _every_place,
}
