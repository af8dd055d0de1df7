"""The fine print of the language that concerns the command: signals with hooks, answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

Process: TypeAlias = "subprocess.Popen[str]"

HOOKED = """\
workflow:
  id: hooked
  version: 1
  steps:
    - name: long
      run: |
        echo long >> effects
        echo started
        for i in $(seq 1 600); do if [ -e go ]; then exit 0; fi; sleep 0.05; done
      on_success: {name: won, run: echo won >> effects}
      on_failure: {name: lost, run: echo lost >> effects}
      on_abort: {name: stopped, run: echo stopped >> effects}
      ensure: {name: tidy, run: echo tidy >> effects}
    - {name: last, run: echo last >> effects}
"""

ASKING = """\
workflow:
  id: asking
  version: 1
  steps:
    - name: gate
      approval: {prompt: "ship it?", options: ["yes", "no"]}
    - {name: say, run: 'echo "said ${{ steps.gate.outputs.choice }}"'}
"""

BRANCHES = """\
workflow:
  id: branches
  version: 1
  steps:
    - name: both
      parallel:
        - {name: good, run: echo good >> effects}
        - {name: bad, run: "echo bad >> effects; test -e go"}
      fail_fast: false
    - {name: last, run: echo last >> effects}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("hooked", HOOKED), ("asking", ASKING), ("branches", BRANCHES)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WFE_")}


@pytest.fixture
def running(folder: Path) -> Iterator[Process]:
    """A run in the middle of its first step."""
    with subprocess.Popen(
        [sys.executable, "-m", "wfe", "run", "hooked.yaml"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "long | started" in line:
                break
        yield process
        process.kill()


def wfe(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wfe", *args],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def effects(folder: Path) -> list[str]:
    return (folder / "effects").read_text().split()


def test_ctrl_c_runs_no_hooks_and_they_run_once_in_the_end(folder: Path, running: Process) -> None:
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=30)

    assert running.returncode == 130
    assert out.splitlines()[-1].startswith("resume with: wfe run hooked.yaml --resume ")
    assert effects(folder) == ["long"]

    (folder / "go").touch()
    resumed = wfe(folder, "run", "--resume", "last")

    assert resumed.returncode == 0, resumed
    assert effects(folder) == ["long", "long", "won", "tidy", "last"]


def test_terminate_runs_on_abort_and_ensure(folder: Path, running: Process) -> None:
    assert wfe(folder, "terminate", "last", "--reason", "enough").returncode == 0

    running.communicate(timeout=30)

    assert running.returncode == 4
    assert effects(folder) == ["long", "stopped", "tidy"]


def test_rerun_failed_does_only_what_failed_and_what_never_ran(folder: Path) -> None:
    first = wfe(folder, "run", "branches.yaml")
    plain = wfe(folder, "run", "branches.yaml", "--resume", "last")
    (folder / "go").touch()
    again = wfe(folder, "run", "branches.yaml", "--resume", "last", "--rerun-failed")

    assert first.returncode == 1
    assert plain.returncode == 1
    assert "--rerun-failed" in plain.stderr
    assert again.returncode == 0, again
    assert sorted(effects(folder)[:2]) == ["bad", "good"]
    assert effects(folder)[2:] == ["bad", "last"]
    assert len(wfe(folder, "list").stdout.splitlines()) == 1


@pytest.mark.parametrize("how", [("yes",), ("--option", "yes"), ("yes", "--step", "gate")])
def test_an_answer_is_recorded_and_resume_drives(folder: Path, how: tuple[str, ...]) -> None:
    asked = wfe(folder, "run", "asking.yaml")
    shown = wfe(folder, "explain", "last", "gate").stdout
    answered = wfe(folder, "approve", "last", *how)
    done = wfe(folder, "run", "--resume", "last")

    assert asked.returncode == 3
    assert "yes|no" in asked.stdout
    assert "waits for an answer to 'ship it?': wfe approve" in shown
    assert answered.returncode == 0
    assert done.returncode == 0, done
    assert "say | said yes" in done.stdout


def test_an_answer_is_given_once(folder: Path) -> None:
    wfe(folder, "run", "asking.yaml")

    assert wfe(folder, "approve", "last").returncode == 2
    assert wfe(folder, "approve", "last", "yes", "--option", "no").returncode == 2
