"""The usual transitions, without a draft: a step is done and the next one begins, start and end."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from wfe.core.definition import Kind
from wfe.core.lean import lean
from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.rules.inputs import Completed, Decision
from wfe.core.rules.plan import Plan
from wfe.core.rules.state import FORMAT, Pointer, State

__all__ = ["Passed", "straight", "straight_end", "straight_start"]

_PENDING: Final = PointerStatus.PENDING.value
_COMPLETE: Final = WorkflowStatus.COMPLETE.value
_RUNNABLE: Final = WorkflowStatus.RUNNABLE.value
_NO_EXTRA: Final[Mapping[str, Any]] = {}
_HEAD: Final = f'[{FORMAT},"step_completed",'
_NEW: Final = f'"{_PENDING}",0,null,0]]]'


@lean
class Passed:
    """A step is done and the next one begins: that is one row.

    Of most runs all transitions but the last are such.  So this has short ways for what is done
    with it: nobody looks at the row itself unless there is an observer.

    Attributes:
        pointer: That is done.
        after: Name of the next step.
        next: The next step's pointer.
        started: When the body began, µs; 0: nobody knows.
        fields: What it wrote.
    """

    pointer: Pointer
    after: str
    next: int
    started: int
    fields: Mapping[str, Any]

    @property
    def row(self) -> list[Any]:
        """The row, in the form of ``wfe.core.rules.state``."""
        pointer = self.pointer
        ops: list[list[Any]] = [["s", dict(self.fields)]] if self.fields else []
        ops.append(["d", pointer.id])
        ops.append(["p", self.next, self.after, pointer.parent, _PENDING, 0, None, 0])
        info = {"started": self.started} if self.started else None
        return [FORMAT, "step_completed", pointer.id, pointer.step, pointer.attempt, info, ops]

    @property
    def text(self) -> str:
        """The JSON text of the row."""
        p = self.pointer
        info = f'{{"started":{self.started}}}' if self.started else "null"
        parent = "null" if p.parent is None else p.parent
        fields = f'["s",{orjson.dumps(self.fields).decode()}],' if self.fields else ""
        return (
            f"{_HEAD}{p.id},{_quoted(p.step)},{p.attempt},{info},"
            f'[{fields}["d",{p.id}],["p",{self.next},{_quoted(self.after)},{parent},{_NEW}'
        )

    def fold(self, state: State) -> None:
        """Do to *state* what folding the row does."""
        state.seq += 1
        if self.fields:
            state.data = {**state.data, **self.fields}
            for name in self.fields:
                state.writers[name] = state.seq
        gone, key = self.pointer, self.next
        del state.pointers[gone.id]
        state.logs.pop(gone.id, None)
        state.pointers[key] = Pointer(key, self.after, gone.parent, _PENDING, 0, None, _NO_EXTRA)
        state.next_pointer = key + 1


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    """Return the JSON of a step's name."""
    return orjson.dumps(text).decode()


def straight(plan: Plan, state: State, each: object) -> Passed | None:
    """Return the transition that *each* is for *state*; ``None``: it is another kind of one."""
    if not isinstance(each, Completed):
        return None
    pointer = _plain(plan, state, each)
    after = None if pointer is None else plan.places[pointer.step].straight
    if pointer is None or after is None:
        return None
    return Passed(pointer, after, state.next_pointer, each.started, each.writes.fields)


def straight_start(plan: Plan, data: Mapping[str, Any], info: Mapping[str, Any]) -> Decision | None:
    """Return the first rows of a run that begins with a step; ``None``: it begins otherwise."""
    first = plan.root.nodes[0] if plan.root.nodes else None
    if first is None or first.kind is not Kind.STEP or plan.reducers:
        return None
    ops: list[list[Any]] = [["s", {name: value}] for name, value in data.items()]
    ops.append(["p", 1, first.name, None, _PENDING, 0, None, 0])
    row = [FORMAT, "workflow_started", None, None, None, info, ops]
    return Decision(rows=[row], status=_RUNNABLE, error=None)


def straight_end(plan: Plan, state: State, each: object) -> Decision | None:
    """Return the last rows of a run whose last step *each* is the end of; ``None``: it is not."""
    if not isinstance(each, Completed) or len(state.pointers) > 1:
        return None
    pointer = _plain(plan, state, each)
    if pointer is None or pointer.parent is not None:
        return None
    if plan.places[pointer.step].following is not None:
        return None
    fields = each.writes.fields
    ops: list[list[Any]] = [["s", dict(fields)]] if fields else []
    ops.append(["d", pointer.id])
    info = {"started": each.started} if each.started else None
    done = [FORMAT, "step_completed", pointer.id, pointer.step, pointer.attempt, info, ops]
    over = [["c"], ["i", _COMPLETE, None]]
    end = [FORMAT, "workflow_completed", None, None, None, None, over]
    return Decision(rows=[done, end], status=_COMPLETE, error=None, changed=True, final=True)


def _plain(plan: Plan, state: State, each: Completed) -> Pointer | None:
    """Return the pointer of a step that is just done: nothing else is to be seen to."""
    pointer = state.pointers.get(each.pointer)
    if pointer is None or pointer.extra or pointer.attempt != each.attempt:
        return None
    if pointer.status != _PENDING or state.status != _RUNNABLE:
        return None
    if each.outcome is not None or each.notes is not None or not plan.places[pointer.step].plain:
        return None
    writes = each.writes
    if writes.removed or writes.reduced:
        return None
    if writes.fields and any(state.writers.get(name, -1) > writes.base for name in writes.fields):
        return None  # another wrote it meanwhile
    return pointer
