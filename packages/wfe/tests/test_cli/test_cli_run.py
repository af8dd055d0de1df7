"""``wfe run``: start, inputs, exit codes, resume."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Wfe: TypeAlias = Callable[..., Any]


# -- run


def test_run_completes(wfe: Wfe, folder: Path) -> None:
    ended = wfe("run", "hello.yaml", "-i", "who=you")

    took = re.sub(r"\d+\.\ds", "T", ended.out.replace(ended.run, "RUN"))
    assert took.splitlines() == [
        "hello v1, run RUN",
        "▶ greet",
        "greet | hello you",
        "✔ greet T",
        "▶ bye",
        "bye | bye",
        "✔ bye T",
        "✔ hello (run RUN) complete in T",
        "  greeting  hello you",
    ]
    assert (ended.code, ended.err) == (0, "")
    assert (folder / ".wfe" / "wfe.db").is_file()
    assert (folder / ".wfe" / ".gitignore").read_text() == "*\n"


def test_runs_are_numbered_one_after_the_other(wfe: Wfe) -> None:
    for _ in range(3):
        assert wfe("run", "hello.yaml").code == 0

    listed = json.loads(wfe("list", "--json").out)

    assert sorted(run["name"] for run in listed) == ["hello-1", "hello-2", "hello-3"]


def test_run_fails(wfe: Wfe) -> None:
    ended = wfe("run", "failing.yaml", "--plain")

    assert ended.code == 1
    assert ended.out.splitlines()[-6:] == [
        (
            f"✖ failing (run {ended.run}) failed in {_took(ended)}: "
            "broken: the command exited with code 3: it broke"
        ),
        "  last lines of broken:",
        "  │ it broke",
        f"  all its lines:  wfe logs {ended.run} --step broken",
        "  run it again:   wfe run failing.yaml --plain",
        f"  or what failed: wfe run failing.yaml --resume {ended.run} --rerun-failed",
    ]
    assert "never" not in ended.out


def _took(ended: Any) -> str:
    found = re.search(r"failed in (\S+):", ended.out)
    assert found is not None
    return found.group(1)


def test_run_as_json_lines(wfe: Wfe) -> None:
    rows = wfe("run", "hello.yaml", "--json").rows

    assert [row["event"] for row in rows] == [
        "workflow_started",
        *["step_started", "log", "step_completed"] * 2,
        "step_started",
        "step_completed",
        "workflow_completed",
        "result",
    ]
    assert all({"event", "run", "step", "time"} <= row.keys() for row in rows)
    assert rows[2]["stream"] == "stdout"
    assert rows[2]["line"] == "hello world"
    assert (rows[-1]["status"], rows[-1]["outputs"]) == ("complete", {"greeting": "hello world"})


def test_run_of_a_python_file(wfe: Wfe) -> None:
    ended = wfe("run", "cli_orders.py", "-i", "id=5", "-i", "amount=3")

    assert ended.code == 0
    assert ended.out.splitlines()[-3:] == ["  id       5", "  amount   3", "  receipt  r-5"]


def test_run_of_a_name_in_a_module(wfe: Wfe) -> None:
    ended = wfe("run", "cli_orders:order", "-i", "amount=0")

    assert ended.code == 1
    assert "✖ order" in ended.out
    assert "check: ValueError: amount must be positive" in ended.out


def test_run_of_a_saved_definition(wfe: Wfe, folder: Path) -> None:
    node = {"name": "set", "kind": "set", "exprs": [["x", {"v": 1}]]}
    saved = {"format": 1, "id": "saved", "version": 1, "root": {"nodes": [node]}}
    (folder / "saved.json").write_text(json.dumps(saved))

    ended = wfe("run", "saved.json", "-i", "y=2")

    assert ended.code == 0
    assert ended.out.splitlines()[-2:] == ["  y  2", "  x  1"]


def test_run_in_memory_leaves_nothing(wfe: Wfe, folder: Path) -> None:
    assert wfe("run", "hello.yaml", "--db", "memory://").code == 0
    assert not (folder / ".wfe").exists()


def test_run_takes_the_store_from_the_environment(
    wfe: Wfe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WFE_DB", "sqlite:///other.db")

    assert wfe("run", "hello.yaml").code == 0
    assert (folder / "other.db").is_file()


def test_inputs_from_a_file_give_way_to_the_command_line(wfe: Wfe, folder: Path) -> None:
    (folder / "in.json").write_text('{"who": "file", "times": 2}')
    (folder / "in.yaml").write_text("who: yaml\n")

    one = wfe("run", "hello.yaml", "--input-file", "in.json")
    two = wfe("run", "hello.yaml", "--input-file", "in.yaml")
    three = wfe("run", "hello.yaml", "--input-file", "in.json", "-i", "who=line")

    assert [each.out.splitlines()[-1] for each in (one, two, three)] == [
        "  greeting  hello file",
        "  greeting  hello yaml",
        "  greeting  hello line",
    ]


def test_the_workflow_that_no_other_calls_is_run(wfe: Wfe) -> None:
    ended = wfe("run", "parent.yaml")

    assert ended.code == 0
    assert "kid > inner | in child" in ended.out
    assert wfe("run", "parent.yaml", "--workflow", "child").out.startswith("child v1, run ")


def test_a_terminated_run_exits_with_4(wfe: Wfe) -> None:
    run = wfe("run", "gate.yaml").run
    wfe("terminate", run, "--reason", "enough")

    ended = wfe("run", "--resume", run)

    assert ended.code == 4
    assert ended.out.splitlines()[-1].startswith(f"■ gate (run {run}) terminated after ")
    assert ended.out.endswith(": enough\n")


# -- resume, events, suspension


def test_a_run_that_waits_for_an_event_is_left_and_resumed(wfe: Wfe, folder: Path) -> None:
    waiting = wfe("run", "gate.yaml")
    run = waiting.run

    assert waiting.code == 3
    assert waiting.out.splitlines()[-3:] == [
        f"⏸ gate (run {run}) waits for event approved (key 7)",
        "  publish it:       wfe publish approved 7",
        f"  then go on with:  wfe run gate.yaml --resume {run}",
    ]
    assert wfe("run", "--resume", run).code == 3
    assert wfe("publish", "approved", "7", "--data", '{"by": "me"}').code == 0
    assert wfe("run", "gate.yaml", "--resume", run).code == 0
    assert (folder / "effects").read_text() == "before\nafter\n"


def test_a_suspended_run_is_left_until_its_suspension_is_lifted(wfe: Wfe) -> None:
    run = wfe("run", "gate.yaml").run
    assert wfe("suspend", "last", "--reason", "lunch").out == (
        f"suspend is recorded for run {run}; whoever drives it stops before the next step\n"
    )
    wfe("publish", "approved", "7")

    suspended = wfe("run", "--resume", run)

    assert suspended.code == 3
    assert suspended.out.splitlines()[-3:] == [
        f"⏸ gate (run {run}) is suspended",
        f"  lift the suspension:  wfe resume {run}",
        f"  then go on with:      wfe run --resume {run}",
    ]
    assert wfe("resume", run).out == (
        f"resume is recorded for run {run}\ndrive it with: wfe run --resume {run}\n"
    )
    assert wfe("run", "--resume", run).code == 0


KID_WAITS = """\
workflows:
  - id: parent
    version: 1
    steps:
      - name: kid
        type: workflow
        config: {workflow: child}
  - id: child
    version: 1
    steps:
      - {name: nap, delay: 50ms}
      - {name: gate, wait_for: {event: ok}}
"""


def test_a_sub_workflow_run_that_waits_keeps_its_parent_waiting(wfe: Wfe, folder: Path) -> None:
    (folder / "kid.yaml").write_text(KID_WAITS)

    waiting = wfe("run", "kid.yaml")
    wfe("publish", "ok")

    assert waiting.code == 3
    assert "kid > gate waits for event ok" in waiting.out
    assert wfe("run", "--resume", waiting.run).code == 0


def test_a_timer_is_waited_for(wfe: Wfe, folder: Path) -> None:
    (folder / "timer.yaml").write_text(
        "workflow: {id: t, version: 1, steps: [{name: nap, delay: 700ms},"
        " {name: gate, wait_for: {event: ok, timeout: 700ms}}]}\n"
    )

    ended = wfe("run", "timer.yaml")

    assert ended.code == 1
    assert "no event 'ok' with key '' came in time" in ended.out


@pytest.mark.parametrize(
    "step",
    [
        "{name: go, approval: {prompt: 'Go?', timeout: 2d}}",
        "{name: go, wait_for: {event: ok, timeout: 2d}}",
        "{name: around, timeout: 2d, do: [{name: go, approval: 'Go?'}]}",
    ],
)
def test_a_time_out_that_is_far_away_is_not_waited_for(wfe: Wfe, folder: Path, step: str) -> None:
    (folder / "far.yaml").write_text(f"workflow: {{id: t, version: 1, steps: [{step}]}}\n")

    waiting = wfe("run", "far.yaml")
    wfe(*(("publish", "ok") if "wait_for" in step else ("approve", "last", "approve")))

    assert waiting.code == 3
    assert re.search(r"  times out:        .* \(in 4[78]h \d\dm\)\n", waiting.out)
    assert f"  then go on with:  wfe run far.yaml --resume {waiting.run}" in waiting.out
    assert wfe("run", "--resume", "last").code == 0


def test_a_timer_beside_it_is_waited_for(wfe: Wfe, folder: Path) -> None:
    (folder / "both.yaml").write_text(
        "workflow: {id: t, version: 1, steps: [{name: both, parallel:"
        " [{name: go, approval: {prompt: 'Go?', timeout: 2d}},"
        " {name: later, do: [{name: nap, delay: 400ms}, {name: x, run: echo woke}]}]}]}\n"
    )

    waiting = wfe("run", "both.yaml")

    assert waiting.code == 3
    assert "woke" in waiting.out


def test_wait_stays_for_what_comes_from_outside(folder: Path, wfe: Wfe) -> None:
    (folder / "far.yaml").write_text(
        "workflow: {id: t, version: 1, steps: [{name: go, approval: 'Go?'}]}\n"
    )
    command = [sys.executable, "-m", "wfe", "run", "far.yaml", "--plain", "--wait"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines = iter(running.stdout.readline, "")
        asked = next(line for line in lines if "waits for an answer" in line)
        assert "Go?" in asked
        assert running.poll() is None

        assert wfe("approve", "last", "approve").code == 0

        assert running.wait(30) == 0


def test_wait_does_not_stay_when_the_run_is_suspended(wfe: Wfe, folder: Path) -> None:
    (folder / "stop.yaml").write_text(
        "workflow: {id: t, version: 1, steps: [{name: x, run: exit 1,"
        " retry: {max: 0, then: suspend}}]}\n"
    )

    assert wfe("run", "stop.yaml", "--wait").code == 3


def test_a_step_that_suspends_its_run_is_tried_again_after_resume(wfe: Wfe, folder: Path) -> None:
    (folder / "try.yaml").write_text(
        "workflow: {id: t, version: 1, steps: [{name: x, run: 'echo hm; test -e fixed',"
        " retry: {max: 0, then: suspend}}]}\n"
    )

    suspended = wfe("run", "try.yaml")
    (folder / "fixed").touch()
    wfe("resume", "last")

    assert suspended.code == 3
    assert "  last lines of x:\n  │ hm\n" in suspended.out
    assert f"  lift the suspension:  wfe resume {suspended.run}\n" in suspended.out
    assert wfe("run", "--resume", "last").code == 0


def test_resume_of_a_complete_run_runs_nothing(wfe: Wfe) -> None:
    run = wfe("run", "hello.yaml").run

    ended = wfe("run", "--resume", "last")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"✔ hello (run {run}) is complete already: nothing to do\n"
    assert wfe("run", "--resume", "last", "--json").rows[-1]["status"] == "complete"


def test_resume_of_a_failed_run_is_refused(wfe: Wfe) -> None:
    run = wfe("run", "failing.yaml").run

    ended = wfe("run", "--resume", run)

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"error: run {run} has failed: the command exited with code 3: it broke\n"
        f"  try it again with: wfe run --resume {run} --rerun-failed\n"
        f"  see what happened with: wfe show {run}\n"
    )


def test_a_changed_file_gives_a_warning_and_the_run_keeps_its_own(wfe: Wfe, folder: Path) -> None:
    run = wfe("run", "gate.yaml").run
    changed = (
        (folder / "gate.yaml")
        .read_text()
        .replace("name: after, run: echo after", "name: later, run: echo changed")
    )
    (folder / "gate.yaml").write_text(changed)
    wfe("publish", "approved", "7")

    ended = wfe("run", "gate.yaml", "--resume", run)

    assert ended.code == 0
    assert ended.err == (
        f"warning: gate.yaml has changed since run {run} began (gate);"
        " the run keeps its own definition\n"
    )
    assert (folder / "effects").read_text() == "before\nafter\n"


def test_a_run_goes_on_without_the_file_that_it_came_from(wfe: Wfe, folder: Path) -> None:
    run = wfe("run", "gate.yaml").run
    (folder / "gate.yaml").unlink()
    wfe("publish", "approved", "7")

    assert wfe("run", "--resume", run).code == 0
    assert (folder / "effects").read_text() == "before\nafter\n"
