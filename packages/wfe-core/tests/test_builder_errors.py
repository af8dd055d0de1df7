"""Wrong uses of the builder, first half: each says what is wrong, where, and what to do."""

# pyright: basic
# Most of these are what a strict checker refuses; here the message counts.

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Protocol

import attrs
import pytest

from wfe.core.builder import WorkflowBuilder
from wfe.core.errors import DefinitionError
from wfe.core.fields import transient
from wfe.core.policies import Fail, Suspend
from wfe.core.step_settings import step
from wfe.core.steps import StepBody


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


async def later(ctx: object) -> None: ...


def numbers() -> Iterator[int]:
    yield 1


def builder() -> Any:
    return WorkflowBuilder(Order)


def some() -> Any:
    return builder().then(Plain)


def branch(b: Any) -> Any:
    return b.then(Plain)


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
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_use_says_what_where_and_what_to_do(name: str) -> None:
    use, message = WRONG[name]

    with pytest.raises(DefinitionError) as raised:
        use()

    assert str(raised.value) == message
