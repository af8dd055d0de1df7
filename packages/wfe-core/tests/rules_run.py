"""A run that the tests of the rules drive by hand, one input at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.providers import Header, Item
from wfe.core.rules import drafted
from wfe.core.rules.decide import begin, by_draft, decide
from wfe.core.rules.inputs import (
    AsksPerson,
    AsksPlaces,
    Branched,
    Completed,
    Decision,
    Due,
    Failed,
    Input,
    Offers,
    Received,
    Restored,
    StartsChild,
    Stopped,
    Waits,
    WaitsSignal,
)
from wfe.core.rules.plan import Plan, Reducer, make_plan
from wfe.core.rules.state import Pointer, State, folded
from wfe.core.rules.straight import straight

__all__ = [
    "SECOND",
    "Run",
    "begun",
    "block",
    "both",
    "child",
    "decided",
    "hooked",
    "saga",
    "step",
    "undone",
]

SECOND = 1_000_000


def block(*nodes: Node, **parts: Any) -> Block:
    """Return a block of nodes."""
    return Block(nodes, **parts)


def step(name: str, kind: Kind = Kind.STEP, **parts: Any) -> Node:
    """Return a node."""
    return Node(name=name, kind=kind, **parts)


def both(*branches: Node, name: str = "both", **parts: Any) -> Node:
    """Return a parallel."""
    return step(name, Kind.PARALLEL, blocks=tuple(block(each) for each in branches), **parts)


def hooked(name: str, hook: str = "ensure", **parts: Any) -> Node:
    """Return a step with a hook."""
    return step(name, hooks=((hook, block(step(f"{name}-{hook}"))),), **parts)


def undone(name: str, **parts: Any) -> Node:
    """Return a step with an undo, whose step has *parts*."""
    return step(name, undo=block(step(f"undo-{name}", **parts)))


def saga(*nodes: Node, **parts: Any) -> Node:
    """Return a saga."""
    return step("saga", Kind.SAGA, blocks=(block(*nodes),), **parts)


def child(n: int = 7) -> Item:
    """Return the first item of a sub-workflow."""
    header = Header(n=n, id=f"child-{n}", d=1, definition="c", version=1, root_id="root")
    return Item(n=n, new=header)


def decided(plan: Plan, state: State, inputs: Sequence[Input], now: int) -> Decision:
    """Return the decision, which is the same whether it is made the short way or not."""
    decision = decide(plan, state, inputs, now)
    assert decision == by_draft(plan, state, inputs, now)
    passed = straight(plan, state, inputs[0]) if len(inputs) == 1 else None
    if passed is not None:
        assert decision.rows == [passed.row]
        assert passed.text == orjson.dumps(passed.row).decode()
        after = folded(state, [])
        passed.fold(after)
        assert after == folded(state, decision.rows)
    return decision


def begun(plan: Plan, data: Mapping[str, Any], now: int, info: Mapping[str, Any]) -> Decision:
    """Return the first decision, which is the same whether it is made the short way or not."""
    decision = begin(plan, data, now, info)
    assert decision == drafted.begin(plan, data, now, info)
    return decision


class Run:
    """A run: its state, its journal, and what the last decision was."""

    def __init__(
        self,
        *nodes: Node,
        data: Mapping[str, Any] | None = None,
        reducers: Mapping[str, Reducer] | None = None,
        **parts: Any,
    ) -> None:
        definition = WorkflowDefinition(id="w", root=Block(nodes), **parts)
        self.plan = make_plan(definition, reducers)
        self.state = State()
        self.rows: list[list[Any]] = []
        self.now = 0
        self.messages = 0
        self.last = self.commit(begun(self.plan, data or {}, 0, {}))

    # -- what happens

    def commit(self, decision: Decision) -> Decision:
        """Fold what was decided, as read back from a journal."""
        rows = [orjson.loads(orjson.dumps(row)) for row in decision.rows]
        self.rows += rows
        self.state = folded(self.state, rows)
        return decision

    def feed(self, *inputs: Input | Any, now: int | None = None) -> Decision:
        """Decide on *inputs*."""
        self.now = max(self.now, now or 0)
        self.last = self.commit(decided(self.plan, self.state, inputs, self.now))
        return self.last

    def message(self, kind: str, payload: Any = None, **parts: Any) -> Decision:
        """Let a message come."""
        self.messages += 1
        return self.feed(Received(i=self.messages, kind=kind, payload=payload, **parts))

    def back(self, kind: str, found: Restored | None, **payload: Any) -> Decision:
        """Go on from an earlier state."""
        return self.message(kind, payload, found=found)

    # by the name of the step

    def at(self, name: str) -> Pointer:
        """Return the live pointer at a step."""
        (found,) = (p for p in self.state.pointers.values() if p.step == name)
        return found

    def place(self, name: str) -> dict[str, Any]:
        """Return pointer and attempt of a step."""
        pointer = self.at(name)
        return {"pointer": pointer.id, "attempt": pointer.attempt}

    def done(self, name: str, outcome: Any = None, **parts: Any) -> Decision:
        """Let the body of a step complete."""
        return self.feed(Completed(**self.place(name), outcome=outcome, **parts))

    def fail(self, name: str, **parts: Any) -> Decision:
        """Let the body of a step fail."""
        return self.feed(Failed(**self.place(name), type="E", message="no", **parts))

    def branch(self, name: str, *blocks: int) -> Decision:
        """Let the expression of a container choose."""
        return self.feed(Branched(**self.place(name), blocks=blocks))

    def stop(self, name: str) -> Decision:
        """Let the cancelled body of a step end."""
        return self.feed(Stopped(self.at(name).id))

    def due(self, name: str, when: int) -> Decision:
        """Let the time of a pointer come."""
        return self.feed(Due(self.at(name).id), now=when)

    def wait(self, name: str, *, until: int | None = None) -> Decision:
        """Let a step wait for the event ``e``."""
        return self.feed(Waits(**self.place(name), name="e", key="k", as_of=0, until=until))

    def listen(self, name: str, *, until: int | None = None) -> Decision:
        """Let a step wait for the signal ``s``."""
        return self.feed(WaitsSignal(**self.place(name), name="s", until=until))

    def offer(self, name: str, *, until: int | None = None) -> Decision:
        """Let a step offer the activity ``a``."""
        return self.feed(Offers(**self.place(name), name="a", parameters="{}", until=until))

    def ask(self, name: str, *, until: int | None = None) -> Decision:
        """Let a step ask whether yes or no."""
        asks = AsksPerson(**self.place(name), prompt="ok?", options=("yes", "no"), until=until)
        return self.feed(asks)

    def places(self, name: str, *places: tuple[str, int, int | None]) -> Decision:
        """Let a step ask for places."""
        return self.feed(AsksPlaces(**self.place(name), places=places))

    def grant(self, name: str, key: str, at: int = 0) -> Decision:
        """Let a place become free for a step."""
        return self.message("granted", {**self.place(name), "key": key, "at": at})

    def event(self, name: str, payload: Any = None, **parts: Any) -> Decision:
        """Let the event come that a step waits for."""
        content = {"pointer": self.at(name).id, "at": 1, "e": 1, "id": "i", "payload": payload}
        return self.message("event", {**content, **parts})

    def begin_child(self, name: str, **parts: Any) -> Decision:
        """Let a step start a sub-workflow."""
        return self.feed(StartsChild(**self.place(name), start=child(), **parts))

    def child_over(self, name: str, status: str = "complete", **parts: Any) -> Decision:
        """Let the sub-workflow of a step end."""
        content = {"pointer": self.at(name).id, "n": 7, "id": "child-7", "definition": "c"}
        over: dict[str, Any] = {"status": status, "data": {}, "error": None}
        return self.message("child_done", {**content, **over, **parts})

    # -- what can be seen

    @property
    def live(self) -> dict[str, str]:
        """Status by step of what is not an open container."""
        found = self.state.pointers.values()
        return {p.step: p.status for p in found if "live" not in p.extra}

    @property
    def status(self) -> str:
        """Of the run."""
        return self.state.status

    @property
    def kinds(self) -> list[str]:
        """What the last decision wrote."""
        return [row[1] for row in self.last.rows]

    def info(self, kind: str) -> Any:
        """Return the details of the last row of a kind."""
        return next(row[5] for row in reversed(self.rows) if row[1] == kind)
