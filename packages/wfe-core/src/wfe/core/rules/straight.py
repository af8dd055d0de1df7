"""The usual transition, without a draft: a step is done, and the next one begins."""

from __future__ import annotations

from typing import Any, Final

from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.rules.inputs import Completed, Decision
from wfe.core.rules.plan import Plan
from wfe.core.rules.state import FORMAT, State

__all__ = ["straight"]

_PENDING: Final = PointerStatus.PENDING.value
_RUNNABLE: Final = WorkflowStatus.RUNNABLE.value


def straight(plan: Plan, state: State, each: object) -> Decision | None:
    """Return what :func:`~wfe.core.rules.decide.decide` makes of *each*, if it is that simple.

    Most transitions are: this is their short way, and takes a third of the time.
    """
    if not isinstance(each, Completed) or state.status != _RUNNABLE:
        return None
    pointer = state.pointers.get(each.pointer)
    if pointer is None or pointer.extra or pointer.attempt != each.attempt:
        return None
    place, writes = plan.places[pointer.step], each.writes
    if not place.straight or place.following is None or writes.removed or writes.reduced:
        return None
    if pointer.status != _PENDING or each.outcome is not None or each.notes is not None:
        return None
    ops: list[list[Any]] = []
    if writes.fields:
        if any(state.writers.get(name, -1) > writes.base for name in writes.fields):
            return None  # another wrote it meanwhile
        ops.append(["s", dict(writes.fields)])
    ops.append(["d", pointer.id])
    after = place.following.name
    ops.append(["p", state.next_pointer, after, pointer.parent, _PENDING, 0, None, 0])
    info = {"started": each.started} if each.started else None
    row = [FORMAT, "step_completed", pointer.id, pointer.step, pointer.attempt, info, ops]
    return Decision(rows=[row], status=state.status, error=state.error)
