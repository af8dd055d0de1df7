"""The commands that change runs, list what waits, and compare definitions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from wfe.core import WorkflowBuilder
from wfe.host import SyncWorkflowHost

Wfe: TypeAlias = Callable[..., Any]

MODULE = """\
from pathlib import Path
from wfe.core import Suspend, WorkflowBuilder

def pack(ctx):
    return {"packed": ctx.data.get("item", "nothing")}

def ship(ctx):
    if Path("broken").exists():
        raise RuntimeError("no truck")
    return {"shipped": ctx.data["packed"]}

pipeline = WorkflowBuilder().start_with(pack).then(ship).build("pipeline")
held = WorkflowBuilder().start_with(pack).then(ship).on_error(Suspend()).build("held")
release = (
    WorkflowBuilder()
    .approval("Release it?", options=["yes", "no"], output="answer").name("ask")
    .build("release")
)
signalled = WorkflowBuilder().wait_for("go", scope="run", output="got").build("signalled")
external = (
    WorkflowBuilder()
    .activity("render", parameters=lambda data: {"page": 1}, output="page")
    .build("external")
)
"""


@pytest.fixture(autouse=True)
def module(folder: Path, request: pytest.FixtureRequest) -> None:
    (folder / "intents.py").write_text(MODULE)


def run(wfe: Wfe, id: str, *more: str) -> Any:
    return wfe("run", "intents.py", "--workflow", id, *more)


def go_on(wfe: Wfe, *more: str) -> Any:
    return wfe("run", "intents.py", "--resume", "last", *more)


def shown(wfe: Wfe) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(wfe("show", "last", "--json").out)
    return found


# -- retry, rewind, fork


@pytest.fixture
def failed(wfe: Wfe, folder: Path) -> str:
    """A run of the pipeline that failed while something was broken, which is mended now."""
    (folder / "broken").touch()
    ended = run(wfe, "pipeline", "-i", "item=book")
    assert ended.code == 1
    (folder / "broken").unlink()
    found: str = ended.run
    return found


def test_retry_is_recorded_and_done_by_whoever_drives_the_run(wfe: Wfe, failed: str) -> None:
    ended = wfe("retry", "pipeline-1", "--reason", "mended")

    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"retry is recorded for run {failed}",
        "where no host drives it: wfe run --resume pipeline-1",
    ]
    assert go_on(wfe).code == 0
    assert shown(wfe)["data"] == {"item": "book", "packed": "book", "shipped": "book"}
    assert re.search(r"workflow_retried .* because mended", wfe("history", failed).out)


def test_retry_from_a_step(wfe: Wfe, failed: str) -> None:
    assert wfe("retry", failed, "--from", "pack").code == 0
    assert go_on(wfe).code == 0
    kinds = [row["step"] for row in json.loads(wfe("history", failed, "--json").out)]
    assert kinds.count("pack") >= 2


def test_rerun_failed_retries_and_drives(wfe: Wfe, failed: str) -> None:
    assert go_on(wfe).code == 1
    assert go_on(wfe, "--rerun-failed").code == 0
    assert shown(wfe)["status"] == "complete"
    assert wfe("run", "intents.py", "--rerun-failed").code == 2


def test_retry_of_a_complete_run_is_refused(wfe: Wfe) -> None:
    done = run(wfe, "pipeline").run
    ended = wfe("retry", done)

    assert ended.code == 2
    assert ended.err == f"error: cannot retry run '{done}': it is complete\n"


def test_rewind_takes_other_data(wfe: Wfe, failed: str) -> None:
    assert wfe("rewind", failed, "--to", "ship", "-d", 'packed="box"').code == 0
    assert go_on(wfe).code == 0
    assert shown(wfe)["data"]["shipped"] == "box"


def test_a_step_that_never_began_is_named(wfe: Wfe, failed: str) -> None:
    ended = wfe("rewind", failed, "--to", "shp")

    assert ended.code == 2
    assert "the run never came to step 'shp'" in ended.err


def test_a_fork_begins_where_a_step_began(wfe: Wfe) -> None:
    first = run(wfe, "pipeline", "-i", "item=book").run
    forked = wfe("fork", first, "--from", "ship", "-d", "packed=box")

    assert forked.code == 0
    assert forked.run != first
    assert forked.out.splitlines() == [
        f"run {forked.run} begins at ship",
        f"where no host drives it: wfe run --resume {forked.run}",
    ]
    assert go_on(wfe).code == 0
    assert shown(wfe)["data"] == {"item": "book", "packed": "box", "shipped": "box"}
    assert json.loads(wfe("show", first, "--json").out)["data"]["shipped"] == "book"


# -- suspended runs


@pytest.fixture
def suspended(wfe: Wfe, folder: Path) -> str:
    (folder / "broken").touch()
    ended = run(wfe, "held", "-i", "item=book")
    assert ended.code == 3
    (folder / "broken").unlink()
    found: str = ended.run
    return found


def test_patch_sets_data(wfe: Wfe, suspended: str) -> None:
    ended = wfe("patch", suspended, "packed=box", "count=3", 'list=["a"]')

    assert ended.out == f"patch is recorded for run {suspended}\n"
    wfe("resume", suspended)
    assert go_on(wfe).code == 0
    expected = {"item": "book", "packed": "box", "count": 3, "list": ["a"], "shipped": "box"}
    assert shown(wfe)["data"] == expected


def test_patch_needs_fields_with_values(wfe: Wfe, suspended: str) -> None:
    assert wfe("patch", suspended).code == 2
    assert wfe("patch", suspended, "packed").err == (
        "error: 'packed' has no value\n  write it as field=value\n"
    )


@pytest.mark.parametrize("by_name", [True, False])
def test_skip_by_step_or_pointer(wfe: Wfe, suspended: str, by_name: bool) -> None:
    (pointer,) = shown(wfe)["pointers"]
    ended = wfe("skip", suspended, pointer["step"] if by_name else str(pointer["id"]))

    assert ended.code == 0
    assert go_on(wfe).code == 0
    assert "shipped" not in shown(wfe)["data"]


def test_skip_of_a_step_where_the_run_does_not_stand(wfe: Wfe, suspended: str) -> None:
    ended = wfe("skip", suspended, "pack")

    assert ended.code == 2
    assert ended.err.startswith(f"error: run {suspended} stands not at 'pack'\n  it stands at: ")


# -- approvals, signals, activities


def test_an_approval_is_listed_answered_and_taken_up(wfe: Wfe) -> None:
    asked = run(wfe, "release")
    assert asked.code == 3
    assert "waits for an answer to 'Release it?'" in asked.out
    assert f"answer it:        wfe approve {asked.run} yes|no --step ask" in asked.out

    listed = wfe("approvals").out
    (row,) = json.loads(wfe("approvals", "--json", "--definition", "release").out)
    assert re.fullmatch(r"release-1  ask  for \d+\.\ds  yes\|no  Release it\?\n", listed)
    assert (row["run"], row["prompt"], row["options"]) == (
        asked.run,
        "Release it?",
        ["yes", "no"],
    )
    answered = wfe("approve", "release-1", "yes", "--comment", "fine")
    assert answered.out == f"answer 'yes' is recorded for run {asked.run}\n"
    assert go_on(wfe).code == 0
    assert shown(wfe)["data"] == {"answer": "yes"}
    assert wfe("approvals").out == "no approvals\n"


def test_an_answer_must_be_an_option(wfe: Wfe) -> None:
    run(wfe, "release")

    assert wfe("approve", "last", "maybe").err == (
        "error: answer: 'maybe' is none of the options: yes, no\n"
    )


def test_an_answer_may_be_given_as_an_option(wfe: Wfe) -> None:
    asked = run(wfe, "release")

    assert wfe("approve", "last").code == 2
    assert wfe("approve", "last", "yes", "--option", "yes").code == 2
    answered = wfe("approve", "release-1", "--option", "yes", "--step", "ask")
    assert answered.out == f"answer 'yes' is recorded for run {asked.run}\n"


def test_a_signal_is_recorded_and_taken_up(wfe: Wfe) -> None:
    waiting = run(wfe, "signalled")
    assert waiting.code == 3
    assert "waits for signal go" in waiting.out

    assert wfe("signal", "last", "go", "--data", '{"by": "me"}').code == 0
    assert go_on(wfe).code == 0
    assert shown(wfe)["data"] == {"got": {"by": "me"}}


def test_open_activities_are_listed(wfe: Wfe) -> None:
    assert run(wfe, "external").code == 3

    assert wfe("activities").out == 'external-1  render  waiting  {"page": 1}\n'
    (row,) = json.loads(wfe("activities", "--run", "last", "--json").out)
    assert (row["name"], row["parameters"], row["claimed"]) == ("render", {"page": 1}, False)
    wfe("terminate", "last")
    go_on(wfe)
    assert wfe("activities").out == "no activities\n"


# -- definitions


def test_pause_and_unpause(wfe: Wfe) -> None:
    run(wfe, "signalled")

    assert wfe("pause", "signalled").out == "signalled is paused\n"
    assert wfe("pause", "signalled").out == "signalled was paused already\n"
    assert wfe("unpause", "signalled").out == "signalled goes on\n"
    assert wfe("unpause", "signalled").out == "signalled was not paused\n"
    assert wfe("pause", "signaled").code == 2


def test_definitions_are_listed(wfe: Wfe) -> None:
    run(wfe, "signalled")

    listed = wfe("definitions", "signalled").out
    (row,) = json.loads(wfe("definitions", "signalled", "--json").out)
    assert re.fullmatch(r"signalled@1  #[0-9a-f]{12}  current  1 running\n", listed)
    assert (row["id"], row["running"], row["current"]) == ("signalled", 1, True)
    assert wfe("definitions", "nothing").out == "no definitions\n"


# -- diff

CHANGED = """\
workflow:
  id: gate
  version: 2
  steps:
    - {name: first, run: echo first}
    - {name: before, run: echo changed, timeout: 5s}
    - name: gate
      wait_for: {event: approved, key: "7"}
"""


def test_diff_of_two_files_needs_no_store(wfe: Wfe, folder: Path) -> None:
    (folder / "new.yaml").write_text(CHANGED)
    ended = wfe("diff", "gate.yaml", "new.yaml")

    assert ended.code == 0
    head, *lines = ended.out.splitlines()
    assert re.fullmatch(r"gate@1#[0-9a-f]{12} → gate@2#[0-9a-f]{12}", head)
    assert "+ step first" in lines
    assert "- step after" in lines
    assert "~ step before: timeout: nothing → 5.0s" in lines
    assert not (folder / ".wfe").exists()


def test_diff_says_which_runs_could_move(wfe: Wfe, folder: Path) -> None:
    (folder / "new.yaml").write_text(CHANGED)
    waiting = wfe("run", "gate.yaml").run
    text = wfe("diff", "gate", "new.yaml").out.splitlines()
    found = json.loads(wfe("diff", "gate@1", "new.yaml", "--json").out)

    reason = "'first' is new and comes before 'gate': it would never be done"
    assert text[-3:] == [
        "1 running",
        f"  gate-1 ({waiting}) at gate: could not move",
        f"    {reason}",
    ]
    (row,) = found["runs"]
    assert row == {
        "id": waiting,
        "name": "gate-1",
        "at": ["gate"],
        "same": False,
        "could_move": False,
        "obstacles": [reason],
    }


def test_diff_of_what_did_not_change(wfe: Wfe) -> None:
    wfe("run", "gate.yaml")
    stored = json.loads(wfe("definitions", "gate", "--json").out)[0]["hash"]
    ended = wfe("diff", f"gate@1#{stored[:8]}", "gate.yaml")

    assert ended.out.splitlines()[1] == "the same"
    assert ended.out.splitlines()[-1].endswith(" at gate: follows it already")


@pytest.mark.parametrize("reference", ["gat", "gate@9", "gate#0000"])
def test_diff_names_what_is_stored(wfe: Wfe, reference: str) -> None:
    wfe("run", "gate.yaml")
    ended = wfe("diff", reference, "gate.yaml")

    assert ended.code == 2
    assert f"there is no file and no stored definition {reference!r}" in ended.err


# -- waiting for whoever drives


DB = "sqlite:///shared.db"


def answer(ctx: Any) -> dict[str, str]:
    if ctx.data.get("answer") != "yes":
        problem = "it was not released"
        raise RuntimeError(problem)
    return {"released": "all of it"}


@pytest.fixture
def driver(wfe: Wfe) -> Iterator[SyncWorkflowHost]:
    """A host that drives runs, as another process would."""
    ask = WorkflowBuilder().approval("Release it?", output="answer")
    with SyncWorkflowHost(DB) as host:
        host.register(ask.then(answer).name("answer").build("asked"))
        yield host


def test_wait_returns_when_the_run_has_ended(wfe: Wfe, driver: SyncWorkflowHost) -> None:
    run_id = driver.start_workflow("asked").id
    while json.loads(wfe("approvals", "--json", "--db", DB).out) == []:
        continue
    ended = wfe("approve", run_id, "no", "--wait", "--db", DB)
    assert ended.code == 1
    assert ended.out.splitlines()[-1] == f"run {run_id} is failed: it was not released"
    again = wfe("rewind", run_id, "--to", "answer", "-d", "answer=yes", "--wait", "--db", DB)
    assert again.code == 0
    assert again.out.splitlines()[-1] == f"run {run_id} is complete"
