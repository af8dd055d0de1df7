"""Wrong uses of the builder: each says what is wrong, where, and what to do."""

# pyright: basic
# Most of these are what a strict checker refuses; here the message counts.

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import attrs
import pytest

from wfe.core.builder import WorkflowBuilder, expr
from wfe.core.errors import DefinitionError
from wfe.core.fields import transient
from wfe.core.policies import Fail, Suspend
from wfe.core.steps import StepBody, step


@attrs.define
class Order:
    id: int = 0
    amount: float = 0.0
    items: list[str] = attrs.field(factory=list[str])
    receipt: str = ""
    when: datetime | None = None
    cache: dict[str, int] = transient(factory=dict)


class Color(enum.Enum):
    RED = "red"


class Plain:
    def run(self, ctx: object) -> None: ...


@attrs.define
class Charge:
    amount: float = 0.0
    receipt: str = ""

    def run(self, ctx: object) -> None: ...


class Idle:
    pass


class Greedy:
    def run(self, ctx: object, more: int) -> None: ...


class Abstract(abc.ABC):
    @abc.abstractmethod
    def run(self, ctx: object) -> None: ...


class Shape(Protocol):
    def run(self, ctx: object) -> None: ...


class Yielding:
    def run(self, ctx: object) -> Iterator[int]:
        yield 1


def fetch(url: str) -> int:
    return len(url)


async def later(ctx: object) -> None: ...


def numbers() -> Iterator[int]:
    yield 1


def builder() -> Any:
    return WorkflowBuilder(Order)


def some() -> Any:
    return builder().then(Plain)


def branch(b: Any) -> Any:
    return b.then(Plain)


def two(p: Any) -> Any:
    return p.branch(branch).branch(branch)


_expr: Any = expr


def nothing(b: object) -> None: ...


def _twice() -> object:
    start = builder()
    start.start_with(Plain)
    return start.start_with(Plain)


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    # -- steps
    "no-step": (
        lambda: builder().then(5),
        (
            "then() got 5 (int), which is no step; pass a class or an instance with a "
            "method run(ctx), or a function"
        ),
    ),
    "class-without-run": (
        lambda: builder().then(Idle),
        ("then() got the class Idle, which has no method run(ctx); add one, or pass a function"),
    ),
    "instance-without-run": (
        lambda: builder().then(Idle()),
        (
            "then() got an object of class Idle, which is no step; pass a class or an "
            "instance with a method run(ctx), or a function"
        ),
    ),
    "run-with-more-parameters": (
        lambda: builder().then(Greedy),
        (
            "then() got Greedy, whose run() cannot be called with the context alone; "
            "declare it as run(self, ctx), not run(self, ctx, more)"
        ),
    ),
    "abstract-class": (
        lambda: builder().then(Abstract),
        "then() got the abstract class Abstract; it does not implement: run",
    ),
    "protocol": (
        lambda: builder().then(Shape),
        "then() got the protocol Shape; pass a class that has run(ctx) of its own",
    ),
    "the-protocol-itself": (
        lambda: builder().then(StepBody),
        "then() got the protocol StepBody; pass a class that has run(ctx) of its own",
    ),
    "generator-run": (
        lambda: builder().then(Yielding),
        ("then() got Yielding, whose run() is a generator; return the result instead of yielding"),
    ),
    "generator-function": (
        lambda: builder().then(numbers),
        (
            "then() got the generator function numbers; a step returns its result instead "
            "of yielding"
        ),
    ),
    "called-async-function": (
        lambda: builder().then(later(None)),
        (
            "then() got a coroutine of later, which was called already; pass the function "
            "itself: later"
        ),
    ),
    "decorator-without-function": (
        lambda: builder().then(step(retry=1)),
        (
            "then() got @step(...) without the function that it is for; write it above the "
            "function: @step(...)"
        ),
    ),
    "class-as-inline-function": (
        lambda: some().then_fn(Plain),
        (
            "then_fn() takes a function of the context, got the class Plain; use then() "
            "for other steps"
        ),
    ),
    "inline-function-of-two": (
        lambda: some().then_fn(lambda a, b: (a, b)),
        (
            "then_fn() got a function that takes (a, b); it gets the context alone, as in "
            "lambda ctx: ...; use then() for other parameters"
        ),
    ),
    "start-with-later": (
        _twice,
        "start_with() after another step; use then() for all steps but the first",
    ),
    # -- names
    "empty-name": (lambda: some().name(""), "the name of a step must not be empty"),
    "name-is-no-text": (lambda: some().name(5), "the name of a step must be a text, got 5 (int)"),
    "name-with-nul": (
        lambda: some().name("a\0b"),
        "the name of a step must not contain a NUL character, got 'a\\x00b'",
    ),
    "long-name": (
        lambda: some().name("x" * 513),
        ("the name of a step is 513 bytes long ('xxxxxxxxxxxxxxxxxxxx'...); use at most 512 bytes"),
    ),
    "surrogate-in-name": (
        lambda: some().name("\ud800"),
        "the name of a step contains a lone surrogate, which is no valid text: '\\ud800'",
    ),
    "two-names": (
        lambda: some().name("a").name("b"),
        "the step is called 'a' already; call name() once",
    ),
    "two-ids": (lambda: some().id("a").id("b"), "the step has the id 'a' already; call id() once"),
    "same-name-twice": (
        lambda: some().name("a").then(Plain).name("a").build("w"),
        "w: two steps are called 'a'; names and ids are unique in a definition",
    ),
    "same-id-twice": (
        lambda: some().id("a").then(Plain).id("a").build("w"),
        "w: two steps are called 'a'; names and ids are unique in a definition",
    ),
    # -- the workflow
    "no-steps": (
        lambda: builder().build("w"),
        "w: the workflow has no steps; begin with start_with(...) or then(...)",
    ),
    "empty-id": (lambda: some().build(""), "the id of a workflow must not be empty"),
    "long-id": (
        lambda: some().build("ü" * 300),
        (
            "the id of a workflow is 600 bytes long ('üüüüüüüüüüüüüüüüüüüü'...); use at "
            "most 512 bytes"
        ),
    ),
    "id-with-nul": (
        lambda: some().build("\0"),
        "the id of a workflow must not contain a NUL character, got '\\x00'",
    ),
    "id-is-no-text": (
        lambda: some().build(None),
        "the id of a workflow must be a text, got None (NoneType)",
    ),
    "version-zero": (
        lambda: some().build("w", 0),
        "w: version must be a whole number from 1, got 0 (int)",
    ),
    "version-text": (
        lambda: some().build("w", "1"),
        "w: version must be a whole number from 1, got '1' (str)",
    ),
    "version-bool": (
        lambda: some().build("w", True),
        "w: version must be a whole number from 1, got True (bool)",
    ),
    "description-is-no-text": (
        lambda: some().build("w", 1, 5),
        "w: description must be a text, got 5 (int)",
    ),
    "data-type-int": (
        lambda: WorkflowBuilder(int),
        (
            "int cannot be the type of a workflow's data; use an attrs class, a dataclass, "
            "a TypedDict or dict"
        ),
    ),
    "build-in-branch": (
        lambda: some().if_do("true", lambda b: b.then(Plain).build("x")),
        "build() was called inside a branch; call it on the workflow's own builder",
    ),
    "default-retry-negative": (
        lambda: some().default_retry(-1),
        "default_retry() must not be negative, got -1",
    ),
    "default-retry-text": (
        lambda: some().default_retry("3"),
        "default_retry() takes a number of retries or a Retry(...), got '3' (str)",
    ),
    "default-error-twice": (
        lambda: some().default_error(Suspend()).default_error(Fail()),
        (
            "default_error() contradicts an error policy that was given before; give one "
            "of them, or Retry(..., then=...)"
        ),
    ),
    "default-timeout-zero": (
        lambda: some().default_timeout(0),
        "default_timeout() must be positive, got 0 s",
    ),
    "definition-timeout-text": (
        lambda: some().definition_timeout("1h"),
        ("definition_timeout() must be a timedelta or a number of seconds, got '1h' (str)"),
    ),
    # -- branches
    "empty-branch": (
        lambda: some().if_do("true", nothing),
        (
            "a branch of if_do() is empty; add steps to the builder that it gets: lambda "
            "b: b.then(A)"
        ),
    ),
    "branch-is-a-step": (
        lambda: some().if_do("true", Plain),
        (
            "a branch of if_do() must be a function over a builder, got the class Plain; "
            "for example lambda b: b.then(A)"
        ),
    ),
    "branch-without-parameter": (
        lambda: some().while_do("true", lambda: None),
        (
            "a branch of while_do() must be a function over a builder, got a callable that "
            "takes () (<lambda>); for example lambda b: b.then(A)"
        ),
    ),
    "async-branch": (
        lambda: some().while_do("true", later),
        (
            "a branch of while_do() must be a function over a builder, got the function "
            "later; for example lambda b: b.then(A)"
        ),
    ),
    "else-without-if": (
        lambda: some().else_do(branch),
        "Plain: else_do() after then(); write it right after .if_do(condition, branch)",
    ),
    "else-twice": (
        lambda: some().if_do("true", branch).else_do(branch).else_do(branch),
        "if_do: else_do() is given twice; leave one out",
    ),
    "otherwise-without-when": (
        lambda: some().otherwise(branch),
        "Plain: otherwise() without when(); add .when(value, branch) before it",
    ),
    "otherwise-twice": (
        lambda: some().when(1, branch).otherwise(branch).otherwise(branch),
        "Plain: otherwise() is given twice; leave one out",
    ),
    "when-after-if": (
        lambda: some().if_do("true", branch).when(1, branch),
        "if_do: when() has no meaning after if_do(); it belongs to a step with a body",
    ),
    "when-unstorable": (
        lambda: some().when(object(), branch),
        (
            "Plain: the value of when() cannot be stored, got an object of class object; "
            "use a text, a number or an enum member"
        ),
    ),
    "condition-number": (
        lambda: some().if_do(5, branch),
        "if_do() takes a callable over the data or a CEL text, got 5 (int)",
    ),
    "condition-of-three": (
        lambda: some().if_do(lambda a, b, c: (a, b, c), branch),
        (
            "if_do() got a callable that takes (a, b, c) (<lambda>); the callable must "
            "take (data) or (data, ctx)"
        ),
    ),
    "condition-of-none": (
        lambda: some().while_do(lambda: True, branch),
        (
            "while_do() got a callable that takes () (<lambda>); the callable must take "
            "(data) or (data, ctx)"
        ),
    ),
    "async-condition": (
        lambda: some().if_do(later, branch),
        ("if_do() got the async function later; mappings and conditions are plain functions"),
    ),
    "empty-condition": (lambda: some().if_do(" ", branch), "if_do() got an empty CEL text"),
    "decide-without-branches": (
        lambda: some().decide(lambda d: d.id, {}),
        ('decide() takes branches by label, got {} (dict); for example {"a": lambda b: b.then(A)}'),
    ),
    "decide-same-labels": (
        lambda: some().decide("1", {Color.RED: branch, "red": branch}),
        "two branches of decide() have the label 'red'",
    ),
    "decide-number": (
        lambda: some().decide(5, {1: branch}),
        "decide() takes a callable over the data or a CEL text, got 5 (int)",
    ),
    # -- for each and parallel
    "items-text": (
        lambda: some().for_each("data.items", branch),
        (
            'for_each() takes a callable over the data, a list or expr("..."), got '
            "'data.items' (str)"
        ),
    ),
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
    "timeout-of-a-container": (
        lambda: some().if_do("true", branch).timeout(5),
        ("if_do: timeout() has no meaning after if_do(); it belongs to a step with a body"),
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
        lambda: _expr(5),
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
        ("w: Plain: run_if(): `==` cannot take (int, string) (column 9 of `data.id == 'x'`)"),
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
def test_a_wrong_use_says_what_where_and_what_to_do(name: str) -> None:
    use, message = WRONG[name]

    with pytest.raises(DefinitionError) as raised:
        use()

    assert str(raised.value) == message
