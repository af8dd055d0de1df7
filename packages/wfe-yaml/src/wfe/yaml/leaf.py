"""What checking a leaf step gives."""

from __future__ import annotations

from collections.abc import Mapping

from wfe.core.definition import Node
from wfe.core.lean import frozen
from wfe.yaml.context import Context
from wfe.yaml.modifiers import read_timeout
from wfe.yaml.tree import Entry, MapNode
from wfe.yaml.value_types import ValueType

__all__ = ["Leaf", "config_timeout", "read_config"]


@frozen(kw_only=True)
class Leaf:
    """What became of a leaf step.

    Attributes:
        node: Without modifiers; ``None`` when it is wrong.
        outputs: That may be read after it.
        timeout: That stands in ``config``, in µs.
    """

    node: Node | None
    outputs: Mapping[str, ValueType]
    timeout: int | None = None


def read_config(step: MapNode, context: Context) -> MapNode:
    """Return the ``config`` of *step*, an empty map when there is none."""
    config = step.get("config")
    mapping = None if config is None else context.reader.mapping(config, "`config`")
    return mapping or MapNode(entries={}, source=step.source, line=step.line, column=step.column)


def config_timeout(step: MapNode, known: Mapping[str, Entry], context: Context) -> int | None:
    """Return the time-out of an attempt that stands in ``config``, in µs."""
    entry = known.get("timeout")
    if entry is None:
        return None
    timeout = read_timeout(entry.value, context)
    if timeout is not None and step.get("timeout") is not None:
        message = "`timeout` stands on the step and in its `config`"
        context.problems.error("WFE015", entry.key.span, message, "keep one of them")
    return timeout
