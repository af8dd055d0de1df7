"""The rules and a naive model of them, told the same, agree on what runs, waits and stops."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random  # noqa: TID251 - chance is what is tested here
from typing import Any, Final

import attrs
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rules_drawn import Dice, Drawn, Luck, Maker
from rules_model import Model
from rules_parts import Failure, Key
from rules_run import SECOND, begun, decided

from wfe.core.definition import Kind, Node, WorkflowDefinition
from wfe.core.rules import drafted
from wfe.core.rules.draft import Draft
from wfe.core.rules.inputs import (
    Branched,
    Completed,
    Decision,
    Due,
    Expired,
    Failed,
    Input,
    Items,
    Received,
    Skipped,
    Slept,
    Stopped,
    Unwanted,
    Waits,
)
from wfe.core.rules.plan import Plan, make_plan
from wfe.core.rules.state import Pointer, State, folded, state_from_json, state_to_json

_SHOWN: Final = {
    "pending": "ready",
    "cancelled": "stopping",
    "sleeping": "sleeping",
    "waiting_for_event": "waiting",
    "failed": "failed",
}
# -- both, side by side ---------------------------------------------------------------------------


@pytest.fixture
def drafts(monkeypatch: pytest.MonkeyPatch) -> list[Draft]:
    """Return the drafts that decisions are made from, the last one last."""
    made: list[Draft] = []

    class Noted(Draft):
        def __init__(self, plan: Plan, state: State, now: int) -> None:
            super().__init__(plan, state, now)
            made[:] = [self]

    monkeypatch.setattr(drafted, "Draft", Noted)
    return made


@attrs.define
class Pair:
    """A run by the rules and the same run by the model."""

    plan: Plan
    model: Model
    drafts: list[Draft]
    state: State = attrs.field(factory=State)
    now: int = 0
    story: list[Any] = attrs.field(factory=list[Any])
    waits: set[int] = attrs.field(factory=set[int])
    messages: int = 0
    keys: dict[int, Key] = attrs.field(factory=dict[int, Key])

    # what the rules show

    def leaves(self) -> dict[Key, Pointer]:
        return self.by_key("live" not in p.extra for p in self.state.pointers.values())

    def open(self) -> dict[Key, Pointer]:
        return self.by_key("live" in p.extra for p in self.state.pointers.values())

    def by_key(self, wanted: Iterable[bool]) -> dict[Key, Pointer]:
        draft = Draft(self.plan, self.state, self.now)
        found: dict[Key, Pointer] = {}
        for pointer, want in zip(self.state.pointers.values(), wanted, strict=True):
            # As it was first seen: what is cancelled is moved, without what it does not need.
            key = self.keys.setdefault(pointer.id, (pointer.step, draft.path(pointer)))
            if want:
                assert key not in found, f"{key} is in two places"
                found[key] = pointer
        return found

    def timed(self) -> dict[Key, int]:
        busy = ("closing", "hooks", "undoing")
        return {
            key: p.wake
            for key, p in self.open().items()
            if p.wake is not None and not any(each in p.extra for each in busy)
        }

    def shown(self, pointer: Pointer) -> str:
        due = pointer.status == "sleeping" and (pointer.wake or 0) <= self.now
        return "ready" if due else _SHOWN[pointer.status]

    # telling the rules

    def tell(self, *inputs: Input) -> None:
        self.story.append((self.now, inputs))
        before = orjson.dumps(state_to_json(self.state))
        decision = decided(self.plan, self.state, inputs, self.now)
        assert orjson.dumps(state_to_json(self.state)) == before, "deciding changed the state"
        self.commit(decision)

    def message(self, kind: str, payload: Any = None) -> None:
        self.messages += 1
        self.tell(Received(i=self.messages, kind=kind, payload=payload))

    def commit(self, decision: Decision) -> None:
        known = self.state.next_pointer
        rows = [orjson.loads(orjson.dumps(row)) for row in decision.rows]
        after = folded(self.state, rows)
        for row in rows:
            for op in row[6]:
                new = op[0] == "p" and op[1] not in self.state.pointers
                assert not new or op[1] >= known, f"id {op[1]} is used twice"
        stored = orjson.loads(orjson.dumps(state_to_json(after)))
        again = state_from_json(stored, dict(after.data))
        assert orjson.loads(orjson.dumps(state_to_json(again))) == stored
        self.agrees_with_draft(after)
        self.state = again
        self.waits |= {wait.pointer for wait in decision.subscribe}
        self.waits -= set(decision.unsubscribe)
        self.check(decision)

    def agrees_with_draft(self, after: State) -> None:
        (draft,) = self.drafts
        live = {p.id: attrs.evolve(p, extra=dict(p.extra)) for p in draft.live()}
        assert orjson.loads(orjson.dumps([attrs.astuple(p) for _, p in sorted(live.items())])) == [
            list(attrs.astuple(p)) for _, p in sorted(after.pointers.items())
        ]
        for frame in {*after.logs, *live}:
            assert draft.log(frame) == after.logs.get(frame)

    # what must hold always

    def check(self, decision: Decision) -> None:
        pointers = self.state.pointers
        children: dict[int, int] = {}
        for p in pointers.values():
            assert p.parent is None or p.parent in pointers, f"{p} has no parent"
            if p.parent is not None:
                children[p.parent] = children.get(p.parent, 0) + 1
        for p in pointers.values():
            assert p.extra.get("live", 0) == children.get(p.id, 0), f"{p} counts wrong"
            if "live" not in p.extra:
                assert p.status in _SHOWN, f"{p} is stuck"
                assert p.status != "failed" or self.state.status == "suspended"
        assert set(self.state.logs) <= set(pointers), "an undo log without a frame"
        assert sum(p.parent is None for p in pointers.values()) <= 1
        waiting = {p.id for p in pointers.values() if "wait" in p.extra}
        assert waiting <= self.waits, "it waits without a subscription"
        assert decision.final or self.waits <= waiting, "a subscription that nobody waits for"
        assert not (decision.final and pointers)
        assert decision.final or pointers or self.state.status == "suspended", "wedged"

    def compare(self) -> None:
        assert self.state.status == self.model.status, self.story
        assert {key: self.shown(p) for key, p in self.leaves().items()} == self.model.seen()
        if self.model.final:
            if self.state.status == "failed" and self.model.error is not None:
                assert self.state.error is not None
                assert self.state.error["step"] == self.model.error.step
        else:
            assert self.timed() == self.model.timed()

    def at(self, when: int | None) -> None:
        """Let time pass."""
        self.now = self.model.now = max(self.now, when or 0)

    # what happens

    def act(self, key: Key, luck: Luck) -> None:
        """Let something become of a leaf."""
        pointer = self.leaves()[key]
        node = self.plan.places[pointer.step].node
        if pointer.status == "failed":
            return
        if pointer.status == "cancelled":
            self.tell(Stopped(pointer.id))
            self.model.body(key, "ok")
        elif pointer.status == "waiting_for_event":
            self.waited(key, pointer, came=luck.number(0, 3) > 0)
        elif pointer.status == "sleeping" and "slept" in pointer.extra:
            self.at(pointer.wake)
            self.tell(Due(pointer.id))
            self.model.body(key, "ok")
        else:
            self.at(pointer.wake)
            self.outcome(key, pointer, node, luck.number(0, 9))

    def waited(self, key: Key, pointer: Pointer, *, came: bool) -> None:
        if came:
            self.waits.discard(pointer.id)
            content = {"pointer": pointer.id, "at": self.now, "e": self.messages}
            self.message("event", {**content, "id": "e", "payload": 1})
            self.model.body(key, "ok")
        else:
            self.at(pointer.wake)
            self.tell(Due(pointer.id))
            self.model.body(key, Failure(pointer.step, "StepTimeoutError", retryable=False))

    def outcome(self, key: Key, pointer: Pointer, node: Node, luck: int) -> None:
        at, attempt, count = pointer.id, pointer.attempt, node.config.get("n", 0)
        retryable, errored = luck < 9, luck == 7
        failed = Failed(
            pointer=at,
            attempt=attempt,
            type="E",
            message="no",
            retryable=retryable,
            errored=errored,
        )
        failure = Failure(pointer.step, "E", retryable=retryable, errored=errored)
        match node.kind:
            case Kind.DELAY:
                self.tell(Slept(at, attempt, self.now + SECOND))
                self.model.pause(key, "sleeping", self.now + SECOND)
            case Kind.WAIT_FOR:
                until = self.now + 5 * SECOND
                wait = Waits(pointer=at, attempt=attempt, name="e", key="k", as_of=0, until=until)
                self.tell(wait)
                self.model.pause(key, "waiting", until)
            case Kind.GOTO | Kind.END:
                self.tell(Completed(at, attempt))
                self.model.body(key, "ok")
            case _ if luck > 6:
                self.tell(failed)
                self.model.body(key, failure)
            case _ if luck == 0:
                self.tell(Skipped(at, attempt))
                self.model.body(key, "skip")
            case Kind.STEP:
                self.tell(Completed(at, attempt, luck % 3 or None))
                self.model.body(key, luck % 3 or None)
            case Kind.FOR_EACH:
                self.tell(Items(at, attempt, list(range(count))))
                self.model.body(key, count)
            case Kind.DECIDE:
                chosen = tuple(i for i in range(len(node.blocks)) if count >> i & 1)
                self.tell(Branched(at, attempt, chosen))
                self.model.body(key, chosen)
            case Kind.WHILE:
                more = pointer.extra.get("turns", 0) < count
                self.tell(Branched(at, attempt, (0,) if more else ()))
                self.model.body(key, more)
            case _:
                chosen = (0,) if count or node.kind is not Kind.IF else ()
                self.tell(Branched(at, attempt, chosen))
                self.model.body(key, chosen)

    def control(self, what: str, luck: Luck) -> None:
        """Let somebody from outside interfere."""
        self.story.append(what)
        match what:
            case "suspend" | "resume" | "terminate":
                self.message(what)
                getattr(self.model, what)()
            case "expire":
                self.tell(Expired())
                self.model.expire()
            case "time_out":
                timed = self.timed()
                if timed:
                    key = luck.pick(sorted(timed))
                    self.at(timed[key])
                    self.tell(Due(self.open()[key].id))
                    self.model.time_out(key)
            case _:
                found = {**self.open(), **self.leaves()}
                if not found:
                    return
                key = luck.pick(sorted(found))
                if what == "skip":
                    self.message("skip", {"pointer": found[key].id})
                    self.model.skip(key)
                else:
                    self.tell(Unwanted(found[key].id))
                    self.model.give_up(key)


_RARELY: Final = ("suspend", "resume", "terminate", "expire", "time_out", "skip", "give_up")
_MOST: Final = 60


def drive(luck: Luck, drafts: list[Draft]) -> None:
    root = Maker(luck, 14).block(3)
    plan = make_plan(WorkflowDefinition(id="random", root=root))
    pair = Pair(plan, Model(root), drafts)
    pair.commit(begun(plan, {}, 0, {}))
    pair.compare()
    for turn in range(_MOST * 4):
        if pair.model.final:
            break
        leaves = sorted(pair.leaves())
        number = luck.number(0, 39) if turn < _MOST else 39
        if turn == _MOST:
            pair.control("terminate", luck)
        elif number < len(_RARELY):
            pair.control(_RARELY[number], luck)
        elif not leaves or pair.state.status == "suspended":
            pair.control("resume", luck)
        else:
            pair.act(luck.pick(leaves), luck)
        pair.compare()
    assert pair.model.final, "it never ends"


@pytest.mark.parametrize("hundred", range(12))
def test_the_rules_do_what_a_naive_model_does(hundred: int, drafts: list[Draft]) -> None:
    for seed in range(100 * hundred, 100 * hundred + 100):
        drive(Dice(Random(seed)), drafts)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(10_000, 2**63))
def test_so_they_do_with_seeds_that_nobody_tried_yet(seed: int, drafts: list[Draft]) -> None:
    drive(Dice(Random(seed)), drafts)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_so_they_do_in_small_cases(data: st.DataObject, drafts: list[Draft]) -> None:
    drive(Drawn(data), drafts)
