"""Durable functions whose hosts die: finished steps never run again, results stay the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfe.core import (
    ProviderError,
    Retry,
    StepExecutionContext,
    StepFailedError,
    StepTimeoutError,
    WorkflowContext,
    WorkflowInstance,
    workflow,
)
from wfe.core.memory import MemoryStore
from wfe.core.providers import InstanceQuery, Item, Outcome, PersistenceProvider
from wfe.host import WorkflowHost
from wfe.sqlite import open_url

Ctx = StepExecutionContext[Any]
MOMENT = timedelta(microseconds=1)


class MortalStore:
    """A store whose host dies at a commit: from then on nothing of the host gets through."""

    def __init__(self, store: Any, kill_at: int, *, after: bool) -> None:
        """Die at commit number *kill_at* (0: never), *after* it or before."""
        self._store = store
        self._left = kill_at
        self._after = after
        self.died = asyncio.Event()
        self._buried = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        self._left -= 1
        if self._left == 0 and self._after:
            await self._store.commit(epoch, items)
        if self._left == 0 or self.died.is_set():
            self.died.set()
            await self._buried.wait()
            kind, problem = "test", "the host is dead"
            raise ProviderError(kind, problem)
        outcomes: Sequence[Outcome] = await self._store.commit(epoch, items)
        return outcomes

    async def close(self) -> None:
        """Leave the store open for the next host."""

    async def bury(self, host: WorkflowHost) -> None:
        """Do what another host does when it finds this one dead."""
        epoch = host._engine.epoch  # pyright: ignore[reportPrivateUsage]
        await self._store.fence([epoch], lease=None)
        while await self._store.orphans(100):
            pass
        self._buried.set()
        await host.stop(grace=0)


@attrs.define
class Effects:
    """What bodies did, by idempotency key, and what the journal had of it."""

    begun: Counter[str] = attrs.field(factory=Counter[str])
    names: list[str] = attrs.field(factory=list[str])
    again: list[str] = attrs.field(factory=list[str])
    done: set[str] = attrs.field(factory=set[str])
    lives: int = 1

    def note(self, ctx: Ctx, text: str) -> None:
        key = f"{ctx.idempotency_key} attempt {ctx.attempt}"
        self.begun[key] += 1
        self.names.append(text)
        if key in self.done:
            self.again.append(key)


async def work(ctx: Ctx, text: str) -> str:
    ctx.app.note(ctx, text)
    await asyncio.sleep(0)
    return text


async def fail(ctx: Ctx, text: str) -> None:
    ctx.app.note(ctx, text)
    message = f"{text} failed"
    raise RuntimeError(message)


async def flaky(ctx: Ctx, text: str) -> str:
    ctx.app.note(ctx, text)
    if ctx.attempt == 0:
        message = "once more"
        raise ConnectionError(message)
    return text


Op = list[Any]


async def _run(ctx: WorkflowContext, block: list[Op], trace: list[str]) -> None:
    for op in block:
        await _op(ctx, op, trace)


async def _op(  # noqa: C901, PLR0912 - one case for each kind of operation
    ctx: WorkflowContext, op: Op, trace: list[str]
) -> None:
    match op:
        case ["step", name]:
            trace.append(await ctx.step(work, name))
        case ["flaky", name]:
            once = ctx.options(retry=Retry(max_retries=1, interval=timedelta(0)))
            trace.append(await once.step(flaky, name))
        case ["fail", name]:
            await ctx.step(fail, name)
        case ["raise"]:
            message = "plain"
            raise ValueError(message)
        case ["sleep"]:
            await ctx.sleep(MOMENT)
        case ["event"]:
            try:
                trace.append(await ctx.wait_for("go", "1", timeout=timedelta(milliseconds=5)))
            except StepTimeoutError:
                trace.append("late")
        case ["chance"]:
            trace.append(f"{ctx.random()} {ctx.patched('p')}")
        case ["try", block]:
            try:
                await _run(ctx, block, trace)
            except (StepFailedError, ValueError) as error:
                trace.append(f"caught {error.__class__.__name__}")
        case ["saga", name, block]:
            async with ctx.saga() as saga:
                trace.append(await saga.step(work, name, undo=(work, f"undo {name}")))
                await _run(ctx, block, trace)
        case ["gather", blocks]:
            traces: list[list[str]] = [[] for _ in blocks]
            pairs = zip(blocks, traces, strict=True)
            await ctx.gather(*(_run(ctx, inner, seen) for inner, seen in pairs))
            trace.extend(text for seen in traces for text in seen)
        case _:
            raise AssertionError(op)


@workflow("program")
async def program(ctx: WorkflowContext, block: list[Op]) -> list[str]:
    trace: list[str] = []
    try:
        await _run(ctx, block, trace)
    except (StepFailedError, ValueError) as error:
        trace.append(f"failed {error}")
    return trace


async def _life(
    store: MortalStore, block: list[Op], effects: Effects
) -> WorkflowInstance[Any] | None:
    """Drive the run on one host; return it when it ended, ``None`` when the host died."""
    served: Any = store
    host = WorkflowHost(served, app=effects, linger=timedelta(0))
    host.register(program)
    await host.start()

    async def drive() -> WorkflowInstance[Any]:
        run = await host.start_workflow(program, block, idempotency_key="one")
        await host.publish_event("go", "1", "gone", id="go")
        return await run.wait(5, suspended=True)

    driving = asyncio.ensure_future(drive())
    dying = asyncio.ensure_future(store.died.wait())
    await asyncio.wait({driving, dying}, return_when=asyncio.FIRST_COMPLETED)
    dying.cancel()
    if not store.died.is_set():
        await host.stop(grace=0)
        return driving.result()
    driving.cancel()
    await store.bury(host)
    await asyncio.gather(driving, return_exceptions=True)
    return None


async def _journalled(store: PersistenceProvider, effects: Effects) -> None:
    """Note which attempts the journal has: they must not begin again."""
    for header in await store.find(InstanceQuery()):
        for row in await store.history(header.n, -1, 100_000):
            _, kind, pointer, _, attempt, info, _ = orjson.loads(row.event)
            if info and "call" in info and kind in _ENDS:
                effects.done.add(f"{header.id}:{pointer}:{info['call']} attempt {attempt}")


_ENDS = ("step_completed", "step_failed", "step_retrying")


async def _lives(
    store: Any, block: list[Op], kills: Sequence[tuple[int, bool]]
) -> tuple[WorkflowInstance[Any], Effects]:
    """Run *block* on one host after the other, each of which dies at its commit."""
    effects = Effects()
    for kill_at, after in [*kills, (0, False)]:
        ended = await _life(MortalStore(store, kill_at, after=after), block, effects)
        if ended is not None:
            return ended, effects
        await _journalled(store, effects)
        effects.lives += 1
    raise AssertionError(kills)


def _blocks(ops: st.SearchStrategy[Op]) -> st.SearchStrategy[list[Op]]:
    return st.lists(ops, max_size=4)


_NAMES = st.sampled_from("abc")
_CALM = st.one_of(
    st.tuples(st.sampled_from(["step", "flaky"]), _NAMES).map(list),
    st.sampled_from([["sleep"], ["event"], ["chance"]]),
)
_WILD = st.one_of(_CALM, st.tuples(st.just("fail"), _NAMES).map(list), st.just(["raise"]))
_KILLS = st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=4)


def _around(inner: st.SearchStrategy[Op]) -> st.SearchStrategy[Op]:
    block = _blocks(inner)
    return st.one_of(
        st.tuples(st.just("try"), block).map(list),
        st.tuples(st.just("saga"), _NAMES, block).map(list),
        st.tuples(st.just("gather"), st.lists(block, max_size=3)).map(list),
    )


def _around_calm(inner: st.SearchStrategy[Op]) -> st.SearchStrategy[Op]:
    """As above, but what fails is caught in its own branch: the order of events says nothing."""
    block = st.tuples(_blocks(inner), st.sampled_from([[], [["fail", "x"]], [["raise"]]]))
    caught = block.map(lambda parts: ["try", [*parts[0], *parts[1]]])
    return st.one_of(
        caught,
        st.tuples(st.just("saga"), _NAMES, st.lists(caught, max_size=2)).map(list),
        st.tuples(_NAMES, block).map(
            lambda parts: ["try", [["saga", parts[0], [*parts[1][0], *parts[1][1]]]]]
        ),
        st.tuples(st.just("gather"), st.lists(st.lists(caught, max_size=2), max_size=3)).map(list),
    )


CALM_PROGRAMS = _blocks(st.recursive(_CALM, _around_calm, max_leaves=8))
WILD_PROGRAMS = _blocks(st.recursive(_WILD, _around, max_leaves=10))


def _certain(instance: WorkflowInstance[Any]) -> list[str]:
    """Return what does not depend on chance or on how long a host was dead."""
    chance = ("0.", "gone", "late")
    return [text for text in instance.data["result"] if not text.startswith(chance)]


@given(CALM_PROGRAMS, _KILLS)
@settings(max_examples=60, deadline=None)
def test_dying_hosts_change_neither_result_nor_effects(
    block: list[Op], kills: list[tuple[int, bool]]
) -> None:
    async def main() -> None:
        whole, wanted = await _lives(MemoryStore(), block, [])
        parts, effects = await _lives(MemoryStore(), block, kills)

        assert parts.status == whole.status == "complete", parts.error
        assert _certain(parts) == _certain(whole)
        assert effects.again == []
        assert set(effects.names) == set(wanted.names)
        assert len(effects.begun) == len(wanted.begun)
        assert all(count <= effects.lives for count in effects.begun.values())

    asyncio.run(asyncio.wait_for(main(), 30))


@given(WILD_PROGRAMS, _KILLS)
@settings(max_examples=120, deadline=None)
def test_what_ended_never_begins_again(block: list[Op], kills: list[tuple[int, bool]]) -> None:
    async def main() -> None:
        instance, effects = await _lives(MemoryStore(), block, kills)

        assert instance.status == "complete", instance.error
        assert effects.again == []
        assert all(count <= effects.lives for count in effects.begun.values())

    asyncio.run(asyncio.wait_for(main(), 30))


LONG: list[Op] = [
    ["step", "a"],
    ["sleep"],
    ["try", [["saga", "b", [["flaky", "c"], ["gather", [[["step", "d"]], [["fail", "e"]]]]]]]],
    ["event"],
    ["chance"],
    ["step", "f"],
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kill_at", range(1, 14))
async def test_a_host_that_dies_at_any_commit(kill_at: int, after: bool, tmp_path: Any) -> None:
    store = open_url(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    try:
        instance, effects = await _lives(store, LONG, [(kill_at, after)])
    finally:
        await store.close()

    assert instance.status == "complete"
    assert _certain(instance) == ["a", "b", "c", "caught StepFailedError", "f"]
    assert effects.again == []
    assert effects.names.count("undo b") <= effects.lives
