"""Flows as graphs: ports, fan-in and fan-out, what is refused and how it is told."""

# Lambdas as tasks have no types to declare.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypedDict

import attrs
import pytest

from wfe.core import (
    Continue,
    DefinitionError,
    FlowBuilder,
    FlowNode,
    Retry,
    StepFailedError,
    task,
)


class Sums(TypedDict):
    total: int
    items: list[int]


def numbers(n: int) -> list[int]:
    return list(range(n))


def summed(items: list[int]) -> Sums:
    return {"total": sum(items), "items": items}


def joined(a: Any, b: Any, sep: str = "-") -> str:
    return f"{a}{sep}{b}"


@attrs.frozen
class Point:
    x: int


def test_values_go_along_the_connections() -> None:
    flow = FlowBuilder("f", version=2, description="demo")
    made = flow.add(numbers)
    sums = flow.add(summed)
    end = flow.add(joined, name="end")
    flow.connect(made, "output", sums, "items")
    flow.connect(sums, "output.total", end, "a")
    flow.connect(made, "output", end, "b")

    definition = flow.build()

    assert [made, sums, end] == [FlowNode("numbers"), FlowNode("summed"), FlowNode("end")]
    root, *nodes = definition.walk()
    assert (root.kind, root.config) == ("dag", {"fail_fast": True})
    assert {node.name: node.needs for node in nodes} == {
        "numbers": (),
        "summed": ("numbers",),
        "end": ("summed", "numbers"),
    }
    assert definition.result == "result.end"
    assert flow.run(n=3) == "3-[0, 1, 2]"
    assert flow.run(n=3, sep="/") == "3/[0, 1, 2]"


def test_tasks_that_end_side_by_side_give_a_mapping() -> None:
    flow = FlowBuilder("f")
    made = flow.add(numbers)
    flow.connect(made, "output", flow.add(summed), "items")
    flow.connect(made, "output", flow.add(len), "obj")
    flow.add(lambda n: n * 10, name="apart")

    assert flow.run(n=3) == {"summed": {"total": 3, "items": [0, 1, 2]}, "len": 3, "apart": 30}


async def test_a_task_begins_as_soon_as_its_inputs_are_there() -> None:
    first, second = asyncio.Event(), asyncio.Event()

    async def one() -> int:
        await asyncio.wait_for(second.wait(), 10)  # only if the other branch runs meanwhile
        return 1

    async def two() -> int:
        first.set()
        return 2

    async def after_two(n: int) -> int:
        await asyncio.wait_for(first.wait(), 10)
        second.set()
        return n + 1

    flow = FlowBuilder("f")
    a, b, c = flow.add(one), flow.add(two), flow.add(after_two)
    end = flow.add(joined)
    flow.connect(b, "output", c, "n")
    flow.connect(a, "output", end, "a").connect(c, "output", end, "b")

    assert await flow.arun() == "1-3"


def test_the_same_task_may_be_added_often() -> None:
    flow = FlowBuilder("f")
    nodes = [flow.add(numbers), flow.add(numbers), flow.add(numbers, "third")]

    assert [node.name for node in nodes] == ["numbers", "numbers-2", "third"]
    assert flow.run(n=1) == {"numbers": [0], "numbers-2": [0], "third": [0]}


def test_names_serve_instead_of_nodes_and_paths_go_deep() -> None:
    flow = FlowBuilder("f")
    flow.add(lambda: {"a": {"b": [7]}}, "deep")
    flow.add(lambda v: v, "end")
    flow.connect("deep", "output.a.b", "end", "v")

    assert flow.run() == [7]


def test_declared_types_come_back() -> None:
    def make() -> Point:
        return Point(1)

    def use(point: Point) -> Point:
        return Point(point.x + 1)

    flow = FlowBuilder("f")
    flow.connect(flow.add(make), "output", flow.add(use), "point")

    assert flow.run() == Point(2)


def test_results_never_overwrite_inputs() -> None:
    flow = FlowBuilder("f")
    flow.add(lambda n: {"n": n + 1}, "one")
    flow.add(lambda n, m: [n, m], "two")
    flow.connect("one", "output.n", "two", "m")

    assert flow.run(n=1) == [1, 2]


def test_what_a_task_did_not_return_fails_the_one_that_needs_it() -> None:
    flow = FlowBuilder("f")
    flow.connect(flow.add(lambda: {"a": 1}, "one"), "output.b", flow.add(len), "obj")

    with pytest.raises(StepFailedError) as caught:
        flow.run()

    assert caught.value.step == "len"
    assert "'one'.output.b has no value: 'b' was not returned" in caught.value.message


@pytest.mark.parametrize(("fail_fast", "ran"), [(True, []), (False, ["slow"])])
def test_a_failed_task_fails_the_flow(fail_fast: bool, ran: list[str]) -> None:
    seen: list[str] = []

    async def breaks() -> None:
        raise ValueError("no")

    async def slow() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        seen.append("slow")

    flow = FlowBuilder("f", fail_fast=fail_fast)
    flow.add(breaks)
    flow.add(slow)

    with pytest.raises(StepFailedError, match="step 'breaks'"):
        flow.run()

    assert seen == ran


def test_a_failure_that_is_passed_over_leaves_none() -> None:
    @task(retry=Retry(max_retries=0, then=Continue()))
    def breaks() -> int:
        raise ValueError("no")

    flow = FlowBuilder("f")
    flow.connect(flow.add(breaks), "output", flow.add(lambda v: [v], "end"), "v")

    assert flow.run() == [None]


def builder() -> tuple[FlowBuilder, FlowNode, FlowNode]:
    flow = FlowBuilder("f")
    return flow, flow.add(summed), flow.add(joined)


@pytest.mark.parametrize(
    ("connect", "problem"),
    [
        (("output", "c"), "'joined' has no parameter 'c' (there is: a, b, sep)"),
        (("outputs", "a"), "'summed' has no port 'outputs'; use 'output' for what it returns"),
        (("output.", "a"), "'summed' has no port 'output.'"),
        ((5, "a"), "'summed' has no port 5"),
        (("output.totl", "a"), "'summed' returns nothing called 'totl'; did you mean 'total'?"),
    ],
)
def test_unknown_ports_are_refused(connect: tuple[Any, str], problem: str) -> None:
    flow, source, target = builder()

    with pytest.raises(DefinitionError) as caught:
        flow.connect(source, connect[0], target, connect[1])

    assert problem in str(caught.value)
    assert str(caught.value).startswith("f: connect('summed', ")


def test_two_connections_with_one_parameter_are_refused() -> None:
    flow, source, target = builder()
    flow.connect(source, "output.total", target, "a")

    with pytest.raises(DefinitionError) as caught:
        flow.connect(source, "output", target, "a")

    assert "'a' of 'joined' is connected with 'summed'.output.total already" in str(caught.value)


@pytest.mark.parametrize("node", [FlowNode("other"), "other", 5, summed])
def test_unknown_nodes_are_refused(node: Any) -> None:
    flow, source, _ = builder()

    with pytest.raises(DefinitionError, match="which is no task of the flow"):
        flow.connect(source, "output", node, "a")


def test_a_parameter_without_a_value_is_refused() -> None:
    flow, source, target = builder()
    flow.connect(source, "output", target, "a")

    with pytest.raises(DefinitionError) as caught:
        flow.build()

    assert "parameter 'b' of 'joined' is not connected" in str(caught.value)
    assert "FlowBuilder(..., inputs=['b'])" in str(caught.value)
    assert flow.run(items=[1], b="x") == "{'total': 1, 'items': [1]}-x"


def test_a_circle_is_shown_in_the_direction_of_the_values() -> None:
    flow = FlowBuilder("f")
    flow.add(lambda x: x, "a")
    flow.add(lambda x: x, "b")
    flow.add(lambda x: x, "c")
    flow.connect("a", "output", "b", "x").connect("b", "output", "c", "x")
    flow.connect("c", "output", "a", "x")

    with pytest.raises(DefinitionError) as caught:
        flow.build()

    assert "tasks wait for one another in a circle: a -> b -> c -> a" in str(caught.value)


def test_a_task_cannot_wait_for_itself() -> None:
    flow = FlowBuilder("f")
    node = flow.add(lambda x: x, "a")

    with pytest.raises(DefinitionError, match="in a circle: a -> a"):
        flow.connect(node, "output", node, "x").build()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: FlowBuilder("f").build(), "f: the flow has no tasks"),
        (lambda: FlowBuilder("f").add(Point), "a flow takes functions, got the class Point"),
        (lambda: builder()[0].add(numbers, "summed"), "two tasks are called 'summed'"),
        (lambda: FlowBuilder("f").add(numbers, ""), "the name of a task must not be empty"),
        (lambda: FlowBuilder("f", version=0), "version must be a whole number from 1"),
        (builder()[0].run, "inputs are missing: items, a, b"),
        (lambda: builder()[0].run(items=[], a=1, b=2, c=3), "no task takes an input 'c'"),
    ],
)
def test_wrong_flows_are_refused(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make()

    assert problem in str(caught.value)
