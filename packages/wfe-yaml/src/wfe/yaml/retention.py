"""``retention``: how long finished runs are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from wfe.core.lean import frozen
from wfe.yaml.context import Context
from wfe.yaml.tree import MapNode, Node, Scalar

__all__ = ["Retention", "read_retention"]

_STATUSES: Final = ("complete", "failed", "terminated")
_FOREVER: Final = -1  # as definitions store it


@frozen
class Retention:
    """How long runs are kept, in µs; -1: for ever.

    Attributes:
        always: Of whatever status, ``None``: as the host says.
        by_status: Of runs that ended so; wins.
    """

    always: int | None = None
    by_status: Mapping[str, int] = attrs.field(factory=dict[str, int])


def read_retention(node: Node | None, context: Context) -> Retention:
    """Read ``30d``, ``forever``, or a map of them by how a run ended."""
    if node is None:
        return Retention()
    if not isinstance(node, MapNode):
        return Retention(_time(node, "`retention`", context))
    times = {
        name: _time(entry.value, f"`{name}`", context)
        for name, entry in context.reader.keys(node, "`retention`", _STATUSES)
    }
    return Retention(None, {name: time for name, time in times.items() if time is not None})


def _time(node: Node, what: str, context: Context) -> int | None:
    if isinstance(node, Scalar) and node.value == "forever":
        return _FOREVER
    return context.reader.duration(node, what)
