"""How a call of the store becomes a line of the journal, and a line a call again."""

from __future__ import annotations

from typing import Any

import attrs
import orjson
from cattrs import Converter

from wfe.core.artifact_index import ArtifactRow
from wfe.core.cache_index import CacheEntry
from wfe.core.providers import Item, LogRow, ScheduleRow, StreamRow, WorkerInfo

__all__ = ["Call", "line_of", "read"]

_OPTIONAL = int | None
_TEXT = str | None

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "enrol": (WorkerInfo, int),
    "unregister": (int,),
    "fence": (list[int], _OPTIONAL),
    "orphans": (int,),
    "commit": (_OPTIONAL, list[Item]),
    "claim": (int, list[int], int, list[int] | None),
    "fault": (int, int, int, str, int),
    "put_definition": (str, int, str, str),
    "pause_definition": (str, bool),
    "allocate": (int,),
    "claim_activity": (list[str], str, str, int),
    "beat_activity": (str, int, _TEXT),
    "finish_activity": (str, str),
    "put_schedule": (ScheduleRow,),
    "delete_schedule": (str,),
    "append_stream": (list[StreamRow],),
    "append_logs": (list[LogRow],),
    "purge": (list[int],),
    "purge_events": (int,),
    "beat": (int, int),
    "try_acquire": (str, int, int),
    "cache_put": (CacheEntry, _TEXT),
    "cache_claim": (str, str, int),
    "cache_release": (str, str),
    "cache_purge": (int, _TEXT, _TEXT, _OPTIONAL),
    "put_artifact": (ArtifactRow,),
}
"""Every call that changes something, and the types of what it is given."""

_converter = Converter()


@attrs.frozen
class Call:
    """A call that was made at a time (µs)."""

    at: int
    name: str
    arguments: tuple[Any, ...]


def line_of(call: Call) -> bytes:
    """Return the JSON of a call."""
    return orjson.dumps([call.at, call.name, _converter.unstructure(call.arguments)])


def read(line: bytes) -> Call:
    """Return the call that a line is about."""
    at, name, arguments = orjson.loads(line)
    kinds = ARGUMENTS[name]
    values = [_converter.structure(v, kind) for v, kind in zip(arguments, kinds, strict=True)]
    return Call(at, name, tuple(values))
