"""Keys of workflows: concurrency, retention, services, labels, and what runs make of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from wfe.core.definition import Cel, Limit, Text, Value, WorkflowDefinition
from wfe.core.policies import Compensate, Retry, Suspend
from wfe.yaml import load_workflow
from wfe.yaml.labels import own_labels
from wfe.yaml.services import missing_providers, needed

host = pytest.importorskip("wfe.host")


def load(keys: str, step: str = "run: 'true'") -> WorkflowDefinition:
    text = "workflow:\n  id: main\n  version: 1\n  inputs: {k: {type: string, default: a}}\n"
    return load_workflow(f"{text}{keys}  steps:\n    - name: x\n      {step}\n")


# -- concurrency


@pytest.mark.parametrize(
    ("written", "limit"),
    [
        ("3", Limit(None, 3)),
        ("{limit: 2}", Limit(None, 2)),
        ("{key: deploy}", Limit(Value("deploy"), 1)),
        ("{key: 1}", Limit(Value("1"), 1)),
        ("{key: '${{ inputs.k }}'}", Limit(Cel("inputs.k"), 1)),
        (
            "{key: 'a-${{ inputs.k }}', limit: 4, on_conflict: skip}",
            Limit(Text((Value("a-"), Cel("inputs.k"))), 4, on_conflict="skip"),
        ),
        ("{on_conflict: cancel_running}", Limit(None, 1, on_conflict="cancel_running")),
    ],
)
def test_concurrency_is_a_limit(written: str, limit: Limit) -> None:
    found = load(f"  concurrency: {written}\n")
    of_step = load("", f"run: 'true'\n      concurrency: {written}")

    assert found.limits == (limit,)
    assert next(iter(of_step.walk())).limits == (limit,)
    again = WorkflowDefinition.from_json(found.to_json())
    assert (again.limits, again.hash) == ((limit,), found.hash)


HOLD = "  concurrency: {key: '${{ inputs.k }}', on_conflict: %s}\n"


async def _two(
    definition: WorkflowDefinition, url: str, keys: tuple[str, str] = ("a", "a")
) -> list[Any]:
    """Start a run, another one once it waits for its event, and send both the event."""
    async with host.WorkflowHost(url) as running:
        running.register(definition)
        runs: list[Any] = []
        for key in keys:
            runs.append(await running.start_workflow("main", {"inputs": {"k": key}}))
            async with asyncio.timeout(10):
                await _settled(running, runs)
        await running.publish_event("go", "", {})
        return [await run.wait(timeout=timedelta(seconds=20)) for run in runs]


async def _settled(running: Any, runs: list[Any]) -> None:
    """Return when the last run waits for the event or a place, or is over."""
    while True:
        instance = await running.get(runs[-1].id)
        states = {pointer.status for pointer in instance.pointers}
        if instance.status.final or states & {"waiting_for_event", "pending_predecessor"}:
            return
        await asyncio.sleep(0)


WAIT = "wait_for: {event: go, key: ''}"


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'runs.db'}"


async def test_a_run_that_finds_its_limit_taken_is_not_started(url: str) -> None:
    first, second = await _two(load(HOLD % "skip", WAIT), url)

    assert (first.status, first.error) == ("complete", None)
    assert (second.status, second.error.type) == ("terminated", "LimitTakenError")
    assert second.error.message == "not started: the limit 'w:main:a' (1 at a time) is taken"


async def test_a_run_ends_those_of_its_key(url: str) -> None:
    first, second = await _two(load(HOLD % "cancel_running", WAIT), url)

    assert (first.status, second.status) == ("terminated", "complete")
    assert "another run takes its place" in first.error.message


@pytest.mark.parametrize("conflict", ["skip", "cancel_running"])
async def test_other_keys_are_left_alone(conflict: str) -> None:
    found = await _two(load(HOLD % conflict, WAIT), "memory://", ("a", "b"))

    assert [instance.status for instance in found] == ["complete", "complete"]


async def test_a_step_that_finds_its_limit_taken_is_skipped(url: str) -> None:
    text = (
        "workflow:\n  id: main\n  version: 1\n  inputs: {k: string}\n"
        '  outputs: {ran: {type: bool, value: "${{ has(data.made) }}"}}\n  steps:\n'
        "    - name: guarded\n      concurrency: {key: one, on_conflict: skip}\n      do:\n"
        "        - {wait_for: {event: go, key: ''}}\n"
        "        - {name: make, run: 'echo made=1 >> $WFE_OUTPUT', outputs: {made: integer}}\n"
        "    - {name: last, run: 'echo $K'}\n"
    )

    first, second = await _two(load_workflow(text), url)

    assert [each.status for each in (first, second)] == ["complete", "complete"]
    assert [each.data["outputs"]["ran"] for each in (first, second)] == [True, False]


# -- retention


@pytest.mark.parametrize(
    ("written", "always", "by_status"),
    [
        ("30d", 30 * 86_400_000_000, {}),
        ("forever", -1, {}),
        ("{failed: 1h}", None, {"failed": 3_600_000_000}),
        ("{complete: 1s, terminated: forever}", None, {"complete": 1_000_000, "terminated": -1}),
    ],
)
def test_retention_is_by_status(written: str, always: int | None, by_status: Any) -> None:
    found = load(f"  retention: {written}\n")

    assert (found.retention, dict(found.retentions)) == (always, by_status)
    again = WorkflowDefinition.from_json(found.to_json())
    assert (again.retention, again.retentions) == (always, by_status)


async def test_runs_are_kept_as_their_status_says() -> None:
    definition = load("  retention: {complete: 1ms, failed: 1d}\n", 'run: test "$K" = a')
    async with host.WorkflowHost("memory://") as running:
        running.register(definition)
        ids: list[str] = []
        for key in "ab":
            run = await running.start_workflow("main", {"inputs": {"k": key}})
            await run.wait(timeout=timedelta(seconds=20))
            ids.append(run.id)
        await asyncio.sleep(0.01)  # beyond the millisecond

        await running._engine.retention.sweep()

        assert [each.id for each in (await running.find()).items] == ids[1:]


# -- services, volumes, labels


def test_services_are_plain_data_with_defaults() -> None:
    found = load(
        "  services:\n    db:\n      image: postgres:17\n      env: {PORT: 5432}\n"
        "      readiness: {tcp: 5432, interval: 1s}\n    web: {image: nginx}\n"
    )

    assert found.meta["services"] == {
        "db": {
            "image": "postgres:17",
            "env": {"PORT": "5432"},
            "readiness": {"tcp": 5432, "interval": 1_000_000, "timeout": 60_000_000, "retries": 12},
        },
        "web": {"image": "nginx"},
    }
    assert needed([found]) == {"db": ["main"], "web": ["main"]}


def test_services_without_a_plugin_say_what_is_missing() -> None:
    assert missing_providers([load("")]) is None
    assert missing_providers([load("  services: {db: {image: postgres}}\n")]) == (
        "the service 'db' (workflow main) cannot be started: "
        "no plugin of the group 'wfe.services' is installed"
    )


def test_a_volume_has_a_place_of_its_own() -> None:
    assert load("  shared_volume: {size: 15Gi}\n").meta["shared_volume"] == {
        "mount_path": "/workspace",
        "size": "15Gi",
    }


def test_a_workflow_requires_the_labels_of_its_steps() -> None:
    found = load("  runs_on: linux\n", "run: 'true'\n      runs_on: [gpu, linux]")

    assert found.requires == ("gpu", "linux")


def test_a_machine_has_labels_of_its_own() -> None:
    assert "local" in own_labels()
    assert len(own_labels()) >= 2


# -- policies


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("retry: 2", Retry(max_retries=2)),
        ("retry: {max: 1, on: exit:3}", Retry(max_retries=1, retry_on=("exit:3",))),
        (
            "retry: {max: 1, on: [timeout, error, timeout]}",
            Retry(max_retries=1, retry_on=("timeout", "error")),
        ),
        ("retry: {total: 1m}", Retry(max_time=timedelta(minutes=1))),
        ("retry: {then: compensate}", Retry(then=Compensate())),
        ("retry: {then: suspend}", Retry(then=Suspend())),
        ("error_behavior: {type: compensate}", Compensate()),
        ("error_behavior: {type: retry}", Retry(interval=timedelta(minutes=1))),
    ],
)
def test_policies(written: str, policy: object) -> None:
    found = load("", f"run: 'true'\n      {written}")

    assert next(iter(found.walk())).on_error == policy


@pytest.mark.parametrize(
    ("on", "attempts"), [("exit:3", 3), ("exit:4", 1), ("error", 3), ("timeout", 1)]
)
async def test_only_what_is_named_is_tried_again(on: str, attempts: int, tmp_path: Any) -> None:
    log = tmp_path / "log"
    step = f"run: echo again >> {log}; exit 3\n      retry: {{max: 2, interval: 1ms, on: [{on}]}}"

    async with host.WorkflowHost("memory://") as running:
        running.register(load("", step))
        run = await running.start_workflow("main", {"inputs": {"k": "a"}})
        instance = await run.wait(timeout=timedelta(seconds=20))

    assert instance.status == "failed"
    assert log.read_text().count("again") == attempts


@pytest.mark.parametrize(
    ("on", "attempts"), [("timeout", 1), ("exit:4", 1), ("exit:3", 2), ("error", 2)]
)
async def test_a_container_is_tried_again_after_what_is_named(
    on: str, attempts: int, tmp_path: Any
) -> None:
    log = tmp_path / "log"
    retry = f"retry: {{max: 1, interval: 1ms, on: [{on}]}}"
    step = f"{retry}\n      do: [{{name: y, run: echo again >> {log}; exit 3}}]"

    async with host.WorkflowHost("memory://") as running:
        running.register(load("", step))
        run = await running.start_workflow("main", {"inputs": {"k": "a"}})
        await run.wait(timeout=timedelta(seconds=20))

    assert log.read_text().count("again") == attempts
