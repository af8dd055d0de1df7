"""Steps with a cache: what is taken from it, what is kept, and what counts for the key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from cache_parts import CALLS, cached_flow, double, finished, info_of, until

from wfe.core import ExecutionResult, StepExecutionContext, WorkflowBuilder
from wfe.core.clocks import VirtualClock
from wfe.core.definition import WorkflowDefinition
from wfe.core.errors import DefinitionError
from wfe.core.memory import MemoryStore
from wfe.core.models import to_micros
from wfe.host import WorkflowHost

Ctx = StepExecutionContext[Any]


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def store(clock: VirtualClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def host(store: MemoryStore) -> AsyncIterator[WorkflowHost]:
    async with WorkflowHost(store) as host:
        yield host


# -- hits and misses ------------------------------------------------------------------------------


async def test_the_second_run_takes_the_result_of_the_first(host: WorkflowHost) -> None:
    flow = cached_flow()

    first, second = await finished(host, flow, x=3), await finished(host, flow, x=3)

    assert CALLS == [3]
    assert first.data == second.data == {"x": 3, "y": 6}
    cached = (await info_of(host, second))["cached"]
    assert (cached["run"], cached["step"]) == (first.id, "work")
    (line,) = await host.logs(second.id)
    assert line.line.startswith(f"cached from run {first.id}")
    (entry,) = await host.cache.find()
    assert (entry.definition, entry.step, entry.run) == ("flow", "work", first.id)


async def test_another_value_is_another_result(host: WorkflowHost) -> None:
    flow = cached_flow()

    for x in (1, 2, 1):
        await finished(host, flow, x=x)

    assert CALLS == [1, 2]


async def test_what_is_no_parameter_does_not_count(host: WorkflowHost) -> None:
    flow = cached_flow()

    await finished(host, flow, x=1, other=1)
    second = await finished(host, flow, x=1, other=2)

    assert CALLS == [1]
    assert second.data == {"x": 1, "other": 2, "y": 2}


async def test_failures_are_not_kept(host: WorkflowHost) -> None:
    def fail(x: int) -> None:
        CALLS.append(x)
        raise ValueError("no")

    for _ in range(2):
        assert (await finished(host, cached_flow(fail), x=1)).status == "failed"

    assert CALLS == [1, 1]
    assert list(await host.cache.find()) == []


async def test_a_result_expires(
    host: WorkflowHost, clock: VirtualClock, store: MemoryStore
) -> None:
    flow = cached_flow(ttl=60)
    await finished(host, flow, x=1)
    clock.move_to(clock.now() + 59_000_000)
    await finished(host, flow, x=1)
    assert CALLS == [1]

    clock.move_to(clock.now() + 2_000_000)
    third = await finished(host, flow, x=1)

    assert CALLS == [1, 1]
    assert (await info_of(host, third))["cache"]["miss"] == "the result for this key has expired"


async def test_expired_results_are_deleted_by_the_host(
    host: WorkflowHost, clock: VirtualClock
) -> None:
    await finished(host, cached_flow(ttl=60), x=1)
    await finished(host, cached_flow(), x=2)
    clock.move_to(clock.now() + 61_000_000)

    engine = host._engine  # pyright: ignore[reportPrivateUsage]
    await engine.retention.sweep()

    assert len(await host.cache.find()) == 1


async def test_everything_that_a_step_wrote_comes_back(host: WorkflowHost) -> None:
    async def work(ctx: Ctx, x: int) -> ExecutionResult:
        CALLS.append(x)
        ctx.data["nested"] = {"list": [1, None, 2.5], "big": 2**70}
        del ctx.data["gone"]
        return ExecutionResult.outcome("left")

    def left() -> dict[str, str]:
        return {"side": "left"}

    builder = WorkflowBuilder()
    step = builder.start_with(work).cache(key="data.x")
    step.when("left", lambda b: b.then(left))
    flow = step.build("flow", 1)

    first = await finished(host, flow, x=1, gone=True)
    second = await finished(host, flow, x=1, gone=True)

    assert CALLS == [1]
    wanted = {"x": 1, "nested": {"list": [1, None, 2.5], "big": 2**70}, "side": "left"}
    assert first.data == second.data == wanted


async def test_a_step_that_reads_other_data_needs_a_key(host: WorkflowHost) -> None:
    async def work(ctx: Ctx) -> dict[str, int]:
        CALLS.append(1)
        return {"y": ctx.data["x"]}

    await finished(host, cached_flow(work), x=1)
    run = await finished(host, cached_flow(work), x=1)
    assert len(CALLS) == 2
    assert "read the data of the run" in (await info_of(host, run))["cache"]["not_kept"]

    for _ in range(2):
        await finished(host, cached_flow(work, key="data.x"), x=1)
    assert len(CALLS) == 3


async def test_a_body_that_sleeps_is_never_kept_in_part(
    host: WorkflowHost, clock: VirtualClock
) -> None:
    async def work(ctx: Ctx) -> Any:
        CALLS.append(ctx.persistence_data)
        if ctx.persistence_data is None:
            return ExecutionResult.sleep(timedelta(seconds=1), {"at": 1})
        return {"y": 1}

    for _ in range(2):
        run = await host.start_workflow(cached_flow(work), {})
        await until(lambda: CALLS and CALLS[-1] is None)
        CALLS.append("asleep")
        await until(lambda: clock.next_due is not None)
        while not (await host.get(run.id)).status.final:
            clock.move_to(clock.now() + 1_000_000)
            await asyncio.sleep(0)

    assert CALLS == [None, "asleep", {"at": 1}] * 2
    assert list(await host.cache.find()) == []


# -- what counts --------------------------------------------------------------------------------


async def _same(host: WorkflowHost, one: WorkflowDefinition, other: WorkflowDefinition) -> bool:
    """Return whether a run of *other* takes the result of a run of *one*."""
    await finished(host, one, x=1)
    return "cached" in await info_of(host, await finished(host, other, x=1))


def _adder(n: int) -> Callable[[int], dict[str, int]]:
    def add(x: int) -> dict[str, int]:
        return {"y": x + n}

    return add


def _other_double(x: int) -> dict[str, int]:
    return {"y": x + x}


def _x(data: dict[str, Any]) -> Any:
    return data["x"]


def _nothing(_: dict[str, Any]) -> object:
    return object()


@attrs.define
class Scale:
    factor: int = 1
    x: int = 0

    async def run(self, ctx: Ctx) -> dict[str, int]:
        return {"y": self.x * self.factor}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(cached_flow(), cached_flow(ttl=5), True, id="ttl"),
        pytest.param(cached_flow(), cached_flow(salt="2"), False, id="salt"),
        pytest.param(cached_flow(key="1"), cached_flow(key="2"), False, id="key"),
        pytest.param(cached_flow(key="data.x"), cached_flow(key=_x), True, id="same-key"),
        pytest.param(cached_flow(), cached_flow(platform=True), False, id="platform"),
        pytest.param(cached_flow(), cached_flow(_other_double), False, id="source"),
        pytest.param(cached_flow(_adder(1)), cached_flow(_adder(1)), True, id="same-closure"),
        pytest.param(cached_flow(_adder(1)), cached_flow(_adder(2)), False, id="closure"),
        pytest.param(
            cached_flow(Scale(factor=2)), cached_flow(Scale(factor=2)), True, id="same-fields"
        ),
        pytest.param(
            cached_flow(Scale(factor=2)), cached_flow(Scale(factor=3)), False, id="fields"
        ),
        pytest.param(
            cached_flow(),
            WorkflowBuilder().start_with(double).name("work").cache().build("flow", 2),
            True,
            id="version",
        ),
        pytest.param(
            cached_flow(),
            WorkflowBuilder().start_with(double).name("work").cache().build("other", 1),
            False,
            id="definition",
        ),
        pytest.param(
            WorkflowBuilder().start_with(Scale).name("work").input("x", 1).cache().build("f", 1),
            WorkflowBuilder().start_with(Scale).name("work").input("x", 2).cache().build("f", 2),
            False,
            id="input",
        ),
        pytest.param(
            WorkflowBuilder()
            .start_with(Scale)
            .name("work")
            .input("x", 1)
            .cache(inputs=False)
            .build("f", 1),
            WorkflowBuilder()
            .start_with(Scale)
            .name("work")
            .input("x", 2)
            .cache(inputs=False)
            .build("f", 2),
            True,
            id="inputs-off",
        ),
    ],
)
async def test_what_counts(
    host: WorkflowHost, one: WorkflowDefinition, other: WorkflowDefinition, same: bool
) -> None:
    assert await _same(host, one, other) is same


async def test_declared_variables_count_and_are_not_told(
    host: WorkflowHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = cached_flow(env="FLAVOUR")
    for value in ("bitter", "bitter", "sweet"):
        monkeypatch.setenv("FLAVOUR", value)
        await finished(host, flow, x=1)
    monkeypatch.delenv("FLAVOUR")
    await finished(host, flow, x=1)

    assert len(CALLS) == 3
    for entry in await host.cache.find():
        assert "bitter" not in entry.document
        assert "sweet" not in entry.document


async def test_files_count_by_their_contents(
    host: WorkflowHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "src" / "deep"
    source.mkdir(parents=True)
    (source / "a.py").write_text("1")
    flow = cached_flow(files=["src/**/*.py", "!src/**/skip*"])

    async def runs() -> int:
        CALLS.clear()
        await finished(host, flow, x=1)
        return len(CALLS)

    assert [await runs(), await runs()] == [1, 0]
    (source / "a.py").write_text("2")
    assert [await runs(), await runs()] == [1, 0]
    (source / "b.py").write_text("")
    assert [await runs(), await runs()] == [1, 0]
    (source / "a.py").rename(tmp_path / "src" / "a.py")
    assert [await runs(), await runs()] == [1, 0]
    (tmp_path / "src" / "a.py").chmod(0o755)
    assert [await runs(), await runs()] == [1, 0]
    (source / "skip.py").write_text("")
    (source / "c.txt").write_text("")
    assert await runs() == 0


async def test_a_step_that_changes_what_counts_is_kept_once_it_changes_nothing(
    host: WorkflowHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tidy(x: int) -> dict[str, int]:
        CALLS.append(x)
        (tmp_path / "a.txt").write_text("tidy")
        return {"y": x}

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("mess")
    flow = cached_flow(tidy, files="*.txt")

    runs = [await finished(host, flow, x=1) for _ in range(3)]

    assert CALLS == [1, 1]
    told = (await info_of(host, runs[0]))["cache"]["not_kept"]
    assert told == "files that count changed while the step ran: a.txt"
    assert "not_kept" not in (await info_of(host, runs[1]))["cache"]


async def test_a_link_out_of_the_workspace_turns_the_cache_off(
    host: WorkflowHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "work" / "link").symlink_to(tmp_path / "secret")
    monkeypatch.chdir(tmp_path / "work")

    await finished(host, cached_flow(files="**"), x=1)
    run = await finished(host, cached_flow(files="**"), x=1)

    assert len(CALLS) == 2
    (line,) = await host.logs(run.id)
    assert "leads out of the workspace" in line.line
    assert list(await host.cache.find()) == []


async def test_a_value_without_a_stable_form_turns_the_cache_off(host: WorkflowHost) -> None:
    flow = cached_flow(key=_nothing)

    await finished(host, flow, x=1)
    run = await finished(host, flow, x=1)

    assert (run.status, len(CALLS)) == ("complete", 2)
    (line,) = await host.logs(run.id)
    assert "so it cannot be part of the key" in line.line


async def test_secrets_count_by_name_and_are_never_kept(store: MemoryStore) -> None:
    async def work(ctx: Ctx, token: str) -> dict[str, int]:
        CALLS.append(ctx.secrets["npm"])
        return {"y": len(token)}

    def flow(name: str) -> WorkflowDefinition:
        step = WorkflowBuilder().start_with(work).name("work").secrets(name, "npm")
        step = step.input("token", lambda _, ctx: f"Bearer {ctx.secrets[name]}")
        return step.cache().build("flow", 1)

    for values in ({"npm": "hunter22"}, {"npm": "swordfish"}):
        async with WorkflowHost(store, secrets=values) as host:
            await finished(host, flow("npm"))
    async with WorkflowHost(store, secrets={"npm": "swordfish", "pip": "correct-horse"}) as host:
        await finished(host, flow("pip"))
        entries = await host.cache.find()

    assert CALLS == ["hunter22", "swordfish"]  # the second run took the first one's result
    assert len(entries) == 2
    for entry in entries:
        for value in ("hunter22", "swordfish", "correct-horse"):
            assert value not in entry.document + entry.result
        assert "npm" in entry.document


# -- one at a time --------------------------------------------------------------------------------


def held_flow(go: asyncio.Event) -> Any:
    async def work(x: int) -> dict[str, int]:
        CALLS.append(x)
        await go.wait()
        return {"y": x}

    return cached_flow(work)


async def test_runs_at_the_same_time_share_one_execution(host: WorkflowHost) -> None:
    go = asyncio.Event()
    flow = held_flow(go)
    runs = [await host.start_workflow(flow, {"x": 1}) for _ in range(8)]
    await until(lambda: CALLS)
    go.set()
    ended = [await run.wait(5) for run in runs]

    assert CALLS == [1]
    assert {run.data["y"] for run in ended} == {1}


async def test_when_the_one_fails_the_next_one_tries(host: WorkflowHost) -> None:
    async def work(x: int) -> dict[str, int]:
        CALLS.append(x)
        await asyncio.sleep(0)
        if len(CALLS) == 1:
            raise ValueError("no")
        return {"y": x}

    flow = cached_flow(work)
    runs = [await host.start_workflow(flow, {"x": 1}) for _ in range(5)]
    ended = [await run.wait(5) for run in runs]

    assert CALLS == [1, 1]
    assert sorted(run.status for run in ended) == ["complete"] * 4 + ["failed"]


async def test_two_hosts_share_one_execution(tmp_path: Path) -> None:
    go = asyncio.Event()
    flow = held_flow(go)
    url = f"sqlite:///{tmp_path}/wfe.db"
    async with (
        WorkflowHost(url, own_runs_only=True) as one,
        WorkflowHost(url, own_runs_only=True) as two,
    ):
        runs = [await host.start_workflow(flow, {"x": 1}) for host in (one, two)]
        await until(lambda: CALLS)
        lines: list[Any] = []
        while not lines:
            await asyncio.sleep(0.001)
            lines = [line for run in runs for line in await one.logs(run.id)]
            lines += [line for run in runs for line in await two.logs(run.id)]
        assert "waiting for it" in lines[0].line
        go.set()
        ended = [await run.wait(10) for run in runs]

    assert CALLS == [1]
    assert {run.data["y"] for run in ended} == {1}


async def test_a_claim_of_a_host_that_died_lapses(
    host: WorkflowHost, store: MemoryStore, clock: VirtualClock
) -> None:
    flow = cached_flow()
    await finished(host, flow, x=1)
    (entry,) = await host.cache.find()
    await host.cache.purge()
    await store.cache_claim(entry.key, "a host that is cut off", to_micros(timedelta(minutes=5)))

    run = await host.start_workflow(flow, {"x": 1})
    await until(lambda: clock.next_due is not None)
    while not (await host.get(run.id)).status.final:
        clock.move_to(clock.now() + 10_000_000)
        for _ in range(20):
            await asyncio.sleep(0)

    assert CALLS == [1, 1]


# -- explaining -----------------------------------------------------------------------------------


async def test_a_hit_and_a_miss_are_explained(host: WorkflowHost, clock: VirtualClock) -> None:
    flow = cached_flow()
    runs: list[Any] = []
    for x in (1, 5, 5):
        runs.append(await finished(host, flow, x=x))
        clock.move_to(clock.now() + 1)

    first, second, third = [await host.cache.explain(run.id, "work") for run in runs]

    assert (first.outcome, first.nearest, first.kept) == ("miss", None, True)
    assert (second.outcome, second.nearest) == ("miss", runs[0].id)
    assert [(d.part, d.before, d.now) for d in second.differences] == [("data.x", 1, 5)]
    assert (third.outcome, third.source) == ("hit", runs[1].id)


async def test_the_nearest_result_is_compared(
    host: WorkflowHost, clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flow = cached_flow(files="*.txt")
    (tmp_path / "a.txt").write_text("1")
    near = await finished(host, flow, x=1)
    clock.move_to(clock.now() + 1)
    (tmp_path / "b.txt").write_text("1")
    (tmp_path / "a.txt").write_text("2")
    await finished(host, flow, x=7)
    clock.move_to(clock.now() + 1)
    (tmp_path / "b.txt").unlink()
    (tmp_path / "a.txt").write_text("3")
    last = await finished(host, flow, x=1)

    told = await host.cache.explain(last.id, "work")

    assert told.nearest == near.id
    assert [each.part for each in told.differences] == ["files.a.txt"]


async def test_steps_that_were_not_looked_up_are_explained(host: WorkflowHost) -> None:
    def fail(x: int) -> None:
        raise ValueError(x)

    plain = await finished(
        host, WorkflowBuilder().start_with(double).name("work").build("p", 1), x=1
    )
    failed = await finished(host, cached_flow(fail), x=1)

    explained = [
        (await host.cache.explain(plain.id, "work")).why,
        (await host.cache.explain(failed.id, "work")).why,
        (await host.cache.explain(plain.id, "nope")).why,
    ]

    assert explained[0].startswith("the step has no cache")
    assert explained[1] == "the step failed; only successes are kept"
    assert explained[2] == "the step has not ended in this run"


# -- the builder ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"files": "/etc/passwd"}, "is absolute"),
        ({"files": ["../x"]}, "has '..'"),
        ({"files": [""]}, "a pattern of cache"),
        ({"ttl": 0}, "ttl"),
        ({"key": 5}, "a callable over the data"),
        ({"key": "data.x +"}, "cache"),
        ({"env": ["", "A"]}, "an environment variable"),
    ],
)
def test_a_wrong_cache_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        cached_flow(**options)


def test_a_cache_is_given_once_and_to_a_step() -> None:
    with pytest.raises(DefinitionError, match="given twice"):
        WorkflowBuilder().start_with(double).cache().cache()
    with pytest.raises(DefinitionError, match="has no meaning after delay"):
        WorkflowBuilder().delay(timedelta(seconds=1)).cache()


def test_definitions_without_a_cache_keep_their_hash() -> None:
    flow = WorkflowBuilder().start_with(double).name("work").build("flow", 1)

    assert "cache" not in flow.body
    assert (
        WorkflowDefinition.from_json(cached_flow(ttl=5, files="a").to_json()).root
        == cached_flow(ttl=5, files="a").root
    )
