"""What the builder writes into a definition."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any

import attrs
import pytest

from wfe.core import cel
from wfe.core.builder import ParallelBuilder, WorkflowBuilder, expr
from wfe.core.definition import Call, Cel, Kind, Node, Record, Value, WorkflowDefinition
from wfe.core.errors import DefinitionError
from wfe.core.policies import ErrorPolicy, Fail, Retry, Suspend, Terminate
from wfe.core.step_settings import step
from wfe.core.steps import ExecutionResult, StepBody, StepExecutionContext


@attrs.define
class Order:
    id: int = 0
    amount: float = 0.0
    url: str = ""
    items: list[str] = attrs.field(factory=list[str])
    receipt: str = ""


class Color(Enum):
    RED = "red"


class Validate(StepBody):
    async def run(self, ctx: StepExecutionContext[Order]) -> ExecutionResult:
        return ExecutionResult.next()


@attrs.define
class Charge:
    amount: float = 0.0
    _client: str = ""
    receipt: str = ""

    def run(self, ctx: StepExecutionContext[Order]) -> None: ...


class Loose:
    def run(self, ctx: StepExecutionContext[Order]) -> None: ...


@step(name="get", retry=2, timeout=timedelta(seconds=5))
async def fetch(url: str) -> int:
    return len(url)


def sized(url: str, more: int = 0) -> int:
    return len(url) + more


def node(definition: WorkflowDefinition, name: str) -> Node:
    return next(each for each in definition.walk() if each.name == name)


def names(definition: WorkflowDefinition) -> list[str]:
    return [each.name for each in definition.walk()]


def test_steps_are_named_after_what_runs() -> None:
    class Callable_:  # noqa: N801 - a name like any other
        def __call__(self, url: str) -> int:
            return len(url)

    nameless: Callable[[str], int] = lambda url: len(url) + 1  # noqa: E731 - it shall be one

    definition = (
        WorkflowBuilder(Order)
        .start_with(Validate)
        .then(Charge())
        .then(fetch)
        .then(sized)
        .then(partial(sized, more=1))
        .then(Callable_())
        .then(nameless)
        .then_fn(lambda ctx: ctx.data)
        .then_fn(lambda c: c.data)
        .then(Charge)
        .name("Pay")
        .build("w")
    )

    assert names(definition) == [
        "Validate",
        "Charge",
        "get",
        "sized",
        "sized-2",
        "Callable_",
        "then",
        "then_fn",
        "then_fn-2",
        "Pay",
    ]


def test_given_names_are_kept_and_repeats_are_numbered_around_them() -> None:
    definition = (
        WorkflowBuilder()
        .then(Loose)
        .then(Loose)
        .then(Charge)
        .name("Loose-2")
        .then(Loose)
        .if_do(lambda d: d, lambda b: b.then(Loose).id("Loose"))
        .build("w")
    )

    assert names(definition) == ["Loose-3", "Loose-4", "Loose-2", "Loose-5", "if_do", "Loose"]


def test_callables_are_found_by_step_and_role() -> None:
    amount: Callable[[Order], float] = lambda d: d.amount  # noqa: E731 - the same object below
    receipt: Callable[[Charge], str] = lambda s: s.receipt  # noqa: E731

    definition = (
        WorkflowBuilder(Order)
        .start_with(Charge)
        .input("amount", amount)
        .input("client", "data.url")
        .input("receipt", {"a": [1, None, True]})
        .output("receipt", receipt)
        .output("id")
        .build("w")
    )

    charge = node(definition, "Charge")
    assert charge.inputs == (
        ("amount", Call()),
        ("client", Cel("data.url")),
        ("receipt", Value({"a": [1, None, True]})),
    )
    assert charge.outputs == (("receipt", Call()),)
    assert charge.config == {"output": "id"}
    assert definition.code == {
        "Charge/body": Charge,
        "Charge/input:amount": amount,
        "Charge/output:receipt": receipt,
    }
    assert definition.missing() == ()


def test_a_definition_without_callables_is_data() -> None:
    definition = (
        WorkflowBuilder(Order)
        .if_do("data.amount > 1.0", lambda b: b.delay(timedelta(seconds=1)))
        .decide("data.url", {"a": lambda b: b.end_workflow()})
        .wait_for("paid", key=expr("string(data.id)"), timeout=60, output="receipt")
        .for_each(expr("data.items"), lambda b: b.delay(timedelta(0)).run_if("item == 'x'"))
        .sub_workflow("child", data={"id": expr("data.id"), "n": 1}, output="receipt")
        .build("w", version=3, description="all CEL")
    )

    assert list(definition.callables()) == []
    assert WorkflowDefinition.from_json(definition.to_json()) == definition
    assert definition.meta == {"description": "all CEL"}
    assert node(definition, "wait_for").config == {
        "event": "paid",
        "timeout": 60_000_000,
        "output": "receipt",
    }
    assert node(definition, "sub_workflow").expr("data") == Record(
        (("id", Cel("data.id")), ("n", Value(1)))
    )


def _branches(p: ParallelBuilder[Any]) -> object:
    return p.branch(_branch).branch(_branch)


CONTAINERS: list[tuple[str, Callable[[Any], Any], Kind, Mapping[str, Any]]] = [
    (
        "for_each",
        lambda b: b.for_each([1], _branch, max_concurrency=3, fail_fast=False),
        Kind.FOR_EACH,
        {"limit": 3, "sequential": False, "fail_fast": False},
    ),
    (
        "for_each",
        lambda b: b.for_each([1], _branch, parallel=False),
        Kind.FOR_EACH,
        {"limit": None, "sequential": True, "fail_fast": True},
    ),
    (
        "parallel",
        lambda b: b.parallel(_branches, join=2),
        Kind.PARALLEL,
        {"join": 2, "limit": None, "fail_fast": True},
    ),
    (
        "sub_workflow",
        lambda b: b.sub_workflow("child"),
        Kind.SUB_WORKFLOW,
        {"definition": "child", "version": None},
    ),
    ("wait_for", lambda b: b.wait_for("paid", key=5), Kind.WAIT_FOR, {"event": "paid"}),
    ("goto", lambda b: b.then(Loose).goto("Loose"), Kind.GOTO, {"target": "Loose"}),
    ("end_workflow", lambda b: b.end_workflow(), Kind.END, {}),
]


def _branch(b: Any) -> Any:
    return b.then(Loose)


@pytest.mark.parametrize(("name", "add", "kind", "config"), CONTAINERS)
def test_constants_of_a_node(
    name: str, add: Callable[[Any], Any], kind: Kind, config: Mapping[str, Any]
) -> None:
    definition = add(WorkflowBuilder()).build("w")

    found = node(definition, name)
    assert (found.kind, found.config) == (kind, config)


def test_labels_are_stored_values() -> None:
    definition = (
        WorkflowBuilder()
        .decide("data.x", {Color.RED: _branch, 2: _branch, None: _branch}, default=_branch)
        .then(Loose)
        .name("s")
        .when(Color.RED, _branch)
        .otherwise(_branch)
        .build("w")
    )

    decided = [(block.label, block.default) for block in node(definition, "decide").blocks]
    assert decided == [("red", False), (2, False), (None, False), (None, True)]
    assert [block.label for block in node(definition, "s").blocks] == ["red", None]


def test_settings_of_a_step_hold_unless_the_builder_says_else() -> None:
    definition = (
        WorkflowBuilder()
        .then(fetch)
        .then(fetch)
        .on_error(Suspend())
        .timeout(9)
        .then(Loose)
        .build("w")
    )

    found = [(each.on_error, each.timeout) for each in definition.walk()]
    assert found == [
        (Retry(max_retries=2), 5_000_000),
        (Suspend(), 9_000_000),
        (None, None),
    ]


DEFAULTS: list[tuple[Callable[[Any], Any], ErrorPolicy | None]] = [
    (lambda b: b, None),
    (lambda b: b.default_error(Terminate()), Terminate()),
    (lambda b: b.default_retry(2), Retry(max_retries=2)),
    (lambda b: b.default_retry(Retry(max_retries=1)), Retry(max_retries=1)),
    (lambda b: b.default_retry(2).default_error(Suspend()), Retry(max_retries=2, then=Suspend())),
    (lambda b: b.default_error(Suspend()).default_retry(2), Retry(max_retries=2, then=Suspend())),
    (lambda b: b.default_error(Fail()).default_retry(2), Retry(max_retries=2)),
]


@pytest.mark.parametrize(("say", "policy"), DEFAULTS)
def test_defaults_of_a_workflow(say: Callable[[Any], Any], policy: ErrorPolicy | None) -> None:
    builder = WorkflowBuilder().default_timeout(timedelta(seconds=2)).definition_timeout(0.5)

    definition = say(builder.then(Loose)).build("w")

    assert definition.default_error == policy
    assert (definition.default_timeout, definition.timeout) == (2_000_000, 500_000)


def test_an_inline_function_gets_the_context_whatever_it_calls_it() -> None:
    definition = (
        WorkflowBuilder()
        .then_fn(lambda ctx: ("ctx", ctx))
        .then_fn(lambda c: ("c", c))
        .then_fn(_inline)
        .build("w")
    )

    given: Any = object()
    assert definition.code["then_fn/body"](ctx=given) == ("ctx", given)
    assert definition.code["then_fn-2/body"](ctx=given) == ("c", given)
    coroutine = definition.code["_inline/body"](ctx=given)
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value == ("async", given)


async def _inline(context: object) -> object:
    return "async", context


def test_inputs_may_set_any_field_of_a_class_that_declares_none() -> None:
    definition = WorkflowBuilder(Order).then(Loose).input("anything", 1).build("w")

    assert node(definition, "Loose").inputs == (("anything", Value(1)),)


def test_a_private_field_goes_by_either_of_its_names() -> None:
    for name in ("client", "_client"):
        definition = WorkflowBuilder().then(Charge).input(name, 1).build("w")

        assert node(definition, "Charge").inputs == ((name, Value(1)),)


def test_the_same_chain_builds_the_same_definition() -> None:
    builder = WorkflowBuilder(Order).then(Charge).if_do("data.id > 1", _branch)

    assert builder.build("w").hash == builder.build("w").hash
    assert builder.build("w", 2).hash != builder.build("w").hash
    assert builder.build("w").data_type is Order
    assert WorkflowBuilder(dict).then(Loose).build("w").data_type is None


def test_plain_data_may_be_read_in_expressions_without_declaring_it() -> None:
    builder = WorkflowBuilder().if_do("data.whatever.deep > inputs.x || steps.a.ok", _branch)

    assert builder.build("w").id == "w"


@pytest.mark.parametrize(
    "text",
    [
        "data.amount > 100",
        "data['amount'] > 100.0",
        "has(data.url) && data.url != ''",
        "data.?url.orValue('') == ''",
        "size(data.items) > 0 && data.items[0] == 'x'",
        "data.items.all(item, item != '')",
        "data.exists(name, name == 'id')",
        "run.id == 'x' || event.data == 1",
        "true",
    ],
)
def test_expressions_that_fit_the_data_type(text: str) -> None:
    definition = WorkflowBuilder(Order).if_do(text, _branch).build("w")

    assert node(definition, "if_do").expr("condition") == Cel(text)


def test_without_the_extra_an_expression_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cel_expr_python.cel", None)
    for cached in (cel._environment, cel._parse, cel._compile):  # pyright: ignore[reportPrivateUsage]
        cached.cache_clear()

    with pytest.raises(DefinitionError) as raised:
        WorkflowBuilder().then(Loose).run_if("data.a > 1").build("w")

    assert str(raised.value) == (
        "w: Loose: run_if(): CEL expressions need an extra that is not installed;"
        ' pip install "wfe-core[cel]"'
    )
