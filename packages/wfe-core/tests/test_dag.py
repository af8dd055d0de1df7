"""DAGs: what they write into a definition, and how wrong ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from wfe.core.dag import Dag, Trigger
from wfe.core.definition import Call, Cel, Kind, Value
from wfe.core.errors import DefinitionError
from wfe.core.policies import Retry, Suspend
from wfe.core.step_settings import step


@attrs.define
class Order:
    url: str = ""
    total: int = 0


@step(retry=1)
def work(url: str = "") -> int:
    return len(url)


def test_a_dag_is_one_node_of_steps_that_need_one_another() -> None:
    dag = Dag("etl", version=2, data_type=Order, description="demo", fail_fast=False)
    dag.step("a", work, inputs={"url": "data.url"}, outputs="total", retry=3, timeout=5)
    dag.step("b", work, inputs={"url": "'x'"}, depends_on_any=["c", "a"], run_if="data.total > 1")
    dag.step("c", work, depends_on=("a",), outputs={"total": lambda r: r}, on_error=Suspend())

    definition = dag.build()

    root, a, b, c = definition.walk()
    assert (definition.id, definition.version, definition.data_type) == ("etl", 2, Order)
    assert definition.meta == {"description": "demo"}
    assert (root.kind, root.name, root.config) == (Kind.DAG, "dag", {"fail_fast": False})
    assert (a.inputs, a.config, a.outputs) == ((("url", Cel("data.url")),), {"output": "total"}, ())
    assert (a.on_error, a.timeout) == (Retry(max_retries=3), 5_000_000)
    assert (b.needs_any, b.run_if, b.on_error) == (
        ("c", "a"),
        Cel("data.total > 1"),
        Retry(max_retries=1),
    )
    assert (c.needs, c.outputs, c.on_error) == (("a",), (("total", Call()),), Suspend())
    assert sorted(definition.code) == ["a/body", "b/body", "c/body", "c/output:total"]


def test_a_step_may_have_the_name_that_the_dag_would_have() -> None:
    definition = Dag("etl").step("dag", work).step("b", work, depends_on=["dag"]).build()

    assert [node.name for node in definition.walk()] == ["dag-2", "dag", "b"]


def test_retries_end_in_the_given_policy() -> None:
    definition = Dag("etl").step("a", work, retry=2, on_error=Suspend()).build()

    assert next(n for n in definition.walk() if n.name == "a").on_error == Retry(
        max_retries=2, then=Suspend()
    )


def test_constants_are_inputs_as_they_are() -> None:
    definition = Dag("etl").step("a", work, inputs={"url": ["x", {"y": None}]}).build()

    assert next(n for n in definition.walk() if n.name == "a").inputs == (
        ("url", Value(["x", {"y": None}])),
    )


def dag(**steps: dict[str, Any]) -> Dag[Order]:
    made = Dag("etl", data_type=Order)
    for name, options in steps.items():
        made.step(name, work, **options)
    return made


def on(*names: str) -> dict[str, Any]:
    return {"depends_on": list(names)}


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "empty": (
        lambda: dag().build(),
        "etl: the DAG has no steps; add them with dag.step(name, body)",
    ),
    "empty-id": (lambda: Dag(""), "the id of a workflow must not be empty"),
    "version": (lambda: Dag("x", 0), "x: version must be a whole number from 1, got 0 (int)"),
    "itself": (lambda: dag(a=on("a")).build(), "etl: a: the step depends on itself"),
    "unknown": (
        lambda: dag(fetch={}, load=on("fetsh")).build(),
        (
            "etl: load: the step depends on 'fetsh', which is no step of the DAG; "
            "did you mean 'fetch'?"
        ),
    ),
    "unknown-any": (
        lambda: dag(a={}, b={"depends_on_any": ["zzz"]}).build(),
        "etl: b: the step depends on 'zzz', which is no step of the DAG (there is: a)",
    ),
    "circle-of-two": (
        lambda: dag(a=on("b"), b=on("a")).build(),
        (
            "etl: steps depend on one another in a circle: a -> b -> a; "
            "remove one of these dependencies"
        ),
    ),
    "circle-of-three": (
        lambda: dag(x={}, a=on("c", "x"), b={"depends_on_any": ["a"]}, c=on("b")).build(),
        (
            "etl: steps depend on one another in a circle: a -> b -> c -> a;"
            " remove one of these dependencies"
        ),
    ),
    "same-name": (
        lambda: dag(a={}).step("a", work),
        "etl: two steps are called 'a'; names are unique in a definition",
    ),
    "empty-name": (lambda: dag().step("", work), "etl: the name of a step must not be empty"),
    "no-step": (
        lambda: dag().step("a", None),
        (
            "step 'a' got None (NoneType), which is no step; pass a class or an instance with a"
            " method run(ctx), or a function"
        ),
    ),
    "text-for-names": (
        lambda: dag(a={"depends_on": "b"}),
        "etl: a: depends_on takes a list of names, got the text 'b'; write ['b']",
    ),
    "number-for-names": (
        lambda: dag(a={"depends_on": 5}),
        "etl: a: depends_on takes a list of names, got 5 (int)",
    ),
    "number-as-name": (
        lambda: dag(a={"depends_on": [5]}),
        "etl: a: a name in depends_on must be a text, got 5 (int)",
    ),
    "negative-retry": (lambda: dag(a={"retry": -1}), "etl: a: retry must not be negative, got -1"),
    "timeout": (
        lambda: dag(a={"timeout": timedelta(0)}),
        "etl: a: timeout must be positive, got 0 s",
    ),
    "two-retries": (
        lambda: dag(a={"retry": 1, "on_error": Retry()}),
        (
            "etl: a: retry contradicts an error policy that was given before; give one of them, or"
            " Retry(..., then=...)"
        ),
    ),
    "run-if": (
        lambda: dag(a={"run_if": 5}),
        "etl: a: run_if takes a callable over the data or a CEL text, got 5 (int)",
    ),
    "outputs": (
        lambda: dag(a={"outputs": 5}),
        (
            "etl: a: outputs takes callables by data field, got 5 (int); or one data field,"
            " for what the step returns"
        ),
    ),
    "output-none": (
        lambda: dag(a={"outputs": {"total": None}}),
        "etl: a: output 'total' has no callable over the step; for example lambda s: s.result",
    ),
    "unknown-output": (
        lambda: dag(a={"outputs": "totl"}).build(),
        "etl: a: Order has no field 'totl' for output(); did you mean 'total'?",
    ),
    "unknown-input": (
        lambda: dag(a={"inputs": {"uri": 1}}).build(),
        "etl: a: work has no field or parameter 'uri' for input(); did you mean 'url'?",
    ),
    "cel": (
        lambda: dag(a={"run_if": "data.totl > 1"}).build(),
        "etl: a: run_if(): Order has no field 'totl'; did you mean 'total'?",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_dag_says_what_where_and_what_to_do(name: str) -> None:
    use, message = WRONG[name]

    with pytest.raises(DefinitionError) as raised:
        use()

    assert str(raised.value) == message


@pytest.mark.parametrize("trigger", ["any", "all_done", "any_failed", "none_failed"])
def test_a_trigger_is_about_the_dependencies(trigger: Trigger) -> None:
    definition = Dag("etl").step("a", work).step("b", work, depends_on=["a"], trigger=trigger)

    _, a, b = definition.build().walk()
    assert (a.trigger, b.trigger) == ("all", trigger)
    with pytest.raises(DefinitionError, match=f"trigger='{trigger}' has no meaning without"):
        Dag("etl").step("a", work, trigger=trigger)


@pytest.mark.parametrize(
    ("skip", "propagates"),
    [
        ("satisfy", None),
        ("propagate", ["a", "b"]),
        ({"b": "propagate"}, ["b"]),
        ({"a": "satisfy"}, None),
    ],
)
def test_skips_propagate_by_edge(skip: Any, propagates: list[str] | None) -> None:
    made = Dag("etl").step("a", work).step("b", work)

    made.step("c", work, depends_on=["a"], depends_on_any=["b"], skip=skip)

    assert list(made.build().walk())[-1].config.get("propagates") == propagates


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"trigger": "some"}, "trigger takes one of all, any, all_done, any_failed, none_failed"),
        ({"trigger": None}, "trigger takes one of"),
        ({"skip": "never"}, "skip takes 'satisfy' or 'propagate', got 'never'"),
        ({"skip": ["a"]}, "skip takes 'satisfy' or 'propagate'"),
        ({"skip": {"c": "propagate"}}, "skip says something of 'c', which is no dependency"),
        ({"depends_on": [], "skip": "propagate"}, "skip='propagate' has no meaning without"),
        ({"trigger": "all_done", "skip": "propagate"}, "contradicts trigger='all_done'"),
        ({"trigger": "any_failed", "skip": "propagate"}, "contradicts trigger='any_failed'"),
    ],
)
def test_wrong_triggers_and_skips_are_refused(options: dict[str, Any], problem: str) -> None:
    made = Dag("etl").step("a", work)

    given: dict[str, Any] = {"depends_on": ["a"], **options}
    with pytest.raises(DefinitionError) as caught:
        made.step("b", work, **given)

    assert problem in str(caught.value)
    assert str(caught.value).startswith("etl: b: ")
