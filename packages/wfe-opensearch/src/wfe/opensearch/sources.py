"""Documents as the index keeps them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from wfe.core.models import from_micros
from wfe.core.search import LogDocument, LogHit, SearchDocument, SearchHit

__all__ = ["line_hit", "line_source", "run_hit", "run_source"]


def run_source(document: SearchDocument, typed: Collection[str]) -> dict[str, Any]:
    """Return the source of a run; *typed*: paths with a declared mapping."""
    source: dict[str, Any] = {
        "n": document.n,
        "rev": document.rev,
        "id": document.id,
        "definition": document.definition,
        "version": document.version,
        "name": document.name,
        "reference": document.reference,
        "status": document.status,
        "created": _time(document.created_at),
        "created_at": document.created_at,
        "completed": None if document.completed_at is None else _time(document.completed_at),
        "parent_id": document.parent_id,
        "root_id": document.root_id,
        "error": document.error,
        "data": _by_path(document),
        "words": document.text,
    }
    declared = {path: values for path, values in source["data"].items() if path in typed}
    if declared:
        source["typed"] = declared
    return source


def _by_path(document: SearchDocument) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path, text in document.fields:
        found.setdefault(path, []).append(text)
    return found


def line_source(line: LogDocument) -> dict[str, Any]:
    """Return the source of a line."""
    return {
        "l": line.l,
        "n": line.n,
        "id": line.id,
        "definition": line.definition,
        "time": _time(line.at),
        "at": line.at,
        "step": line.step,
        "pointer": line.pointer,
        "stream": line.stream,
        "line": line.line,
        "words": line.text,
    }


def run_hit(hit: Mapping[str, Any]) -> SearchHit:
    """Return what was found, from an answer."""
    source: Mapping[str, Any] = hit["_source"]
    return SearchHit(source["n"], source["id"], _score(hit))


def line_hit(hit: Mapping[str, Any]) -> LogHit:
    """Return what was found, from an answer."""
    source: Mapping[str, Any] = hit["_source"]
    document = LogDocument(
        l=source["l"],
        n=source["n"],
        id=source["id"],
        definition=source["definition"],
        at=source["at"],
        step=source["step"],
        pointer=source["pointer"],
        stream=source["stream"],
        line=source["line"],
    )
    return LogHit(document, _score(hit))


def _score(hit: Mapping[str, Any]) -> float | None:
    found = hit.get("_score")
    return None if found is None else float(found)


def _time(micros: int) -> str:
    return from_micros(micros).isoformat()
