"""The command as a process: signals, sudden death, pipes, terminals, and what it imports."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_processes import Running, command, environment, finished
from pseudo_terminals import written_to_terminal

SLOW = """\
workflow:
  id: slow
  version: 1
  steps:
    - {name: first, run: echo first >> effects}
    - name: long
      run: |
        echo long >> effects
        echo started
        for i in $(seq 1 600); do if [ -e go ]; then exit 0; fi; sleep 0.05; done
    - {name: last, run: echo last >> effects}
"""

DEAF = """\
workflow:
  id: deaf
  version: 1
  steps:
    - name: deaf
      run: |
        trap '' TERM
        echo $$ > pid
        echo started
        for i in $(seq 1 600); do sleep 0.05; done
"""

CHATTY = """\
workflow:
  id: chatty
  version: 1
  steps:
    - {name: talk, run: 'for i in $(seq 1 2000); do echo line $i; done'}
    - {name: done, run: echo end > finished}
"""

WAITING = """\
workflow:
  id: waiting
  version: 1
  steps:
    - name: gate
      wait_for: {event: go}
"""

TREE = """\
workflow:
  id: tree
  version: 1
  steps:
    - name: both
      parallel:
        - {name: quick, run: echo quick}
        - {name: slower, run: 'echo working; sleep 0.4; exit 4'}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (
        ("slow.yaml", SLOW),
        ("deaf.yaml", DEAF),
        ("chatty.yaml", CHATTY),
        ("waiting.yaml", WAITING),
        ("tree.yaml", TREE),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[list[Running]]:
    started: list[Running] = []
    yield started
    for each in started:
        each.process.kill()
        each.process.communicate()


def run(folder: Path, started: list[Running], *args: str) -> Running:
    running = Running(folder, "run", *args)
    started.append(running)
    return running


def effects(folder: Path) -> list[str]:
    return (folder / "effects").read_text().split()


def last_run(folder: Path) -> str:
    rows = json.loads(finished(folder, "list", "--json").stdout)
    return str(rows[0]["id"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_signal_interrupts_and_resume_goes_on(
    folder: Path, start: list[Running], number: signal.Signals
) -> None:
    running = run(folder, start, "slow.yaml")
    running.until("started")

    running.process.send_signal(number)
    code, lines = running.end()
    (folder / "go").touch()
    resumed = finished(folder, "run", "--resume", "last")

    assert code == 130
    assert lines[-1] == f"resume with: wfe run slow.yaml --resume {last_run(folder)}"
    assert resumed.returncode == 0, resumed
    assert effects(folder) == ["first", "long", "long", "last"]


def test_a_second_signal_leaves_at_once(folder: Path, start: list[Running]) -> None:
    running = run(folder, start, "deaf.yaml")
    running.until("started")

    running.process.send_signal(signal.SIGINT)
    running.until_complaint("press Ctrl-C again")
    running.process.send_signal(signal.SIGINT)
    running.process.wait(timeout=3)
    assert running.process.stderr is not None
    complaint = running.process.stderr.read()

    assert running.process.returncode == 130
    assert complaint == f"resume with: wfe run --resume {last_run(folder)}\n"


def test_a_killed_run_is_resumed_without_repeating_what_was_done(
    folder: Path, start: list[Running]
) -> None:
    running = run(folder, start, "slow.yaml")
    running.until("started")

    running.process.kill()
    running.process.wait()
    (folder / "go").touch()
    resumed = finished(folder, "run", "slow.yaml", "--resume", "last", timeout=60)

    assert resumed.returncode == 0, resumed
    assert effects(folder) == ["first", "long", "long", "last"]


def test_json_of_an_interrupted_run(folder: Path, start: list[Running]) -> None:
    running = run(folder, start, "slow.yaml", "--json")
    running.until('"line": "started"')

    running.process.send_signal(signal.SIGINT)
    code, lines = running.end()

    assert (code, json.loads(lines[-1])["status"]) == (130, "interrupted")


def test_a_reader_that_leaves_does_not_stop_the_run(folder: Path, start: list[Running]) -> None:
    running = run(folder, start, "chatty.yaml")
    running.until("line 1")
    assert running.process.stdout is not None
    assert running.process.stderr is not None

    running.process.stdout.close()
    running.process.wait(timeout=30)

    assert running.process.returncode == 0
    assert running.process.stderr.read() == ""
    assert (folder / "finished").exists()


def test_a_reader_of_a_table_may_leave(folder: Path) -> None:
    finished(folder, "run", "chatty.yaml")

    ended = subprocess.run(
        f"{' '.join(command('logs', 'last'))} | head -1",
        cwd=folder,
        env=environment(),
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.stdout, ended.stderr) == ("talk | line 1\n", "")


def test_commands_that_look_on_drive_nothing(folder: Path, start: list[Running]) -> None:
    running = run(folder, start, "slow.yaml")
    running.until("started")
    running.process.send_signal(signal.SIGINT)
    running.end()

    for args in (
        ["list"],
        ["show", "last"],
        ["logs", "last"],
        ["publish", "x"],
        ["history", "last"],
    ):
        assert finished(folder, *args).returncode == 0

    assert effects(folder) == ["first", "long"]


def test_logs_follow_a_run_to_its_end(folder: Path, start: list[Running]) -> None:
    running = run(folder, start, "slow.yaml")
    running.until("started")
    following = Running(folder, "logs", "last", "-f")
    start.append(following)
    following.until("long | started")

    (folder / "go").touch()
    code, lines = following.end()

    assert (code, lines) == (0, ["long | started"])
    assert running.end()[0] == 0


def test_suspend_reaches_a_run_that_another_process_drives(
    folder: Path, start: list[Running]
) -> None:
    running = run(folder, start, "slow.yaml")
    running.until("started")

    assert finished(folder, "suspend", "last", "--reason", "lunch").returncode == 0
    running.until("suspended: lunch")
    (folder / "go").touch()
    code, lines = running.end()

    assert code == 3
    assert lines[-1].startswith("  then go on with:")
    assert effects(folder) == ["first", "long"]


def test_terminate_reaches_a_run_that_another_process_drives(
    folder: Path, start: list[Running]
) -> None:
    running = run(folder, start, "slow.yaml")
    running.until("started")

    assert finished(folder, "terminate", "last").returncode == 0

    assert running.end()[0] == 4


def test_a_publish_wakes_a_run_of_another_process(folder: Path, start: list[Running]) -> None:
    text = WAITING + "    - {name: hold, delay: 1ms}\n"
    beside = "        - {name: other, run: 'while ! [ -e go ]; do sleep 0.05; done'}\n"
    text = text.replace(
        "    - name: gate\n      wait_for: {event: go}\n",
        "    - name: both\n      parallel:\n        - {name: gate, wait_for: {event: go}}\n"
        + beside,
    )
    (folder / "beside.yaml").write_text(text)
    running = run(folder, start, "beside.yaml")
    running.until("gate waits for event go")

    assert finished(folder, "publish", "go").returncode == 0
    running.until("✔ gate")
    (folder / "go").touch()

    assert running.end()[0] == 0


def test_a_terminal_gets_a_tree(folder: Path) -> None:
    text = on_terminal(folder, "run", "tree.yaml")

    assert "⠋ tree" in text
    assert "│ working" in text
    assert re.search(r"✖ slower\S*  0\.\ds  the command exited with code 4", text)
    assert text.rstrip().endswith("--rerun-failed")


def test_a_terminal_gets_lines_when_it_asks_for_them(folder: Path) -> None:
    text = on_terminal(folder, "run", "tree.yaml", "--plain")

    assert "▶ slower\n" in text
    assert "\x1b" not in text


def on_terminal(folder: Path, *args: str) -> str:
    """Run the command on a pseudo-terminal; return what it wrote, without colours."""
    env = {**environment(), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    written = written_to_terminal(command(*args), folder, env, (30, 100))
    text = written.decode().replace("\r\n", "\n")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return plain if "--plain" not in args else text


# -- start-up


def imported(folder: Path, *args: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "wfe", *args],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    names = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line]
    return set(names)


HEAVY = {"rich", "ruamel.yaml", "cel_expr_python", "sqlite3", "httpx", "wfe.sqlite"}


def test_help_imports_no_driver_no_parser_and_no_terminal(folder: Path) -> None:
    light = {*HEAVY, "wfe.yaml", "wfe.core.errors", "attr", "asyncio"}
    assert not imported(folder, "--help") & light


def test_validate_imports_no_driver_and_no_terminal(folder: Path) -> None:
    unwanted = {*HEAVY, "asyncio", "wfe.core.engine", "wfe.core.durable"} - {"ruamel.yaml"}

    assert not imported(folder, "validate", "slow.yaml") & unwanted


def test_run_in_a_pipe_imports_no_terminal(folder: Path) -> None:
    (folder / "go").touch()

    assert "rich" not in imported(folder, "run", "slow.yaml")
