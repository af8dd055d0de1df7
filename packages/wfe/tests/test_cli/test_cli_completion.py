"""Completion in shells: the scripts, and the words that they ask for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click
import pytest
from click.shell_completion import ShellComplete

from wfe.host.cli import completion
from wfe.host.cli.commands import wfe as group

Wfe: TypeAlias = Callable[..., Any]


def words(*args: str) -> list[str]:
    found = ShellComplete(group, {}, "wfe", "_WFE_COMPLETE").get_completions(
        list(args[:-1]), args[-1]
    )
    return [item.value for item in found]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(wfe: Wfe, folder: Path, shell: str) -> None:
    ended = wfe("completion", shell)

    assert ended.code == 0
    assert "_WFE_COMPLETE" in ended.out
    if shutil.which(shell) is not None:
        (folder / "script").write_text(ended.out)
        done = subprocess.run([shell, "-n", "script"], cwd=folder, check=False)
        assert done.returncode == 0


def test_other_shells_are_refused(wfe: Wfe) -> None:
    assert wfe("completion", "tcsh").code == 2


def test_the_program_answers_a_shell(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wfe"],
        cwd=folder,
        env={"_WFE_COMPLETE": "bash_complete", "COMP_WORDS": "wfe val", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("plain,validate\n", "")


def test_commands_and_options() -> None:
    assert words("va") == ["validate"]
    assert words("run", "--res") == ["--resume"]
    assert words("validate", "--format", "g") == ["github"]


def test_runs_steps_and_workflows(wfe: Wfe, monkeypatch: pytest.MonkeyPatch) -> None:
    first = wfe("run", "hello.yaml", "--name", "my-run").run
    wfe("run", "parent.yaml")

    assert first in words("show", first[:3])
    assert words("show", "my") == ["my-run"]
    assert words("show", "la") == ["last"]
    assert words("run", "--resume", "my") == ["my-run"]
    monkeypatch.setenv("COMP_WORDS", "wfe logs my-run --step g")
    assert words("logs", "my-run", "--step", "g") == ["greet"]
    assert words("explain", "my-run", "b") == ["bye"]
    assert words("list", "--definition", "he") == ["hello"]
    monkeypatch.setenv("COMP_WORDS", "wfe run parent.yaml --workflow c")
    assert words("run", "parent.yaml", "--workflow", "c") == ["child"]


def test_a_shell_that_asks_never_sees_an_error(wfe: Wfe, folder: Path) -> None:
    (folder / "broken.yaml").write_text("a: [")

    assert words("show", "x") == []
    assert words("logs", "x", "--step", "") == []
    assert words("run", "broken.yaml", "--workflow", "") == []
    assert words("run", "--workflow", "") == []
    assert completion.steps_of_run(click.Context(group), "") == []
    assert not (folder / ".wfe").exists()
    assert not (folder / ".wfe").exists()
    assert wfe("run", "hello.yaml").code == 0
    assert words("explain", "no-such-run", "") == []
