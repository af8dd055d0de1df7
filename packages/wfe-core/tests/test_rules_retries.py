"""Runs that fail, are ended and tried again at random: they go on, and do nothing twice."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from random import Random  # noqa: TID251 - seeded: chance is what is tested here
from typing import Any, Final

import attrs
import pytest
from rules_drawn import Dice, Maker
from rules_run import SECOND, Run, block, step

from wfe.core.definition import Block, Kind, Node
from wfe.core.policies import CompensateThenRetry, Retry
from wfe.core.rules.inputs import (
    Branched,
    Completed,
    Due,
    Expired,
    Failed,
    Input,
    Items,
    Received,
    Slept,
    Stopped,
    Unwanted,
    Waits,
)
from wfe.core.rules.reopening import before_failures
from wfe.core.rules.reviving import restored
from wfe.core.rules.state import Pointer

_LIVE: Final = {"pending", "cancelled", "sleeping", "waiting_for_event", "failed"}
_FINAL: Final = {"complete", "failed", "terminated"}


def retried(run: Run) -> None:
    assert run.state.origin is not None
    state, failures = before_failures(run.rows, *run.state.origin)
    run.back("retry", restored(state, None, failures), from_step=None)


def check(run: Run) -> None:
    """Check that something can happen in *run*, whatever it is: it is not wedged."""
    pointers = run.state.pointers
    children = Counter(p.parent for p in pointers.values())
    for pointer in pointers.values():
        assert pointer.parent is None or pointer.parent in pointers, f"{pointer} has no parent"
        assert pointer.extra.get("live", 0) == children[pointer.id], f"{pointer} counts wrong"
        if "live" in pointer.extra:
            assert children[pointer.id], f"nothing ends {pointer}"
        else:
            assert pointer.status in _LIVE, f"{pointer} is stuck"
            assert pointer.status != "failed" or run.status == "suspended"
    assert set(run.state.logs) <= set(pointers), "an undo log without a frame"
    assert pointers or run.status in {*_FINAL, "suspended"}, "wedged"


# -- whatever the rules know ----------------------------------------------------------------------


def happens(dice: Dice, run: Run, pointer: Pointer, *, calm: bool) -> Input:
    """Return something that can happen at a leaf; when all is *calm*, nothing fails any more."""
    luck = dice.number(1, 6) if calm else dice.number(0, 9)
    if pointer.status == "cancelled":
        return Stopped(pointer.id)
    if pointer.status == "waiting_for_event" and luck:
        run.messages += 1
        content = {"pointer": pointer.id, "at": run.now, "e": run.messages, "id": "e"}
        return Received(i=run.messages, kind="event", payload={**content, "payload": 1})
    run.now = max(run.now, pointer.wake or 0)
    if pointer.status == "waiting_for_event" or "slept" in pointer.extra:
        return Due(pointer.id)
    return outcome(run, pointer, luck)


def outcome(run: Run, pointer: Pointer, luck: int) -> Input:
    """Return what comes of a body, or of a condition."""
    node = run.plan.places[pointer.step].node
    at, attempt, count = pointer.id, pointer.attempt, node.config.get("n", 0)
    soon = run.now + SECOND
    made: Input
    match node.kind:
        case Kind.DELAY:
            made = Slept(at, attempt, soon)
        case Kind.WAIT_FOR:
            made = Waits(pointer=at, attempt=attempt, name="e", key="k", as_of=0, until=soon)
        case Kind.GOTO | Kind.END:
            made = Completed(at, attempt)
        case _ if luck > 6:
            made = Failed(pointer=at, attempt=attempt, type="E", message="no", retryable=luck < 9)
        case Kind.STEP:
            made = Completed(at, attempt, luck % 3 or None)
        case Kind.FOR_EACH:
            made = Items(at, attempt, list(range(count)))
        case _:
            made = Branched(at, attempt, chosen(node, pointer, count))
    return made


def chosen(node: Node, pointer: Pointer, count: int) -> tuple[int, ...]:
    """Return which blocks a condition opens."""
    match node.kind:
        case Kind.DECIDE:
            return tuple(i for i in range(len(node.blocks)) if count >> i & 1)
        case Kind.WHILE:
            return (0,) if pointer.extra.get("turns", 0) < count else ()
        case Kind.IF:
            return (0,) if count else ()
        case _:
            return (0,)


def interfere(dice: Dice, run: Run, what: str) -> None:
    """Let somebody from outside do something."""
    pointers = sorted(run.state.pointers.values(), key=lambda pointer: pointer.id)
    timed = [p for p in pointers if "live" in p.extra and p.wake is not None]
    if what in ("suspend", "terminate", "resume"):
        run.message(what)
    elif what == "expire":
        run.feed(Expired())
    elif what == "time_out" and timed:
        pointer = dice.pick(timed)
        run.feed(Due(pointer.id), now=pointer.wake)
    elif what == "skip" and pointers:
        run.message("skip", {"pointer": dice.pick(pointers).id})
    elif what == "give_up" and pointers:
        run.feed(Unwanted(dice.pick(pointers).id))


_RARELY: Final = ("suspend", "terminate", "resume", "expire", "time_out", "skip", "give_up")
_TROUBLE: Final = 200  # turns after which it is ended for good, and nothing fails any more
_MOST: Final = 600


def drive(seed: int) -> str:
    """Drive a run to an end that nobody wants to try again; return its status."""
    dice = Dice(Random(seed))
    run = Run(*Maker(dice, 14).block(3).nodes)
    retries = 4
    for turn in range(_MOST):
        check(run)
        calm = turn > _TROUBLE
        number = len(_RARELY) if calm else dice.number(0, 39)
        leaves = [p for p in run.state.pointers.values() if "live" not in p.extra]
        if run.status == "complete" or (run.status in _FINAL and (calm or not retries)):
            return run.status
        if turn == _TROUBLE:  # by itself, one that goes back for ever would not end
            run.message("terminate")
        elif run.status in _FINAL:
            retries -= 1
            retried(run)
        elif number < len(_RARELY):
            interfere(dice, run, _RARELY[number])
        elif run.status == "suspended":
            run.message("resume" if calm else dice.pick(["resume", "resume", "terminate"]))
        else:
            leaves.sort(key=lambda pointer: pointer.id)
            run.feed(happens(dice, run, dice.pick(leaves), calm=calm))
    raise AssertionError("it never ends")


@pytest.mark.parametrize("hundred", range(12))
def test_a_run_that_is_tried_again_goes_on(hundred: int) -> None:
    ends = Counter(drive(seed) for seed in range(100 * hundred, 100 * hundred + 100))
    assert ends["complete"] > 50, ends


# -- what happens to each step --------------------------------------------------------------------


@attrs.define
class Grower:
    """Draws definitions in which every step is to be done, once."""

    random: Random
    undoes: bool
    names: Iterator[int] = attrs.field(factory=itertools.count)

    def name(self, letter: str) -> str:
        return f"{letter}{next(self.names)}"

    def node(self, depth: int) -> Node:
        random = self.random
        parts: dict[str, Any] = {}
        if random.random() < 0.2:
            names = ["on_success", "ensure", "on_failure", "on_abort"]
            drawn = sorted(random.sample(names, random.randint(1, 2)))
            parts["hooks"] = tuple((name, block(step(self.name("h")))) for name in drawn)
        if self.undoes and random.random() < 0.7:
            parts["undo"] = block(step(self.name("u")))
        if depth == 0 or random.random() < 0.25:
            return step(self.name("n"), **parts)
        if self.undoes and random.random() < 0.15:
            again = Retry(max_retries=1, interval=timedelta(0))
            parts["on_error"] = random.choice([CompensateThenRetry(1), again])
        inner = [self.node(depth - 1) for _ in range(random.randint(1, 3))]
        kinds = [Kind.SEQUENCE, Kind.PARALLEL, Kind.DAG, Kind.SAGA, Kind.SAGA]
        return self.around(random.choice(kinds), inner, parts)

    def around(self, kind: Kind, inner: list[Node], parts: dict[str, Any]) -> Node:
        random, name = self.random, self.name("c")
        if kind in (Kind.SEQUENCE, Kind.SAGA):
            return step(name, kind, blocks=(block(*inner),), **parts)
        config: dict[str, Any] = {"fail_fast": random.random() < 0.4}
        if kind is Kind.PARALLEL:
            config["limit"] = random.choice([None, 1, 2])
            blocks: tuple[Block, ...] = tuple(block(each) for each in inner)
            return step(name, kind, blocks=blocks, config=config, **parts)
        nodes: list[Node] = []
        for each in inner:
            needs = tuple(other.name for other in nodes if random.random() < 0.4)
            late = bool(needs) and random.random() < 0.3
            nodes.append(attrs.evolve(each, needs=needs, trigger="all_done" if late else "all"))
        return step(name, kind, blocks=(block(*nodes),), config=config, **parts)


def story(seed: int, *, undoes: bool) -> list[tuple[str, str]]:
    """Drive a run until it is complete; return (step, what became of it), in this order."""
    random = Random(seed)
    grower = Grower(random, undoes)
    run = Run(grower.node(3), grower.node(3))
    failures, ends = 5, 1
    while run.status != "complete":
        check(run)
        if run.status in _FINAL:
            retried(run)
        elif run.status == "suspended":
            run.message("resume")
        elif ends and random.random() < 0.02:
            ends -= 1
            run.message("terminate")
        else:
            leaves = [p for p in run.state.pointers.values() if "live" not in p.extra]
            failures -= failed(random, run, random.choice(leaves), luck=0.35 if failures else 0)
    told = [(row[3], row[1]) for row in run.rows if row[1] in _TOLD]
    steps = {n.name for n in run.plan.definition.walk() if n.name.startswith("n")}
    assert steps <= {name for name, kind in told if kind == "step_completed"}
    return [(name, kind) for name, kind in told if name in steps]


def failed(random: Random, run: Run, pointer: Pointer, *, luck: float) -> bool:
    """Let something become of a leaf; return whether it failed."""
    at, attempt = pointer.id, pointer.attempt
    run.now = max(run.now, pointer.wake or 0)
    if pointer.status == "cancelled":
        run.feed(random.choice([Stopped(at), Completed(at, attempt)]))
    elif run.plan.places[pointer.step].node.kind is not Kind.STEP:
        run.feed(Branched(at, attempt, (0,)))
    elif random.random() < luck:
        run.feed(Failed(pointer=at, attempt=attempt, type="E", message="no"))
        return True
    else:
        run.feed(Completed(at, attempt))
    return False


_TOLD: Final = {"step_completed", "step_compensated"}


@pytest.mark.parametrize("hundred", range(6))
def test_when_it_completes_nothing_is_left_undone(hundred: int) -> None:
    for seed in range(100 * hundred, 100 * hundred + 100):
        last = dict(story(seed, undoes=True))
        undone = [name for name, kind in last.items() if kind == "step_compensated"]
        assert not undone, f"seed {seed}"


@pytest.mark.parametrize("hundred", range(6))
def test_however_often_it_is_tried_no_step_completes_twice(hundred: int) -> None:
    for seed in range(100 * hundred, 100 * hundred + 100):
        done = [name for name, _ in story(seed, undoes=False)]
        assert len(done) == len(set(done)), f"seed {seed}"
