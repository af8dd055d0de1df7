"""Where a branch goes next: entering nodes, leaving containers, joining, cancelling.

What a container keeps in its pointer's extras:

========== =================================================================================
``live``    child branches that have not ended
``done``    parallel: branches that completed
``next``    for-each, parallel with a limit: the next item or branch to begin
``items``   for-each: the collection, evaluated once
``st``      dag: node name to ``r`` begun, ``d`` done, ``f`` failed, ``x`` skipped for that
``turns``   while: completed turns
``error``   the first failure of a branch, kept until the others have ended
``closing`` what to do once the cancelled branches have ended: ``["complete"]``, ``["fail",
            error]``, ``["goto", name]``
``cur``     position of the last event consumed in this branch, by name and key
``index``   number of the item or branch that this pointer belongs to
``until``   when the container's time is up, µs
========== =================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from wfe.core.definition import Kind, Node
from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.providers import Message
from wfe.core.rules.draft import Draft
from wfe.core.rules.plan import CONTAINERS
from wfe.core.rules.state import Pointer

__all__ = [
    "WINDOW",
    "branch_over",
    "cancel",
    "close",
    "enter",
    "finalize",
    "finish",
    "leave_to",
    "open_blocks",
    "open_dag",
    "open_items",
    "open_structure",
    "proceed",
]

WINDOW: Final = 1000
"""Branches of one for-each or parallel that are live at a time when no limit is given."""

PENDING: Final = PointerStatus.PENDING.value
RUNNING: Final = PointerStatus.RUNNING.value
_MAY_RUN: Final = frozenset({PENDING, PointerStatus.CANCELLED.value})
_SLEEPING: Final = PointerStatus.SLEEPING.value

STRUCTURE: Final = frozenset({Kind.SEQUENCE, Kind.PARALLEL, Kind.DAG})
"""Containers that need no user code to open: entered in the transition that reaches them."""


def enter(draft: Draft, node: Node, parent: int | None, carried: Mapping[str, Any]) -> None:
    """Put a branch at *node*; *carried* are the extras that go with the branch."""
    if node.kind in STRUCTURE and node.run_if is None:
        pointer = draft.put(node, parent, RUNNING, carried)
        open_structure(draft, pointer, node)
    else:
        draft.put(node, parent, PENDING, carried)


def open_structure(draft: Draft, pointer: Pointer, node: Node) -> None:
    """Begin what a sequence, a parallel or a DAG holds."""
    pointer = _opened(draft, pointer, node)
    if node.kind is Kind.DAG:
        open_dag(draft, pointer, node)
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
        enter(draft, node.blocks[block].nodes[0], pointer.id, _carried(pointer))


def open_items(draft: Draft, pointer: Pointer, items: list[Any]) -> None:
    """Begin a for-each over *items*."""
    node = draft.place(pointer).node
    if not items or not node.blocks or not node.blocks[0].nodes:
        finish(draft, pointer)
        return
    window = 1 if node.config.get("sequential") else node.config.get("limit") or WINDOW
    pointer = _opened(draft, pointer, node)
    pointer = draft.extra(pointer, items=items)
    _open_window(draft, pointer, min(window, len(items)))


def _open_window(draft: Draft, pointer: Pointer, width: int) -> None:
    if width == 0:
        finish(draft, pointer)
        return
    pointer = draft.extra(pointer, live=width, next=width)
    for index in range(width):
        _begin(draft, pointer, index)


def _begin(draft: Draft, pointer: Pointer, index: int) -> None:
    node = draft.place(pointer).node
    block = node.blocks[index if node.kind is Kind.PARALLEL else 0]
    carried = {**_carried(pointer), "index": index}
    if block.nodes:
        enter(draft, block.nodes[0], pointer.id, carried)
    else:
        current = draft.pointer(pointer.id)
        if current is not None:
            branch_over(draft, current.id)


def open_dag(draft: Draft, pointer: Pointer, node: Node) -> None:
    """Begin the nodes of a DAG that wait for nothing."""
    nodes = node.blocks[0].nodes
    ready = [inner for inner in nodes if not inner.needs and not inner.needs_any]
    pointer = draft.extra(pointer, live=len(ready), st={inner.name: "r" for inner in ready})
    if not ready:
        finish(draft, pointer)
    for inner in ready:
        enter(draft, inner, pointer.id, _carried(pointer))


def _carried(pointer: Pointer) -> dict[str, Any]:
    return {"cur": pointer.extra["cur"]} if "cur" in pointer.extra else {}


def finish(draft: Draft, pointer: Pointer) -> None:
    """A node is done: drop its pointer and go on after it."""
    draft.drop(pointer)
    proceed(draft, pointer)


def proceed(draft: Draft, pointer: Pointer) -> None:
    """Go on after the node of *pointer*, which is dropped already."""
    following = draft.place(pointer).following
    if following is not None:
        extra = pointer.extra
        carried = {key: extra[key] for key in ("index", "cur") if key in extra}
        enter(draft, following, pointer.parent, carried)
    elif pointer.parent is None:
        finalize(draft, WorkflowStatus.COMPLETE)
    else:
        branch_over(draft, pointer.parent, pointer)


def branch_over(
    draft: Draft, container: int, child: Pointer | None = None, *, state: str = "d"
) -> None:
    """A child branch of *container* ended: ``d`` done, ``f`` failed and passed over."""
    pointer = draft.pointer(container)
    if pointer is None:
        return
    if child is not None and "cur" in child.extra:
        pointer = draft.extra(pointer, cur=_merge(pointer.extra.get("cur"), child.extra["cur"]))
    live = pointer.extra["live"] - 1
    pointer = draft.extra(pointer, live=live)
    if "closing" in pointer.extra:
        if live == 0:
            _closed(draft, pointer)
        return
    node = draft.place(pointer).node
    if node.kind is Kind.DAG and child is not None:
        _dag_over(draft, pointer, node, child.step, state)
    elif node.kind is Kind.PARALLEL:
        _parallel_over(draft, pointer, node, state)
    elif "items" in pointer.extra:
        _item_over(draft, pointer, child)
    elif live == 0 and node.kind is Kind.WHILE:
        turns = pointer.extra.get("turns", 0) + 1
        draft.turn(draft.extra(pointer, turns=turns, live=None), PENDING)
    elif live == 0:
        _container_done(draft, pointer)


def _merge(
    ours: Mapping[str, list[int]] | None, theirs: Mapping[str, list[int]]
) -> dict[str, list[int]]:
    merged = dict(ours or {})
    for key, position in theirs.items():
        merged[key] = max(merged.get(key, position), position)
    return merged


def _forget_round(draft: Draft, pointer: Pointer, child: Pointer) -> None:
    """Drop what a round recorded; the last round's is what is seen after the loop."""
    index = child.extra.get("index")
    if index is not None and index < len(pointer.extra["items"]) - 1:
        draft.forget_round((*draft.path(pointer), index))


def _item_over(draft: Draft, pointer: Pointer, child: Pointer | None) -> None:
    if child is not None and draft.plan.rounds:
        _forget_round(draft, pointer, child)
    following = pointer.extra["next"]
    if following < len(pointer.extra["items"]):
        live = pointer.extra["live"] + 1
        pointer = draft.extra(pointer, live=live, next=following + 1)
        _begin(draft, pointer, following)
    elif pointer.extra["live"] == 0:
        _container_done(draft, pointer)


def _parallel_over(draft: Draft, pointer: Pointer, node: Node, state: str) -> None:
    done = pointer.extra.get("done", 0) + (state == "d")
    pointer = draft.extra(pointer, done=done)
    join = node.config.get("join", "all")
    wanted: int = len(node.blocks) if join == "all" else 1 if join == "any" else join
    if done >= wanted < len(node.blocks):
        pointer = draft.extra(pointer, error=None)
        close(draft, pointer, ["complete"])
    elif pointer.extra["next"] < len(node.blocks):
        index = pointer.extra["next"]
        pointer = draft.extra(pointer, live=pointer.extra["live"] + 1, next=index + 1)
        _begin(draft, pointer, index)
    elif pointer.extra["live"] == 0:
        _container_done(draft, pointer)


def _dag_over(draft: Draft, pointer: Pointer, node: Node, name: str, state: str) -> None:
    pointer = draft.entry(pointer, "st", name, state)
    pointer = _skip_dependants(draft, pointer, node)
    states = pointer.extra["st"]
    ready = [inner for inner in node.blocks[0].nodes if _ready(inner, states)]
    for inner in ready:
        pointer = draft.entry(pointer, "st", inner.name, "r")
    if ready:
        pointer = draft.extra(pointer, live=pointer.extra["live"] + len(ready))
    for inner in ready:
        enter(draft, inner, pointer.id, _carried(pointer))
    if not ready and pointer.extra["live"] == 0:
        _container_done(draft, pointer)


def _ready(node: Node, states: Mapping[str, str]) -> bool:
    if node.name in states or not all(states.get(name) == "d" for name in node.needs):
        return False
    return not node.needs_any or any(states.get(name) == "d" for name in node.needs_any)


def _skip_dependants(draft: Draft, pointer: Pointer, node: Node) -> Pointer:
    """Mark what can never begin because something it needs failed."""
    found = True
    while found:
        found = False
        states = pointer.extra["st"]
        for inner in node.blocks[0].nodes:
            if inner.name not in states and _hopeless(inner, states):
                pointer = draft.entry(pointer, "st", inner.name, "x")
                found = True
    return pointer


def _hopeless(node: Node, states: Mapping[str, str]) -> bool:
    lost = ("f", "x")
    if any(states.get(name) in lost for name in node.needs):
        return True
    return bool(node.needs_any) and all(states.get(name) in lost for name in node.needs_any)


def _container_done(draft: Draft, pointer: Pointer) -> None:
    error = pointer.extra.get("error")
    if error is None:
        finish(draft, pointer)
    else:
        _fail_container(draft, pointer, error)


def _fail_container(draft: Draft, pointer: Pointer, error: Mapping[str, Any]) -> None:
    # Failing is decided beside this module, and itself closes containers: the import is at use
    # because the two rules are one recursion.
    from wfe.core.rules.failing import fail  # noqa: PLC0415

    fail(draft, pointer, error)


def close(draft: Draft, pointer: Pointer, closing: list[Any]) -> None:
    """Cancel everything inside a container, and do *closing* when it has ended."""
    pointer = draft.extra(pointer, closing=closing)
    waiting = 0
    for inner in _descendants(draft, pointer.id):
        if inner.status in _MAY_RUN or _due(draft, inner):
            if draft.place(inner).node.kind in CONTAINERS and inner.status == PENDING:
                cancel(draft, inner)
            else:
                draft.move(inner, pointer.id)
                waiting += 1
        else:
            cancel(draft, inner)
    pointer = draft.extra(pointer, live=waiting)
    if waiting == 0:
        _closed(draft, pointer)


def _due(draft: Draft, pointer: Pointer) -> bool:
    return pointer.status == _SLEEPING and pointer.wake is not None and pointer.wake <= draft.now


def _descendants(draft: Draft, root: int) -> list[Pointer]:
    """Return the live pointers inside *root*, what was opened last first."""
    children: dict[int, list[Pointer]] = {}
    for pointer in draft.live():
        if pointer.parent is not None:
            children.setdefault(pointer.parent, []).append(pointer)
    found: list[Pointer] = []
    stack = [root]
    while stack:
        inner = children.get(stack.pop(), [])
        found.extend(inner)
        stack.extend(pointer.id for pointer in inner)
    return sorted(found, key=lambda pointer: -pointer.id)


def cancel(draft: Draft, pointer: Pointer) -> None:
    """Drop a pointer that has no body running; its sub-workflow is terminated."""
    if "live" not in pointer.extra:  # an open container did not run itself: no row of its own
        draft.row("step_cancelled", pointer)
    draft.drop(pointer)
    child = pointer.extra.get("child")
    if child is not None:
        draft.send(Message(target=child, kind="terminate", reason="its parent cancelled it"))


def _closed(draft: Draft, pointer: Pointer) -> None:
    closing = pointer.extra["closing"]
    match closing:
        case ["complete"]:
            finish(draft, pointer)
        case ["fail", error]:
            _fail_container(draft, draft.extra(pointer, closing=None), error)
        case [_, target]:
            draft.drop(pointer)
            _jump(draft, pointer, target)
        case _:  # pragma: no cover - the three forms above are all that close() is given
            raise AssertionError(closing)


def leave_to(draft: Draft, pointer: Pointer, target: str) -> None:
    """Go on at node *target*, in the pointer's block or one around it."""
    block = draft.plan.places[target].block
    if draft.place(pointer).block is block:
        draft.drop(pointer)
        _jump(draft, pointer, target)
        return
    inside = pointer
    while draft.place(inside).block is not block:
        outer = draft.pointer(inside.parent) if inside.parent is not None else None
        if outer is None:
            return
        inside = outer
    draft.drop(pointer)
    close(draft, inside, ["goto", target])


def _jump(draft: Draft, pointer: Pointer, target: str) -> None:
    extra = pointer.extra
    carried = {key: extra[key] for key in ("index", "cur") if key in extra}
    enter(draft, draft.plan.places[target].node, pointer.parent, carried)


_KINDS: Final = {
    WorkflowStatus.COMPLETE: "workflow_completed",
    WorkflowStatus.FAILED: "workflow_failed",
    WorkflowStatus.TERMINATED: "workflow_terminated",
}


def finalize(
    draft: Draft,
    status: WorkflowStatus,
    error: Mapping[str, Any] | None = None,
    who: Mapping[str, Any] | None = None,
) -> None:
    """End the run: the one place where a status becomes final."""
    if status is WorkflowStatus.COMPLETE and draft.status == WorkflowStatus.SUSPENDED:
        return  # nothing is left to do, but the end waits for resume, as its user asked
    live = draft.remaining()
    for pointer in live:
        if "live" not in pointer.extra:
            draft.row("step_cancelled", pointer)
    shown = {"error": error, **(who or {})}
    info = {key: value for key, value in shown.items() if value is not None}
    draft.row(_KINDS[status], None, info or None)
    draft.clear()
    draft.become(status, error)
    if any("child" in pointer.extra for pointer in live):
        draft.send(Message(target=None, kind="terminate", reason="its parent ended"))
