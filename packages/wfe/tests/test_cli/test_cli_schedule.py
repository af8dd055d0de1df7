"""``wfe schedule``."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Wfe: TypeAlias = Callable[..., Any]


@pytest.fixture
def nightly(wfe: Wfe) -> Wfe:
    """The command, and a schedule of ``hello.yaml`` in the default store."""
    ended = wfe(
        *("schedule", "create", "nightly", "hello.yaml", "--cron", "0 3 * * *"),
        *("--timezone", "Europe/Berlin", "--overlap", "queue", "--jitter", "5m", "-i", "who=Ann"),
    )
    assert ended.code == 0, ended.err
    return wfe


def _shown(wfe: Wfe) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(wfe("schedule", "show", "nightly", "--json").out)
    return found


def test_create_stores_the_workflow_and_the_schedule(nightly: Wfe) -> None:
    shown = _shown(nightly)

    assert (shown["definition"], shown["cron"], shown["timezone"]) == (
        *("hello", "0 3 * * *"),
        "Europe/Berlin",
    )
    assert (shown["overlap"], shown["jitter"], shown["catch_up"]) == ("queue", 300.0, 10)
    assert shown["data"] == {"inputs": {"who": "Ann", "times": 1}}
    assert shown["actor"].endswith("(wfe)")
    following = datetime.fromisoformat(shown["next_at"])
    assert following > datetime.now(UTC)
    assert following.astimezone(UTC).hour in {1, 2}


def test_create_prints_what_it_made(wfe: Wfe) -> None:
    made = wfe("schedule", "create", "often", "hello.yaml", "--every", "1h30m").out

    assert made.splitlines()[:4] == [
        "schedule  often",
        "workflow  hello",
        "fires     every 1:30:00",
        "overlap   skip",
    ]


def test_create_of_a_stored_workflow_needs_no_file(nightly: Wfe, folder: Path) -> None:
    (folder / "hello.yaml").unlink()

    made = nightly(
        *("schedule", "create", "again", "hello", "--every", "2h", "-i", "who=Bob", "--json"),
        *("--start", "2020-01-01T00:30Z", "--end", "2199-01-01"),
    )

    assert made.code == 0, made.err
    shown = json.loads(made.out)
    assert (shown["every"], shown["start"]) == (7200.0, "2020-01-01T00:30:00+00:00")
    assert shown["data"] == {"inputs": {"who": "Bob", "times": 1}}


def test_create_of_python_workflows_takes_typed_inputs(wfe: Wfe) -> None:
    made = wfe(
        *("schedule", "create", "orders", "cli_orders.py", "--every", "1d", "--json"),
        *("-i", "id=o-1", "-i", "amount=3"),
    )

    assert made.code == 0, made.err
    assert json.loads(made.out)["data"] == {"id": "o-1", "amount": 3}


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (("x", "hello.yaml"), "needs either cron or every"),
        (("x", "hello.yaml", "--cron", "0 0 30 2 *"), "wrong or never fires"),
        (("x", "hello.yaml", "--cron", "0 0 * * *", "--timezone", "Moon/Base"), "is unknown"),
        (("x", "hello.yaml", "--every", "soon"), "--every 'soon' is no duration"),
        (("x", "hello.yaml", "--every", "1h", "--start", "noon"), "--start 'noon' is no time"),
        (("x", "hello.yaml", "--every", "1h", "-i", "whom=x"), "whom"),
        (("x", "unheard-of", "--every", "1h"), "neither a file or module nor a workflow"),
        (("x", "nowhere.yaml", "--every", "1h"), "there is no file"),
        (("nightly", "hello.yaml", "--every", "1h"), "a schedule with this id exists"),
        (("x", "hello.yaml", "--every", "1h", "--db", "memory://"), "would be lost"),
    ],
)
def test_create_refuses(nightly: Wfe, args: tuple[str, ...], problem: str) -> None:
    ended = nightly("schedule", "create", *args)

    assert ended.code == 2
    assert problem in ended.err
    assert len(json.loads(nightly("schedule", "list", "--json").out)) == 1


def test_replace_changes_a_schedule(nightly: Wfe) -> None:
    ended = nightly("schedule", "create", "nightly", "hello.yaml", "--every", "1h", "--replace")

    assert ended.code == 0
    assert (_shown(nightly)["cron"], _shown(nightly)["every"]) == (None, 3600.0)


def test_list_shows_one_line_each(nightly: Wfe) -> None:
    nightly("schedule", "create", "a", "cli_orders.py", "--every", "1d")
    nightly("schedule", "pause", "a")

    lines = nightly("schedule", "list").out.splitlines()

    assert lines[0].split() == ["a", "order", "every", "1", "day,", "0:00:00", "paused"]
    assert lines[1].startswith("nightly  hello  0 3 * * * (Europe/Berlin)  ")
    assert nightly("schedule", "list", "--definition", "hello").out.startswith("nightly")
    assert nightly("schedule", "list", "--definition", "x").out == "no schedules\n"


def test_pause_and_resume(nightly: Wfe) -> None:
    assert nightly("schedule", "pause", "nightly").out == "schedule nightly is paused\n"
    assert _shown(nightly)["paused"]
    assert "next      paused\n" in nightly("schedule", "show", "nightly").out

    assert nightly("schedule", "resume", "nightly").out.startswith("schedule nightly fires next 2")
    assert not _shown(nightly)["paused"]


def test_a_triggered_run_is_driven_by_whoever_resumes_it(nightly: Wfe) -> None:
    nightly("schedule", "pause", "nightly")

    run = json.loads(nightly("schedule", "trigger", "nightly", "--json").out)["run"]

    assert _shown(nightly)["last_run_id"] == run
    assert json.loads(nightly("show", run, "--json").out)["status"] == "runnable"
    resumed = nightly("run", "hello.yaml", "--resume", run, "--plain")
    assert resumed.code == 0
    assert "hello Ann" in resumed.out
    first = json.loads(nightly("history", run, "--json").out)[0]
    assert first["data"]["schedule"] == "nightly"


def test_backfill_starts_each_time_once(nightly: Wfe) -> None:
    args = ("schedule", "backfill", "nightly", "2026-01-01T00:00Z", "2026-01-04T00:00Z")

    assert nightly(*args).out == "3 times: 3 runs are started, 0 were there\n"
    again = json.loads(nightly(*args, "--json").out)

    assert [each["new"] for each in again] == [False, False, False]
    assert len(json.loads(nightly("list", "--json").out)) == 3


def test_delete_leaves_the_runs(nightly: Wfe) -> None:
    nightly("schedule", "trigger", "nightly")

    assert nightly("schedule", "delete", "nightly").out == "schedule nightly is deleted\n"

    assert nightly("schedule", "list").out == "no schedules\n"
    assert len(json.loads(nightly("list", "--json").out)) == 1


@pytest.mark.parametrize("command", ["show", "pause", "resume", "trigger", "delete"])
def test_unknown_schedules_are_named(nightly: Wfe, command: str) -> None:
    ended = nightly("schedule", command, "unheard-of")

    assert (ended.code, ended.err) == (
        2,
        "error: no schedule has the id 'unheard-of' in this store\n",
    )
