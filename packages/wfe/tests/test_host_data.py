"""Data, application objects, middleware, starting and reading runs."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import attrs
import pytest

from wfe.core import (
    DataTypeError,
    DefinitionConflictError,
    DefinitionNotFoundError,
    DuplicateNameError,
    ExecutionResult,
    HostStoppingError,
    LifecycleEvent,
    PluginNotFoundError,
    ProviderError,
    StepBody,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowInstance,
    merged,
    plugins,
    transient,
)
from wfe.host import SyncWorkflowHost, WorkflowHost, arun, run
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]


async def nothing() -> None:
    """Do nothing."""


@attrs.define
class Basket:
    items: list[str] = merged(operator.add, factory=list)
    total: Decimal = Decimal(0)
    when: datetime = datetime(2025, 1, 1, tzinfo=UTC)
    client: object = transient(factory=object)
    note: str = ""


async def test_typed_data_comes_in_and_goes_out_typed() -> None:
    async def add(ctx: StepExecutionContext[Basket]) -> None:
        ctx.data.total += Decimal("1.50")
        ctx.data.items.append("book")
        ctx.data.when += timedelta(days=1)

    instance = await arun(WorkflowBuilder(Basket).start_with(add).build("w"), {"items": ["pen"]})

    assert isinstance(instance.data, Basket)
    assert instance.data.total == Decimal("1.50")
    assert instance.data.items == ["pen", "book"]
    assert instance.data.when == datetime(2025, 1, 2, tzinfo=UTC)


async def test_parallel_steps_add_to_a_field_with_a_reducer() -> None:
    async def add(ctx: StepExecutionContext[Basket]) -> dict[str, list[str]]:
        return {"items": [ctx.item]}

    definition = (
        WorkflowBuilder(Basket)
        .for_each(lambda _: [str(n) for n in range(50)], lambda b: b.then(add))
        .build("w")
    )

    instance = await arun(definition)

    assert sorted(instance.data.items, key=int) == [str(n) for n in range(50)]


async def test_concurrent_writes_of_one_field_are_told() -> None:
    both = asyncio.Barrier(2)

    async def write(ctx: Ctx) -> dict[str, int]:
        await both.wait()
        return {"x": ctx.item}

    definition = WorkflowBuilder().for_each(lambda _: [1, 2], lambda b: b.then(write)).build("w")
    async with WorkflowTest() as test:
        conflicts: list[LifecycleEvent] = []
        test.host.subscribe(
            lambda event: conflicts.append(event) if event.kind == "data_conflict" else None
        )
        await (await test.start(definition)).wait(5)

    assert [event.data for event in conflicts] == [{"fields": ["x"]}]


async def test_a_step_works_on_its_own_copy() -> None:
    async def mutate(ctx: Ctx) -> ExecutionResult:
        ctx.data["list"].append(2)
        return ExecutionResult.fail("no", retryable=False)

    instance = await arun(WorkflowBuilder().start_with(mutate).build("w"), {"list": [1]})

    assert instance.data == {"list": [1]}


async def test_an_unknown_field_of_typed_data_fails_the_step() -> None:
    async def wrong() -> dict[str, int]:
        return {"totl": 1}

    instance = await arun(WorkflowBuilder(Basket).start_with(wrong).build("w"))

    assert instance.status == "failed"
    assert instance.error is not None
    assert instance.error.type == "DataTypeError"
    assert "totl" in instance.error.message
    assert "total" in instance.error.message


@pytest.mark.parametrize(
    "data", [{"x": float("nan")}, {"x": "\ud800"}, {"x": object()}, [1, 2], "text"]
)
async def test_data_that_cannot_be_stored_is_refused_at_the_start(data: Any) -> None:
    async with WorkflowTest(WorkflowBuilder().start_with(nothing).build("w")) as test:
        with pytest.raises(DataTypeError):
            await test.host.start_workflow("w", data)
        assert (await test.host.find()).items == ()


class Greeter:
    """A step that takes what it needs as a prototype."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def run(self, ctx: Ctx) -> None:
        self.words.append(ctx.instance.definition)


async def test_a_prototype_and_a_step_factory_make_bodies() -> None:
    words: list[str] = []

    class Made(StepBody):
        word = ""

        def run(self, ctx: Ctx) -> None:
            words.append(self.word)

    def factory(cls: type) -> Any:
        body = cls()
        body.word = "made"
        return body

    definition = WorkflowBuilder().start_with(Greeter(words)).then(Made).build("w")

    await arun(definition, step_factory=factory)

    assert words == ["w", "made"]


class Recorder:
    """Middleware for both."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name = name
        self.seen = seen

    async def handle(self, ctx: Ctx, call_next: Any) -> Any:
        self.seen.append(f"{self.name}>")
        result = await call_next()
        self.seen.append(f"<{self.name}")
        return result

    async def pre(self, instance: WorkflowInstance[Any]) -> None:
        if instance.data.get("refuse"):
            raise PermissionError("not you")

    async def post(self, instance: WorkflowInstance[Any]) -> None:
        self.seen.append(f"{self.name}:{instance.status}")


async def test_middleware_wraps_like_an_onion() -> None:
    seen: list[str] = []
    definition = WorkflowBuilder().start_with(nothing).build("w")

    await arun(definition, middleware=[Recorder("a", seen), Recorder("b", seen)])

    assert seen == ["a>", "b>", "<b", "<a", "b:complete", "a:complete"]


async def test_middleware_may_refuse_a_start() -> None:
    definition = WorkflowBuilder().start_with(nothing).build("w")
    async with WorkflowTest(definition, middleware=[Recorder("a", [])]) as test:
        with pytest.raises(PermissionError):
            await test.host.start_workflow("w", {"refuse": True})
        assert (await test.host.find()).items == ()


async def test_starting_twice_with_one_key_is_one_run() -> None:
    async with WorkflowTest(WorkflowBuilder().start_with(nothing).build("w")) as test:
        first = await test.host.start_workflow("w", {"n": 1}, idempotency_key="k")
        second = await test.host.start_workflow("w", {"n": 2}, idempotency_key="k")
        with pytest.raises(DefinitionConflictError, match="idempotency key 'k' was used"):
            await test.host.start_workflow("w", idempotency_key="k", on_conflict="error")
        instance = await second.wait(5)

    assert (first.id, first.new, second.new) == (second.id, True, False)
    assert instance.data == {"n": 1}


async def test_names_are_unique() -> None:
    async with WorkflowTest(WorkflowBuilder().start_with(nothing).build("w")) as test:
        await test.host.start_workflow("w", name="mine")
        with pytest.raises(DuplicateNameError, match="'mine' exists already"):
            await test.host.start_workflow("w", name="mine")
        assert (await test.host.get("mine")).name == "mine"


async def test_find_pages_through_all_runs() -> None:
    async with WorkflowTest(WorkflowBuilder().start_with(nothing).build("w")) as test:
        for n in range(5):
            await test.start("w", {"n": n}, reference="even" if n % 2 == 0 else "odd")
        cursor: str | None = None
        seen: list[int] = []
        while True:
            page = await test.host.find(definition="w", limit=2, order="oldest", cursor=cursor)
            seen += [item.data["n"] for item in page.items]
            if (cursor := page.cursor) is None:
                break
        odd = await test.host.find(reference="odd")
        three = await test.host.find(data={"n": 3})
        with pytest.raises(DataTypeError, match="cursor"):
            await test.host.find(cursor="nonsense")

    assert seen == [0, 1, 2, 3, 4]
    assert sorted(item.data["n"] for item in odd.items) == [1, 3]
    assert [item.data["n"] for item in three.items] == [3]


async def test_the_highest_version_is_started_unless_one_is_named() -> None:
    def build(version: int) -> Any:
        return WorkflowBuilder().start_with(nothing).build("w", version=version)

    async with WorkflowTest(build(1), build(2)) as test:
        assert (await test.run("w")).version == 2
        assert (await test.run("w", version=1)).version == 1
        with pytest.raises(DefinitionNotFoundError, match=r"'w' version 3 .* w v1, w v2"):
            await test.host.start_workflow("w", version=3)


async def test_strict_versions_refuse_other_contents() -> None:
    first = WorkflowBuilder().start_with(nothing).build("w")
    second = WorkflowBuilder().start_with(nothing).then(nothing).build("w")
    async with WorkflowTest(first, strict_versions=True) as test:
        with pytest.raises(DefinitionConflictError, match="version 1"):
            test.host.register(second)


async def test_history_has_no_gaps_and_names_what_changed() -> None:
    async def write() -> dict[str, int]:
        return {"x": 1}

    async with WorkflowTest() as test:
        run = await test.start(WorkflowBuilder().start_with(write).build("w"))
        entries = await run.history()

    assert [entry.seq for entry in entries] == [0, 1, 2]
    assert [entry.kind for entry in entries] == [
        "workflow_started",
        "step_completed",
        "workflow_completed",
    ]
    changes: Mapping[str, Any] = entries[1].data or {}
    assert changes["changed"] == {"x": 1}


async def test_subscribers_see_events_after_their_commit() -> None:
    async with WorkflowTest(WorkflowBuilder().start_with(nothing).build("w")) as test:
        events = test.host.subscribe(kinds=None)
        await test.run("w")
        events.close()
        kinds = [event.kind async for event in events]

    assert kinds == ["workflow_started", "step_started", "step_completed", "workflow_completed"]


async def test_a_broken_observer_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: LifecycleEvent) -> None:
        raise RuntimeError("observer")

    async with WorkflowTest(WorkflowBuilder().start_with(nothing).build("w")) as test:
        test.host.subscribe(broken)
        assert (await test.run("w")).status == "complete"

    assert "an observer of lifecycle events failed" in caplog.text


async def test_logs_are_kept_by_step() -> None:
    async def talk(ctx: Ctx) -> None:
        ctx.log.info("hello %s", "you")
        ctx.log.line("stdout", "plain 100%")

    def from_a_thread(ctx: Ctx) -> None:
        ctx.log.warning("from a thread")

    definition = WorkflowBuilder().start_with(talk).then(from_a_thread).build("w")
    async with WorkflowTest(definition) as test:
        instance = await test.run("w")
        lines = await test.host.logs(instance.id)

    assert [(line.step, line.stream, line.line) for line in lines] == [
        ("talk", "info", "hello you"),
        ("talk", "stdout", "plain 100%"),
        ("from_a_thread", "warning", "from a thread"),
    ]


async def test_a_host_that_is_not_running_says_so() -> None:
    host = WorkflowHost("memory://")
    host.register(WorkflowBuilder().start_with(nothing).build("w"))
    with pytest.raises(HostStoppingError, match="async with WorkflowHost"):
        await host.start_workflow("w")


async def test_stop_hands_back_what_is_unfinished_and_counts_it() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    host = WorkflowHost("memory://")
    host.register(WorkflowBuilder().start_with(forever).build("w"))
    await host.start()
    await host.start_workflow("w")
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert await host.stop(grace=0.01) == 1


@pytest.mark.parametrize(
    ("url", "error", "text"),
    [
        ("nonsense", ProviderError, "'nonsense' is no URL"),
        ("what://x", PluginNotFoundError, "no 'wfe.persistence' plugin named 'what'"),
    ],
)
def test_a_url_that_nobody_handles_is_explained(
    url: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        WorkflowHost(url)


@pytest.mark.parametrize(
    ("scheme", "extra"),
    [
        ("postgresql", "postgres"),
        ("valkey", "valkey"),
        ("rediss", "valkey"),
        ("opensearch", "opensearch"),
    ],
)
def test_a_provider_that_is_not_installed_is_named(
    scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: str) -> dict[str, object]:
        return {}

    monkeypatch.setattr(plugins, "_group", none)

    with pytest.raises(PluginNotFoundError, match=rf'pip install "wfe\[{extra}\]"'):
        WorkflowHost(f"{scheme}://x")


def test_run_and_the_sync_host_block() -> None:
    def double(x: int) -> dict[str, int]:
        return {"x": 2 * x}

    definition = WorkflowBuilder().start_with(double).build("w")

    assert run(definition, {"x": 21}).data == {"x": 42}
    with SyncWorkflowHost("memory://") as host:
        host.register(definition)
        started = host.start_workflow("w", {"x": 4})
        assert started.result(timeout=5) == {"x": 8}
        assert host.find(status="complete").items[0].id == started.id
        assert [entry.kind for entry in started.history()][-1] == "workflow_completed"


@pytest.mark.parametrize("source", [42, "text", asyncio, WorkflowBuilder])
def test_what_holds_no_definition_is_refused(source: Any) -> None:
    with pytest.raises(TypeError, match=r"WorkflowDefinition"):
        WorkflowHost("memory://").register(source)
