"""How a node ends: its hooks, and what follows.

An outcome is a list that is stored while hooks, cancelled bodies or an undo are waited for:

``["done"]``                         it completed
``["skipped"]``                      somebody skipped it
``["failed", then, error]``          it failed for good; *then* is ``fail``, ``continue``,
                                     ``compensate`` or ``terminate``
``["complete"]``                     (closing) enough branches are done
``["fail", error]``                  (closing) a branch failed
``["cancelled", done]``              what is around it goes elsewhere; *done*: it had completed
``["aborted", done]``                the run is terminated: as cancelled, but nothing is undone
``["left"]``                         a branch inside of it went out of it
``["given_up", proceed]``            its ``cancel_when`` held
``["goto", target]``                 the branch goes on at *target*
``["end", status, error, who, at]``  the run ends
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from wfe.core.definition import Kind, Node
from wfe.core.models import WorkflowStatus
from wfe.core.rules import closing, failing, flow, undoing
from wfe.core.rules.draft import Draft
from wfe.core.rules.state import Pointer

__all__ = [
    "Outcome",
    "close",
    "closed",
    "complete",
    "end",
    "end_pointer",
    "failed",
    "finalize",
    "hook_over",
    "leave",
    "leave_to",
    "remember",
    "stop",
]

Outcome: TypeAlias = list[Any]

_HOOKS: Final[Mapping[str, tuple[str, ...]]] = {
    "done": ("on_success", "ensure"),
    "failed": ("on_failure", "ensure"),
    "errored": ("on_error", "ensure"),
    "cancelled": ("on_abort", "ensure"),
    "aborted": ("on_abort", "ensure"),
    "given_up": ("on_abort", "ensure"),
    "end": ("on_abort", "ensure"),
    "skipped": ("ensure",),
    "left": ("ensure",),
    "goto": ("ensure",),
}


def leave(draft: Draft, pointer: Pointer, outcome: Outcome) -> None:
    """End a node that has no live branch any more: first its hooks, then what *outcome* says."""
    node = draft.place(pointer).node
    if node.hooks and "tidied" not in pointer.extra:
        names = [name for name in _wanted(node, outcome) if (b := node.hook(name)) and b.nodes]
        if names:
            gone = {key: None for key in pointer.extra if key not in failing.KEPT}
            draft.let_go(pointer)
            pointer = draft.extra(pointer, **gone)
            pointer = draft.turn(pointer, flow.RUNNING, wake=None)
            _run_hook(draft, draft.extra(pointer, leaving=outcome), names)
            return
    end(draft, pointer, outcome)


def _wanted(node: Node, outcome: Outcome) -> tuple[str, ...]:
    """Return which hooks an outcome calls for."""
    if outcome[:2] == ["end", WorkflowStatus.COMPLETE]:
        return ("ensure",)
    # Who says nothing of errors, not even by an empty hook, takes them for failures.
    errored = outcome[0] == "failed" and outcome[2].get("errored")
    return _HOOKS["errored" if errored and node.hook("on_error") is not None else outcome[0]]


def _run_hook(draft: Draft, pointer: Pointer, names: list[str]) -> None:
    pointer = draft.extra(pointer, hooks=names, live=1)
    block = draft.place(pointer).node.hook(names[0])
    if block is not None:  # pragma: no branch - only hooks that there are are named
        flow.enter(draft, block.nodes[0], pointer.id, flow.carried(pointer))


def hook_over(draft: Draft, pointer: Pointer, error: Mapping[str, Any] | None = None) -> None:
    """A hook ended, with *error* when it failed: the next one, or what follows after them."""
    outcome: Outcome = pointer.extra["leaving"]
    if error is not None and outcome[0] in ("done", "skipped"):
        if outcome[0] == "done" and draft.place(pointer).node.kind is not Kind.SAGA:
            remember(draft, pointer)  # it completed, so a saga around it undoes it
        outcome = ["failed", "fail", dict(error)]
        pointer = draft.extra(pointer, leaving=outcome)
    names = pointer.extra["hooks"][1:]
    if names:
        _run_hook(draft, pointer, names)
        return
    pointer = draft.extra(pointer, hooks=None, leaving=None, live=None)
    # A saga whose own hook failed, or that was cancelled during its hooks before it was done.
    spoilt = outcome[:2] in (["failed", "fail"], ["cancelled", False])
    if spoilt and undoing.undoable(draft, pointer):
        error = outcome[2] if outcome[0] == "failed" else None
        undoing.begin(draft, pointer, ["ended", outcome], error)
        draft.extra(pointer, tidied=True)
    else:
        end(draft, pointer, outcome)


def end(draft: Draft, pointer: Pointer, outcome: Outcome) -> None:
    """Do what *outcome* says of a node whose hooks have run."""
    _ENDS[outcome[0]](draft, pointer, outcome)


def _done(draft: Draft, pointer: Pointer, _outcome: Outcome) -> None:
    remember(draft, pointer)
    draft.drop(pointer)
    flow.proceed(draft, pointer)


def remember(draft: Draft, pointer: Pointer) -> None:
    """Note a completed node in the undo log of the saga around it."""
    frame = draft.frame(pointer)
    if frame is None:
        return
    if draft.log(pointer.id):
        draft.merge_log(pointer.id, frame.id)
    if draft.place(pointer).node.undo is not None:
        draft.push(frame.id, pointer)


def _skipped(draft: Draft, pointer: Pointer, _outcome: Outcome) -> None:
    _hand_on(draft, pointer)
    draft.drop(pointer)
    flow.proceed(draft, pointer, "s")


def _cancelled(draft: Draft, pointer: Pointer, outcome: Outcome) -> None:
    if outcome[1]:
        remember(draft, pointer)
    draft.drop(pointer)
    if pointer.parent is not None:  # pragma: no branch - the end of the run is no cancellation
        flow.branch_over(draft, pointer.parent)


def _hand_on(draft: Draft, pointer: Pointer) -> None:
    """Give what completed in a saga that ends otherwise to the saga around it."""
    frame = draft.frame(pointer)
    if frame is not None and draft.log(pointer.id):
        draft.merge_log(pointer.id, frame.id)


def _left(draft: Draft, pointer: Pointer, _outcome: Outcome) -> None:
    _hand_on(draft, pointer)
    draft.drop(pointer)
    if pointer.parent is not None:  # pragma: no branch - the end of the run is no cancellation
        flow.branch_over(draft, pointer.parent)


def _given_up(draft: Draft, pointer: Pointer, outcome: Outcome) -> None:
    draft.drop(pointer)
    if outcome[1]:
        flow.proceed(draft, pointer, "s")
    elif pointer.parent is None:
        complete(draft)
    else:
        flow.branch_over(draft, pointer.parent, pointer, state="s")


def _failed(draft: Draft, pointer: Pointer, outcome: Outcome) -> None:
    _, then, error = outcome
    draft.drop(pointer)
    if then in ("continue", "compensate"):
        flow.proceed(draft, pointer, "c" if then == "continue" else "d")
    else:
        stops = {"stop": True} if then == "terminate" else {}
        failing.outwards(draft, pointer, {**error, **stops})


def _goto(draft: Draft, pointer: Pointer, outcome: Outcome) -> None:
    _hand_on(draft, pointer)
    draft.drop(pointer)
    _jump(draft, pointer, outcome[1])


def _end(draft: Draft, pointer: Pointer, outcome: Outcome) -> None:
    _, status, error, who, at = outcome
    draft.drop(pointer)
    finalize(draft, WorkflowStatus(status), error, who, at)


_ENDS: Final[Mapping[str, Callable[[Draft, Pointer, Outcome], None]]] = {
    "done": _done,
    "skipped": _skipped,
    "cancelled": _cancelled,
    "aborted": _left,
    "left": _left,
    "given_up": _given_up,
    "failed": _failed,
    "goto": _goto,
    "end": _end,
}


# -- closing --------------------------------------------------------------------------------------


def close(
    draft: Draft, pointer: Pointer, outcome: Outcome, left: frozenset[int] = frozenset()
) -> None:
    """Cancel everything inside a container, and go on with *outcome* when it has ended.

    Args:
        draft: The transition.
        pointer: The container.
        outcome: What follows.
        left: Containers inside that the branch which goes elsewhere stood in: they are left, not
            cancelled.
    """
    pointer = draft.extra(pointer, closing=outcome)
    undo = not _terminates(outcome)
    waiting, ripe = closing.clear_out(draft, pointer, left, undo=undo)
    for key in reversed(ripe) if waiting else (pointer.id,):
        current = draft.pointer(key)
        if current is not None:  # pragma: no branch - it is counted until it is closed
            closed(draft, current)


def _terminates(outcome: Outcome) -> bool:
    return outcome[:2] == ["end", WorkflowStatus.TERMINATED]


def closed(draft: Draft, pointer: Pointer) -> None:
    """What was cancelled inside a container has ended."""
    outcome: Outcome = pointer.extra["closing"]
    pointer = draft.extra(pointer, closing=None, live=None)
    ends = outcome[:2] == ["end", WorkflowStatus.FAILED]
    if outcome[0] == "complete":
        flow.finish(draft, pointer)
    elif outcome[0] == "fail":
        failed(draft, pointer, outcome[1])
    elif (ends or outcome[0] in ("cancelled", "given_up")) and undoing.undoable(draft, pointer):
        undoing.begin(draft, pointer, outcome)
    else:
        leave(draft, pointer, outcome)


def failed(draft: Draft, pointer: Pointer, error: Mapping[str, Any]) -> None:
    """A container fails because of a branch."""
    failing.fail(draft, pointer, error)


def end_pointer(draft: Draft, pointer: Pointer, outcome: Outcome) -> None:
    """Take a live pointer from where it is to *outcome*, whatever it does now."""
    if "live" in pointer.extra:
        close(draft, pointer, outcome)
    elif closing.may_run(draft, pointer):
        closing.drop_calls(draft, pointer)
        draft.let_go(pointer)
        kept = {key: value for key, value in pointer.extra.items() if key in failing.KEPT}
        draft.move(pointer, pointer.parent, closing.CANCELLED, {**kept, "ending": outcome})
    else:
        closing.end_child(draft, pointer)
        leave(draft, pointer, outcome)


def leave_to(draft: Draft, pointer: Pointer, target: str) -> None:
    """Go on at node *target*, in the pointer's block or one around it."""
    block = draft.plan.places[target].block
    if draft.place(pointer).block is block:
        leave(draft, pointer, ["goto", target])
        return
    inside = pointer
    around: set[int] = set()
    while draft.place(inside).block is not block:
        around.add(inside.id)
        outer = draft.pointer(inside.parent) if inside.parent is not None else None
        if outer is None:
            text = f"step {target!r} is neither beside this step nor around it"
            error = {"type": "DefinitionError", "message": text, "step": pointer.step}
            failing.fail(draft, pointer, error, retryable=False)
            return
        inside = outer
    draft.drop(pointer)
    close(draft, inside, ["goto", target], frozenset(around))


def _jump(draft: Draft, pointer: Pointer, target: str) -> None:
    extra = pointer.extra
    kept = {key: extra[key] for key in ("index", "cur", "rounds") if key in extra}
    flow.enter(draft, draft.plan.places[target].node, pointer.parent, kept)


# -- the end of the run ---------------------------------------------------------------------------


def complete(draft: Draft) -> None:
    """Nothing is left to do."""
    # While the run is suspended, the end waits for resume, as its user asked.
    if draft.status != WorkflowStatus.SUSPENDED:
        finalize(draft, WorkflowStatus.COMPLETE)


def stop(
    draft: Draft,
    status: WorkflowStatus,
    error: Mapping[str, Any] | None = None,
    who: Mapping[str, Any] | None = None,
    left: frozenset[int] = frozenset(),
    *,
    gently: bool = False,
) -> bool:
    """End the run from within: at once, or when hooks and undos that must run have ended.

    Sagas that are cut off by it are undone, except when it is terminated.  Whoever terminates a
    run that was suspended while it ends does not want to wait for its hooks, unless *gently*.

    Returns:
        Whether that was news; ``False``: the run is ending already.
    """
    outcome: Outcome = ["end", status.value, error, dict(who or {}), draft.seq]
    top = next((pointer for pointer in draft.live() if pointer.parent is None), None)
    undo = status is not WorkflowStatus.TERMINATED
    if top is not None and _ends_anyway(top, status):
        if draft.status != WorkflowStatus.SUSPENDED:
            return False
        if gently and not _stuck(draft):  # somebody suspended it: what is to run first goes on
            draft.row("workflow_stopping", None, {**(who or {}), "error": error})
            draft.become(WorkflowStatus.RUNNABLE)
        else:
            finalize(draft, status, error, who)  # what was to run first cannot: it ends without
        return True
    if top is None or not closing.must_wait(draft, left, undo=undo):
        finalize(draft, status, error, who)
        return True
    draft.row("workflow_stopping", None, {**(who or {}), "error": error})
    if "undoing" in top.extra and undo:  # what is being undone goes on, and then the run ends
        draft.extra(top, undoing=outcome)
        return True
    suspended = draft.status == WorkflowStatus.SUSPENDED
    if suspended:  # or what must run first would never begin
        draft.become(WorkflowStatus.RUNNABLE)
    if "hooks" in top.extra:
        draft.extra(top, leaving=outcome)
    elif "live" in top.extra:
        close(draft, draft.extra(top, undoing=None, own=None), outcome, left)
    else:
        end_pointer(draft, top, outcome)
    if suspended:
        failing.resume_failed(draft)  # a hook that suspended the run is tried again
    return True


def _ends_anyway(top: Pointer, status: WorkflowStatus) -> bool:
    """Whether the run is ending; it can still be terminated, and its undo is then left off."""
    found = [top.extra[key] for key in _FOLLOWS if key in top.extra]
    ending = [outcome[1] for outcome in found if outcome[0] == "end"]
    return bool(ending) and (status is not WorkflowStatus.TERMINATED or status in ending)


def _stuck(draft: Draft) -> bool:
    """Whether a hook or an undo failed, and suspended the run."""
    return any(pointer.status == failing.FAILED for pointer in draft.live())


_FOLLOWS: Final = ("closing", "leaving", "undoing", "ending")

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
    at: int | None = None,
) -> None:
    """End the run: the one place where a status becomes final."""
    live = draft.remaining()
    before = draft.seq if at is None else at
    for pointer in live:
        if "live" not in pointer.extra:
            draft.row("step_cancelled", pointer)
    origin = None
    if status is not WorkflowStatus.COMPLETE:
        origin = (error or {}).get("at", before), (error or {}).get("by")
    shown = {"error": error, **(who or {})}
    info = {key: value for key, value in shown.items() if value is not None}
    draft.row(_KINDS[status], None, info or None)
    draft.clear()
    draft.become(status, error, origin)
    for pointer in live:
        closing.end_child(draft, pointer)
