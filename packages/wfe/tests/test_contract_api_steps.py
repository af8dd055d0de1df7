"""What api.md, section 2, says of steps: whatever a body or a callable does, the run goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

import pytest

from wfe.core import (
    DefinitionError,
    ExecutionResult,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
    step,
)
from wfe.testing import WorkflowTest

pytestmark = pytest.mark.every_store

Ctx = StepExecutionContext[Any]
DAY = timedelta(days=1)
BEYOND = (
    " is 999,999,999 days long, which goes beyond the year 9999; use a shorter time,"
    " or none to wait without end"
)


def ok(ctx: Ctx) -> None:
    """Do nothing."""


def boom(*_: Any) -> Any:
    raise KeyError("zap")


async def outcome(definition: WorkflowDefinition, data: Any = None) -> Any:
    """Return a run as it is once nothing more is due."""
    async with WorkflowTest(definition) as test:
        run = await test.start(definition, data)
        return await test.host.get(run.id)


# -- what bodies raise


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class OddMessageError(Exception):
    message: ClassVar[Any] = {"code": 5}  # as some libraries have it
    error_type = 7


RAISED: dict[str, tuple[Callable[[], BaseException], str, str]] = {
    "without-text": (
        UnspeakableError,
        "UnspeakableError",
        "(its text cannot be had: RuntimeError)",
    ),
    "odd-attributes": (lambda: OddMessageError("text"), "OddMessageError", "text"),
    "surrogate": (lambda: OSError("\udcff.txt"), "OSError", "\\udcff.txt"),
    "exit": (lambda: SystemExit(3), "SystemExit", "3"),
    "cancelled": (asyncio.CancelledError, "CancelledError", "the body cancelled itself"),
}


@pytest.mark.parametrize("in_time", [None, 5.0])
@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("case", RAISED)
async def test_whatever_a_body_raises_fails_its_step(
    case: str, sync: bool, in_time: float | None
) -> None:
    make, kind, message = RAISED[case]

    def raises(ctx: Ctx) -> None:
        raise make()

    async def raises_async(ctx: Ctx) -> None:
        raise make()

    flow = WorkflowBuilder().then(raises if sync else raises_async).name("s")
    found = await outcome((flow if in_time is None else flow.timeout(in_time)).build("d"))
    assert (found.status, found.error.type, found.error.message, found.error.step) == (
        "failed",
        kind,
        message,
        "s",
    )


async def test_an_iterator_that_ends_in_a_sync_body_fails_it() -> None:
    empty: Iterator[int] = iter(())
    found = await outcome(WorkflowBuilder().then_fn(lambda _: next(empty)).name("s").build("d"))
    assert found.status == "failed"
    assert found.error.message == "the body raised StopIteration"


async def test_exit_in_a_thread_leaves_the_host_running() -> None:
    definition = WorkflowBuilder().then_fn(lambda _: sys.exit("usage: …")).build("d")
    async with WorkflowTest(definition) as test:
        first = await test.run("d")
        second = await test.run("d")
    assert [each.error and each.error.message for each in (first, second)] == ["usage: …"] * 2


# -- what callables of a definition do


B = WorkflowBuilder
CALLABLES: dict[str, Callable[[], Any]] = {
    "if": lambda: B().if_do(boom, lambda b: b.then(ok)),
    "while": lambda: B().while_do(boom, lambda b: b.then(ok)),
    "for_each": lambda: B().for_each(boom, lambda b: b.then(ok)),
    "decide": lambda: B().decide(boom, {"a": lambda b: b.then(ok)}),
    "run_if": lambda: B().then(ok).run_if(boom),
    "output": lambda: B().then(ok).output("x", boom),
    "delay": lambda: B().delay(boom),
    "schedule": lambda: B().schedule(at=boom),
    "recur": lambda: B().recur(boom, lambda b: b.then(ok)),
    "until": lambda: B().recur(DAY, lambda b: b.then(ok), until=boom),
    "key": lambda: B().wait_for("e", key=boom),
    "as_of": lambda: B().wait_for("e", as_of=boom),
    "parameters": lambda: B().activity("a", parameters=boom),
    "prompt": lambda: B().approval(boom),
    "child-data": lambda: B().sub_workflow("c", data=boom),
    "child-name": lambda: B().sub_workflow("c", name=boom),
    "concurrency": lambda: B().then(ok).concurrency(boom, limit=1),
    "rate": lambda: B().then(ok).rate_limit(boom, limit=1),
    "runs": lambda: B().then(ok).workflow_concurrency(boom, limit=1),
}


@pytest.mark.parametrize("where", CALLABLES)
async def test_an_exception_in_any_callable_fails_the_step(where: str) -> None:
    found = await outcome(CALLABLES[where]().build("d"), {})
    assert (found.status, found.error.type, found.error.message) == ("failed", "KeyError", "'zap'")
    assert found.pointers == ()


async def test_a_cancel_when_that_raises_does_not_hold() -> None:
    flow = B().wait_for("e", key="1").cancel_when(boom).build("d")
    async with WorkflowTest(flow) as test:
        run = await test.start("d")
        await test.host.patch_data(run.id, {"a": 1})
        await test.host.publish_event("e", "1")
        assert (await run.wait(5)).status == "complete"


GIVEN: dict[str, tuple[Callable[[], Any], str]] = {
    "items-int": (
        lambda: B().for_each(lambda _: 5, lambda b: b.then(ok)),
        "for_each: for_each needs a list of items, got int",
    ),
    "items-mapping": (
        lambda: B().for_each(lambda _: {"a": 1}, lambda b: b.then(ok)),
        "for_each: for_each needs a list of items, got dict",
    ),
    "delay-number": (lambda: B().delay(lambda _: 5), "delay() must give a timedelta, got 5 (int)"),
    "delay-too-long": (
        lambda: B().delay(lambda _: timedelta.max),
        "delay()" + BEYOND,
    ),
    "key-object": (
        lambda: B().wait_for("e", key=lambda _: 1.5),
        "event key: expected a text or a number, got 1.5 (float)",
    ),
    "key-too-long": (
        lambda: B().wait_for("e", key=lambda _: "x" * 600),
        "event key: is 600 bytes long; at most 512 can be indexed",
    ),
    "limit-key-object": (
        lambda: B().then(ok).concurrency(lambda _: ("a", 1), limit=1),
        "limit key: expected a text or a number, got ('a', 1) (tuple)",
    ),
    "child-name": (
        lambda: B().sub_workflow("d", name=lambda _: True),
        "name: expected a text or a number, got True (bool)",
    ),
    "prompt": (
        lambda: B().approval(lambda _: None),
        "approval: the prompt must be a text, got None (NoneType)",
    ),
    "sleep-too-long": (
        lambda: B().then_fn(lambda _: ExecutionResult.sleep(timedelta.max)),
        "sleep()" + BEYOND,
    ),
    "event-name": (
        lambda: B().then_fn(lambda _: ExecutionResult.wait_for_event(None, "k")),  # type: ignore[arg-type]
        "event name: expected a text or a number, got None (NoneType)",
    ),
}


@pytest.mark.parametrize("what", GIVEN)
async def test_what_a_callable_gives_in_vain_fails_the_step_with_what_was_wanted(what: str) -> None:
    flow, problem = GIVEN[what]
    found = await outcome(flow().build("d"), {})
    assert (found.status, found.error.message) == ("failed", problem)


@pytest.mark.parametrize(
    "items", [lambda: (n for n in range(3)), lambda: (0, 1, 2), lambda: range(3), lambda: [0, 1, 2]]
)
async def test_any_iterable_of_values_is_a_collection(items: Callable[[], Any]) -> None:
    seen: list[tuple[Any, Any]] = []
    flow = B().for_each(
        lambda _: items(), lambda b: b.then_fn(lambda ctx: seen.append((ctx.index, ctx.item)))
    )
    assert (await outcome(flow.build("d"))).status == "complete"
    assert sorted(seen) == [(0, 0), (1, 1), (2, 2)]


async def test_times_that_have_passed_do_not_wait() -> None:
    past = datetime(2000, 1, 1, tzinfo=UTC)
    flow = (
        B()
        .schedule(at=lambda _: past)
        .delay(lambda _: -DAY)
        .then_fn(lambda ctx: None if ctx.persistence_data else ExecutionResult.sleep(-DAY, True))
        .for_each(lambda _: [], lambda b: b.delay(DAY))
    )
    assert (await outcome(flow.build("d"))).status == "complete"


# -- keys


class Size(Enum):
    SMALL = "s"


@pytest.mark.parametrize("key", [5, UUID(int=7), Size.SMALL, "größe ✓", 10**30])
async def test_an_event_is_found_by_what_its_key_stands_for(key: Any) -> None:
    flow = B().wait_for("e", key=lambda _: key, output="got").build("d")
    text = str(getattr(key, "value", key))
    async with WorkflowTest(flow) as test:
        by_value, by_text = await test.start("d"), await test.start("d")
        await test.host.publish_event("e", key, 1)
        assert (await by_value.wait(5)).data == {"got": 1}
        late = await test.start("d")
        await test.host.publish_event("e", text, 2)
        assert (await by_text.wait(5)).data == {"got": 1}
        assert (await late.wait(5)).status == "complete"


# -- what @step takes


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"retry": True}, "retry must be a number of retries or Retry(...); got True"),
        ({"retry": "3"}, "retry must be a number of retries or Retry(...); got '3'"),
        ({"retry": -1}, "retry must not be negative; got -1"),
        ({"timeout": "5"}, "timeout must be a timedelta or a number of seconds; got '5'"),
        ({"timeout": float("nan")}, "timeout must be a timedelta or a number of seconds; got nan"),
        ({"timeout": 0}, "timeout must be positive and at most 365,000 days; got 0"),
        (
            {"timeout": timedelta.max},
            f"timeout must be positive and at most 365,000 days; got {timedelta.max!r}",
        ),
    ],
)
def test_step_refuses_settings_that_cannot_be(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        step(**options)(ok)
    assert str(refused.value) == problem


def test_fail_takes_its_arguments_by_position() -> None:
    assert ExecutionResult.fail("no", False).retryable is False


# -- logs and streams


async def test_whatever_is_logged_is_kept_as_text() -> None:
    def writes(ctx: Ctx) -> None:
        ctx.log.info(None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        ctx.log.line("stdout", "\udcff")

    async with WorkflowTest() as test:
        found = await test.run(B().then(writes).build("d"))
        lines = await test.host.logs(found.id)
    assert [(line.stream, line.line) for line in lines] == [("info", "None"), ("stdout", "\\udcff")]


@pytest.mark.parametrize(
    ("name", "problem"),
    [("", "must not be empty"), (None, "expected a text, got None (NoneType)")],
)
async def test_a_stream_item_has_a_name(name: Any, problem: str) -> None:
    found = await outcome(B().then_fn(lambda ctx: ctx.emit(name, 1)).build("d"))
    assert found.error.message == f"stream item's name: {problem}"
