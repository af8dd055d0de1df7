"""A definition made ready for the rules: where each node stands, and what comes after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.lean import frozen
from wfe.core.policies import Continue, ErrorPolicy, Fail, Retry, Suspend, Terminate

__all__ = ["CALL", "CONTAINERS", "WHOLE", "Place", "Plan", "Reducer", "make_plan"]

CONTAINERS = frozenset(
    {
        Kind.SEQUENCE,
        Kind.IF,
        Kind.WHILE,
        Kind.FOR_EACH,
        Kind.PARALLEL,
        Kind.DECIDE,
        Kind.DAG,
        Kind.SAGA,
        Kind.RECUR,
    }
)

WHOLE = "(workflow)"
"""Name of the node around all others that holds the limits of a definition."""


def _is_plain(place: Place) -> bool:
    node = place.node
    if place.looped or place.recorded or not place.bare:
        return False
    return node.kind is Kind.STEP and not node.blocks


def _straight_on(place: Place) -> str | None:
    after = place.following
    return after.name if place.plain and after and after.kind not in CONTAINERS else None


@frozen
class Place:
    """Where a node stands.

    Attributes:
        block: The nodes of its block, itself included; compared by identity.
        container: Name of the node that holds the block, ``None`` at the top.
        following: The node after it in its block, ``None`` at the end and in a DAG.
        policy: Its own or the definition's default.
        bare: Whether ending it is nothing but going on: no undo, no hooks, no saga.
        looped: Whether it stands in a for-each, whose rounds have names (in files).
        recorded: Whether it records that it is done, as ``wfe.core.rules.recording`` does it.
        plain: Whether it is a step whose end means nothing but going on.
        straight: Name of the node after a plain one, if that is no container.
    """

    node: Node
    block: tuple[Node, ...]
    container: str | None
    following: Node | None
    policy: ErrorPolicy
    bare: bool = True
    looped: bool = False
    recorded: bool = False
    plain: bool = attrs.field(default=attrs.Factory(_is_plain, takes_self=True), init=False)
    straight: str | None = attrs.field(
        default=attrs.Factory(_straight_on, takes_self=True), init=False
    )


CALL = Place(Node(name="(call)", kind=Kind.CALL), (), None, None, Fail())
"""Where the calls of a durable function stand: in no definition."""


@frozen
class Reducer:
    """A field's reducer: *name* when it is built in, else *merge* makes the result."""

    name: str | None
    merge: Callable[[Any, Any], Any]


@frozen
class Plan:
    """A definition with its index.

    Attributes:
        root: The definition's steps, inside :data:`WHOLE` when it has limits.
        cancellable: Names of the nodes with ``cancel_when``.
        rounds: Whether its steps record themselves by round (``wfe.core.rounds``): those of files.
    """

    definition: WorkflowDefinition
    root: Block
    cancellable: frozenset[str]
    places: Mapping[str, Place]
    reducers: Mapping[str, Reducer]
    rounds: bool


def make_plan(
    definition: WorkflowDefinition, reducers: Mapping[str, Reducer] | None = None
) -> Plan:
    """Return the plan of *definition*."""
    places: dict[str, Place] = {}
    root = definition.root
    if definition.limits:
        limits = definition.limits
        root = Block((Node(name=WHOLE, kind=Kind.SEQUENCE, blocks=(root,), limits=limits),))
    rounds = bool(definition.meta.get("records"))
    _index(definition, root, None, places)
    watched = frozenset(n.name for n in definition.walk() if n.cancel_when is not None)
    return Plan(definition, root, watched, places, reducers or {}, rounds)


def _index(
    definition: WorkflowDefinition, block: Block, container: Node | None, places: dict[str, Place]
) -> None:
    dag = container is not None and container.kind is Kind.DAG
    dag = dag and any(block is inner for inner in (container.blocks if container else ()))
    undo = container is not None and block is container.undo
    rounds = bool(definition.meta.get("records"))
    looped = rounds and container is not None and _in_loop(container, block, places)
    for position, node in enumerate(block.nodes):
        after = block.nodes[position + 1 : position + 2]
        policy = _policy(definition, node)
        places[node.name] = Place(
            node,
            block.nodes,
            container.name if container else None,
            after[0] if after and not dag else None,
            _undo_policy(node.on_error) if undo else policy,
            bare=node.undo is None and not node.hooks and node.kind is not Kind.SAGA,
            looped=looped,
            recorded=rounds and node.kind in CONTAINERS and "key" in node.config,
        )
        for inner in node.inner():
            _index(definition, inner, node, places)


def _in_loop(container: Node, block: Block, places: Mapping[str, Place]) -> bool:
    inside = any(block is inner for inner in container.blocks)
    return (container.kind is Kind.FOR_EACH and inside) or places[container.name].looped


def _undo_policy(given: ErrorPolicy | None) -> ErrorPolicy:
    """Return the policy of an undo step: what cannot be undone suspends the run."""
    if isinstance(given, Retry):
        return attrs.evolve(given, then=_undo_end(given.then))
    return _undo_end(given)


def _undo_end(given: ErrorPolicy | None) -> Terminate | Continue | Suspend:
    return given if isinstance(given, Terminate | Continue) else Suspend()


def _policy(definition: WorkflowDefinition, node: Node) -> ErrorPolicy:
    if node.on_error is not None:
        return node.on_error
    # The default is meant for work: a container that repeated itself would repeat all of it.
    default = None if node.kind in CONTAINERS else definition.default_error
    return default or Fail()
