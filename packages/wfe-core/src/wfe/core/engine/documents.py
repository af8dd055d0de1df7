"""Turns what is stored into what an index knows of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import orjson

from wfe.core.engine.ids import shown_name
from wfe.core.engine.views import state_of
from wfe.core.providers import Loaded, StoredInstance
from wfe.core.search import LogDocument, LoggedLine, SearchDocument
from wfe.core.search_text import fields_of, leaves_of, text_of

__all__ = ["line_document", "run_document"]

_LOG: Final = logging.getLogger("wfe.engine")


def run_document(loaded: Loaded, rev: int, only: Collection[str] | None) -> SearchDocument:
    """Return the document of a run as it was loaded.

    Args:
        loaded: All of it.
        rev: Of the change for which it was loaded.
        only: Paths of the data that can be searched; ``None``: all.
    """
    header = loaded.header
    data: Mapping[str, Any] = {}
    if only is None or only:
        data = _data(loaded)
    name = shown_name(header.name, header.definition, header.n)
    error = _error(header)
    texts = [name, header.definition, header.reference or "", header.id, error or ""]
    return SearchDocument(
        n=header.n,
        rev=rev,
        id=header.id,
        definition=header.definition,
        version=header.version,
        name=name,
        reference=header.reference,
        status=header.status,
        created_at=header.created_at,
        completed_at=header.completed_at,
        parent_id=header.parent_id,
        root_id=header.root_id,
        error=error,
        fields=fields_of(data, only),
        text=text_of(_parts(texts, data, only)),
    )


def line_document(logged: LoggedLine) -> LogDocument:
    """Return the document of a line."""
    row = logged.row
    return LogDocument(
        l=row.l,
        n=row.n,
        id=logged.id,
        definition=logged.definition,
        at=row.at,
        step=row.step,
        pointer=row.pointer,
        stream=row.stream,
        line=row.line,
        text=text_of([row.line]),
    )


def _parts(
    texts: list[str], data: Mapping[str, Any], only: Collection[str] | None
) -> Iterator[str]:
    yield from texts
    for _, text in leaves_of(data, only):
        yield text


def _data(loaded: Loaded) -> Mapping[str, Any]:
    """Return the data of a run, as JSON; nothing when it cannot be read."""
    try:
        return state_of(loaded)[0].data
    except Exception as error:  # noqa: BLE001 - one damaged run must not keep all others out
        _LOG.warning("run %s is found without its data: %s", loaded.header.id, error)
        return {}


def _error(header: StoredInstance) -> str | None:
    if header.error is None:
        return None
    found: dict[str, Any] = orjson.loads(header.error)
    return f"{found.get('type')}: {found.get('message')}"
