"""The rules against a naive interpreter, for random definitions and random interleavings."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_run import decided

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.rules.decide import begin, decide
from wfe.core.rules.inputs import NO_WRITES, Branched, Completed, Failed, Input, Items
from wfe.core.rules.plan import Plan, make_plan
from wfe.core.rules.state import Pointer, State, apply, folded, state_from_json, state_to_json

Tree = tuple[Any, ...]
"""("step",) | ("sequence" | "if" | "while" | "for_each", number, block) | ("parallel", blocks) |
("dag", nodes with needs)"""


def _blocks(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    block = st.lists(inner, min_size=1, max_size=3).map(tuple)
    counted = st.tuples(
        st.sampled_from(["sequence", "if", "while", "for_each"]), st.integers(0, 3), block
    )
    parallel = st.tuples(st.just("parallel"), st.lists(block, min_size=1, max_size=3).map(tuple))
    needs = st.lists(st.integers(0, 2**4 - 1), min_size=1, max_size=4).map(tuple)
    dag = st.tuples(st.just("dag"), needs)
    return st.one_of(counted, parallel, dag)


TREES = st.recursive(st.just(("step",)), _blocks, max_leaves=12)
DEFINITIONS = st.lists(TREES, min_size=1, max_size=4).map(tuple)


class Maker:
    """Turns trees into nodes with names of their own."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def name(self, kind: str, number: int = 0) -> str:
        made = f"{kind}{len(self.numbers)}"
        self.numbers[made] = number
        return made

    def block(self, trees: tuple[Tree, ...]) -> Block:
        return Block(tuple(self.node(tree) for tree in trees))

    def node(self, tree: Tree) -> Node:
        match tree:
            case ("step",):
                return Node(name=self.name("step"), kind=Kind.STEP)
            case ("parallel", blocks):
                branches = tuple(self.block(block) for block in blocks)
                return Node(name=self.name("parallel"), kind=Kind.PARALLEL, blocks=branches)
            case ("dag", needs):
                return self.dag(needs)
            case (kind, number, block):
                made = self.block(block)
                return Node(name=self.name(kind, number), kind=Kind(kind), blocks=(made,))
            case _:
                raise AssertionError(tree)

    def dag(self, needs: tuple[int, ...]) -> Node:
        names = [self.name("node") for _ in needs]
        nodes = [
            Node(
                name=names[i],
                kind=Kind.STEP,
                needs=tuple(names[j] for j in range(i) if mask >> j & 1),
            )
            for i, mask in enumerate(needs)
        ]
        return Node(name=self.name("dag"), kind=Kind.DAG, blocks=(Block(tuple(nodes)),))


def _naive(block: Block, numbers: dict[str, int]) -> Counter[str]:
    """Return how often each step runs, by plain recursion."""
    ran: Counter[str] = Counter()
    for node in block.nodes:
        number = numbers[node.name]
        match node.kind:
            case Kind.STEP:
                ran[node.name] += 1
            case Kind.IF:
                times = 1 if number else 0
                ran += Counter({k: v * times for k, v in _naive(node.blocks[0], numbers).items()})
            case Kind.WHILE | Kind.FOR_EACH:
                inner = _naive(node.blocks[0], numbers)
                ran += Counter({k: v * number for k, v in inner.items()})
            case _:
                for each in node.blocks:
                    ran += _naive(each, numbers)
    return ran


def _outcome(plan: Plan, pointer: Pointer, numbers: dict[str, int]) -> Input:
    """Return what the shell would say of a pending pointer."""
    node = plan.places[pointer.step].node
    number = numbers[node.name]
    match node.kind:
        case Kind.IF:
            return Branched(pointer.id, pointer.attempt, (0,) if number else ())
        case Kind.WHILE:
            more = pointer.extra.get("turns", 0) < number
            return Branched(pointer.id, pointer.attempt, (0,) if more else ())
        case Kind.FOR_EACH:
            return Items(pointer.id, pointer.attempt, list(range(number)))
        case _:
            return Completed(pointer.id, pointer.attempt, None, NO_WRITES)


def _made(trees: tuple[Tree, ...]) -> tuple[Plan, dict[str, int]]:
    maker = Maker()
    definition = WorkflowDefinition(id="random", root=maker.block(trees))
    return make_plan(definition), maker.numbers


def _committed(state: State, rows: list[list[Any]]) -> State:
    """Fold *rows* as read back from a journal."""
    return folded(state, [orjson.loads(orjson.dumps(row)) for row in rows])


@settings(max_examples=150, deadline=None)
@given(trees=DEFINITIONS, data=st.data())
def test_every_step_runs_as_often_as_a_naive_interpreter_says(
    trees: tuple[Tree, ...], data: st.DataObject
) -> None:
    plan, numbers = _made(trees)
    state = _committed(State(), begin(plan, {}, 0, {}).rows)
    ran: Counter[str] = Counter()

    while state.pointers:
        pending = [p for p in state.pointers.values() if p.status == "pending"]
        assert pending, "nothing can go on"
        most = min(len(pending), 3)
        chosen = data.draw(
            st.lists(st.sampled_from(pending), min_size=1, max_size=most, unique_by=id)
        )
        ran.update(p.step for p in chosen if plan.places[p.step].node.kind is Kind.STEP)
        before = state_to_json(state)
        inputs = [_outcome(plan, pointer, numbers) for pointer in chosen]
        decision = decided(plan, state, inputs, 1)
        assert state_to_json(state) == before, "deciding changed the state"
        state = _committed(state, decision.rows)

    assert state.status == "complete"
    assert ran == _naive(plan.definition.root, numbers)


@settings(max_examples=100, deadline=None)
@given(trees=DEFINITIONS, data=st.data())
def test_a_failure_anywhere_ends_the_run_failed_and_leaves_no_pointer(
    trees: tuple[Tree, ...], data: st.DataObject
) -> None:
    plan, numbers = _made(trees)
    state = _committed(State(), begin(plan, {}, 0, {}).rows)
    failed = False

    while state.pointers:
        live = list(state.pointers.values())
        ready = [p for p in live if p.status in ("pending", "cancelled")]
        assert ready, "nothing can go on"
        pointer = data.draw(st.sampled_from(ready))
        is_step = plan.places[pointer.step].node.kind is Kind.STEP
        outcome = _outcome(plan, pointer, numbers)
        if is_step and pointer.status == "pending" and data.draw(st.booleans()):
            outcome = Failed(pointer=pointer.id, attempt=0, type="E", message="no")
            failed = True
        state = _committed(state, decided(plan, state, [outcome], 1).rows)

    assert state.status == ("failed" if failed else "complete")


@settings(max_examples=60, deadline=None)
@given(trees=DEFINITIONS)
def test_a_snapshot_and_the_tail_give_the_same_state_as_the_whole_journal(
    trees: tuple[Tree, ...],
) -> None:
    plan, numbers = _made(trees)
    rows = begin(plan, {"a": 1}, 0, {}).rows
    state = folded(State(), rows)
    snapshots = [state]
    while state.pointers:
        pending = [p for p in state.pointers.values() if p.status == "pending"]
        decision = decide(plan, state, [_outcome(plan, p, numbers) for p in pending], 1)
        rows += decision.rows
        state = folded(state, decision.rows)
        snapshots.append(state)

    for snapshot in snapshots:
        stored = orjson.loads(orjson.dumps(state_to_json(snapshot)))
        loaded = state_from_json(stored, dict(snapshot.data))
        for row in rows[loaded.seq + 1 :]:
            apply(loaded, orjson.loads(orjson.dumps(row)))
        assert state_to_json(loaded) == state_to_json(state)
