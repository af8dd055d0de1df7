"""What the CEL library complains about, in words that help its user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from wfe.core.cel_forms import FORMS
from wfe.core.lean import frozen

__all__ = ["ERROR", "CelProblem", "first_line", "problems_of", "runtime_message"]


@frozen
class CelProblem:
    """One thing that is wrong in an expression.

    Attributes:
        message: What, without a place.
        line: In the expression, from 1.
        column: In that line, in characters from 1.
        hint: What to do, ``None`` when the message says it.
    """

    message: str
    line: int = 1
    column: int = 1
    hint: str | None = None


ERROR: Final = re.compile(
    r"ERROR: <input>:(?P<line>\d+):(?P<column>\d+): (?P<message>.*?)"
    r"(?=\n \||\nERROR:| \[[A-Z_]+\]$|$)",
    re.DOTALL,
)


def problems_of(error: str, text: str) -> Iterator[CelProblem]:
    """Yield what the library's message *error* about the expression *text* says, in order."""
    if not text.strip():
        yield CelProblem("the expression is empty")
        return
    seen: set[CelProblem] = set()
    for match in ERROR.finditer(error):
        line, column = int(match["line"]), int(match["column"])
        message = _readable(match["message"])
        hint = _hint(match["message"])
        problem = CelProblem(message, line, max(column, 1), hint) if line else CelProblem(message)
        # What is said about `*error*` follows from an earlier problem.
        if problem not in seen and "*error*" not in message:
            seen.add(problem)
            yield problem
    if not seen:
        yield CelProblem(_readable(first_line(error)))


_REWRITES: Final = tuple(
    (re.compile(pattern, re.DOTALL), wording)
    for pattern, wording in (
        (r"^Syntax error: \w+ input 'and'.*", "`and` is no operator; write `&&`"),
        (r"^Syntax error: \w+ input 'or'.*", "`or` is no operator; write `||`"),
        (
            r"^Syntax error: (?:mismatched|extraneous) input '<EOF>'.*",
            "the expression ends too early",
        ),
        (r"^Syntax error: missing '(.*?)' at '<EOF>'.*", r"`\1` is missing at the end"),
        (r"^Syntax error: missing '(.*?)' at '(.*?)'.*", r"`\1` is missing before `\2`"),
        (
            r"^Syntax error: (?:mismatched|extraneous) input '(.*)' expecting.*",
            r"`\1` does not belong here",
        ),
        (r"^Syntax error: no viable alternative at input '(.*)'.*", r"`\1` is not an expression"),
        (
            r"^Syntax error: token recognition error at: '= ?'.*",
            "`=` is no operator; compare with `==`",
        ),
        (r"^Syntax error: token recognition error at: '(['\"].*)'$", r"the string \1 has no end"),
        (
            r"^Syntax error: token recognition error at: '(.*)'$",
            r"`\1` is not part of the language",
        ),
        (r"^undeclared reference to '(.*?)' \(in container ''\)", r"unknown name `\1`"),
        (
            r"^found no matching overload for '_\?_:_' applied to '\((.*), (.*), (.*)\)'",
            r"`? :` takes a bool and two values of one type, not (\1, \2, \3)",
        ),
        (
            r"^found no matching overload for '_\[_\]' applied to '\((.*)\)'",
            r"`[ ]` cannot take (\1)",
        ),
        (
            r"^found no matching overload for '[@_]*([^'\w]+|in)_?' applied to '\((.*)\)'",
            r"`\1` cannot take (\2)",
        ),
        (r"^found no matching overload for '(.*?)' applied to '(.*)'", r"`\1` cannot take \2"),
        (
            r".*(?:Exceeded max recursion depth|recursion limit exceeded).*",
            "the expression is nested more than 32 deep, counting each part of `a + b + c`",
        ),
    )
)


def _readable(message: str) -> str:
    message = " ".join(message.split())
    for pattern, wording in _REWRITES:
        rewritten, count = pattern.subn(wording, message)
        if count:
            return rewritten
    return message


_REFUSED: Final = re.compile(r"found no matching overload for '(\w+)' applied to")
_NAME: Final = re.compile(r"undeclared reference to '(\w+)'")
_SIDES: Final = re.compile(
    r"found no matching overload for '_(?:[+*/%-]|[<>=!]=?)_' applied to '\((\w+), (\w+)\)'"
)
_ORDER: Final = re.compile(r"overload for '_[<>]=?_'")
_PLAIN: Final = frozenset({"bool", "bytes", "double", "int", "string", "uint"})


def _hint(message: str) -> str | None:
    """Return how the function that *message* is about is called, or how to make types one."""
    if "recursion" in message:
        return "let steps before compute parts of it, as their outputs"
    found = _REFUSED.search(message) or _NAME.search(message)
    if found is not None:
        forms = FORMS.get(found[1])
        return "write " + " or ".join(f"`{form}`" for form in forms) if forms else None
    sides = _SIDES.search(message)
    if sides is None or sides[1] == sides[2] or not _PLAIN.issuperset(sides.groups()):
        return None
    kinds = sides.groups()
    if _ORDER.search(message) and "string" in kinds:
        # As texts, "10" comes before "9".
        number = next((kind for kind in kinds if kind != "string"), "int")
        return f"both sides must be of one type: write `{number}(...)` around the text"
    # A text says anything; numbers are compared and added as the wider of two.
    wanted = next((kind for kind in ("string", "double") if kind in kinds), kinds[0])
    return f"both sides must be of one type: write `{wanted}(...)` around the other"


def first_line(message: str) -> str:
    return message.partition("\n")[0]


_UNFIT: Final = re.compile(r"No matching overloads found : (?:_?([^\w\s]+)_|(\w+))\((.*)\)")


def runtime_message(message: str) -> str:
    _, _, rest = message.partition(": ")
    missing = re.match(r'Key not found in map : "(.*)"', rest)
    if missing:
        return f"there is no `{missing[1]}`"
    unfit = _UNFIT.match(rest)
    if unfit is None:
        return rest or message
    kinds = unfit[3].replace("int64", "int").replace("null_type", "null")
    return f"`{unfit[1] or unfit[2]}` cannot take ({kinds})"
