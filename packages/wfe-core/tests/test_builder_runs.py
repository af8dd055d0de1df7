"""Built definitions run through the pure rules in the order that their author wrote down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.core.builder import BranchBuilder, StepBuilder, WorkflowBuilder
from wfe.core.codec import encode
from wfe.core.dag import Dag
from wfe.core.data import DataModel, model_for
from wfe.core.definition import Kind, Node, Value, WorkflowDefinition
from wfe.core.models import to_micros
from wfe.core.rules.decide import begin, decide
from wfe.core.rules.inputs import (
    NO_WRITES,
    Branched,
    Completed,
    Due,
    Failed,
    Input,
    Items,
    Skipped,
    Slept,
    Stopped,
)
from wfe.core.rules.plan import Plan, make_plan
from wfe.core.rules.state import Pointer, State, apply

Effects = Mapping[str, Mapping[str, Any]]
HOUR = 3_600_000_000


@attrs.define
class Order:
    amount: int = 0
    tries: int = 0
    kind: str = ""
    items: list[int] = attrs.field(factory=list[int])


def work(ctx: object) -> None: ...


def once_more(order: Order) -> int:
    return order.tries + 1


class Driver:
    """Plays host: runs one pending step at a time, oldest first, on one imagined clock."""

    def __init__(
        self,
        definition: WorkflowDefinition,
        effects: Effects,
        outcomes: Mapping[str, Any],
        failing: frozenset[str],
    ) -> None:
        self.model: DataModel = model_for(definition.data_type)
        self.plan: Plan = make_plan(definition, self.model.reducers)
        self.state = State()
        self.now = 0
        self.trace: list[str] = []
        self._effects = effects
        self._outcomes = outcomes
        self._failing = failing

    def run(self, data: object) -> Driver:
        stored = self.model.start(data)
        self._fold(begin(self.plan, stored, self.now, {}).rows)
        for _ in range(1000):
            ready = [p for p in self.state.pointers.values() if p.status == "pending"]
            if ready:
                self._tell(self._input(min(ready, key=lambda p: p.id)))
                continue
            cancelled = [p for p in self.state.pointers.values() if p.status == "cancelled"]
            if cancelled:
                self._tell(Stopped(cancelled[0].id))
                continue
            sleeping = [p for p in self.state.pointers.values() if p.wake is not None]
            if not sleeping:
                return self
            first = min(sleeping, key=lambda p: (p.wake or 0, p.id))
            self.now = max(self.now, first.wake or 0)
            self._tell(Due(first.id))
        raise AssertionError("does not end")

    def _tell(self, happened: Input) -> None:
        self._fold(decide(self.plan, self.state, [happened], self.now).rows)

    def _fold(self, rows: list[list[Any]]) -> None:
        for row in rows:
            apply(self.state, row)

    def _input(self, pointer: Pointer) -> Input:
        node = self.plan.places[pointer.step].node
        key, attempt = pointer.id, pointer.attempt
        if node.run_if is not None and not self._call(node, "run_if"):
            return Skipped(key, attempt)
        match node.kind:
            case Kind.STEP:
                return self._body(node, pointer)
            case Kind.IF:
                chosen = 0 if self._call(node, "condition") else 1
                return Branched(key, attempt, (chosen,) if chosen < len(node.blocks) else ())
            case Kind.WHILE:
                return Branched(key, attempt, (0,) if self._call(node, "condition") else ())
            case Kind.FOR_EACH:
                return Items(key, attempt, encode(self._call(node, "items")))
            case Kind.DECIDE:
                value = encode(self._call(node, "value"))
                fits = [i for i, b in enumerate(node.blocks) if not b.default and b.label == value]
                other = [i for i, b in enumerate(node.blocks) if b.default]
                return Branched(key, attempt, tuple(fits or other))
            case Kind.DELAY:
                duration = self._call(node, "duration")
                micros = duration if isinstance(duration, int) else to_micros(duration)
                return Slept(key, attempt, self.now + micros)
            case Kind.GOTO | Kind.END:
                return Completed(key, attempt)
            case _:
                return Branched(key, attempt, (0,))

    def _body(self, node: Node, pointer: Pointer) -> Input:
        index = pointer.extra.get("index")
        self.trace.append(node.name if index is None else f"{node.name}[{index}]")
        if node.name in self._failing:
            return Failed(pointer=pointer.id, attempt=pointer.attempt, type="E", message="no")
        effect = self._effects.get(node.name)
        writes = NO_WRITES
        if effect is not None:
            before = self.model.load(self.state.data)
            new = {name: f(before) if callable(f) else f for name, f in effect.items()}
            writes = self.model.returned(new, self.state.seq)
        return Completed(pointer.id, pointer.attempt, self._outcomes.get(node.name), writes)

    def _call(self, node: Node, role: str) -> Any:
        expression = node.run_if if role == "run_if" else node.expr(role)
        if isinstance(expression, Value):
            return expression.value
        function: Callable[[Any], Any] = self.plan.definition.code[f"{node.name}/{role}"]
        return function(self.model.load(self.state.data))


def trace(
    definition: WorkflowDefinition,
    data: object = None,
    *,
    effects: Effects | None = None,
    outcomes: Mapping[str, Any] | None = None,
    failing: frozenset[str] = frozenset(),
) -> str:
    """Run *definition* and return the steps in the order they ran, with the final status."""
    driver = Driver(definition, effects or {}, outcomes or {}, failing).run(data)
    return " ".join([*driver.trace, driver.state.status])


def one(name: str) -> Callable[[BranchBuilder[Order]], StepBuilder[Order, Any]]:
    return lambda b: b.then(work).name(name)


def start(name: str = "a") -> StepBuilder[Order, Any]:
    return WorkflowBuilder(Order).start_with(work).name(name)


@pytest.mark.parametrize(("amount", "ran"), [(5, "a big b complete"), (1, "a small b complete")])
def test_if_and_else(amount: int, ran: str) -> None:
    definition = (
        start().if_do(lambda d: d.amount > 2, one("big")).else_do(one("small")).then(work).name("b")
    ).build("w")

    assert trace(definition, Order(amount=amount)) == ran


def test_if_without_else_goes_on() -> None:
    definition = start().if_do(lambda d: d.amount > 2, one("big")).then(work).name("b").build("w")

    assert trace(definition) == "a b complete"


def test_while_repeats_its_branch() -> None:
    definition = (
        WorkflowBuilder(Order).while_do(lambda d: d.tries < 3, one("try")).then(work).name("b")
    ).build("w")

    ran = trace(definition, effects={"try": {"tries": once_more}})

    assert ran == "try try try b complete"


@pytest.mark.parametrize(
    ("kind", "ran"),
    [("x", "x end complete"), ("y", "y end complete"), ("z", "other end complete")],
)
def test_decide_takes_the_branch_with_the_label(kind: str, ran: str) -> None:
    definition = (
        WorkflowBuilder(Order)
        .decide(lambda d: d.kind, {"x": one("x"), "y": one("y")}, default=one("other"))
        .then(work)
        .name("end")
        .build("w")
    )

    assert trace(definition, Order(kind=kind)) == ran


def test_decide_without_a_match_goes_on() -> None:
    definition = start().decide(lambda d: d.kind, {"x": one("x")}).build("w")

    assert trace(definition) == "a complete"


@pytest.mark.parametrize(
    ("outcome", "ran"),
    [
        ("yes", "a yes also b complete"),
        ("no", "a no b complete"),
        (None, "a other b complete"),
        (3, "a other b complete"),
    ],
)
def test_when_follows_the_outcome(outcome: object, ran: str) -> None:
    definition = (
        start()
        .when("yes", one("yes"))
        .when("no", one("no"))
        .when("yes", one("also"))
        .otherwise(one("other"))
        .then(work)
        .name("b")
        .build("w")
    )

    assert trace(definition, outcomes={"a": outcome}) == ran


@pytest.mark.parametrize(
    ("options", "ran"),
    [
        ({}, "x[0] x[1] x[2] y[0] y[1] y[2] b complete"),
        ({"parallel": False}, "x[0] y[0] x[1] y[1] x[2] y[2] b complete"),
        ({"max_concurrency": 2}, "x[0] x[1] y[0] y[1] x[2] y[2] b complete"),
    ],
)
def test_for_each_runs_its_body_once_an_item(options: dict[str, Any], ran: str) -> None:
    definition = (
        WorkflowBuilder(Order)
        .for_each(lambda d: d.items, lambda b: one("x")(b).then(work).name("y"), **options)
        .then(work)
        .name("b")
        .build("w")
    )

    assert trace(definition, Order(items=[7, 8, 9])) == ran
    assert trace(definition, Order()) == "b complete"


@pytest.mark.parametrize(
    ("join", "ran"),
    [
        ("all", "x[0] y[1] z[2] x2[0] b complete"),
        ("any", "x[0] y[1] b complete"),
        (2, "x[0] y[1] z[2] b complete"),
    ],
)
def test_parallel_joins(join: Any, ran: str) -> None:
    definition = (
        WorkflowBuilder(Order)
        .parallel(
            lambda p: (
                p.branch(lambda b: one("x")(b).then(work).name("x2"))
                .branch(one("y"))
                .branch(one("z"))
            ),
            join=join,
        )
        .then(work)
        .name("b")
        .build("w")
    )

    assert trace(definition) == ran


@pytest.mark.parametrize(
    ("fail_fast", "ran"), [(True, "x[0] failed"), (False, "x[0] y[1] y2[1] failed")]
)
def test_fail_fast_cancels_the_other_branches(fail_fast: bool, ran: str) -> None:
    definition = (
        WorkflowBuilder(Order)
        .parallel(
            lambda p: p.branch(one("x")).branch(lambda b: one("y")(b).then(work).name("y2")),
            fail_fast=fail_fast,
        )
        .build("w")
    )

    assert trace(definition, failing=frozenset({"x"})) == ran


def test_goto_goes_back_and_out_of_containers() -> None:
    definition = (
        start()
        .then(work)
        .id("again")
        .if_do(
            lambda d: d.tries < 2,
            lambda b: b.while_do(lambda _: True, lambda c: c.then(work).name("t").goto("again")),
        )
        .then(work)
        .name("b")
        .build("w")
    )

    ran = trace(definition, effects={"t": {"tries": once_more}})

    assert ran == "a again t again t again b complete"


def test_a_goto_finds_names_and_ids() -> None:
    definition = (
        start()
        .then(work)
        .id("x")
        .name("Nice name")
        .if_do(lambda d: d.tries < 1, lambda b: one("t")(b).goto("x"))
        .if_do(lambda d: d.tries < 2, lambda b: one("u")(b).goto("Nice name"))
        .build("w")
    )
    effects: Effects = {"t": {"tries": once_more}, "u": {"tries": once_more}}

    ran = trace(definition, effects=effects)

    assert ran == "a Nice name t Nice name u Nice name complete"


def test_end_workflow_ends_it_from_anywhere() -> None:
    definition = (
        start().if_do(lambda _: True, lambda b: one("x")(b).end_workflow()).then(work).build("w")
    )

    assert trace(definition) == "a x complete"


def test_delay_waits_by_the_clock() -> None:
    definition = (
        start().delay(timedelta(hours=1)).delay(lambda _: timedelta(hours=2)).then(work).build("w")
    )

    driver = Driver(definition, {}, {}, frozenset()).run(None)

    assert (driver.trace, driver.now) == (["a", "work"], 3 * HOUR)


def test_run_if_skips_one_step() -> None:
    definition = start().then(work).name("x").run_if(lambda d: d.amount > 1).then(work).build("w")

    assert trace(definition) == "a work complete"
    assert trace(definition, Order(amount=2)) == "a x work complete"


# -- DAGs ------------------------------------------------------------------------------------------


def diamond() -> WorkflowDefinition:
    dag = Dag("etl", data_type=Order)
    dag.step("load", work, depends_on=["left", "right"])
    dag.step("left", work, depends_on=["read"])
    dag.step("right", work, depends_on=["read"], run_if=lambda d: d.amount > 0)
    dag.step("any", work, depends_on_any=["left", "right"])
    dag.step("read", work)
    return dag.build()


def test_a_dag_runs_in_the_order_of_its_dependencies() -> None:
    assert trace(diamond(), Order(amount=1)) == "read left right any load complete"


def test_a_skipped_step_of_a_dag_counts_as_done() -> None:
    assert trace(diamond()) == "read left any load complete"


@given(st.integers(1, 8), st.data())
def test_every_dag_step_runs_once_and_after_what_it_needs(count: int, data: st.DataObject) -> None:
    names = [f"s{n}" for n in range(count)]
    needs = {
        name: data.draw(st.lists(st.sampled_from(names[:n]), unique=True)) if n else []
        for n, name in enumerate(names)
    }
    dag = Dag("random")
    for name in data.draw(st.permutations(names)):
        dag.step(name, work, depends_on=needs[name])

    *ran, status = trace(dag.build()).split()

    assert (sorted(ran), status) == (sorted(names), "complete")
    assert all(ran.index(each) < ran.index(name) for name in names for each in needs[name])


def _add(builder: Any, shape: Any) -> None:
    if shape == "step":
        builder.then(work)
    else:
        kind, parts = shape
        _CONTAINERS[kind](builder, [_branch(part) for part in parts])


def _branch(shape: Any) -> Callable[[Any], None]:
    return lambda b: _add(b, shape)


def _every(parts: list[Callable[[Any], None]]) -> Callable[[Any], object]:
    return lambda b: [part(b) for part in parts]


def _branches(parts: list[Callable[[Any], None]]) -> Callable[[Any], object]:
    return lambda p: [p.branch(part) for part in parts]


def _empty(data: object) -> bool:
    return data == {}


def _zero(_: object) -> int:
    return 0


_CONTAINERS: Mapping[str, Callable[[Any, list[Any]], object]] = {
    "if_do": lambda b, parts: b.if_do(_empty, _every(parts)),
    "for_each": lambda b, parts: b.for_each([0], _every(parts)),
    "parallel": lambda b, parts: b.parallel(_branches(parts)),
    "decide": lambda b, parts: b.decide(_zero, {0: _every(parts)}),
}


@given(
    st.recursive(
        st.just("step"),
        lambda inner: st.tuples(
            st.sampled_from(sorted(_CONTAINERS)),
            st.lists(inner, min_size=1, max_size=3),
        ),
        max_leaves=8,
    )
)
def test_whatever_is_nested_is_named_once_and_comes_to_its_end(shape: Any) -> None:
    builder: WorkflowBuilder[dict[str, Any]] = WorkflowBuilder()
    _add(builder, shape)
    definition = builder.build("w")

    names = [node.name for node in definition.walk()]
    driver = Driver(definition, {}, {}, frozenset()).run(None)

    assert len(names) == len(set(names))
    assert definition.missing() == ()
    again = WorkflowDefinition.from_json(definition.to_json(), code=definition.code)
    assert (again, again.hash) == (definition, definition.hash)
    assert driver.state.status == "complete"
    assert len(driver.trace) == _leaves(shape)


def _leaves(shape: Any) -> int:
    return 1 if shape == "step" else sum(map(_leaves, shape[1]))
