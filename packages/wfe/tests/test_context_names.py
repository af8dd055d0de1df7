"""A body whose context is not called ``ctx`` is told so, at once where that is sure."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from wfe.core import (
    Dag,
    DefinitionError,
    ExecutionResult,
    Flow,
    StepExecutionContext,
    StepFailedError,
    WorkflowBuilder,
    WorkflowContext,
    step,
    task,
    workflow,
)
from wfe.host import WorkflowHost

RENAME = "the context goes to the parameter that is called ctx: is 'context' meant for it?"


@attrs.define
class Order:
    amount: int = 0


def annotated(context: StepExecutionContext[Order]) -> None:
    """The annotation says that it is the context; here as a text."""


def named(context: Any) -> None:
    """The name alone says what it is meant for."""


def given(context: Any, amount: int) -> int:
    return amount


def defaulted(context: StepExecutionContext[Any] | None = None, c: int = 1) -> ExecutionResult:
    return ExecutionResult.output(c=c)


def callback(make: Callable[[StepExecutionContext[Any]], int]) -> None:
    """The parameter is a function that gets a context; it is none itself."""


async def result_of(definition: Any, data: Any = None) -> Any:
    async with WorkflowHost() as host:
        run = await host.start_workflow(definition, data)
        return await run.result(timeout=10)


@pytest.mark.parametrize(
    "make",
    [
        lambda: WorkflowBuilder().start_with(annotated),
        lambda: WorkflowBuilder().start_with(step(annotated)),
        lambda: WorkflowBuilder().start_with(functools.partial(annotated)),
        lambda: Dag("d").step("s", annotated),
        lambda: Flow("x", task(annotated)),
    ],
)
def test_an_annotated_context_of_another_name_is_refused_at_once(make: Callable[[], Any]) -> None:
    with pytest.raises(DefinitionError) as raised:
        make()

    assert "whose parameter 'context' would not get the context" in str(raised.value)
    assert RENAME in str(raised.value)


def test_real_annotations_are_seen_like_texts() -> None:
    def body(context: Any) -> None: ...

    for annotation in (StepExecutionContext, StepExecutionContext[Order], WorkflowContext):
        body.__annotations__["context"] = annotation
        with pytest.raises(DefinitionError, match="would not get the context"):
            WorkflowBuilder().start_with(body)


def test_a_typed_workflow_says_which_name_to_give() -> None:
    with pytest.raises(DefinitionError) as raised:
        WorkflowBuilder(Order).start_with(named).build("x")

    assert RENAME in str(raised.value)


async def test_a_step_that_finds_no_value_for_its_context_says_which_name_to_give() -> None:
    with pytest.raises(StepFailedError) as raised:
        await result_of(WorkflowBuilder().start_with(named).build("x"))

    assert "needs a value for its parameter 'context'" in str(raised.value)
    assert RENAME in str(raised.value)


async def test_any_name_may_be_that_of_an_input_or_a_field() -> None:
    built = WorkflowBuilder().start_with(given).output("got").build("x")

    assert (await result_of(built, {"context": 1, "amount": 5}))["got"] == 5


async def test_what_has_a_default_or_only_mentions_contexts_is_left_alone() -> None:
    assert await result_of(WorkflowBuilder().start_with(defaulted).build("x")) == {"c": 1}
    WorkflowBuilder().start_with(callback)


@workflow("calls named")
async def calls_named(ctx: WorkflowContext, amount: int) -> Any:
    return await ctx.step(given, amount)


@workflow("calls annotated")
async def calls_annotated(ctx: WorkflowContext) -> Any:
    return await ctx.step(annotated)


async def test_a_step_of_a_durable_function_says_which_name_to_give() -> None:
    with pytest.raises(StepFailedError) as raised:
        await result_of(calls_named, 5)

    assert "missing 1 required positional argument" in str(raised.value)
    assert RENAME in str(raised.value)


async def test_an_annotated_step_of_a_durable_function_is_refused() -> None:
    with pytest.raises(StepFailedError) as raised:
        await result_of(calls_annotated)

    assert "would not get the context" in str(raised.value)
    assert RENAME in str(raised.value)


@task
def first(number: int) -> Any:
    return number


@pytest.mark.parametrize(
    ("tasks", "inputs"), [((task(given),), {"amount": 3}), ((first, task(given)), {"number": 3})]
)
def test_a_task_of_a_flow_says_which_name_to_give(tasks: Any, inputs: Any) -> None:
    with pytest.raises((DefinitionError, StepFailedError)) as raised:
        Flow("x", *tasks).run(**inputs)

    assert RENAME in str(raised.value)
