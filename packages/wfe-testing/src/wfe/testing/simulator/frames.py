"""A naive model of undo: what a saga must undo, in which order, told from the rows alone."""

from __future__ import annotations

from typing import Any, Final

import attrs

from wfe.core.definition import Kind
from wfe.core.policies import Compensate, Fail, Retry, Terminate
from wfe.core.rules.plan import CONTAINERS, Plan
from wfe.core.rules.state import State
from wfe.testing.simulator.laws import Broken, Law

__all__ = ["Frames"]

_GOES_ON: Final = frozenset({"step_retrying", "step_failed"})
_DID: Final = frozenset({"step_completed", "step_failed"})


@attrs.define
class _Frame:
    """A saga (or a step that is undone alone).

    Attributes:
        done: Row, place in it, pointer and step of what was done in it and has an undo.
        undoing: Whether it is being undone.
    """

    done: list[tuple[int, int, int, str]] = attrs.field(factory=list[tuple[int, int, int, str]])
    undoing: bool = False


class Frames:
    """All frames of one run."""

    def __init__(self, plan: Plan) -> None:
        """Watch a run of *plan*."""
        self._plan = plan
        self._frames: dict[int, _Frame] = {}
        self._aborted = False

    def row(self, state: State, row: list[Any]) -> None:
        """Take a row that comes after *state*."""
        _, kind, pointer, step, _attempt, _info, ops = row
        if kind == "workflow_stopping" and _terminates(ops):
            self._aborted = True  # whoever terminates a run leaves its undo off
        if kind == "saga_compensating":
            frame = self._frames.setdefault(pointer, _Frame())
            frame.undoing = True
        elif kind == "step_compensated":
            self._undone(pointer, step)
        if kind in _GOES_ON:
            self._went_on(pointer)
        if kind in _DID and self._undoable(step, kind):
            self._did(state, pointer, step)
        for place, op in enumerate(ops, 1):
            if op[0] == "u":
                self._pushed(state.seq + 1, place, op)
            elif op[0] == "d":
                self._dropped(state, op[1])
            elif op[0] == "c":
                self._frames.clear()

    def _did(self, state: State, pointer: int, step: str) -> None:
        frame = self._around(state, pointer)
        if frame is not None:
            done = self._frames.setdefault(frame, _Frame()).done
            done.append((state.seq + 1, 0, pointer, step))

    def _pushed(self, seq: int, place: int, op: list[Any]) -> None:
        """Take note of a container's end, after all in it: it may have no row of its own."""
        _, frame, pointer, step, _rounds = op
        if frame == pointer:
            return  # a saga that is being undone comes to its own undo: `_undone` knows when
        if self._plan.places[step].node.kind in CONTAINERS:
            self._frames.setdefault(frame, _Frame()).done.append((seq, place, pointer, step))

    def _undoable(self, step: str, kind: str) -> bool:
        """Whether what a row says is to be undone: a failure, too, may have done half of it."""
        place = self._plan.places.get(step)
        if place is None or place.node.undo is None or place.node.kind in CONTAINERS:
            return False
        policy = place.policy.then if isinstance(place.policy, Retry) else place.policy
        return kind == "step_completed" or isinstance(policy, Fail | Terminate | Compensate)

    def _around(self, state: State, key: int) -> int | None:
        """Return the nearest saga around a pointer."""
        pointer = state.pointers.get(key)
        while pointer is not None and pointer.parent is not None:
            pointer = state.pointers.get(pointer.parent)
            if pointer is not None and self._plan.places[pointer.step].node.kind is Kind.SAGA:
                return pointer.id
        return None

    def _undone(self, key: int, step: str) -> None:
        frames = [(id, frame) for id, frame in self._frames.items() if frame.undoing]
        for id, frame in frames:
            if frame.done and frame.done[-1][2] == key:
                frame.done.pop()
                return
            if id == key and not frame.done:
                return  # the frame's own undo: a step alone, or a saga after all of its steps
        waiting = [frame.done[-1][3] for _, frame in frames if frame.done]
        raise Broken(Law.UNDO, f"{step} (pointer {key}) was undone, it was the turn of {waiting}")

    def _went_on(self, key: int) -> None:
        frame = self._frames.get(key)
        if frame is not None and frame.undoing:
            self._check_all(key, frame)
            frame.undoing = False

    def _dropped(self, state: State, key: int) -> None:
        frame = self._frames.pop(key, None)
        if frame is None or not frame.done:
            return
        if frame.undoing:
            self._check_all(key, frame)
        outer = self._around(state, key)
        if outer is not None:
            merged = self._frames.setdefault(outer, _Frame())
            merged.done = sorted([*merged.done, *frame.done])

    def _check_all(self, key: int, frame: _Frame) -> None:
        if frame.done and not self._aborted:
            steps = [entry[3] for entry in frame.done]
            raise Broken(Law.UNDO, f"saga {key} went on, but {steps} were not undone")


def _terminates(ops: list[list[Any]]) -> bool:
    outcomes = [value for op in ops if op[0] == "e" for value in op[2].values()]
    return any(isinstance(o, list) and o[:2] == ["end", "terminated"] for o in outcomes)
