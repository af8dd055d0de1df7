"""What type checkers must infer from a fluent chain; checked by mypy and pyright, never run.

Lambdas whose parameter has two possible shapes are checked through an error that must occur: an
unused ``ignore`` is itself an error.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypedDict, assert_type

import attrs

from wfe.core.builder import BranchBuilder, StepBuilder, WorkflowBuilder, expr
from wfe.core.dag import Dag
from wfe.core.definition import WorkflowDefinition
from wfe.core.fields import merged, transient
from wfe.core.policies import Compensate, CompensateThenRetry, Retry, Suspend
from wfe.core.step_settings import step
from wfe.core.steps import ExecutionResult, StepBody, StepExecutionContext


@attrs.define
class Order:
    id: int
    amount: float = 0.0
    receipt: str = ""
    tries: int = 0
    items: list[str] = attrs.field(factory=list[str])
    tags: list[str] = merged(operator.add, factory=list)
    cache: dict[str, int] = transient(factory=dict)


@dataclass
class Parcel:
    weight: int
    tags: Annotated[list[str], merged(operator.add)]


class Row(TypedDict):
    id: int
    name: str


class Validate(StepBody):
    async def run(self, ctx: StepExecutionContext[Order]) -> ExecutionResult:
        assert_type(ctx.data, Order)
        return ExecutionResult.next()


@attrs.define
class Charge:
    amount: float = 0.0
    receipt: str = ""

    def run(self, ctx: StepExecutionContext[Order]) -> None:
        self.receipt = f"{ctx.data.id}: {self.amount}"


@step(retry=3, timeout=timedelta(seconds=30))
async def fetch(url: str) -> dict[str, int]:
    return {url: 1}


@step
def size(url: str) -> int:
    return len(url)


# Defaults of fields keep the declared type.
assert_type(Order(1).tags, list[str])
assert_type(Order(1).cache, dict[str, int])
assert_type(Parcel(1, []).tags, list[str])

# The data type comes from the class, the body from the step.
builder = WorkflowBuilder(Order)
assert_type(builder, WorkflowBuilder[Order])
assert_type(WorkflowBuilder(), WorkflowBuilder[dict[str, Any]])
assert_type(WorkflowBuilder(Parcel), WorkflowBuilder[Parcel])
assert_type(WorkflowBuilder(Row), WorkflowBuilder[Row])
assert_type(builder.start_with(Validate), StepBuilder[Order, Validate])
assert_type(builder.then(Charge), StepBuilder[Order, Charge])
assert_type(builder.then(Charge(2.0)), StepBuilder[Order, Charge])
assert_type(builder.then(fetch), StepBuilder[Order, dict[str, int]])
assert_type(builder.then(size), StepBuilder[Order, int])
assert_type(builder.then(Charge).name("x").timeout(timedelta(1)), StepBuilder[Order, Charge])

# What a mapper looks at.
builder.then(Charge).output("receipt", lambda s: assert_type(s, Charge).receipt)
builder.then(fetch).output("receipt", lambda r: str(assert_type(r, dict[str, int])))
builder.then(Charge).output("receipt", lambda s: s.reciept)  # type: ignore[attr-defined]

# Callables over the data know its type, and the context when they ask for it.
builder.then(Charge).input("amount", lambda d: d.amount)
builder.then(Charge).input("amount", lambda d, ctx: d.amount + ctx.attempt)
builder.then(Charge).input("amount", lambda d: d.amuont)  # type: ignore[attr-defined]
builder.then(Charge).run_if(lambda d: d.amuont)  # type: ignore[attr-defined]
builder.if_do(lambda d: d.amuont, lambda b: b.then(Charge))  # type: ignore[attr-defined]
builder.then_fn(lambda ctx: assert_type(ctx, StepExecutionContext[Order]).data.id)
WorkflowBuilder(Row).then(size).input("url", lambda d: d["name"])
WorkflowBuilder(Row).then(size).input("url", lambda d: d["nmae"])  # type: ignore[typeddict-item]
WorkflowBuilder().then(size).input("url", lambda d: d["anything"])


def _branch(branch: BranchBuilder[Order]) -> StepBuilder[Order, Charge]:
    return branch.then(Charge).input("amount", lambda d: d.amount)


# Branches get a builder of the same data type.
builder.then(Charge).when(1, lambda b: assert_type(b, BranchBuilder[Order]).then(Charge))
builder.if_do("data.amount > 100", lambda b: b.then(Charge))
builder.if_do(lambda d: d.amount > 100, _branch).else_do(_branch)

# The whole chain of the tutorial, without one ignore.
definition = (
    WorkflowBuilder(Order)
    .default_error(Suspend())
    .default_retry(2)
    .start_with(Validate)
    .name("Validate")
    .then(Charge)
    .input("amount", lambda d: d.amount)
    .output("receipt", lambda s: s.receipt)
    .on_error(Retry(max_retries=3, interval=timedelta(seconds=5), backoff=2.0))
    .timeout(timedelta(seconds=30))
    .when("declined", lambda b: b.then(Validate).goto("Validate"))
    .otherwise(lambda b: b.then(size))
    .if_do(lambda d: d.amount > 100, lambda b: b.then(Charge))
    .else_do(lambda b: b.then(Charge))
    .while_do(lambda d, ctx: d.tries < 3 and ctx.attempt == 0, lambda b: b.then(Charge))
    .for_each(lambda d: d.items, lambda b: b.then(Charge), max_concurrency=10)
    .for_each(expr("data.items"), lambda b: b.then(Charge), parallel=False)
    .parallel(
        lambda p: p.branch(lambda b: b.then(Charge)).branch(lambda b: b.then(size)), join="any"
    )
    .parallel(lambda p: p.branch(_branch), join=1)
    .decide(lambda d: d.receipt, {"a": _branch, 2: _branch}, default=lambda b: b.end_workflow())
    .wait_for("approved", key=lambda d: d.id, timeout=timedelta(days=2), output="receipt")
    .wait_for("approved", key="fixed", as_of=lambda d: d.receipt)
    .delay(timedelta(seconds=30))
    .delay(lambda d: timedelta(seconds=d.tries))
    .sub_workflow("child", version=1, data=lambda d: {"id": d.id}, output="receipt")
    .sub_workflow("child", data={"id": expr("data.id"), "n": 1})
    .then_fn(lambda ctx: ctx.log.info(str(ctx.data.id)))
    .run_if("data.id > 0")
    .goto("Validate")
    .end_workflow()
    .build("order-pipeline", version=1, description="Orders")
)
assert_type(definition, WorkflowDefinition)


def _undo(ctx: StepExecutionContext[Order]) -> None: ...


# Everything around a step keeps what the step is; containers and waits have no body.
assert_type(
    builder.then(Charge).compensate_with(Validate, _undo, on_error=Retry()).ensure(size),
    StepBuilder[Order, Charge],
)
assert_type(builder.saga(_branch), StepBuilder[Order, None])
assert_type(builder.recur(timedelta(1), _branch, until="data.tries > 3"), StepBuilder[Order, None])
assert_type(builder.approval("Go?", options=["yes", "no"]), StepBuilder[Order, None])
assert_type(builder.concurrency(limit=3), WorkflowBuilder[Order])
builder.saga(lambda b: assert_type(b, BranchBuilder[Order]).then(Charge).compensate_with(Charge))
builder.then(Charge).cancel_when(lambda d: d.amuont)  # type: ignore[attr-defined]
builder.then(Charge).concurrency(lambda d: d.amuont, limit=1)  # type: ignore[attr-defined]
builder.then(Charge).compensate_with(1)  # type: ignore[arg-type]
builder.wait_for("x", scope="run", key=1)  # type: ignore[call-overload]
builder.schedule(at=lambda d: d.amuont)  # type: ignore[attr-defined]
builder.activity("a", parameters=lambda d: d.amuont)  # type: ignore[attr-defined]
builder.on_query("state", lambda d: d.amuont)  # type: ignore[attr-defined]
builder.workflow_concurrency(lambda d: d.amuont, limit=1)  # type: ignore[attr-defined]


def _validated(d: Order, payload: int) -> None: ...


whole = (
    WorkflowBuilder(Order)
    .concurrency(lambda d: d.id, limit=2)
    .rate_limit("orders", limit=100, per=timedelta(minutes=1))
    .retention(None)
    .requires("gpu", "linux")
    .on_update("amount", lambda d, payload: d.amount + payload["amount"], validator=_validated)
    .on_query("state", lambda d: d.receipt)
    .saga(lambda b: b.then(Charge).compensate_with(_undo).then(Validate).compensate_with(Validate))
    .on_error(Compensate())
    .then(Charge)
    .on_error(CompensateThenRetry(3))
    .on_success(size)
    .on_failure(_undo)
    .on_abort(Validate)
    .cancel_when(lambda d, ctx: d.tries > ctx.attempt, proceed=True)
    .concurrency(lambda d, ctx: f"{d.id}-{ctx.attempt}", limit=1)
    .rate_limit(expr("data.receipt"), limit=10)
    .activity("review", parameters=lambda d: {"id": d.id}, output="receipt")
    .activity("review", parameters={"id": expr("data.id")}, timeout=60)
    .approval(
        lambda d, ctx: f"{ctx.instance.id}: release {d.id}?",
        output="receipt",
        timeout=timedelta(days=1),
    )
    .when("yes", _branch)
    .otherwise(_branch)
    .schedule(at=datetime(2030, 1, 1, tzinfo=UTC))
    .schedule(lambda d, ctx: d.id if ctx.attempt else d.receipt)
    .recur(lambda d: timedelta(hours=d.tries), _branch, until=lambda d, ctx: d.tries > ctx.attempt)
    .recur(lambda d, ctx: timedelta(hours=d.tries + ctx.attempt), _branch, until=lambda d: d.tries)
    .wait_for("poke", scope="run", output="receipt")
    .sub_workflow("child", detached=True, name=lambda d: f"child-{d.id}", reference="r")
    .sub_workflow("child", data=lambda d: {"id": d.id}, on_parent_end="abandon")
    .workflow_rate_limit(expr("data.receipt"), limit=5)
    .build("whole")
)
assert_type(whole, WorkflowDefinition)

# DAGs.
dag = Dag("etl", data_type=Order)
assert_type(dag, Dag[Order])
assert_type(Dag("etl"), Dag[dict[str, Any]])
dag.step("a", fetch).step("b", Charge, depends_on=["a"], run_if=lambda d: d.amount > 1, retry=2)
dag.step("c", size, depends_on_any=["a", "b"], inputs={"url": "data.receipt"}, outputs="receipt")
assert_type(dag.build(), WorkflowDefinition)


def _mapping(d: Order) -> Mapping[str, object]:
    return {"id": d.id}


builder.sub_workflow("child", data=_mapping)
