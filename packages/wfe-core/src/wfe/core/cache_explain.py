"""Says why a result was taken from the cache, or was not: which part of its key differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

import orjson

from wfe.core.cache_index import CacheEntry
from wfe.core.definition import Json
from wfe.core.lean import frozen

__all__ = ["CacheExplanation", "Difference", "differences", "nearest_entry"]

_HIDDEN: Final = frozenset({"schema"})


@frozen
class Difference:
    """A part of a key that is not what it was.

    Attributes:
        part: Path in the key document: ``inputs.script``, ``files.src/a.py``, ``env.CC``.
        before: In the earlier key; ``None`` when it was not there.
        now: In this one; ``None`` when it is not there any more.
    """

    part: str
    before: Json
    now: Json


@frozen(kw_only=True)
class CacheExplanation:
    """What the cache did for one execution of a step.

    Attributes:
        outcome: ``hit``, ``miss`` or ``none`` (the step was not looked up).
        why: One sentence.
        key: Of the result; ``None`` with ``none``.
        source: Id of the run that made the result that was taken.
        kept: Whether the result of a miss was kept.
        nearest: Id of the run whose result had the key that differs least; ``None``: there is none.
        nearest_at: When that was made.
        differences: Between that key and this one.
        saved: Seconds that a hit saved.
    """

    run: str
    step: str
    outcome: str
    why: str
    key: str | None = None
    source: str | None = None
    kept: bool = False
    nearest: str | None = None
    nearest_at: datetime | None = None
    differences: tuple[Difference, ...] = ()
    saved: float = 0.0


def differences(before: Mapping[str, Json], now: Mapping[str, Json]) -> tuple[Difference, ...]:
    """Return the parts of two key documents that differ, by name.

    Files are compared one by one when both documents list them.
    """
    old, new = _parts(before), _parts(now)
    names = sorted({*old, *new})
    if any(name.startswith("files.") for name in names):
        names = [name for name in names if name not in {"files", "files root", "files count"}]
    return tuple(
        Difference(name, old.get(name), new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    )


def _parts(document: Mapping[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, value in document.items():
        if name == "listing":
            found.update((f"files.{place}", each) for place, each in value.items())
        elif name == "files":
            found.update((f"files {part}", each) for part, each in value.items())
        elif name not in _HIDDEN:
            found.update(_flat(name, value))
    return found


def _flat(path: str, value: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict) and value and "$sha256" not in value:
        for name, inner in cast("dict[str, Any]", value).items():
            yield from _flat(f"{path}.{name}", inner)
    else:
        yield path, value


def nearest_entry(
    document: Mapping[str, Json], others: Sequence[CacheEntry]
) -> tuple[CacheEntry, tuple[Difference, ...]] | None:
    """Return the entry whose key differs least, the newest of equals first, and how it differs."""
    best: tuple[CacheEntry, tuple[Difference, ...]] | None = None
    for entry in others:
        found = differences(orjson.loads(entry.document), document)
        if best is None or len(found) < len(best[1]):
            best = (entry, found)
    return best
