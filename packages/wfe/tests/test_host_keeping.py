"""Retention, purging, archives, and the limits of sizes."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from keeping_parts import Ctx, finished, nothing, short

from wfe.core import (
    ArchivedRun,
    DataTypeError,
    ExecutionResult,
    Retry,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
    WorkflowNotFoundError,
    append,
    merged,
)
from wfe.core.errors import HostStoppingError, StoreUnavailableError
from wfe.core.memory import MemoryStore
from wfe.host import WorkflowHost
from wfe.sqlite import SqliteStore
from wfe.testing import WorkflowTest


@attrs.define
class Lines:
    lines: list[str] = merged(append)


DAY = timedelta(days=1)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def fails(ctx: Ctx) -> None:
    raise ValueError("no")


def failing() -> WorkflowDefinition:
    return WorkflowBuilder().start_with(fails).build("failing")


def family() -> WorkflowDefinition:
    return WorkflowBuilder().sub_workflow("short", output="child").build("family")


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'wfe.db'}"


async def _there(host: WorkflowHost, *ids: str) -> list[bool]:
    found: list[bool] = []
    for id_ in ids:
        try:
            await host.get(id_)
        except WorkflowNotFoundError:
            found.append(False)
        else:
            found.append(True)
    return found


# -- purge ----------------------------------------------------------------------------------------


async def test_purge_deletes_finished_families_and_counts_the_runs(url: str) -> None:
    async with WorkflowHost(url) as host:
        host.register(short(), family())
        first = await finished(host, short())
        parent = await finished(host, family())
        waiting = await host.start_workflow(
            WorkflowBuilder().wait_for("go", key="k").build("waiting")
        )

        assert await host.purge() == 3

        assert await _there(host, first, parent, waiting.id) == [False, False, True]
        with pytest.raises(WorkflowNotFoundError):
            await host.history(parent)
        assert (await host.find()).items == (await host.get(waiting.id),)
        assert await host.purge() == 0


async def test_purge_criteria(url: str) -> None:
    async with WorkflowHost(url) as host:
        fine = await finished(host, short())
        bad = await finished(host, failing())

        assert await host.purge(older_than=timedelta(hours=1)) == 0
        assert await host.purge(definition="other") == 0
        assert await host.purge(status="failed", batch=0) == 1
        assert await _there(host, fine, bad) == [True, False]
        with pytest.raises(ValueError, match="'finished' is not a valid"):
            await host.purge(status="finished")
        assert await host.purge(older_than=timedelta(0)) == 1


async def test_purge_works_through_more_than_a_batch(url: str) -> None:
    async with WorkflowHost(url) as host:
        ids = [await finished(host, short()) for _ in range(7)]

        assert await host.purge(batch=2) == 7

        assert not any(await _there(host, *ids))


async def test_an_idempotency_key_is_remembered_as_long_as_its_run(url: str) -> None:
    async with WorkflowHost(url) as host:
        first = await finished(host, short(), idempotency_key="k", name="n")
        assert await finished(host, short(), idempotency_key="k") == first

        await host.purge()

        assert await finished(host, short(), idempotency_key="k", name="n") != first


async def test_purge_needs_a_running_host() -> None:
    with pytest.raises(HostStoppingError):
        await WorkflowHost().purge()


# -- archive --------------------------------------------------------------------------------------


async def test_each_run_is_archived_whole_before_it_is_deleted(url: str) -> None:
    async def talks(ctx: Ctx) -> dict[str, int]:
        ctx.log.info("hello")
        return {"a": 1}

    taken: list[ArchivedRun] = []
    async with WorkflowHost(url, archive=taken.append) as host:
        host.register(WorkflowBuilder().start_with(talks).build("short"))
        parent = await finished(host, family())

        assert await host.purge() == 2

    assert [run.instance.definition for run in taken] == ["family", "short"]
    assert taken[0].instance.id == parent
    child = taken[1]
    assert (child.instance.status, child.instance.data) == ("complete", {"a": 1})
    assert [entry.seq for entry in child.history] == list(range(len(child.history)))
    assert child.history[-1].kind == "workflow_completed"
    assert [line.line for line in child.logs] == ["hello"]


async def test_what_the_archive_refuses_is_kept_and_the_rest_goes_on(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def archive(run: ArchivedRun) -> None:
        await asyncio.sleep(0)
        if run.instance.reference == "precious":
            raise OSError("the archive is full")

    async with WorkflowHost(url, archive=archive) as host:
        kept = await finished(host, short(), reference="precious")
        gone = await finished(host, short())

        assert await host.purge(batch=1) == 1

        assert await _there(host, kept, gone) == [True, False]
        assert f"the archive failed on run {kept}; its family is kept" in caplog.text


# -- retention ------------------------------------------------------------------------------------


async def test_finished_runs_go_when_their_time_has_come() -> None:
    async with WorkflowTest(short(), failing(), retention=2 * DAY) as t:
        done = (await t.start("short")).id
        await t.clock.advance(DAY)
        later = (await t.start("failing")).id
        await t.clock.advance(DAY - timedelta(hours=1))
        assert await _there(t.host, done, later) == [True, True]

        await t.clock.advance(timedelta(hours=3))
        assert await _there(t.host, done, later) == [False, True]

        await t.clock.advance(DAY)
        assert await _there(t.host, done, later) == [False, False]


async def test_retention_of_the_definition_wins() -> None:
    ever = WorkflowBuilder().start_with(nothing).retention(None).build("ever")
    soon = WorkflowBuilder().start_with(nothing).retention(timedelta(hours=1)).build("soon")
    async with WorkflowTest(ever, soon, short(), retention=DAY) as t:
        ids = [(await t.start(name)).id for name in ("ever", "soon", "short")]

        await t.clock.advance(timedelta(hours=4))
        assert await _there(t.host, *ids) == [True, False, True]
        await t.clock.advance(10 * DAY)
        assert await _there(t.host, *ids) == [True, False, False]


async def test_runs_are_kept_for_thirty_days_unless_said_otherwise() -> None:
    store = MemoryStore()
    async with WorkflowHost(store) as host:
        kept = await finished(host, short())
    async with WorkflowHost(store, retention=None) as host:
        ever = await finished(host, short())

    first, second = await store.get(kept), await store.get(ever)
    assert first is not None
    assert second is not None
    assert first.completed_at is not None
    assert first.retain_until is not None
    assert 0 <= first.completed_at + 30 * 86_400_000_000 - first.retain_until < 5_000_000
    assert second.retain_until is None


async def test_a_family_is_kept_until_its_last_run_ends() -> None:
    async with WorkflowTest(short(), retention=DAY) as t:
        child = WorkflowBuilder().wait_for("go", key="k").build("child")
        t.host.register(child)
        parent = WorkflowBuilder().sub_workflow("child").build("parent")
        run = await t.start(parent)
        await t.clock.advance(3 * DAY)
        assert await _there(t.host, run.id) == [True]

        await t.host.publish_event("go", "k")
        await t.clock.advance(DAY + timedelta(hours=3))

        assert (await t.host.find()).items == ()


async def test_expired_events_match_nobody_any_more() -> None:
    waits = WorkflowBuilder().wait_for("paid", key="1", as_of=lambda _: LONG_AGO).build("waits")
    async with WorkflowTest(waits, event_retention=2 * DAY) as t:
        await t.host.publish_event("paid", "1", id="one")
        await t.host.publish_event("paid", "2", id="two", expires=timedelta(hours=1))
        await t.clock.advance(timedelta(hours=4))
        assert (await t.run("waits")).status == "complete"

        await t.clock.advance(2 * DAY)
        late = await t.start("waits")
        assert (await t.host.get(late.id)).status == "runnable"
        assert await t.store.purge_events(10) == 0  # the sweep has deleted both


async def test_a_host_that_knows_no_definition_deletes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'wfe.db'}"
    async with WorkflowHost(url, retention=timedelta(0)) as host:
        id_ = await finished(host, short())
    async with WorkflowHost(url) as looker:
        assert await looker._engine.retention.sweep() == 0
        assert await _there(looker, id_) == [True]
        looker.register(short())
        assert await looker._engine.retention.sweep() == 1


async def test_a_host_that_drives_its_own_runs_sweeps_those_of_its_definitions() -> None:
    store = MemoryStore()
    async with WorkflowHost(store, retention=timedelta(0)) as host:
        ids = [await finished(host, short()), await finished(host, failing())]
    async with WorkflowHost(store, own_runs_only=True) as host:
        host.register(failing())
        assert await host._engine.retention.sweep() == 1
        assert await _there(host, *ids) == [True, False]


async def test_one_host_sweeps_at_a_time() -> None:
    store = MemoryStore()
    async with WorkflowHost(store, retention=timedelta(0)) as host:
        await finished(host, short())
        async with WorkflowHost(store) as other:
            other.register(short())
            assert await store.try_acquire("retention", other._engine.epoch, 10**12)
            assert await host._engine.retention.sweep() == 0
            assert await other._engine.retention.sweep() == 1


async def test_a_sweep_writes_nothing_when_nothing_is_over(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "wfe.db")
    async with WorkflowHost(store) as host:
        await finished(host, short())
        before = store.stats.commits
        assert await host._engine.retention.sweep() == 0
        assert store.stats.commits == before


async def test_a_sweep_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with WorkflowTest(short(), retention=timedelta(0)) as t:
        run = await t.start("short")
        purge = t.store.purge
        failures = [StoreUnavailableError("memory", "gone"), KeyError("bug")]

        async def broken(roots: Sequence[int]) -> int:
            if failures:
                raise failures.pop()
            return await purge(roots)

        t.store.purge = broken  # type: ignore[method-assign]
        await t.clock.advance(timedelta(hours=5))

        assert await _there(t.host, run.id) == [False]
    assert "internal error while deleting what is over" in caplog.text
    assert "trying again in an hour: memory: gone" in caplog.text


# -- sizes ----------------------------------------------------------------------------------------


async def test_a_value_above_the_limit_is_refused_at_the_start(url: str) -> None:
    async with WorkflowHost(url, max_inline=1000) as host:
        host.register(short())
        await host.start_workflow("short", {"a": "x" * 998})
        with pytest.raises(DataTypeError) as raised:
            await host.start_workflow("short", {"b": 1, "a": ["é" * 500]})
        assert str(raised.value).startswith(
            "data.a: is 1,004 bytes long; at most 1,000 can be stored (max_inline) without a blob"
        )
        assert len((await host.find()).items) == 1


async def test_data_above_the_limit_is_refused_at_the_start(url: str) -> None:
    async with WorkflowHost(url, max_inline=1000, max_data=2500) as host:
        host.register(short())
        await host.start_workflow("short", {str(k): "x" * 900 for k in range(2)})
        with pytest.raises(DataTypeError, match=r"^data: would be 2,706 bytes long; at most 2,500"):
            await host.start_workflow("short", {str(k): "x" * 900 for k in range(3)})


@pytest.mark.parametrize(
    ("result", "what"),
    [
        ({"small": 1, "text": "x" * 2000}, "data.text: is 2,002 bytes"),
        (ExecutionResult.outcome("y" * 3000), "outcome: is 3,002 bytes"),
        (ExecutionResult.sleep(timedelta(hours=1), "z" * 1500), "memory: is 1,502 bytes"),
    ],
)
async def test_a_step_whose_result_is_above_the_limit_fails_for_good(
    url: str, result: Any, what: str
) -> None:
    attempts: list[int] = []

    async def makes(ctx: Ctx) -> Any:
        attempts.append(ctx.attempt)
        return result

    builder = WorkflowBuilder().start_with(makes).on_error(Retry(max_retries=3))
    async with WorkflowHost(url, max_inline=1000) as host:
        run = await host.start_workflow(builder.build("makes"))
        instance = await run.wait(10)

    assert instance.error is not None
    assert (instance.status, instance.error.type, attempts) == ("failed", "DataTypeError", [0])
    assert instance.error.message.startswith(what)
    assert instance.error.step == "makes"
    assert "text" not in instance.data


async def test_a_step_that_makes_the_data_too_big_fails_and_the_others_stay(url: str) -> None:
    def adds(k: int) -> Callable[[Ctx], Any]:
        async def add(ctx: Ctx) -> dict[str, str]:
            return {f"field{k}": "x" * 900}

        return add

    builder = WorkflowBuilder().start_with(adds(0))
    for k in range(1, 4):
        builder = builder.then(adds(k))
    async with WorkflowHost(url, max_inline=1000, max_data=3000) as host:
        instance = await (await host.start_workflow(builder.build("adds"))).wait(10)

    assert instance.error is not None
    assert instance.error.step == "add-4"
    assert instance.error.message == (
        "data: would be 3,649 bytes long; at most 3,000 can be stored (max_data)"
    )
    assert sorted(instance.data) == ["field0", "field1", "field2"]


async def test_items_of_a_loop_above_the_limit_fail_it() -> None:
    builder = WorkflowBuilder().for_each(
        lambda _: ["a" * 600, "b" * 600], lambda each: each.then(nothing)
    )
    async with WorkflowHost(max_inline=1000) as host:
        instance = await (await host.start_workflow(builder.build("loops"))).wait(10)

    assert instance.error is not None
    assert instance.error.message.startswith("items: is 1,207 bytes")


async def test_a_reduced_field_may_not_grow_beyond_the_limit_of_all_data() -> None:
    async def add(ctx: StepExecutionContext[Lines]) -> dict[str, str]:
        return {"lines": "x" * 500}

    builder = WorkflowBuilder(Lines).start_with(add)
    for _ in range(8):
        builder = builder.then(add)
    async with WorkflowHost(max_inline=1000, max_data=2000) as host:
        instance = await (await host.start_workflow(builder.build("grows"), Lines([]))).wait(10)

    assert instance.status == "failed"
    assert len(instance.data.lines) == 3


async def test_a_child_whose_data_is_too_much_fails_its_parents_step(url: str) -> None:
    async def child(ctx: Ctx) -> dict[str, str]:
        return {"text": "x" * 900}

    parent: Any = WorkflowBuilder()
    for k in range(4):
        parent = parent.sub_workflow("child", output=f"child{k}")
    async with WorkflowHost(url, max_inline=1000, max_data=3000) as host:
        host.register(WorkflowBuilder().start_with(child).build("child"))
        instance = await (await host.start_workflow(parent.build("parent"))).wait(10)

    assert instance.error is not None
    assert (instance.status, sorted(instance.data)) == ("failed", ["child0", "child1", "child2"])
    assert "failed: data: would be" in instance.error.message
    assert instance.error.message.endswith("at most 3,000 can be stored (max_data)")


async def test_a_huge_error_text_is_cut(url: str) -> None:
    async def fails_loudly(ctx: Ctx) -> None:
        raise ValueError("x" * 400_000)

    async with WorkflowHost(url) as host:
        run = await host.start_workflow(WorkflowBuilder().start_with(fails_loudly).build("loud"))
        instance = await run.wait(10)

    assert instance.error is not None
    assert instance.error.message.endswith("… (400000 characters, cut)")
    assert len(instance.error.message) < 20_000


async def test_event_data_above_the_limit_is_refused(url: str) -> None:
    async with WorkflowHost(url, max_inline=1000) as host:
        with pytest.raises(DataTypeError, match=r"^event data: is 1,501 bytes long"):
            await host.publish_event("x", "k", "x" * 1499)
