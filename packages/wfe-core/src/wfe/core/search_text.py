"""Words of texts, and what a caller typed to find them: the same for every index."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from wfe.core.search import Term

__all__ = ["field_text", "fields_of", "leaves_of", "parse_terms", "text_of", "words"]

_WORD: Final = re.compile(r"[^\W_]+")
_LONGEST_WORD: Final = 64  # characters; what follows does not count
_TERM: Final = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')
_LONGEST_VALUE: Final = 256  # characters of a field's text; longer ones are found by words only
_LONGEST_PATH: Final = 200
_MOST_FIELDS: Final = 256
_DEEPEST: Final = 8
_BETWEEN: Final = "\ue000"  # a word for every tokenizer, none of ours
_LONGEST_TEXT: Final = 65_536  # characters of a run's or a line's words


def words(text: str) -> list[str]:
    """Return the words of a text: letters and digits, in lower case; all else separates them."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return [word[:_LONGEST_WORD] for word in _WORD.findall(plain)]


def parse_terms(text: str) -> tuple[Term, ...]:
    """Return what *text* asks for.

    ``word`` must occur, ``"some words"`` next to each other, ``begin*`` as the beginning of a
    word, ``-word`` (or ``-"some words"``) not at all.  A word that has other characters in it, as
    ``order-17`` has, stands for its parts next to each other.
    """
    terms: list[Term] = []
    for minus, phrase, word in _TERM.findall(text):
        found = tuple(words(phrase or word))
        if found:
            prefix = not phrase and word.endswith("*")
            terms.append(Term(found, prefix=prefix, exclude=bool(minus)))
    return tuple(terms)


def field_text(value: object) -> str | None:
    """Return a scalar as the text by which fields are compared; ``None``: it is no scalar.

    5 and 5.0 are ``5``, true is ``true``, null is ``null``, a text is itself.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case float() if value.is_integer():
            return str(int(value))
        case int() | float() | str():
            return str(value)
        case _:
            return None


def fields_of(
    data: Mapping[str, Any], only: Collection[str] | None = None
) -> tuple[tuple[str, str], ...]:
    """Return (path, text) of the scalar leaves of *data*, in order, up to a limit.

    Members are joined by dots; the elements of a list all have its path.  Long texts are left
    out: these are found by their words only.

    Args:
        data: As JSON.
        only: Paths (with all below them); ``None``: all.
    """
    found: dict[tuple[str, str], None] = {}
    for path, value in leaves_of(data, only):
        if len(found) >= _MOST_FIELDS:
            break
        if len(path) <= _LONGEST_PATH and len(value) <= _LONGEST_VALUE:
            found[path, value] = None
    return tuple(found)


def leaves_of(
    data: Mapping[str, Any], only: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the scalar leaves of *data*, of any length; see :func:`fields_of`."""
    for path, value in _leaves("", data, _DEEPEST):
        if only is None or any(path == each or path.startswith(f"{each}.") for each in only):
            yield path, value


def text_of(parts: Iterable[str]) -> str:
    """Return the words of all *parts* with one space between, up to a limit.

    Between two parts is one that nobody looks for, so that no phrase goes over the end of one.
    """
    found: list[str] = []
    left = _LONGEST_TEXT
    for part in parts:
        if left <= 0:
            break
        some = words(part[:left])
        if some and found:
            found.append(_BETWEEN)
        found.extend(some)
        left -= sum(map(len, some)) + len(some)
    return " ".join(found)


def _leaves(path: str, value: object, depth: int) -> Iterator[tuple[str, str]]:
    text = field_text(value)
    if text is not None:
        yield path, text
        return
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        if "$" in members:  # a decimal, a date … (``wfe.core.codec``)
            inner: Iterable[tuple[str, object]] = ((path, members.get("v")),)
        else:
            inner = ((f"{path}.{name}" if path else name, each) for name, each in members.items())
    else:
        inner = ((path, each) for each in cast("list[object]", value))
    if depth:
        for below, each in inner:
            yield from _leaves(below, each, depth - 1)
