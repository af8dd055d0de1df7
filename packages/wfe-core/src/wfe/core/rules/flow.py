"""Where a branch goes next: entering nodes, opening containers, joining.

What a pointer keeps in its extras:

============ ===============================================================================
``live``     of an open container: child branches that have not ended
``done``     parallel: branches that completed
``next``     for-each, parallel with a limit: the next item or branch to begin
``items``    for-each: the collection, evaluated once
``got``      for-each whose results are wanted: outputs by number of the round
``st``       dag: what became of each node, see ``wfe.core.rules.triggers``
``turns``    while, recur: completed turns
``error``    the first failure of a branch, kept until the others have ended
``lost``     [seq, pointer] of each failure that the others went on after, by the branch's pointer:
             where a retry of the run begins that branch again
``closing``  what follows once the cancelled branches have ended (``wfe.core.rules.leaving``)
``ending``   of a cancelled pointer: what follows once its body has ended, likewise
``hooks``    names of the hooks that are still to run, the first of them runs now
``leaving``  what follows after the hooks
``tidied``   of a saga: its hooks have run, and it is undone after them
``undoing``  what follows after the undo (``wfe.core.rules.undoing``)
``cur``      position of the last event consumed in this branch, by name and key
``index``    number of the item or branch that this pointer belongs to
``rounds``   (index, item, step) of each for-each around it, when it was taken out of it
``wait``     [name, key] of the event, ``signal``, ``activity``, ``approval``, ``child``: what it
             waits for
``gate``     limit keys that it waits for; ``held``: those that it holds
``behind``   the container whose places it waits for, after a retry
``memory``   persistence data of the body; ``event``: what woke it
``since``    attempt from which its retries count
``until``    when an open container times out, µs
``call``     of a durable function's call: its key
============ ===============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from wfe.core.definition import Kind, Node
from wfe.core.models import PointerStatus
from wfe.core.rules import dag, leaving, recording, undoing
from wfe.core.rules.draft import Draft
from wfe.core.rules.positions import later
from wfe.core.rules.state import Pointer

__all__ = [
    "STRUCTURE",
    "WINDOW",
    "branch_over",
    "carried",
    "container_done",
    "enter",
    "finish",
    "open_blocks",
    "open_items",
    "open_structure",
    "proceed",
]

WINDOW: Final = 1000
"""Branches of one for-each or parallel that are live at a time when no limit is given."""

PENDING: Final = PointerStatus.PENDING.value
RUNNING: Final = PointerStatus.RUNNING.value

STRUCTURE: Final = frozenset({Kind.SEQUENCE, Kind.PARALLEL, Kind.DAG, Kind.SAGA})
"""Containers that need no user code to open: entered in the transition that reaches them."""

_TURNING: Final = frozenset({Kind.WHILE, Kind.RECUR})
_CARRIED: Final = ("index", "cur", "rounds")


def enter(draft: Draft, node: Node, parent: int | None, extra: Mapping[str, Any]) -> None:
    """Put a branch at *node*; *extra* goes with the branch."""
    if node.kind in STRUCTURE and node.run_if is None and not node.limits:
        pointer = draft.put(node, parent, RUNNING, extra)
        open_structure(draft, pointer, node)
    else:
        draft.put(node, parent, PENDING, extra)


def open_structure(draft: Draft, pointer: Pointer, node: Node) -> None:
    """Begin what a sequence, a saga, a parallel or a DAG holds."""
    pointer = _opened(draft, pointer, node)
    if node.kind is Kind.DAG:
        dag.open_dag(draft, pointer, node)
    elif node.kind is Kind.PARALLEL:
        limit = node.config.get("limit") or WINDOW
        _open_window(draft, pointer, min(limit, len(node.blocks)))
    else:
        open_blocks(draft, pointer, (0,))


def _opened(draft: Draft, pointer: Pointer, node: Node) -> Pointer:
    """Mark a container as running, until its time is up if it has a time."""
    until = pointer.extra.get("until")
    if until is None and node.timeout is not None and node.kind is not Kind.STEP:
        until = draft.now + node.timeout
        pointer = draft.extra(pointer, until=until)
    if until is None and pointer.status == RUNNING:
        return pointer
    return draft.turn(pointer, RUNNING, wake=until)


def open_blocks(draft: Draft, pointer: Pointer, blocks: Sequence[int]) -> None:
    """Begin the chosen blocks of a container; without any (or all empty) it is complete."""
    node = draft.place(pointer).node
    chosen = [block for block in blocks if node.blocks[block].nodes]
    if not chosen:
        finish(draft, pointer)
        return
    pointer = _opened(draft, pointer, node)
    pointer = draft.extra(pointer, live=len(chosen))
    for block in chosen:
        enter(draft, node.blocks[block].nodes[0], pointer.id, carried(pointer))


def open_items(draft: Draft, pointer: Pointer, items: list[Any]) -> None:
    """Begin a for-each over *items*."""
    node = draft.place(pointer).node
    if not items or not node.blocks or not node.blocks[0].nodes:
        finish(draft, pointer)
        return
    window = 1 if node.config.get("sequential") else node.config.get("limit") or WINDOW
    pointer = _opened(draft, pointer, node)
    got: dict[str, Any] = {"got": {}} if node.config.get("results") and draft.plan.rounds else {}
    pointer = draft.extra(pointer, items=items, **got)
    _open_window(draft, pointer, min(window, len(items)))


def _open_window(draft: Draft, pointer: Pointer, width: int) -> None:
    if width == 0:
        finish(draft, pointer)
        return
    pointer = draft.extra(pointer, live=width, next=width)
    for index in range(width):
        current = draft.pointer(pointer.id)
        if current is None or "next" not in current.extra or "closing" in current.extra:
            return  # branches without a step were enough
        _begin(draft, pointer, index)


def _begin(draft: Draft, pointer: Pointer, index: int) -> None:
    node = draft.place(pointer).node
    block = node.blocks[index if node.kind is Kind.PARALLEL else 0]
    extra = {**carried(pointer), "index": index}
    if block.nodes:
        enter(draft, block.nodes[0], pointer.id, extra)
    else:
        branch_over(draft, pointer.id)


def carried(pointer: Pointer) -> dict[str, Any]:
    """Return what a container hands to the branches in it."""
    return {"cur": pointer.extra["cur"]} if "cur" in pointer.extra else {}


def finish(draft: Draft, pointer: Pointer) -> None:
    """A node is done: drop its pointer and go on after it."""
    place = draft.place(pointer)
    if place.recorded:
        recording.container_done(draft, pointer)
    if place.bare:
        draft.drop(pointer)
        proceed(draft, pointer)
    else:
        leaving.leave(draft, pointer, ["done"])


def proceed(draft: Draft, pointer: Pointer, state: str = "d") -> None:
    """Go on after the node of *pointer*, which is dropped already; *state* as in a DAG."""
    following = draft.place(pointer).following
    if following is not None:
        extra = pointer.extra
        enter(draft, following, pointer.parent, {k: extra[k] for k in _CARRIED if k in extra})
    elif pointer.parent is None:
        leaving.complete(draft)
    else:
        branch_over(draft, pointer.parent, pointer, state=state)


def branch_over(
    draft: Draft, container: int, child: Pointer | None = None, *, state: str = "d"
) -> None:
    """A child branch of *container* ended: ``d`` done, others as in ``wfe.core.rules.triggers``."""
    pointer = draft.pointer(container)
    if pointer is None:  # pragma: no cover - no branch outlives its container
        return
    if child is not None and "cur" in child.extra:
        pointer = draft.extra(pointer, cur=_merge(pointer.extra.get("cur"), child.extra["cur"]))
    if "undoing" in pointer.extra:
        undoing.undone_one(draft, pointer)
        return
    if "hooks" in pointer.extra:
        leaving.hook_over(draft, pointer)
        return
    if "live" not in pointer.extra:  # pragma: no cover - a function drops its calls itself
        return
    live = pointer.extra["live"] - 1
    pointer = draft.extra(pointer, live=live)
    if "closing" in pointer.extra:
        if live == 0:
            leaving.closed(draft, pointer)
        return
    _joined(draft, pointer, child, state)


def _joined(draft: Draft, pointer: Pointer, child: Pointer | None, state: str) -> None:
    node = draft.place(pointer).node
    live = pointer.extra["live"]
    if node.kind is Kind.DAG and child is not None:
        dag.node_over(draft, pointer, node, child.step, state)
    elif node.kind is Kind.PARALLEL:
        _parallel_over(draft, pointer, node, state)
    elif "items" in pointer.extra:
        _item_over(draft, pointer, child, state)
    elif live == 0 and node.kind in _TURNING:
        turns = pointer.extra.get("turns", 0) + 1
        gone = {"memory": None} if node.kind is Kind.RECUR else {}
        draft.turn(draft.extra(pointer, turns=turns, live=None, **gone), PENDING)
    elif live == 0:
        container_done(draft, pointer)


def _merge(
    ours: Mapping[str, list[int]] | None, theirs: Mapping[str, list[int]]
) -> dict[str, list[int]]:
    merged = dict(ours or {})
    for key, position in theirs.items():
        merged[key] = later(merged.get(key, position), position)
    return merged


def _item_over(draft: Draft, pointer: Pointer, child: Pointer | None, state: str) -> None:
    # What a round that failed recorded is there when a retry of the run goes on in it.
    if child is not None and draft.plan.rounds and state != "f":
        index = child.extra.get("index")
        pointer = pointer if index is None else recording.round_over(draft, pointer, index)
    following = pointer.extra["next"]
    if following < len(pointer.extra["items"]):
        live = pointer.extra["live"] + 1
        pointer = draft.extra(pointer, live=live, next=following + 1)
        _begin(draft, pointer, following)
    elif pointer.extra["live"] == 0:
        container_done(draft, pointer)


def _parallel_over(draft: Draft, pointer: Pointer, node: Node, state: str) -> None:
    done = pointer.extra.get("done", 0) + (state != "f")
    pointer = draft.extra(pointer, done=done)
    join = node.config.get("join", "all")
    wanted: int = len(node.blocks) if join == "all" else 1 if join == "any" else join
    if done >= wanted < len(node.blocks):
        pointer = draft.extra(pointer, error=None)
        leaving.close(draft, pointer, ["complete"])
    elif pointer.extra["next"] < len(node.blocks):
        index = pointer.extra["next"]
        pointer = draft.extra(pointer, live=pointer.extra["live"] + 1, next=index + 1)
        _begin(draft, pointer, index)
    elif pointer.extra["live"] == 0:
        container_done(draft, pointer)


def container_done(draft: Draft, pointer: Pointer) -> None:
    """All branches of a container have ended: it is done, or fails with their first error."""
    error = pointer.extra.get("error")
    if error is None:
        finish(draft, pointer)
    else:
        leaving.failed(draft, pointer, error)
