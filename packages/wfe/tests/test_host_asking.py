"""What is asked of runs: signals, updates, queries, approvals."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from asking_parts import Ctx, asking, counter, opened, release

from wfe.core import (
    DataTypeError,
    DefinitionError,
    InvalidStateTransitionError,
    WorkflowBuilder,
)
from wfe.core.errors import UpdateRejectedError
from wfe.host import WorkflowHost
from wfe.testing import WorkflowTest

pytestmark = pytest.mark.every_store


class World:
    """The application object: what is broken, and what was done."""

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)
        self.done: list[str] = []
        self.open = asyncio.Event()

    def do(self, what: str) -> None:
        if what in self.broken:
            problem = f"{what} is broken"
            raise RuntimeError(problem)
        self.done.append(what)


def bill(ctx: Ctx) -> None:
    ctx.app.do("bill")


# -- signals, updates, queries


async def test_a_signal_reaches_one_run() -> None:
    async with WorkflowTest() as test:
        first, second = await test.start(asking()), await test.start(asking())
        await test.host.signal(first.id, "go", {"by": "Ada"}, actor="Ada")
        instance = await first.wait(5)
        entries = await first.history()
        assert (await test.host.get(second.id)).status == "runnable"

    assert instance.data == {"answer": {"by": "Ada"}}
    assert "Ada" in {each.actor for each in entries}


async def test_a_signal_that_comes_early_is_kept() -> None:
    gate = World()
    definition = (
        WorkflowBuilder()
        .start_with(opened)
        .wait_for("go", scope="run", output="first")
        .wait_for("go", scope="run", output="second")
        .build("later")
    )
    async with WorkflowTest(app=gate) as test:
        run = await test.start(definition)
        await test.host.signal(run.id, "go", 1)
        await test.host.signal(run.id, "go", 2)
        gate.open.set()
        instance = await run.wait(5)

    assert instance.data == {"first": 1, "second": 2}


async def test_an_update_changes_the_run_and_answers() -> None:
    async with WorkflowTest() as test:
        run = await test.start(counter())
        assert await test.host.update(run.id, "add", 2, timeout=5, actor="Ada") == 2
        assert await test.host.update(run.id, "add", 3, timeout=timedelta(seconds=5)) == 5
        assert await test.host.query(run.id, "count") == 5
        assert (await test.host.get(run.id)).data == {"count": 5}
        entries = await run.history()

    updates = [each for each in entries if each.kind == "update_completed"]
    assert [each.data["result"] for each in updates if each.data] == [2, 5]
    assert updates[0].actor == "Ada"


async def test_an_update_that_is_refused_changes_nothing() -> None:
    async with WorkflowTest() as test:
        run = await test.start(counter())
        with pytest.raises(UpdateRejectedError, match="must be positive"):
            await test.host.update(run.id, "add", -1, timeout=5)
        with pytest.raises(UpdateRejectedError, match="subtract"):
            await test.host.update(run.id, "subtract", 1, timeout=5)
        assert await test.host.query(run.id, "count") == 0


@pytest.mark.parametrize("timeout", [0, 0.1])
async def test_an_update_that_nobody_answers_in_time_is_done_all_the_same(
    tmp_path: Path, timeout: float
) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    async with WorkflowHost(url, max_live=0) as asking:
        run = await asking.start_workflow(counter())
        with pytest.raises(TimeoutError):
            await asking.update(run.id, "add", 2, timeout=timeout)
        done = asyncio.Event()
        async with WorkflowHost(url) as driving:
            driving.subscribe(lambda each: done.set() if each.kind == "update_completed" else None)
            driving.register(counter())
            async with asyncio.timeout(20):
                await done.wait()
            assert await asking.update(run.id, "add", 3, timeout=20) == 5


async def test_an_unknown_query_is_refused() -> None:
    async with WorkflowTest() as test:
        run = await test.start(counter())
        with pytest.raises(DefinitionError, match=r"no query 'counts'.*'count'"):
            await test.host.query(run.id, "counts")


# -- approvals


async def test_an_approval_is_listed_and_answered() -> None:
    world = World()
    async with WorkflowTest(app=world) as test:
        run = await test.start(release())
        other = await test.start(release(), name="mine")
        (first, second) = await test.host.approvals()
        await test.host.approve(run.id, "yes", comment="looks good", actor="Ada")
        instance = await run.wait(5)
        entries = await run.history()
        left = await test.host.approvals("release")
        none = await test.host.approvals("another")

    assert (first.run_id, first.run_name) == (run.id, "release-1")
    assert (first.prompt, first.options) == ("Release it?", ("yes", "no"))
    assert (first.definition, first.step) == ("release", "approval")
    assert first.since == test.clock.now()
    assert (second.run_id, second.run_name) == (other.id, "mine")
    assert instance.data == {"answer": "yes"}
    assert world.done == ["bill"]
    said = next(each for each in entries if each.kind == "step_completed")
    assert said.actor == "Ada"
    assert said.data is not None
    assert (said.data["outcome"], said.data["comment"]) == ("yes", "looks good")
    assert [each.run_id for each in left] == [other.id]
    assert none == []


async def test_an_answer_that_is_no_option_is_refused() -> None:
    async with WorkflowTest() as test:
        run = await test.start(release())
        with pytest.raises(DataTypeError, match="'maybe' is none of the options: yes, no"):
            await test.host.approve(run.id, "maybe")


async def test_several_questions_need_a_step() -> None:
    definition = (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.approval("A?", output="a").name("a")).branch(
                lambda b: b.approval("B?", output="b").name("b")
            )
        )
        .build("both")
    )
    async with WorkflowTest() as test:
        run = await test.start(definition)
        with pytest.raises(InvalidStateTransitionError, match="step="):
            await test.host.approve(run.id, "yes")
        await test.host.approve(run.id, "yes", step="a")
        await test.host.approve(run.id, "no", step="b")
        assert (await run.wait(5)).data == {"a": "yes", "b": "no"}
