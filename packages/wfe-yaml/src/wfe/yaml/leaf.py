"""What checking a leaf step gives."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wfe.core.definition import Node
from wfe.yaml.context import Context
from wfe.yaml.tree import MapNode
from wfe.yaml.value_types import ValueType

__all__ = ["Leaf", "read_config"]


@attrs.frozen(kw_only=True)
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
