"""Wrong uses of undo, hooks, conditions and limits: what is wrong, where, and what to do."""

# pyright: basic
# Most of these are what a strict checker refuses; here the message counts.

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from wfe.core.builder import WorkflowBuilder, expr
from wfe.core.errors import DefinitionError
from wfe.core.policies import (
    Compensate,
    CompensateThenRetry,
    CompensateThenSuspend,
    Retry,
    RetryForever,
)


@attrs.define
class Order:
    id: int = 0
    amount: float = 0.0
    receipt: str = ""
    when: datetime | None = None


class Plain:
    def run(self, ctx: object) -> None: ...


def sized(url: str) -> int:
    return len(url)


def nothing(b: object) -> None: ...


def both(d: object, ctx: object) -> str:
    return f"{d}{ctx}"


def tell() -> None: ...


async def generator(ctx: object) -> AsyncIterator[int]:
    yield 1


async def later(data: object) -> None: ...


def builder() -> Any:
    return WorkflowBuilder(Order)


def some() -> Any:
    return builder().then(Plain)


def built(chain: Any) -> Any:
    return chain.build("w")


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "saga-empty": (
        lambda: some().saga(nothing),
        ("a branch of saga() is empty; add steps to the builder that it gets: lambda b: b.then(A)"),
    ),
    "saga-no-function": (
        lambda: some().saga(Plain),
        (
            "a branch of saga() must be a function over a builder, got the class Plain; "
            "for example lambda b: b.then(A)"
        ),
    ),
    "compensate-nothing": (
        lambda: some().compensate_with(),
        (
            "Plain: compensate_with() got no step; pass a class or an instance with a "
            "method run(ctx), or a function"
        ),
    ),
    "compensate-twice": (
        lambda: some().compensate_with(Plain).compensate_with(Plain),
        (
            "Plain: compensate_with() is given twice; name all steps in one call: "
            "compensate_with(A, B)"
        ),
    ),
    "compensate-no-step": (
        lambda: some().compensate_with(1),
        (
            "Plain: compensate_with() got 1 (int), which is no step; pass a class or an "
            "instance with a method run(ctx), or a function"
        ),
    ),
    "compensate-goto": (
        lambda: some().goto("Plain").compensate_with(Plain),
        "goto: compensate_with() has no meaning after goto(); leave it out",
    ),
    "compensate-end": (
        lambda: some().end_workflow().compensate_with(Plain),
        "end_workflow: compensate_with() has no meaning after end_workflow(); leave it out",
    ),
    "compensate-policy": (
        lambda: some().compensate_with(Plain, on_error=3),
        (
            "Plain: on_error of compensate_with() takes an error policy, got 3 (int); "
            "write Retry(max_retries=3)"
        ),
    ),
    "compensate-compensates": (
        lambda: some().compensate_with(Plain, on_error=Compensate()),
        (
            "Plain: on_error of compensate_with() asks to compensate: it is an undo "
            "itself; use Retry(...), Suspend(), Fail(), Terminate() or Continue()"
        ),
    ),
    "compensate-compensates-then": (
        lambda: some().compensate_with(Plain, on_error=Retry(then=Compensate())),
        (
            "Plain: on_error of compensate_with() asks to compensate: it is an undo "
            "itself; use Retry(...), Suspend(), Fail(), Terminate() or Continue()"
        ),
    ),
    "compensate-compensates-first": (
        lambda: some().compensate_with(Plain, on_error=CompensateThenRetry()),
        (
            "Plain: on_error of compensate_with() asks to compensate: it is an undo "
            "itself; use Retry(...), Suspend(), Fail(), Terminate() or Continue()"
        ),
    ),
    "compensate-suspends": (
        lambda: some().compensate_with(Plain, on_error=CompensateThenSuspend()),
        (
            "Plain: on_error of compensate_with() asks to compensate: it is an undo "
            "itself; use Retry(...), Suspend(), Fail(), Terminate() or Continue()"
        ),
    ),
    "compensate-parameter": (
        lambda: built(some().compensate_with(sized)),
        (
            "w: sized: parameter 'url' of sized has no value: it is no field of Order, has "
            "no input() and no default; take ctx instead, or pass an instance of a class"
        ),
    ),
    "policy-goto": (
        lambda: some().goto("Plain").on_error(Compensate()),
        "goto: on_error() has no meaning after goto(); leave it out",
    ),
    "policy-class": (
        lambda: some().on_error(Compensate),
        ("Plain: on_error() takes an error policy, got the class Compensate; write Compensate()"),
    ),
    "policy-maker": (
        lambda: some().on_error(CompensateThenRetry),
        (
            "Plain: on_error() takes an error policy, got the function "
            "CompensateThenRetry; write CompensateThenRetry()"
        ),
    ),
    "policy-maker-forever": (
        lambda: some().on_error(RetryForever),
        (
            "Plain: on_error() takes an error policy, got the function RetryForever; write "
            "RetryForever()"
        ),
    ),
    "policy-text": (
        lambda: some().on_error("compensate"),
        (
            "Plain: on_error() takes an error policy, got 'compensate' (str); use "
            "Retry(...), Fail(), Suspend(), Terminate(), Continue() or Compensate()"
        ),
    ),
    "policy-default-suspend": (
        lambda: builder().default_retry(2).default_error(CompensateThenSuspend()),
        (
            "default_error(): CompensateThenSuspend() cannot follow a retry; use Suspend() "
            "or Compensate() there"
        ),
    ),
    "hook-nothing": (
        lambda: some().ensure(),
        (
            "Plain: ensure() got no step; pass a class or an instance with a method "
            "run(ctx), or a function"
        ),
    ),
    "hook-twice": (
        lambda: some().on_success(Plain).on_success(Plain),
        "Plain: on_success() is given twice; name all steps in one call: on_success(A, B)",
    ),
    "hook-no-step": (
        lambda: some().on_failure("x"),
        (
            "Plain: on_failure() got 'x' (str), which is no step; pass a class or an "
            "instance with a method run(ctx), or a function"
        ),
    ),
    "hook-goto": (
        lambda: some().goto("Plain").on_abort(Plain),
        "goto: on_abort() has no meaning after goto(); leave it out",
    ),
    "goto-into-saga": (
        lambda: built(builder().saga(lambda b: b.then(Plain).name("inner")).goto("inner")),
        (
            "w: goto: goto('inner') leads into a container that it does not stand in; a "
            "goto may lead to steps of its own block and of those around it"
        ),
    ),
    "goto-undo": (
        lambda: built(some().compensate_with(tell).goto("tell")),
        (
            "w: goto: goto('tell') leads to a step that undoes or follows another; it has "
            "no place of its own to go on from"
        ),
    ),
    "goto-hook": (
        lambda: built(some().ensure(Plain).goto("Plain-2")),
        (
            "w: goto: goto('Plain-2') leads to a step that undoes or follows another; it "
            "has no place of its own to go on from"
        ),
    ),
    "compensate-async-generator": (
        lambda: some().compensate_with(Plain, generator),
        (
            "Plain: compensate_with() got the generator function generator; a step returns "
            "its result instead of yielding"
        ),
    ),
    "cancel-when-twice": (
        lambda: some().cancel_when(True).cancel_when(False),
        "Plain: cancel_when() is given twice; make one condition of both",
    ),
    "cancel-when-goto": (
        lambda: some().goto("Plain").cancel_when(True),
        "goto: cancel_when() has no meaning after goto(); leave it out",
    ),
    "cancel-when-number": (
        lambda: some().cancel_when(3),
        "Plain: cancel_when() takes a callable over the data or a CEL text, got 3 (int)",
    ),
    "cancel-when-cel": (
        lambda: built(some().cancel_when("data.amout > 1.0")),
        "w: Plain: cancel_when(): Order has no field 'amout'; did you mean 'amount'?",
    ),
    "cancel-when-type": (
        lambda: built(some().cancel_when("data.id + 1")),
        ("w: Plain: cancel_when(): `data.id + 1` gives int, not bool; compare it with something"),
    ),
    "concurrency-zero": (
        lambda: some().concurrency(limit=0),
        "Plain: limit of concurrency() must be a whole number from 1, got 0 (int)",
    ),
    "concurrency-key": (
        lambda: some().concurrency(3, limit=1),
        'Plain: the key of concurrency() takes a callable, a text or expr("..."), got 3 (int)',
    ),
    "concurrency-key-empty": (
        lambda: some().concurrency("", limit=1),
        "Plain: the key of concurrency() must not be empty",
    ),
    "concurrency-key-long": (
        lambda: some().concurrency("x" * 513, limit=1),
        (
            "Plain: the key of concurrency() is 513 bytes long "
            "('xxxxxxxxxxxxxxxxxxxx'...); use at most 512 bytes"
        ),
    ),
    "concurrency-key-async": (
        lambda: some().concurrency(later, limit=1),
        (
            "Plain: the key of concurrency() got the async function later; mappings and "
            "conditions are plain functions"
        ),
    ),
    "concurrency-key-cel": (
        lambda: built(some().concurrency(expr("data.idd"), limit=1)),
        "w: Plain: the key of concurrency(): Order has no field 'idd'; did you mean 'id'?",
    ),
    "concurrency-key-type": (
        lambda: built(some().concurrency(expr("[data.id]"), limit=1)),
        (
            "w: Plain: the key of concurrency(): `[data.id]` gives list<int>, not a text; "
            "for example string(data.id)"
        ),
    ),
    "concurrency-end": (
        lambda: some().end_workflow().concurrency(limit=1),
        "end_workflow: concurrency() has no meaning after end_workflow(); leave it out",
    ),
    "rate-zero": (
        lambda: some().rate_limit(limit=0),
        "Plain: limit of rate_limit() must be a whole number from 1, got 0 (int)",
    ),
    "rate-per": (
        lambda: some().rate_limit(limit=1, per=timedelta(0)),
        "Plain: per of rate_limit() must be positive, got 0 s",
    ),
    "rate-per-number": (
        lambda: some().rate_limit(limit=1, per=60),
        (
            "Plain: per of rate_limit() must be a timedelta, got 60 (int); write "
            "timedelta(seconds=60)"
        ),
    ),
    "rate-key-type": (
        lambda: built(some().rate_limit(expr("data.amount"), limit=1)),
        (
            "w: Plain: the key of rate_limit(): `data.amount` gives double, not a text; "
            "for example string(data.id)"
        ),
    ),
    "runs-zero": (
        lambda: builder().concurrency(limit=0),
        "limit of workflow_concurrency() must be a whole number from 1, got 0 (int)",
    ),
    "runs-key-two": (
        lambda: builder().concurrency(both, limit=1),
        (
            "the key of workflow_concurrency() got a callable that takes (d, ctx) (both); "
            "it is computed when the run starts, from the data alone: lambda d: ..."
        ),
    ),
    "runs-key-number": (
        lambda: builder().rate_limit(4, limit=1),
        ('the key of workflow_rate_limit() takes a callable, a text or expr("..."), got 4 (int)'),
    ),
    "runs-key-cel": (
        lambda: built(some().workflow_concurrency(expr("data.idd"), limit=1)),
        "w: the key of workflow_concurrency(): Order has no field 'idd'; did you mean 'id'?",
    ),
    "runs-key-type": (
        lambda: built(some().workflow_rate_limit(expr("{}"), limit=1)),
        (
            "w: the key of workflow_rate_limit(): `{}` gives map<dyn,dyn>, not a text; for "
            "example string(data.id)"
        ),
    ),
    "runs-per": (
        lambda: builder().rate_limit(limit=1, per=timedelta(seconds=-1)),
        "per of workflow_rate_limit() must be positive, got -1 s",
    ),
    "runs-in-branch": (
        lambda: some().saga(lambda b: b.then(Plain).workflow_concurrency(limit=1)),
        (
            "workflow_concurrency() was called inside a branch; call it on the workflow's "
            "own builder"
        ),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_undo_hook_or_limit_says_what_where_and_what_to_do(name: str) -> None:
    use, message = WRONG[name]

    with pytest.raises(DefinitionError) as raised:
        use()

    assert str(raised.value) == message
