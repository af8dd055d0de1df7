"""Wrong uses of waits, children and the whole run: what is wrong, where, and what to do."""

# pyright: basic
# Most of these are what a strict checker refuses; here the message counts.

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from wfe.core.builder import WorkflowBuilder, expr
from wfe.core.errors import DefinitionError

NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


@attrs.define
class Order:
    id: int = 0
    amount: float = 0.0
    receipt: str = ""
    when: datetime | None = None


class Plain:
    def run(self, ctx: object) -> None: ...


def nothing(b: object) -> None: ...


def many(a: int, b: int, c: int) -> int:
    return a + b + c


async def later(data: object) -> None: ...


def builder() -> Any:
    return WorkflowBuilder(Order)


def some() -> Any:
    return builder().then(Plain)


def branch(b: Any) -> Any:
    return b.then(Plain)


def built(chain: Any) -> Any:
    return chain.build("w")


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "activity-name": (
        lambda: some().activity(""),
        "the name of activity() must not be empty",
    ),
    "activity-parameters": (
        lambda: some().activity("a", parameters=[1]),
        'parameters of activity() takes a callable, a mapping or expr("..."), got [1] (list)',
    ),
    "activity-parameters-value": (
        lambda: some().activity("a", parameters={"when": NEW_YEAR}),
        (
            "parameters of activity() must be plain JSON when it is a constant, got "
            "{'when': datetime.datetime(2030, 1, 1, 0, 0, tzinfo=datet... (dict); compute "
            "it in a callable, for example lambda d: ..."
        ),
    ),
    "activity-output": (
        lambda: built(some().activity("a", output="recipt")),
        "w: activity: Order has no field 'recipt' for output(); did you mean 'receipt'?",
    ),
    "activity-timeout": (
        lambda: some().activity("a", timeout=0),
        "the timeout of activity() must be positive, got 0 s",
    ),
    "activity-timeout-after": (
        lambda: some().activity("a").timeout(5),
        ("activity: timeout() has no meaning after activity(); write activity(..., timeout=...)"),
    ),
    "activity-when": (
        lambda: some().activity("a").when("x", branch),
        "activity: when() has no meaning after activity(); it belongs to a step with a body",
    ),
    "activity-cel": (
        lambda: built(some().activity("a", parameters={"id": expr("data.idd")})),
        "w: activity: parameters: Order has no field 'idd'; did you mean 'id'?",
    ),
    "approval-empty": (
        lambda: some().approval(" "),
        "the prompt of approval() must not be empty",
    ),
    "approval-number": (
        lambda: some().approval(5),
        'the prompt of approval() takes a text, a callable or expr("..."), got 5 (int)',
    ),
    "approval-options-text": (
        lambda: some().approval("Go?", options="yes"),
        'options of approval() takes texts, such as ["yes", "no"], got \'yes\' (str)',
    ),
    "approval-options-none": (
        lambda: some().approval("Go?", options=[]),
        'options of approval() takes texts, such as ["yes", "no"], got [] (list)',
    ),
    "approval-options-number": (
        lambda: some().approval("Go?", options=["yes", 2]),
        "each of the options of approval() must be a text, got 2 (int)",
    ),
    "approval-options-twice": (
        lambda: some().approval("Go?", options=["yes", "yes"]),
        "options of approval() has 'yes' twice; leave one of them out",
    ),
    "approval-when": (
        lambda: some().approval("Go?").when("yess", branch),
        "approval: when('yess') is no option of the approval; it has 'yes', 'no'",
    ),
    "approval-when-type": (
        lambda: some().approval("Go?", options=["a"]).when(1, branch),
        "approval: when(1) is no option of the approval; it has 'a'",
    ),
    "approval-otherwise": (
        lambda: some().approval("Go?").otherwise(branch),
        "approval: otherwise() without when(); add .when(value, branch) before it",
    ),
    "approval-output": (
        lambda: built(some().approval("Go?", output="recipt")),
        "w: approval: Order has no field 'recipt' for output(); did you mean 'receipt'?",
    ),
    "approval-timeout-after": (
        lambda: some().approval("Go?").timeout(5),
        ("approval: timeout() has no meaning after approval(); write approval(..., timeout=...)"),
    ),
    "approval-input": (
        lambda: some().approval("Go?").input("x", 1),
        "approval: input() has no meaning after approval(); it belongs to a step with a body",
    ),
    "schedule-naive": (
        lambda: some().schedule(datetime.fromisoformat("2030-01-01T00:00:00")),
        (
            "schedule() needs a time zone to know when 2030-01-01T00:00:00 is; for example "
            "datetime(2030, 1, 1, tzinfo=UTC)"
        ),
    ),
    "schedule-text": (
        lambda: some().schedule("2030-01-01T00:00:00Z"),
        (
            'schedule() takes a datetime, a callable that gives one or expr("..."), got '
            "'2030-01-01T00:00:00Z' (str)"
        ),
    ),
    "schedule-timedelta": (
        lambda: some().schedule(timedelta(1)),
        (
            'schedule() takes a datetime, a callable that gives one or expr("..."), got '
            "datetime.timedelta(days=1) (timedelta)"
        ),
    ),
    "schedule-type": (
        lambda: built(some().schedule(expr("data.id"))),
        (
            "w: schedule: at: `data.id` gives int, not a timestamp; for example "
            'timestamp("2030-01-01T00:00:00Z")'
        ),
    ),
    "schedule-timeout": (
        lambda: some().schedule(NEW_YEAR).timeout(5),
        "schedule: timeout() has no meaning after schedule(); wait for a shorter time",
    ),
    "recur-zero": (
        lambda: some().recur(timedelta(0), branch),
        "the interval of recur() must be positive, got 0 s",
    ),
    "recur-number": (
        lambda: some().recur(5, branch),
        "the interval of recur() must be a timedelta, got 5 (int); write timedelta(seconds=5)",
    ),
    "recur-empty": (
        lambda: some().recur(timedelta(1), nothing),
        (
            "a branch of recur() is empty; add steps to the builder that it gets: lambda "
            "b: b.then(A)"
        ),
    ),
    "recur-until": (
        lambda: some().recur(timedelta(1), branch, until=5),
        "until of recur() takes a callable over the data or a CEL text, got 5 (int)",
    ),
    "recur-until-type": (
        lambda: built(some().recur(timedelta(1), branch, until="data.id")),
        "w: recur: until: `data.id` gives int, not bool; compare it with something",
    ),
    "recur-interval-type": (
        lambda: built(some().recur(expr("data.id"), branch)),
        'w: recur: interval: `data.id` gives int, not a duration; for example duration("30s")',
    ),
    "wait-scope": (
        lambda: some().wait_for("x", scope="all"),
        (
            "scope of wait_for() must be \"run\", got 'all' (str); leave it out to wait for "
            "a published event"
        ),
    ),
    "wait-scope-key": (
        lambda: some().wait_for("x", scope="run", key="k"),
        (
            'key of wait_for() has no meaning with scope="run"; a signal goes to one run; '
            "leave it out"
        ),
    ),
    "wait-scope-as-of": (
        lambda: some().wait_for("x", scope="run", as_of=lambda d: d.when),
        (
            'as_of of wait_for() has no meaning with scope="run"; a signal goes to one '
            "run; leave it out"
        ),
    ),
    "child-name": (
        lambda: some().sub_workflow("c", name=3),
        'the name of sub_workflow() takes a callable, a text or expr("..."), got 3 (int)',
    ),
    "child-reference": (
        lambda: some().sub_workflow("c", reference=""),
        "the reference of sub_workflow() must not be empty",
    ),
    "child-name-cel": (
        lambda: built(some().sub_workflow("c", name=expr("data.nmae"))),
        ("w: sub_workflow: name: Order has no field 'nmae' (there is: id, amount, receipt, when)"),
    ),
    "child-end": (
        lambda: some().sub_workflow("c", on_parent_end="kill"),
        'on_parent_end of sub_workflow() must be "terminate" or "abandon", got \'kill\' (str)',
    ),
    "child-async": (
        lambda: some().sub_workflow("c", reference=later),
        (
            "the reference of sub_workflow() got the async function later; mappings and "
            "conditions are plain functions"
        ),
    ),
    "retention-zero": (
        lambda: builder().retention(timedelta(0)),
        "retention() must be positive, got 0 s",
    ),
    "retention-number": (
        lambda: builder().retention(30),
        "retention() must be a timedelta, got 30 (int); write timedelta(seconds=30)",
    ),
    "retention-in-branch": (
        lambda: some().saga(lambda b: b.then(Plain).retention(None)),
        "retention() was called inside a branch; call it on the workflow's own builder",
    ),
    "requires-nothing": (
        lambda: builder().requires(),
        'requires() got no label; for example requires("gpu")',
    ),
    "requires-list": (
        lambda: builder().requires(["gpu"]),
        "a label of requires() must be a text, got ['gpu'] (list)",
    ),
    "update-twice": (
        lambda: builder().on_update("a", Order).on_update("a", Order),
        (
            "on_update() takes a plain function, got the class Order; it must take (data, "
            "payload) or (data), for example lambda d, payload: ..."
        ),
    ),
    "update-known": (
        lambda: builder().on_update("a", lambda d: d).on_update("a", lambda d: d),
        "on_update() has a handler for update 'a' already; leave one of them out",
    ),
    "update-async": (
        lambda: builder().on_update("a", later),
        (
            "on_update() takes a plain function, got the async function later; it must "
            "take (data, payload) or (data), for example lambda d, payload: ..."
        ),
    ),
    "update-parameters": (
        lambda: builder().on_update("a", lambda: 1),
        (
            "on_update() got a callable that takes () (<lambda>); it must take (data, "
            "payload) or (data), for example lambda d, payload: ..."
        ),
    ),
    "update-validator": (
        lambda: builder().on_update("a", lambda d: d, validator=3),
        (
            "the validator of on_update() takes a plain function, got 3 (int); it must "
            "take (data, payload) or (data), for example lambda d, payload: ..."
        ),
    ),
    "update-name": (
        lambda: builder().on_update("", lambda d: d),
        "the name of on_update() must not be empty",
    ),
    "query-known": (
        lambda: builder().on_query("a", lambda d: d).on_query("a", lambda d: d),
        "on_query() has a handler for query 'a' already; leave one of them out",
    ),
    "query-parameters": (
        lambda: builder().on_query("a", many),
        (
            "on_query() got a callable that takes (a, b, c) (many); it must take (data, "
            "payload) or (data), for example lambda d, payload: ..."
        ),
    ),
    "query-name": (
        lambda: builder().on_query(5, lambda d: d),
        "the name of on_query() must be a text, got 5 (int)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_wait_or_setting_of_the_run_says_what_where_and_what_to_do(name: str) -> None:
    use, message = WRONG[name]

    with pytest.raises(DefinitionError) as raised:
        use()

    assert str(raised.value) == message
