"""Reads ``wfe.config.yaml`` by strictyaml: every key is known, and every value is read as text."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import strictyaml as _strictyaml  # type: ignore[import-untyped]

from wfe.host.config import ConfigError

__all__ = ["load_file"]

strictyaml: Any = _strictyaml  # it has no types

_HINTS: Final = {
    "FlowMappingDisallowed": "write one `- item` or `key: value` a line, without [ ] and { }",
    "TagTokenDisallowed": "leave out the tag: every value is a plain text",
    "AnchorTokenDisallowed": "leave out anchors and aliases: write the value again",
}
_COLON: Final = "mapping values are not allowed here"


class _Read(strictyaml.ScalarValidator):  # type: ignore[misc]  # as above
    """A scalar that *read* turns into a value; its ``ValueError`` says what is expected."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        self._read = read

    def validate_scalar(self, chunk: Any) -> Any:
        try:
            return self._read(chunk.contents)
        except ValueError as error:
            chunk.expecting_but_found(f"when expecting {error}", f"found {chunk.contents!r}")
            raise


def load_file(
    text: str,
    name: str,
    settings: Mapping[str, Callable[[str], Any]],
    urls: Sequence[str],
) -> dict[str, Any]:
    """Return what *text*, the contents of the file *name*, says.

    Args:
        text: YAML in block style; empty: nothing is said.
        name: For errors.
        settings: Keys of ``host`` with what reads each; one called ``labels`` is a list.
        urls: Top-level keys that are URLs.

    Raises:
        ConfigError: The text is not of this form.
    """
    if not re.sub(r"(?m)^\s*#.*$", "", text).strip():
        return {}
    strange = re.search(r"[^\t\n\r -\U0010ffff]|[\x7f-\x9f\ufffe\uffff]", text)
    if strange is not None:
        line = text.count("\n", 0, strange.start()) + 1
        raise ConfigError(f"the character {strange[0]!r} cannot stand here", f"{name}:{line}")
    try:
        found: dict[str, Any] = strictyaml.load(text, _schema(settings, urls), label=name).data
    except strictyaml.YAMLError as error:
        known = [*urls, "secrets", "host", "variables", *settings]
        raise _problem(error, name, known) from error
    return found


def _schema(settings: Mapping[str, Callable[[str], Any]], urls: Sequence[str]) -> Any:
    texts = strictyaml.Seq(strictyaml.Str())
    host = {
        strictyaml.Optional(key): texts if key == "labels" else _Read(read)
        for key, read in settings.items()
    }
    keys: dict[str, Any] = dict.fromkeys(urls, strictyaml.Str())
    keys["secrets"] = texts
    keys["host"] = strictyaml.Map(host)
    keys["variables"] = strictyaml.MapPattern(strictyaml.Str(), strictyaml.Any())
    return strictyaml.Map({strictyaml.Optional(key): each for key, each in keys.items()})


def _problem(error: Any, name: str, known: Sequence[str]) -> ConfigError:
    """Return our error for one of strictyaml's."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = name if mark is None else f"{name}:{mark.line + 1}"
    problem = str(getattr(error, "problem", None) or "this is no YAML text")
    unknown = re.search(r"unexpected key not in schema '([^']*)'", problem)
    if unknown is not None:
        near = difflib.get_close_matches(unknown[1], known, n=1)
        cure = f"did you mean {near[0]!r}?" if near else f"keys: {', '.join(known)}"
        return ConfigError(f"there is no setting {unknown[1]!r}", where, cure)
    form = _HINTS.get(type(error).__name__)
    if form is not None:
        return ConfigError("this form of YAML is not allowed here", where, form)
    if problem == _COLON:
        return ConfigError(problem, where, "put a value in quotes that ends in, or holds, a colon")
    context = str(getattr(error, "context", None) or "").removeprefix("when ")
    return ConfigError(f"{problem}, {context}" if context else problem, where)
