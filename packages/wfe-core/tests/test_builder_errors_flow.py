"""Wrong uses of the builder, second half: each says what is wrong, where, and what to do."""

# pyright: basic
# Most of these are what a strict checker refuses; here the message counts.

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import attrs
import pytest

from wfe.core.builder import WorkflowBuilder, expr
from wfe.core.errors import DefinitionError
from wfe.core.fields import transient
from wfe.core.policies import Fail, Suspend


@attrs.define
class Order:
    id: int = 0
    amount: float = 0.0
    items: list[str] = attrs.field(factory=list[str])
    receipt: str = ""
    when: datetime | None = None
    cache: dict[str, int] = transient(factory=dict)


class Plain:
    def run(self, ctx: object) -> None: ...


@attrs.define
class Charge:
    amount: float = 0.0
    receipt: str = ""

    def run(self, ctx: object) -> None: ...


def fetch(url: str) -> int:
    return len(url)


def builder() -> Any:
    return WorkflowBuilder(Order)


def some() -> Any:
    return builder().then(Plain)


def branch(b: Any) -> Any:
    return b.then(Plain)


def two(p: Any) -> Any:
    return p.branch(branch).branch(branch)


def nothing(b: object) -> None: ...


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    # -- steps
    "items-unstorable": (
        lambda: some().for_each([1, (2,)], branch),
        (
            "the items of for_each() must be plain JSON when it is a constant, got [1, "
            "(2,)] (list); compute it in a callable, for example lambda d: ..."
        ),
    ),
    "concurrency-zero": (
        lambda: some().for_each([1], branch, max_concurrency=0),
        "max_concurrency must be a whole number from 1, got 0 (int)",
    ),
    "concurrency-sequential": (
        lambda: some().for_each([1], branch, parallel=False, max_concurrency=2),
        "max_concurrency has no meaning with parallel=False; leave one of them out",
    ),
    "parallel-without-branches": (
        lambda: some().parallel(nothing),
        (
            "parallel() got no branches; for example parallel(lambda p: p.branch(lambda b: "
            "b.then(A)))"
        ),
    ),
    "parallel-step": (
        lambda: some().parallel(Plain),
        (
            "parallel() must be a function over a builder, got the class Plain; for "
            "example parallel(lambda p: p.branch(lambda b: b.then(A)))"
        ),
    ),
    "parallel-empty-branch": (
        lambda: some().parallel(lambda p: p.branch(nothing)),
        (
            "a branch of parallel() is empty; add steps to the builder that it gets: "
            "lambda b: b.then(A)"
        ),
    ),
    "join-too-large": (
        lambda: some().parallel(two, join=3),
        "join of parallel() must be from 1 to 2, its number of branches, got 3",
    ),
    "join-zero": (
        lambda: some().parallel(two, join=0),
        "join of parallel() must be from 1 to 2, its number of branches, got 0",
    ),
    "join-word": (
        lambda: some().parallel(two, join="most"),
        'join of parallel() must be "all", "any" or a number, got \'most\' (str)',
    ),
    "join-bool": (
        lambda: some().parallel(two, join=True),
        'join of parallel() must be "all", "any" or a number, got True (bool)',
    ),
    # -- waiting
    "delay-number": (
        lambda: some().delay(30),
        ("the duration of delay() must be a timedelta, got 30 (int); write timedelta(seconds=30)"),
    ),
    "delay-negative": (
        lambda: some().delay(timedelta(seconds=-1)),
        "the duration of delay() must not be negative, got -1 s",
    ),
    "delay-text": (
        lambda: some().delay("30s"),
        "the duration of delay() must be a timedelta, got '30s' (str)",
    ),
    "wait-for-empty": (lambda: some().wait_for(""), "the event of wait_for() must not be empty"),
    "wait-for-key": (
        lambda: some().wait_for("e", key=1.5),
        (
            'the key of wait_for() takes a callable, a text, a number or expr("..."), got '
            "1.5 (float)"
        ),
    ),
    "wait-for-timeout": (
        lambda: some().wait_for("e", timeout=timedelta(0)),
        "the timeout of wait_for() must be positive, got 0 s",
    ),
    "wait-for-as-of": (
        lambda: some().wait_for("e", as_of=datetime(2025, 1, 1, tzinfo=UTC)),
        (
            'as_of of wait_for() takes a callable that gives a time or expr("..."), got '
            "datetime.datetime(2025, 1, 1, 0, 0, tzinfo=datetime.timez... (datetime)"
        ),
    ),
    "wait-for-output": (
        lambda: some().wait_for("e", output="recipt").build("w"),
        "w: wait_for: Order has no field 'recipt' for output(); did you mean 'receipt'?",
    ),
    "sub-workflow-version": (
        lambda: some().sub_workflow("child", version=0),
        "the version of sub_workflow() must be a whole number from 1, got 0 (int)",
    ),
    "sub-workflow-id": (
        lambda: some().sub_workflow(""),
        "the id of sub_workflow() must not be empty",
    ),
    "sub-workflow-data": (
        lambda: some().sub_workflow("child", data=5),
        ('the data of sub_workflow() takes a callable, a mapping or expr("..."), got 5 (int)'),
    ),
    "sub-workflow-data-field": (
        lambda: some().sub_workflow("child", data={"a": {1}}),
        (
            "the data of sub_workflow() must be plain JSON when it is a constant, got "
            "{'a': {1}} (dict); compute it in a callable, for example lambda d: ..."
        ),
    ),
    # -- goto
    "goto-unknown": (
        lambda: some().goto("Plian").build("w"),
        "w: goto: goto('Plian') leads to no step; did you mean 'Plain'?",
    ),
    "goto-nothing-near": (
        lambda: some().goto("elsewhere").build("w"),
        "w: goto: goto('elsewhere') leads to no step (there is: Plain)",
    ),
    "goto-itself": (
        lambda: some().goto("goto").build("w"),
        "w: goto: goto() leads to itself; name another step",
    ),
    "goto-into-a-branch": (
        lambda: some().if_do("true", lambda b: b.then(Plain).id("in")).goto("in").build("w"),
        (
            "w: goto: goto('in') leads into a container that it does not stand in; a goto "
            "may lead to steps of its own block and of those around it"
        ),
    ),
    "goto-sibling-branch": (
        lambda: (
            some()
            .parallel(
                lambda p: p.branch(lambda b: b.then(Plain).id("x")).branch(lambda b: b.goto("x"))
            )
            .build("w")
        ),
        (
            "w: goto: goto('x') leads into a container that it does not stand in; a goto "
            "may lead to steps of its own block and of those around it"
        ),
    ),
    "goto-number": (lambda: some().goto(5), "the target of goto() must be a text, got 5 (int)"),
    # -- what is said of a step
    "timeout-text": (
        lambda: some().timeout("30s"),
        "Plain: timeout() must be a timedelta or a number of seconds, got '30s' (str)",
    ),
    "timeout-zero": (lambda: some().timeout(0), "Plain: timeout() must be positive, got 0 s"),
    "timeout-of-a-wait": (
        lambda: some().wait_for("go").timeout(5),
        "wait_for: timeout() has no meaning after wait_for(); write wait_for(..., timeout=...)",
    ),
    "timeout-of-a-delay": (
        lambda: some().delay(timedelta(seconds=9)).timeout(5),
        "delay: timeout() has no meaning after delay(); wait for a shorter time",
    ),
    "on-error-number": (
        lambda: some().on_error(3),
        ("Plain: on_error() takes an error policy, got 3 (int); write Retry(max_retries=3)"),
    ),
    "on-error-class": (
        lambda: some().on_error(Suspend),
        ("Plain: on_error() takes an error policy, got the class Suspend; write Suspend()"),
    ),
    "on-error-after-goto": (
        lambda: some().goto("Plain").on_error(Fail()),
        "goto: on_error() has no meaning after goto(); leave it out",
    ),
    "input-twice": (
        lambda: builder().then(Charge).input("amount", 1).input("amount", 2),
        "Charge: input 'amount' is given twice; leave one of them out",
    ),
    "input-after-if": (
        lambda: some().if_do("true", branch).input("a", 1),
        "if_do: input() has no meaning after if_do(); it belongs to a step with a body",
    ),
    "input-unknown": (
        lambda: builder().then(Charge).input("amuont", 1).build("w"),
        (
            "w: Charge: Charge has no field or parameter 'amuont' for input(); did you "
            "mean 'amount'?"
        ),
    ),
    "input-unknown-parameter": (
        lambda: builder().then(fetch).input("uri", "'x'").build("w"),
        ("w: fetch: fetch has no field or parameter 'uri' for input(); did you mean 'url'?"),
    ),
    "input-unstorable": (
        lambda: builder().then(Charge).input("amount", object()),
        (
            "Charge: input 'amount' must be plain JSON when it is a constant, got an "
            "object of class object; compute it in a callable, for example lambda d: ..."
        ),
    ),
    "input-tuple": (
        lambda: builder().then(Charge).input("amount", (1, 2)),
        (
            "Charge: input 'amount' must be plain JSON when it is a constant, got (1, 2) "
            "(tuple); compute it in a callable, for example lambda d: ..."
        ),
    ),
    "input-nan": (
        lambda: builder().then(Charge).input("amount", float("nan")),
        (
            "Charge: input 'amount' must be plain JSON when it is a constant, got nan "
            "(float); compute it in a callable, for example lambda d: ..."
        ),
    ),
    "missing-parameter": (
        lambda: builder().then(fetch).build("w"),
        (
            "w: fetch: parameter 'url' of fetch has no value: it is no field of Order, has "
            "no input() and no default; add .input('url', ...)"
        ),
    ),
    "output-unknown": (
        lambda: builder().then(Charge).output("recipt").build("w"),
        "w: Charge: Order has no field 'recipt' for output(); did you mean 'receipt'?",
    ),
    "output-transient": (
        lambda: builder().then(Charge).output("cache").build("w"),
        (
            "w: Charge: Order.cache is transient, so no step can output to it; choose a "
            "field that is stored"
        ),
    ),
    "output-text": (
        lambda: builder().then(Charge).output("receipt", "s.receipt"),
        (
            "Charge: output 'receipt' takes a callable over the step, got 's.receipt' "
            "(str); for example lambda s: s.result"
        ),
    ),
    "output-of-two": (
        lambda: builder().then(Charge).output("receipt", lambda d, s: (d, s)),
        (
            "Charge: output 'receipt' got a callable that takes (d, s) (<lambda>); the "
            "callable must take the step alone"
        ),
    ),
    "output-twice": (
        lambda: builder().then(Charge).output("receipt").output("receipt"),
        "Charge: output 'receipt' is given twice; leave one of them out",
    ),
    "two-outputs-of-the-result": (
        lambda: builder().then(Charge).output("id").output("receipt"),
        (
            "Charge: the result goes to 'id' already; give output('receipt', ...) a "
            "mapper: lambda s: ..."
        ),
    ),
    # -- expressions
    "expr-number": (
        lambda: expr(cast("Any", 5)),
        (
            "expr() takes the text of a CEL expression, got 5 (int); for example "
            'expr("data.amount * 2")'
        ),
    ),
    "cel-unknown-field": (
        lambda: some().if_do("data.amuont > 1", branch).build("w"),
        "w: if_do: condition: Order has no field 'amuont'; did you mean 'amount'?",
    ),
    "cel-unknown-name": (
        lambda: some().if_do("amount > 1", branch).build("w"),
        "w: if_do: condition: unknown name `amount` (column 1 of `amount > 1`)",
    ),
    "cel-item-outside": (
        lambda: some().run_if("item == 1").build("w"),
        "w: Plain: run_if(): unknown name `item` (column 1 of `item == 1`)",
    ),
    "cel-syntax": (
        lambda: some().run_if("data.amount >").build("w"),
        ("w: Plain: run_if(): the expression ends too early (column 14 of `data.amount >`)"),
    ),
    "cel-no-bool": (
        lambda: some().while_do("data.id + 1", branch).build("w"),
        ("w: while_do: condition: `data.id + 1` gives int, not bool; compare it with something"),
    ),
    "cel-types": (
        lambda: some().run_if("data.id == 'x'").build("w"),
        (
            "w: Plain: run_if(): `==` cannot take (int, string) (column 9 of `data.id == 'x'`); "
            "both sides must be of one type: write `string(...)` around the other"
        ),
    ),
    "cel-no-list": (
        lambda: some().for_each(expr("data.id"), branch).build("w"),
        "w: for_each: items: `data.id` gives int, not a list",
    ),
    "cel-input": (
        lambda: builder().then(Charge).input("amount", "data.amuont").build("w"),
        "w: Charge: input 'amount': Order has no field 'amuont'; did you mean 'amount'?",
    ),
    "cel-no-duration": (
        lambda: some().delay(expr("data.id")).build("w"),
        ('w: delay: duration: `data.id` gives int, not a duration; for example duration("30s")'),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_wrong_use_says_what_where_and_what_to_do(name: str) -> None:
    use, message = WRONG[name]

    with pytest.raises(DefinitionError) as raised:
        use()

    assert str(raised.value) == message
