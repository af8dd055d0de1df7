"""What the indices look like: templates, by version, and names by date."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from wfe.core.lean import frozen
from wfe.opensearch.address import Address

__all__ = ["VERSION", "Names", "index_template", "typed_fields"]

VERSION: Final = 1
"""Of the templates; a host puts its own unless there are such of a later version."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEYWORD: Final = {"type": "keyword"}
_WORDS: Final = {"type": "text", "analyzer": "whitespace"}
_SHOWN: Final = {"type": "text", "index": False}
_LONG: Final = {"type": "long"}
_TYPES: Final = ("keyword", "long", "double", "boolean", "date")


@frozen
class Names:
    """Names that begin with a prefix; what has no date in it is also an alias and a template."""

    prefix: str

    @property
    def runs(self) -> str:
        """All runs."""
        return f"{self.prefix}-instances"

    @property
    def lines(self) -> str:
        """All log lines."""
        return f"{self.prefix}-logs"

    @property
    def meta(self) -> str:
        """Where the feeds stand."""
        return f"{self.prefix}-meta"

    def runs_of(self, created_at: int) -> str:
        """Return the index of a run: a run has one for ever, that of the month it began in."""
        return f"{self.runs}-{_date(created_at):%Y.%m}"

    def lines_of(self, at: int) -> str:
        """Return the index of a line: that of its day."""
        return f"{self.lines}-{_date(at):%Y.%m.%d}"


def _date(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def typed_fields(mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return the mapping of declared data fields.

    Args:
        mapping: Path to ``keyword``, ``long``, ``double``, ``boolean`` or ``date``.

    Raises:
        ValueError: A type is another, or a path has an empty part.
    """
    found: dict[str, Any] = {}
    for path, kind in mapping.items():
        if kind not in _TYPES:
            problem = f"mapping {path!r}: {kind!r} is unknown; there is {', '.join(_TYPES)}"
            raise ValueError(problem)
        if not all(path.split(".")):
            problem = f"mapping {path!r}: a path has names with one dot between"
            raise ValueError(problem)
        lenient = {} if kind in {"keyword", "boolean"} else {"ignore_malformed": True}
        found[path] = {"type": kind, **lenient}
    return found


_RUN: Final[dict[str, Any]] = {
    "n": _LONG,
    "rev": _LONG,
    "id": _KEYWORD,
    "definition": _KEYWORD,
    "version": _LONG,
    "name": _KEYWORD,
    "reference": _KEYWORD,
    "status": _KEYWORD,
    # As people and dashboards like it, and exactly.
    "created": {"type": "date"},
    "created_at": _LONG,
    "completed": {"type": "date"},
    "parent_id": _KEYWORD,
    "root_id": _KEYWORD,
    "error": _SHOWN,
    # One field however many paths the data have.
    "data": {"type": "flat_object"},
    "words": _WORDS,
}
_LINE: Final[dict[str, Any]] = {
    "l": _LONG,
    "n": _LONG,
    "id": _KEYWORD,
    "definition": _KEYWORD,
    "time": {"type": "date"},
    "at": _LONG,
    "step": _KEYWORD,
    "pointer": _LONG,
    "stream": _KEYWORD,
    "line": _SHOWN,
    "words": _WORDS,
}
_META: Final[dict[str, Any]] = {"cursor": {"type": "keyword", "index": False, "doc_values": False}}


def index_template(address: Address, name: str, typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a composable index template.

    Args:
        address: Which cluster.
        name: One of :class:`Names`.
        typed: As :func:`typed_fields` returns it.
    """
    names = Names(address.prefix)
    properties = {names.runs: _RUN, names.lines: _LINE, names.meta: _META}[name]
    if name == names.runs and typed:
        properties = {**properties, "typed": {"dynamic": "strict", "properties": dict(typed)}}
    settings: dict[str, Any] = {
        "index.number_of_shards": address.shards,
        # So long it is known of a deleted run that it was: what comes later is refused.
        "index.gc_deletes": "1h",
    }
    if address.replicas is None:
        settings["index.auto_expand_replicas"] = "0-1"
    else:
        settings["index.number_of_replicas"] = address.replicas
    dated = name != names.meta
    return {
        "index_patterns": [f"{name}-*"] if dated else [name],
        "priority": 200,
        "version": VERSION,
        "_meta": {"made_by": "wfe-opensearch"},
        "template": {
            "settings": settings,
            "mappings": {"dynamic": "strict", "properties": properties},
            **({"aliases": {name: {}}} if dated else {}),
        },
    }
