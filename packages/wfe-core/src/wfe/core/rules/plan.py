"""A definition made ready for the rules: where each node stands, and what comes after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.policies import ErrorPolicy, Fail

__all__ = ["CONTAINERS", "Place", "Plan", "Reducer", "make_plan"]

CONTAINERS = frozenset(
    {
        Kind.SEQUENCE,
        Kind.IF,
        Kind.WHILE,
        Kind.FOR_EACH,
        Kind.PARALLEL,
        Kind.DECIDE,
        Kind.DAG,
    }
)


@attrs.frozen
class Place:
    """Where a node stands.

    Attributes:
        block: The nodes of its block, itself included; compared by identity.
        container: Name of the node that holds the block, ``None`` at the top.
        following: The node after it in its block, ``None`` at the end and in a DAG.
        policy: Its own or the definition's default.
    """

    node: Node
    block: tuple[Node, ...]
    container: str | None
    following: Node | None
    policy: ErrorPolicy


@attrs.frozen
class Reducer:
    """A field's reducer: *name* when it is built in, else *merge* makes the result."""

    name: str | None
    merge: Callable[[Any, Any], Any]


@attrs.frozen
class Plan:
    """A definition with its index.

    Attributes:
        rounds: Whether its steps record themselves by round (``wfe.core.rounds``): those of files.
    """

    definition: WorkflowDefinition
    places: Mapping[str, Place]
    reducers: Mapping[str, Reducer]
    rounds: bool


def make_plan(
    definition: WorkflowDefinition, reducers: Mapping[str, Reducer] | None = None
) -> Plan:
    """Return the plan of *definition*."""
    places: dict[str, Place] = {}
    _index(definition, definition.root, None, places)
    return Plan(definition, places, reducers or {}, bool(definition.meta.get("records")))


def _index(
    definition: WorkflowDefinition, block: Block, container: Node | None, places: dict[str, Place]
) -> None:
    dag = container is not None and container.kind is Kind.DAG
    for position, node in enumerate(block.nodes):
        after = block.nodes[position + 1 : position + 2]
        places[node.name] = Place(
            node,
            block.nodes,
            container.name if container else None,
            after[0] if after and not dag else None,
            _policy(definition, node),
        )
        for inner in node.blocks:
            _index(definition, inner, node, places)


def _policy(definition: WorkflowDefinition, node: Node) -> ErrorPolicy:
    if node.on_error is not None:
        return node.on_error
    # The default is meant for work: a container that repeated itself would repeat all of it.
    default = None if node.kind in CONTAINERS else definition.default_error
    return default or Fail()
