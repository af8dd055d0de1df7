"""What the rows of one run say, checked against the definition by counting.

The counts are a reference that shares nothing with the rules: whatever the rules do, a step may be
entered only as often as what stands before it was completed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from wfe.core.definition import Kind, Node
from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.policies import Fail, Retry, Suspend
from wfe.core.rules.plan import Plan
from wfe.core.rules.state import State
from wfe.testing.simulator.frames import Frames
from wfe.testing.simulator.laws import Broken, Law

__all__ = ["GOES_BACK", "Journal"]

GOES_BACK: Final = frozenset({"workflow_retried", "workflow_rewound"})
"""Rows after which a run repeats what it had done: its counts say nothing any more."""

_ENDS: Final = frozenset({"step_completed", "step_failed", "step_cancelled"})
_AGAIN: Final = frozenset({"step_sleeping", "event_received", "step_waiting", "step_compensated"})
_COUNTED: Final = frozenset({Kind.DELAY, Kind.WAIT_FOR, Kind.SUB_WORKFLOW, Kind.SET, Kind.ACTIVITY})


class Journal:
    """Counts of one run.

    Attributes:
        entered: Pointers that were put at each step.
        kinds: Rows by (step, kind).
        turns: How often a pointer may be called with the same attempt: once more for each time
            that it slept or waited.
        named: Rows by who is said to have asked for them.
        seen: Kind, pointer and attempt of each row.
        rewritten: Whether a user changed the course of the run, so that counts say nothing.
    """

    def __init__(self, plan: Plan) -> None:
        """Count rows of a run of *plan*."""
        self.plan = plan
        self.entered: Counter[str] = Counter()
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.turns: Counter[int] = Counter()
        self.named: Counter[str] = Counter()
        self.rewritten: bool = False
        self._ends: dict[str, set[int]] = {}
        self.seen: set[tuple[str, int | None, int | None]] = set()
        self._completed = 0
        self._stopping: set[str] = set()
        self._ending = self._cut_short = False
        self._frames = Frames(plan)

    def take_completed(self) -> int:
        """Return how many steps were completed since the last call."""
        completed, self._completed = self._completed, 0
        return completed

    def row(self, state: State, row: list[Any], at: int, tolerance: int) -> None:
        """Take a row that comes after *state*."""
        _, kind, pointer, step, attempt, info, ops = row
        self.seen.add((kind, pointer, attempt))
        if info and "actor" in info:
            self._name(kind, info["actor"])
        if kind == "workflow_terminated":
            self._cut_short = self._ending and _cuts_short(state, info)
        if not self.rewritten:
            self._frames.row(state, row)
        if kind == "workflow_stopping":
            self._ending = True
        if step is not None:
            self._step(kind, pointer, step)
            if kind == "step_completed":
                self._check_time(state, pointer, at, tolerance)
        if kind in GOES_BACK or (kind == "step_skipped" and info and "actor" in info):
            self.rewritten = True
        for op in ops:
            if op[0] == "p" and op[1] >= state.next_pointer and op[4] != PointerStatus.CANCELLED:
                self._enter(op[2])

    def _step(self, kind: str, pointer: int, step: str) -> None:
        self.kinds[step, kind] += 1
        if kind in _ENDS:
            self._ends.setdefault(step, set()).add(pointer)
        if kind == "step_completed":
            self._completed += 1
        if kind in _AGAIN:
            self.turns[pointer] += 1

    def _name(self, kind: str, actor: str) -> None:
        """Count a row about who asked; a run that stops first and then ends has two about one."""
        if kind == "workflow_stopping":
            self._stopping.add(actor)
        elif actor in self._stopping:
            return
        self.named[actor] += 1

    def _enter(self, step: str) -> None:
        self.entered[step] += 1
        place = self.plan.places[step]
        before = _before(place.block, place.node)
        if before is None or self.rewritten or self.plan.places[before.name].following is None:
            return
        most = self.completions(before)
        if self.entered[step] > most:
            problem = f"{step} was entered {self.entered[step]} times, {before.name} ended {most}"
            raise Broken(Law.ORDER, problem)

    def _check_time(self, state: State, key: int, at: int, tolerance: int) -> None:
        pointer = state.pointers.get(key)
        if pointer is None or pointer.wake is None or "slept" not in pointer.extra:
            return
        if at + tolerance < pointer.wake:
            problem = f"{pointer.step} went on {pointer.wake - at} µs before its time"
            raise Broken(Law.TIMERS, problem)

    def hooks(self) -> None:
        """Check, once the run is final, that each ``ensure`` ran once for each end of its step.

        Raises:
            Broken: One did not, or did too often.
        """
        for node in self.plan.definition.walk():
            block = node.hook("ensure")
            if block is None or self.rewritten:
                continue
            name = node.name
            ran, entered = self.entered[block.nodes[0].name], self.entered[name]
            policy = self.plan.places[name].policy
            policy = policy.then if isinstance(policy, Retry) else policy
            ended = 0 if isinstance(policy, Suspend) else len(self._ends.get(name, ()))
            least = ended if node.kind is Kind.STEP and not node.blocks else 0
            least = 0 if self._cut_short else least
            if not least <= ran <= entered:
                problem = f"ensure of {name} ran {ran} times for {entered} entries, {ended} ends"
                raise Broken(Law.ENSURE, problem)

    def completions(self, node: Node) -> float:
        """Return how often *node* can have been completed at most, as its inner rows say."""
        plain = self._plain(node.name)
        match node.kind:
            case Kind.STEP if not node.blocks:
                return plain
            case kind if kind in _COUNTED:
                return plain
            case Kind.SEQUENCE:
                return plain + self._inside(node, 0)
            case Kind.IF:
                return plain + sum(self._inside(node, k) for k in range(len(node.blocks)))
            case Kind.WHILE:
                return plain
            case Kind.FOR_EACH:
                items = node.expr("items")
                value = getattr(items, "value", None)
                if not isinstance(value, list) or not value:
                    return math.inf
                return plain + self._inside(node, 0) // len(value)  # pyright: ignore[reportUnknownArgumentType]
            case Kind.PARALLEL:
                return plain + self._joined(node)
            case Kind.DAG:
                inner = node.blocks[0].nodes
                return plain + min(self.completions(each) for each in inner)
            case _:
                return math.inf

    def _plain(self, name: str) -> int:
        plain = self.kinds[name, "step_completed"] + self.kinds[name, "step_skipped"]
        policy = self.plan.places[name].policy
        policy = policy.then if isinstance(policy, Retry) else policy
        return plain if isinstance(policy, Fail) else plain + self.kinds[name, "step_failed"]

    def _inside(self, node: Node, block: int) -> float:
        nodes = node.blocks[block].nodes
        return self.completions(nodes[-1]) if nodes else math.inf

    def _joined(self, node: Node) -> float:
        counts = [self._inside(node, k) for k in range(len(node.blocks))]
        join = node.config.get("join", "all")
        if join == "all":
            return min(counts)
        wanted: int = 1 if join == "any" else join
        return sum(counts) // wanted


def _cuts_short(state: State, info: Mapping[str, Any] | None) -> bool:
    """Whether who terminates a run does not wait for what it is to run before it ends.

    That is how people end a run that was suspended while it ended; what no person sends does so
    only when a hook failed, and suspended it.
    """
    stuck = any(p.status == PointerStatus.FAILED for p in state.pointers.values())
    person = info is not None and str(info.get("actor")).startswith("u")  # as the users are named
    return state.status == WorkflowStatus.SUSPENDED and (stuck or person)


def _before(block: tuple[Node, ...], node: Node) -> Node | None:
    position = next(k for k, each in enumerate(block) if each is node)
    return block[position - 1] if position else None
