"""Stored definitions: running instances keep theirs, whatever is registered since."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.core import (
    DefinitionConflictError,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
)
from wfe.host import WorkflowHost
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]


def note(ctx: Ctx) -> dict[str, Any]:
    return {"done": [*ctx.data.get("done", []), ctx.pointer.step]}


def first() -> WorkflowDefinition:
    """The definition with which instances begin."""
    return (
        WorkflowBuilder()
        .start_with(note)
        .name("one")
        .wait_for("go", key="1")
        .name("gate")
        .then(note)
        .name("two")
        .build("evolving")
    )


def second() -> WorkflowDefinition:
    """The same id and version with another tree, which still has all the code of the first."""
    return (
        WorkflowBuilder()
        .start_with(note)
        .name("zero")
        .then(note)
        .name("one")
        .wait_for("go", key="1")
        .name("gate")
        .then(note)
        .name("two")
        .then(note)
        .name("three")
        .build("evolving")
    )


def other() -> WorkflowDefinition:
    """The same id and version without the code that the first needs."""
    return WorkflowBuilder().start_with(note).name("else").build("evolving")


async def test_an_instance_keeps_its_definition_when_another_is_registered() -> None:
    async with WorkflowTest(first()) as test:
        old = await test.start("evolving")
        test.host.register(second())
        new = await test.start("evolving")
        await test.host.publish_event("go", "1")
        done = [(await run.wait(5)).data["done"] for run in (old, new)]
        stored = await test.host.definitions()

    assert done == [["one", "two"], ["zero", "one", "two", "three"]]
    assert [(each.hash, each.current) for each in stored] == [
        (second().hash, True),
        (first().hash, False),
    ]


async def test_an_instance_keeps_its_definition_over_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    async with WorkflowHost(url) as host:
        run = await host.start_workflow(first())
    async with WorkflowHost(url) as host:
        host.register(second())
        fresh = await host.start_workflow("evolving", idempotency_key="new")
        await host.publish_event("go", "1")
        old = await (await host.run(run.id)).wait(20)
        new = await fresh.wait(20)

    assert old.data["done"] == ["one", "two"]
    assert new.data["done"] == ["zero", "one", "two", "three"]


async def test_a_host_without_the_code_leaves_an_instance_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    async with WorkflowHost(url) as host:
        run = await host.start_workflow(first())
    async with WorkflowHost(url) as host:
        before = await host.history(run.id)
        host.register(other())
        await (await host.start_workflow("evolving")).wait(20)
        await host.publish_event("go", "1")  # makes it due
        after = await host.history(run.id)
        health = await host.health()
        new, old = await host.definitions("evolving")
        left = await host.get(run.id)
        async with WorkflowHost(url) as able:
            able.register(first())
            ended = await (await able.run(run.id)).wait(20)

    assert left.status == "runnable"
    assert after == before
    assert [(new.hash, new.running, new.runnable)] == [(other().hash, 0, True)]
    assert [(old.hash, old.running, old.runnable)] == [(first().hash, 1, False)]
    (unrunnable,) = health["unrunnable"]
    assert (unrunnable["definition"], unrunnable["hash"]) == ("evolving", first().hash)
    assert unrunnable["due"] > 0
    assert ended.data["done"] == ["one", "two"]


async def test_a_host_with_the_code_finds_nothing_unrunnable() -> None:
    async with WorkflowTest(first()) as test:
        await test.start("evolving")
        assert (await test.host.health())["unrunnable"] == []
        (stored,) = await test.host.definitions("evolving")
        assert await test.host.definitions("another") == []

    assert (stored.id, stored.version, stored.running, stored.runnable) == ("evolving", 1, 1, True)


async def test_final_runs_are_not_counted_and_suspended_ones_are() -> None:
    async with WorkflowTest(first()) as test:
        ended, held, _ = [await test.start("evolving") for _ in range(3)]
        await test.host.terminate(ended.id)
        await test.host.suspend(held.id)
        await test.clock.settle()
        (stored,) = await test.host.definitions()

    assert stored.running == 2


async def test_versions_are_listed_in_order() -> None:
    async with WorkflowTest() as test:
        for version in (3, 1, 2):
            test.host.register(WorkflowBuilder().start_with(note).build("many", version))
        await test.clock.settle()
        await test.clock.advance(timedelta(seconds=1))
        assert [each.version for each in await test.host.definitions()] == [1, 2, 3]


async def test_strict_versions_refuse_other_contents(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    async with WorkflowHost(url) as host:
        await host.start_workflow(first())
    async with WorkflowHost(url, strict_versions=True) as host:
        host.register(second())
        with pytest.raises(DefinitionConflictError, match="stored with other contents"):
            await host.start_workflow("evolving")
