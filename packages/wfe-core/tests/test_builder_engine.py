"""What the builder writes for sagas, hooks, limits, people, workers outside and the whole run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest

from wfe.core import Compensate, CompensateThenRetry, CompensateThenSuspend
from wfe.core.builder import WorkflowBuilder, expr
from wfe.core.definition import (
    Block,
    Call,
    Cel,
    Expr,
    Kind,
    Limit,
    Node,
    Record,
    Value,
    WorkflowDefinition,
)
from wfe.core.errors import DefinitionError
from wfe.core.policies import ErrorPolicy, Fail, Retry, Suspend
from wfe.core.step_settings import step
from wfe.core.steps import StepExecutionContext


@attrs.define
class Order:
    id: int = 0
    amount: float = 0.0
    receipt: str = ""
    items: list[str] = attrs.field(factory=list[str])
    when: datetime | None = None


@attrs.define
class Reserve:
    amount: float = 0.0

    def run(self, ctx: StepExecutionContext[Any]) -> None: ...


@attrs.define
class Release:
    reason: str = ""

    def run(self, ctx: StepExecutionContext[Any]) -> None: ...


@step(name="tell", retry=2)
def notify() -> None: ...


nameless: Callable[[StepExecutionContext[Any]], object] = lambda ctx: ctx.data  # noqa: E731 - it is


def node(definition: WorkflowDefinition, name: str) -> Node:
    return next(each for each in definition.walk() if each.name == name)


def names(definition: WorkflowDefinition) -> list[str]:
    return [each.name for each in definition.walk()]


def inside(block: Block | None) -> list[str]:
    assert block is not None
    return [each.name for each in block.nodes]


def exprs(definition: WorkflowDefinition, name: str) -> dict[str, Expr]:
    return dict(node(definition, name).exprs)


# -- undo and hooks --------------------------------------------------------------------------------


def test_a_saga_holds_steps_that_say_how_they_are_undone() -> None:
    prepared = Release("too expensive")
    again = Retry(max_retries=1, then=Suspend())

    definition = (
        WorkflowBuilder(Order)
        .saga(
            lambda b: (
                b.then(Reserve)
                .compensate_with(Release)
                .then(Reserve)
                .compensate_with(prepared, notify, nameless, on_error=again)
                .if_do("data.id > 1", lambda c: c.then(Reserve))
                .compensate_with(Release)
            )
        )
        .name("booking")
        .on_error(Compensate())
        .compensate_with(Release)
        .build("w")
    )

    saga = node(definition, "booking")
    assert (saga.kind, saga.on_error, inside(saga.undo)) == (
        Kind.SAGA,
        Compensate(),
        ["Release-4"],
    )
    assert [inside(block) for block in saga.blocks] == [["Reserve", "Reserve-2", "if_do"]]
    first, second = node(definition, "Reserve"), node(definition, "Reserve-2")
    assert inside(first.undo) == ["Release"]
    assert node(definition, "Release").on_error is None
    assert second.undo is not None
    assert [(each.name, each.kind, each.on_error) for each in second.undo.nodes] == [
        ("Release-2", Kind.STEP, again),
        ("tell", Kind.STEP, again),
        ("compensate_with", Kind.STEP, again),
    ]
    assert inside(node(definition, "if_do").undo) == ["Release-3"]
    assert definition.code["Release-2/body"] is prepared
    assert definition.code["tell/body"] is notify
    assert definition.missing() == ()


def test_an_undo_step_keeps_the_retry_that_its_function_declares() -> None:
    definition = WorkflowBuilder().then(Reserve).compensate_with(notify).build("w")

    assert node(definition, "tell").on_error == Retry(max_retries=2)


def test_hooks_are_kept_in_the_order_in_which_they_run() -> None:
    definition = (
        WorkflowBuilder(Order)
        .then(Reserve)
        .ensure(Release)
        .on_abort(nameless)
        .on_failure(notify, Release)
        .on_success(Release)
        .compensate_with(Release)
        .for_each(lambda d: d.items, lambda b: b.then(Reserve).ensure(Release))
        .ensure(notify)
        .build("w")
    )

    reserve = node(definition, "Reserve")
    assert [(name, inside(block)) for name, block in reserve.hooks] == [
        ("on_success", ["Release-2"]),
        ("on_failure", ["tell", "Release-3"]),
        ("on_abort", ["on_abort"]),
        ("ensure", ["Release-4"]),
    ]
    assert inside(reserve.undo) == ["Release"]
    assert inside(node(definition, "for_each").hook("ensure")) == ["tell-2"]
    assert inside(node(definition, "Reserve-2").hook("ensure")) == ["Release-5"]
    assert len(set(names(definition))) == len(names(definition)) == 11
    assert definition.missing() == ()


@pytest.mark.parametrize(
    "policy",
    [
        Compensate(),
        CompensateThenSuspend(),
        CompensateThenRetry(2, timedelta(seconds=5)),
        Retry(max_retries=1, then=Compensate()),
        CompensateThenRetry(1, then=Compensate()),
    ],
    ids=["compensate", "suspend", "retry", "retry-then", "retry-compensate"],
)
def test_a_policy_may_ask_to_undo(policy: ErrorPolicy) -> None:
    definition = WorkflowBuilder().then(Reserve).on_error(policy).build("w")

    assert node(definition, "Reserve").on_error == policy
    assert WorkflowDefinition.from_json(definition.to_json()) == definition


def test_the_default_policy_may_ask_to_undo_after_retries() -> None:
    builder = WorkflowBuilder().default_retry(2).default_error(Compensate())

    definition = builder.then(Reserve).build("w")

    assert definition.default_error == Retry(max_retries=2, then=Compensate())


# -- limits and conditions -------------------------------------------------------------------------


def test_limits_of_a_step_are_numbered_in_their_order() -> None:
    by_id: Callable[[Order], int] = lambda d: d.id  # noqa: E731 - the same object below
    both: Callable[[Order, Any], str] = lambda d, ctx: f"{d.id}-{ctx.attempt}"  # noqa: E731

    definition = (
        WorkflowBuilder(Order)
        .then(Reserve)
        .concurrency(limit=3)
        .rate_limit(by_id, limit=10)
        .concurrency("printer", limit=1)
        .rate_limit(expr("data.receipt"), limit=5, per=timedelta(minutes=1))
        .concurrency(key=both, limit=2)
        .saga(lambda b: b.then(Reserve))
        .concurrency(limit=1)
        .build("w")
    )

    assert node(definition, "Reserve").limits == (
        Limit(None, 3),
        Limit(Call(), 10, 1_000_000),
        Limit(Value("printer"), 1),
        Limit(Cel("data.receipt"), 5, 60_000_000),
        Limit(Call(), 2),
    )
    assert node(definition, "saga").limits == (Limit(None, 1),)
    assert definition.code["Reserve/limit:1"] is by_id
    assert definition.code["Reserve/limit:4"] is both
    assert definition.limits == ()
    assert definition.missing() == ()


def test_limits_before_the_first_step_are_those_of_the_workflow() -> None:
    by_id: Callable[[Order], int] = lambda d: d.id  # noqa: E731 - the same object below

    definition = (
        WorkflowBuilder(Order)
        .concurrency(limit=3)
        .rate_limit("orders", limit=10, per=timedelta(hours=1))
        .then(Reserve)
        .concurrency(limit=7)
        .workflow_concurrency(by_id, limit=1)
        .workflow_rate_limit(expr("string(data.id)"), limit=2)
        .build("w")
    )

    assert definition.limits == (
        Limit(None, 3),
        Limit(Value("orders"), 10, 3_600_000_000),
        Limit(Call(), 1),
        Limit(Cel("string(data.id)"), 2, 1_000_000),
    )
    assert definition.code["/limit:2"] is by_id
    assert node(definition, "Reserve").limits == (Limit(None, 7),)
    assert definition.missing() == ()


def test_a_step_may_be_cancelled_by_the_data() -> None:
    paid: Callable[[Order], bool] = lambda d: d.amount > 1  # noqa: E731 - the same object below

    definition = (
        WorkflowBuilder(Order)
        .then(Reserve)
        .cancel_when(paid)
        .wait_for("x")
        .cancel_when("data.id > 3", proceed=True)
        .build("w")
    )

    first, second = node(definition, "Reserve"), node(definition, "wait_for")
    assert (first.cancel_when, first.config) == (Call(), {"proceed": False})
    assert (second.cancel_when, second.config["proceed"]) == (Cel("data.id > 3"), True)
    assert definition.code["Reserve/cancel_when"] is paid
    assert definition.missing() == ()


# -- waiting ---------------------------------------------------------------------------------------


def test_an_activity_goes_to_a_worker_outside() -> None:
    parameters: Callable[[Order], object] = lambda d: {"id": d.id}  # noqa: E731 - the same below

    definition = (
        WorkflowBuilder(Order)
        .activity("review", parameters=parameters, output="receipt", timeout=90)
        .activity("pack", parameters={"id": expr("data.id"), "n": 2})
        .activity("ship")
        .on_error(Retry(max_retries=1))
        .compensate_with(Release)
        .build("w")
    )

    first, second, third = definition.root.nodes
    assert (first.name, first.kind) == ("activity", Kind.ACTIVITY)
    assert first.config == {"name": "review", "output": "receipt", "timeout": 90_000_000}
    assert first.exprs == (("parameters", Call()),)
    assert definition.code["activity/parameters"] is parameters
    assert second.exprs == (("parameters", Record((("id", Cel("data.id")), ("n", Value(2))))),)
    assert (third.config, third.exprs, inside(third.undo)) == ({"name": "ship"}, (), ["Release"])


def test_an_approval_asks_and_goes_on_by_the_answer() -> None:
    prompt: Callable[[Order], str] = lambda d: f"Release {d.id}?"  # noqa: E731 - the same below

    definition = (
        WorkflowBuilder(Order)
        .approval("Release?", options=["yes", "no", "later"], output="receipt", timeout=60)
        .when("yes", lambda b: b.then(Reserve))
        .otherwise(lambda b: b.then(Release))
        .approval(prompt)
        .approval(expr("'Release ' + string(data.id)"), options=("go",))
        .build("w")
    )

    first, second, third = definition.root.nodes
    assert (first.name, first.kind) == ("approval", Kind.APPROVAL)
    assert first.config == {
        "prompt": "Release?",
        "options": ["yes", "no", "later"],
        "output": "receipt",
        "timeout": 60_000_000,
    }
    assert [(block.label, block.default) for block in first.blocks] == [
        ("yes", False),
        (None, True),
    ]
    assert (second.config, second.exprs) == ({"options": ["yes", "no"]}, (("prompt", Call()),))
    assert definition.code["approval-2/prompt"] is prompt
    assert exprs(definition, third.name) == {"prompt": Cel("'Release ' + string(data.id)")}


def test_a_schedule_is_a_delay_until_a_time() -> None:
    east = timezone(timedelta(hours=2))
    when: Callable[[Order], Any] = lambda d: d.when  # noqa: E731 - the same object below

    definition = (
        WorkflowBuilder(Order)
        .schedule(datetime(2030, 1, 1, 2, tzinfo=east))
        .schedule(at=when)
        .schedule(expr("timestamp(data.when) + duration('1h')"))
        .build("w")
    )

    assert [each.kind for each in definition.root.nodes] == [Kind.DELAY] * 3
    micros = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert exprs(definition, "schedule") == {"at": Value(micros)}
    assert exprs(definition, "schedule-2") == {"at": Call()}
    assert definition.code["schedule-2/at"] is when
    assert exprs(definition, "schedule-3") == {
        "at": Cel("timestamp(data.when) + duration('1h')"),
    }


def test_a_block_recurs_until_a_condition_holds() -> None:
    pause: Callable[[Order], timedelta] = lambda d: timedelta(hours=d.id)  # noqa: E731
    done: Callable[[Order, Any], bool] = lambda d, ctx: d.id > ctx.attempt  # noqa: E731

    definition = (
        WorkflowBuilder(Order)
        .recur(timedelta(hours=1), lambda b: b.then(Reserve), until="data.id > 3")
        .recur(pause, lambda b: b.then(Reserve), until=done)
        .recur(expr("duration('5s')"), lambda b: b.then(Reserve))
        .build("w")
    )

    first, second, third = definition.root.nodes
    assert first.kind is Kind.RECUR
    assert [inside(block) for block in first.blocks] == [["Reserve"]]
    assert dict(first.exprs) == {"interval": Value(3_600_000_000), "until": Cel("data.id > 3")}
    assert dict(second.exprs) == {"interval": Call(), "until": Call()}
    assert definition.code["recur-2/interval"] is pause
    assert definition.code["recur-2/until"] is done
    assert dict(third.exprs) == {"interval": Cel("duration('5s')"), "until": Value(False)}


def test_a_wait_may_be_for_a_signal_to_the_run() -> None:
    definition = WorkflowBuilder().wait_for("poke", scope="run", timeout=1, output="x").build("w")

    waiting = node(definition, "wait_for")
    assert waiting.exprs == ()
    assert waiting.config == {"event": "poke", "scope": "run", "timeout": 1_000_000, "output": "x"}


def test_a_child_may_be_named_detached_or_abandoned() -> None:
    called: Callable[[Order], str] = lambda d: f"child-{d.id}"  # noqa: E731 - the same object below

    definition = (
        WorkflowBuilder(Order)
        .sub_workflow("plain")
        .sub_workflow("tied", on_parent_end="terminate", name=called, reference="r-1")
        .sub_workflow("left", on_parent_end="abandon", reference=expr("data.receipt"))
        .sub_workflow("alone", detached=True, output="receipt")
        .sub_workflow("leashed", detached=True, on_parent_end="terminate")
        .build("w")
    )

    constants = [dict(each.config) for each in definition.root.nodes]
    assert constants == [
        {"definition": "plain", "version": None},
        {"definition": "tied", "version": None, "on_parent_end": "terminate"},
        {"definition": "left", "version": None, "on_parent_end": "abandon"},
        {
            "definition": "alone",
            "version": None,
            "output": "receipt",
            "detached": True,
            "on_parent_end": "abandon",
        },
        {
            "definition": "leashed",
            "version": None,
            "detached": True,
            "on_parent_end": "terminate",
        },
    ]
    assert exprs(definition, "sub_workflow-2") == {"name": Call(), "reference": Value("r-1")}
    assert definition.code["sub_workflow-2/name"] is called
    assert exprs(definition, "sub_workflow-3") == {"reference": Cel("data.receipt")}


# -- the whole workflow ----------------------------------------------------------------------------


def test_a_workflow_says_how_long_and_where_it_is_kept_and_run() -> None:
    builder = WorkflowBuilder().retention(timedelta(days=30)).requires("gpu", "linux")

    definition = builder.then(Reserve).requires("gpu", "fast").build("w")

    assert definition.retention == 30 * 86_400_000_000
    assert definition.requires == ("gpu", "linux", "fast")
    assert WorkflowBuilder().retention(None).then(Reserve).build("w").retention == -1
    assert WorkflowBuilder().then(Reserve).build("w").retention is None


def test_a_workflow_answers_updates_and_queries() -> None:
    def add(data: Order, payload: float) -> float:
        data.amount += payload
        return data.amount

    def check(data: Order, payload: float) -> None: ...

    def shown(data: Order) -> str:
        return data.receipt

    definition = (
        WorkflowBuilder(Order)
        .on_update("add", add, validator=check)
        .on_query("add", shown)
        .then(Reserve)
        .on_update("forget", shown)
        .build("w")
    )

    assert definition.handlers == ("update:add", "validate:add", "query:add", "update:forget")
    assert definition.code["/update:add"] is add
    assert definition.code["/validate:add"] is check
    assert definition.code["/query:add"] is shown
    assert definition.code["/update:forget"] is shown
    assert definition.missing() == ()


# -- as data ---------------------------------------------------------------------------------------


def test_every_construct_survives_its_stored_form() -> None:
    definition = (
        WorkflowBuilder(Order)
        .concurrency("runs", limit=2)
        .rate_limit(limit=9)
        .retention(timedelta(days=1))
        .requires("gpu")
        .on_update("add", lambda d: d.id, validator=lambda d: d.id)
        .on_query("state", lambda d: d.id)
        .saga(lambda b: b.then(Reserve).compensate_with(Release, on_error=Fail()).ensure(notify))
        .on_error(CompensateThenRetry(2))
        .activity("review", parameters=lambda d: d.id, timeout=5)
        .concurrency(lambda d: d.id, limit=1)
        .approval(lambda d: str(d.id), options=["a", "b"])
        .when("a", lambda b: b.then(Reserve))
        .schedule(lambda d: d.when)
        .recur(lambda d: timedelta(d.id), lambda b: b.then(Reserve), until=lambda d: d.id)
        .cancel_when(lambda d: d.id, proceed=True)
        .wait_for("poke", scope="run")
        .rate_limit(limit=5, per=timedelta(minutes=1))
        .sub_workflow("child", detached=True, name=lambda d: str(d.id))
        .build("w")
    )

    again = WorkflowDefinition.from_json(
        definition.to_json(), code=definition.code, data_type=Order
    )

    assert again == definition
    assert again.hash == definition.hash
    assert again.missing() == ()
    assert set(again.code) == {f"{step}/{role}" for step, role in definition.callables()}


def test_a_definition_without_callables_can_be_saved(tmp_path: Path) -> None:
    definition = (
        WorkflowBuilder(Order)
        .concurrency(expr("data.receipt"), limit=2)
        .rate_limit("runs", limit=9)
        .retention(None)
        .requires("gpu")
        .saga(
            lambda b: (
                b.activity(
                    "reserve", parameters={"id": expr("data.id")}, output="receipt", timeout=5
                )
                .approval("Go on?", options=["yes", "no"], output="receipt")
                .when("yes", lambda c: c.schedule(datetime(2030, 1, 1, tzinfo=UTC)))
                .otherwise(lambda c: c.schedule(expr("timestamp(data.when)")))
            )
        )
        .on_error(CompensateThenSuspend())
        .recur(timedelta(hours=1), lambda b: b.activity("remind"), until="data.id > 3")
        .cancel_when("data.amount > 100.0", proceed=True)
        .concurrency("reminders", limit=1)
        .rate_limit(expr("string(data.id)"), limit=5, per=timedelta(minutes=1))
        .wait_for("poke", scope="run", output="receipt")
        .sub_workflow(
            "child", on_parent_end="abandon", name=expr("data.receipt"), reference="fixed"
        )
        .build("w", version=3, description="all of it")
    )
    path = tmp_path / "w.json"

    definition.save(path)

    assert WorkflowDefinition.load(path) == definition
    assert WorkflowDefinition.load(path).hash == definition.hash


def test_a_definition_with_an_undo_step_names_it_when_it_cannot_be_saved(tmp_path: Path) -> None:
    builder = WorkflowBuilder().activity("a").compensate_with(Release).ensure(notify)

    with pytest.raises(DefinitionError) as raised:
        builder.build("w").save(tmp_path / "w.json")

    assert str(raised.value).startswith("w: callables cannot be saved: Release/body, tell/body;")
