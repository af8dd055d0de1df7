"""Flows of tasks: how parameters get values, what runs return, what is refused and when."""

# Lambdas as tasks have no types to declare.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypedDict

import attrs
import pytest

from wfe.core import (
    DataTypeError,
    DefinitionError,
    Flow,
    Retry,
    StepExecutionContext,
    StepFailedError,
    Suspend,
    Terminate,
    WorkflowBuilder,
    WorkflowTerminatedError,
    task,
)


@task
def number() -> int:
    return 5


@task(retry=2, timeout=30)
def fetch(url: str) -> dict[str, Any]:
    return {"body": url.upper(), "size": len(url)}


@task(name="shout")
async def loud(text: str, mark: str = "!") -> str:
    await asyncio.sleep(0)
    return text + mark


def pair(a: Any, b: Any) -> list[Any]:
    return [a, b]


class Page(TypedDict):
    body: str
    size: int


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Point:
    x: int
    y: int


@dataclasses.dataclass
class Box:
    corner: Point
    colour: Colour


def test_a_task_stays_the_function_it_is() -> None:
    assert number() == 5
    assert fetch("x") == {"body": "X", "size": 1}
    assert asyncio.run(loud("a")) == "a!"
    assert fetch.__name__ == "fetch"


def test_retry_and_timeout_are_in_the_definition() -> None:
    definition = (Flow("f", version=3, description="demo") >> fetch >> loud >> loud).build()

    nodes = list(definition.walk())
    assert [node.name for node in nodes] == ["fetch", "shout", "shout-2"]
    assert (nodes[0].on_error, nodes[0].timeout) == (Retry(max_retries=2), 30_000_000)
    assert (definition.id, definition.version, definition.meta) == (
        "f",
        3,
        {"description": "demo"},
    )
    assert definition.result == "result.shout-2"


@pytest.mark.parametrize(
    ("flow", "inputs", "result"),
    [
        (Flow("f", number), {}, 5),
        (Flow("f") >> fetch, {"url": "ab"}, {"body": "AB", "size": 2}),
        (Flow("f", fetch, lambda body: body), {"url": "ab"}, "AB"),
        (Flow("f", fetch, lambda whole: whole["size"]), {"url": "ab"}, 2),
        (Flow("f", fetch, lambda url, size, rest: [url, size, rest]), {"url": "a"}, None),
        (Flow("f", number, loud_text := (lambda n, mark="?": f"{n}{mark}")), {}, "5?"),
        (Flow("f", number, loud_text), {"mark": "!"}, "5!"),
        (Flow("f", lambda: {"mark": "-"}, lambda _n, mark="?": mark), {"mark": "!"}, "-"),
        (Flow("f", lambda: [3, 1, 2], sorted), {}, [1, 2, 3]),
        (Flow("f", number, lambda: "no parameters"), {}, "no parameters"),
        (Flow("f", number, lambda _n: None), {}, None),
        (Flow("f", lambda: None, lambda nothing: [nothing]), {}, [None]),
        (Flow("f", lambda items: items, len), {"items": [1, 2]}, 2),
        (Flow("f", functools.partial(pair, 1)), {"b": 2}, [1, 2]),
        (Flow("f", lambda n: n + 1, lambda n: n + 1), {"n": 1}, 2),  # both get the run's input
    ],
)
def test_parameters_come_from_the_result_before_the_inputs_and_defaults(
    flow: Flow, inputs: dict[str, Any], result: object
) -> None:
    expected = result
    if result is None and "url" in inputs:
        expected = ["a", 1, {"body": "A", "size": 1}]

    assert flow.run(**inputs) == expected


def test_an_input_may_be_for_a_later_task() -> None:
    flow = Flow("f") >> number >> (lambda a, factor: a * factor)

    with pytest.raises(DefinitionError, match=r"more than one parameter .* a, factor") as caught:
        flow.build()
    assert "Flow(..., inputs=['a', 'factor'])" in str(caught.value)

    assert flow.run(factor=4) == 20
    named = Flow("f", *(number, lambda a, factor: a * factor), inputs=["factor"])
    assert named.build().result == "result.task"
    assert named.run(factor=4) == 20


def test_what_a_declared_result_cannot_give_is_refused_before_anything_runs() -> None:
    ran: list[str] = []

    def first() -> Page:
        ran.append("first")
        return {"body": "x", "size": 1}

    def second(body: str, colour: str, size: int, weight: int) -> None:
        ran.append("second")

    with pytest.raises(DefinitionError) as caught:
        (Flow("f") >> first >> second).run()

    assert str(caught.value).startswith("f: second: 'first' leaves more than one parameter")
    assert "colour, weight" in str(caught.value)
    assert ran == []


def test_what_only_a_run_can_tell_fails_the_step() -> None:
    def anything() -> Any:
        return {"a": 1}

    def wants(a: int, b: int, c: int) -> int:
        return a + b + c

    with pytest.raises(StepFailedError) as caught:
        Flow("f", anything, wants).run()

    assert (caught.value.step, caught.value.error_type) == ("wants", "DefinitionError")
    assert "there is no value for b, c (inputs: none; names that 'anything' returned: a)" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({}, "f: inputs are missing: url; run(url=...)"),
        ({"url": "x", "ulr": "x"}, "f: no task takes an input 'ulr'; did you mean 'url'?"),
    ],
)
def test_wrong_inputs_are_refused(inputs: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        (Flow("f") >> fetch >> loud).run(**inputs)

    assert str(caught.value) == problem


def test_results_never_overwrite_inputs() -> None:
    def clobber(url: str) -> dict[str, str]:
        return {"url": "mine"}

    def between(url: str) -> int:
        assert url == "mine"
        return 1

    def last(n: int, url: str) -> list[Any]:
        return [n, url]

    assert Flow("f", clobber, between, last).run(url="given") == [1, "given"]


def test_a_task_that_changes_what_it_got_changes_nothing_else() -> None:
    def spoil(items: list[int]) -> list[int]:
        items.clear()
        return items

    def keep(_before: list[int], items: list[int]) -> list[int]:
        return items

    assert Flow("f", spoil, keep).run(items=[1, 2]) == [1, 2]


def test_declared_types_come_back_between_tasks_and_at_the_end() -> None:
    def make(point: Point) -> Box:
        return Box(point, Colour.RED)

    def moved(box: Box) -> tuple[Box, set[int]]:
        assert isinstance(box.corner, Point)
        return Box(attrs.evolve(box.corner, x=box.corner.x + 1), box.colour), {1}

    def corner_of(corner: Point, colour: Colour) -> list[Any]:
        return [corner.x, colour.name]

    assert Flow("f", make, moved).run(point=Point(1, 2)) == (Box(Point(2, 2), Colour.RED), {1})
    assert Flow("f", make, corner_of).run(point=Point(1, 2)) == [1, "RED"]


def test_a_failed_run_raises_with_the_tasks_name() -> None:
    @task(retry=Retry(max_retries=1, interval=timedelta(0)))
    def breaks(ctx: StepExecutionContext[Any]) -> None:
        raise ValueError(f"attempt {ctx.attempt}")

    with pytest.raises(StepFailedError) as caught:
        Flow("f", breaks).run()

    assert (caught.value.step, caught.value.error_type, caught.value.message) == (
        "breaks",
        "ValueError",
        "attempt 1",
    )


@pytest.mark.parametrize(
    ("then", "error"), [(Suspend(), StepFailedError), (Terminate(), WorkflowTerminatedError)]
)
def test_a_run_that_stops_otherwise_raises_too(then: Any, error: type[Exception]) -> None:
    @task(retry=Retry(max_retries=0, then=then))
    def breaks() -> None:
        raise ValueError("no")

    with pytest.raises(error, match="no"):
        Flow("f", breaks).run()


def test_a_task_that_takes_too_long_fails() -> None:
    @task(timeout=0.01)
    async def hangs() -> None:
        await asyncio.Event().wait()

    with pytest.raises(StepFailedError, match="took longer than"):
        Flow("f", hangs).run()


@pytest.mark.parametrize(
    ("flow", "inputs", "path"),
    [
        (Flow("f", lambda url: url), {"url": object()}, "data.url"),
        (Flow("f", lambda url: url), {"url": float("nan")}, "data.url"),
    ],
)
def test_inputs_that_cannot_be_stored_are_refused(
    flow: Flow, inputs: dict[str, Any], path: str
) -> None:
    with pytest.raises(DataTypeError, match=path):
        flow.run(**inputs)


async def test_a_flow_runs_where_a_loop_runs() -> None:
    flow = Flow("f") >> fetch >> (lambda body: body)

    assert await flow.arun(url="a") == "A"
    assert flow.run(url="b") == "B"  # in a thread of its own
    assert await asyncio.gather(*(flow.arun(url=x) for x in "xyz")) == ["X", "Y", "Z"]


def test_a_flow_is_never_changed_by_what_is_built_on_it() -> None:
    begun = Flow("f") >> number
    one, two = begun >> (lambda n: n + 1), begun.then(lambda n: n + 2)

    assert [flow.run() for flow in (begun, one, two)] == [5, 6, 7]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Flow("f").build(), "f: the flow has no tasks"),
        (lambda: Flow(""), "the id of a flow must not be empty"),
        (lambda: Flow("f", version=0), "version must be a whole number from 1"),
        (lambda: Flow("f", 5), "got 5 (int), which is no step"),  # type: ignore[arg-type]
        (lambda: Flow("f") >> Point, "a flow takes functions, got the class Point"),
        (lambda: Flow("f", number, inputs="url"), "inputs takes names, got 'url'"),
        (lambda: Flow("f", number, inputs=["a.b"]), "no parameter can be called 'a.b'"),
        (lambda: Flow("f", loud("x")), "coroutine"),  # type: ignore[arg-type]
        (lambda: task(retry=-1), "retry must not be negative"),
        (lambda: task(timeout=0), "timeout must be positive"),
    ],
)
def test_wrong_flows_are_refused(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make()

    assert problem in str(caught.value)


def test_a_flow_is_a_part_of_other_programs() -> None:
    definition = Flow("f", fetch).build()

    assert not definition.missing()
    assert sorted(definition.code) == ["fetch/body", "fetch/input:url"]
    assert WorkflowBuilder().sub_workflow("f").build("outer").id == "outer"
