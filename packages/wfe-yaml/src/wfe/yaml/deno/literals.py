"""Find the outputs that a script names in so many words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["literal_outputs"]

_TOKENS: Final = re.compile(
    r"//[^\n]*|/\*.*?(?:\*/|\Z)"
    r"|(?<![\w$.])(?:Wfe\s*\.\s*)?(?:setOutput|output)\s*\(\s*"
    r"(?P<text>\"(?P<double>[^\"\\\n]*)\"|'(?P<single>[^'\\\n]*)'|`(?P<back>[^`\\$]*)`)\s*[,)]"
    r"|(?P<quote>[\"'`])",
    re.DOTALL,
)
_REST: Final = {
    '"': re.compile(r"(?:\\.|[^\"\\\n])*\"", re.DOTALL),
    "'": re.compile(r"(?:\\.|[^'\\\n])*'", re.DOTALL),
    "`": re.compile(r"(?:\\.|[^`\\])*`", re.DOTALL),
}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,199}")


def literal_outputs(script: str) -> frozenset[str]:
    """Return the names that stand as literals in ``setOutput("name", ...)`` or ``output(...)``.

    What stands in comments and in other texts is no call.
    """
    return frozenset(name for name in _calls(script) if _NAME.fullmatch(name))


def _calls(script: str) -> Iterator[str]:
    """Yield what stands as first argument of a call."""
    at = 0
    # A quote that nothing closes: no other of its kind before that place is closed either.
    unclosed: dict[str, int] = {}
    while (found := _TOKENS.search(script, at)) is not None:
        at = found.end()
        if found["text"]:
            yield found["double"] or found["single"] or found["back"] or ""
        quote = found["quote"]
        if quote is None or at <= unclosed.get(quote, 0):
            continue
        rest = _REST[quote].match(script, at)
        if rest is not None:
            at = rest.end()
            continue
        end = script.find("\n", at) if quote != "`" else -1
        unclosed[quote] = len(script) if end < 0 else end
