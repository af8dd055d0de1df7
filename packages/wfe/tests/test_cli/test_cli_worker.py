"""``wfe worker`` and ``wfe doctor``: driving the runs of a store, and looking it over."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_processes import Running, finished

from wfe.host import WorkflowHost
from wfe.host.cli import store

QUICK = """\
workflow:
  id: quick
  version: 1
  steps:
    - {name: one, run: echo one >> effects}
    - {name: two, run: echo two >> effects}
"""
SLOW = """\
workflow:
  id: slow
  version: 1
  steps:
    - name: long
      run: |
        echo began >> effects
        for i in $(seq 1 600); do if [ -e go ]; then exit 0; fi; sleep 0.05; done
    - {name: last, run: echo last >> effects}
"""
LOOKS = """\
import gc
import json
import pathlib

from wfe.core import StepExecutionContext, WorkflowBuilder


def look(ctx: StepExecutionContext) -> None:
    figures = [gc.get_freeze_count(), gc.get_threshold()[0]]
    pathlib.Path("effects").write_text(json.dumps(figures))


looks = WorkflowBuilder().start_with(look).build("looks")
"""
DB = ("--db", "sqlite:///runs.db")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "quick.yaml").write_text(QUICK)
    (tmp_path / "slow.yaml").write_text(SLOW)
    return tmp_path


@pytest.fixture
def worker(folder: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def worker(*args: str) -> Running:
        running = Running(folder, "worker", *args, *DB)
        started.append(running)
        running.until_complaint(" works on sqlite ")
        return running

    yield worker
    for each in started:
        each.kill()


def examined(folder: Path, *args: str) -> tuple[int, list[dict[str, Any]]]:
    ended = finished(folder, "doctor", "--json", *args, *DB)
    return ended.returncode, json.loads(ended.stdout)


def test_a_worker_drives_what_others_start(folder: Path, worker: Callable[..., Running]) -> None:
    running = worker("quick.yaml", "--name", "w1")

    started = finished(folder, "run", "quick.yaml", "--detach", *DB)
    running.until("✔ completed  quick  ")
    running.process.send_signal(signal.SIGTERM)
    code, _ = running.end()

    assert started.returncode == 0
    assert started.stdout.strip() in running.seen[-1]
    assert "follow it with: wfe logs -f" in started.stderr
    assert code == 0
    assert (folder / "effects").read_text() == "one\ntwo\n"


def test_no_look_for_garbage_of_a_worker_goes_through_what_starting_made(
    folder: Path, worker: Callable[..., Running]
) -> None:
    (folder / "looks.py").write_text(LOOKS)
    running = worker("looks.py")

    finished(folder, "run", "looks.py", "--detach", *DB)
    running.until("✔ completed  looks  ")

    frozen, threshold = json.loads((folder / "effects").read_text())
    assert frozen > 30_000
    assert threshold > 50_000


def test_a_worker_that_is_told_to_stop_ends_its_step(
    folder: Path, worker: Callable[..., Running]
) -> None:
    running = worker("slow.yaml")
    finished(folder, "run", "slow.yaml", "--detach", *DB)
    _until_file(folder / "effects")

    running.process.send_signal(signal.SIGTERM)
    running.until_complaint("stopping: running steps may end within 30 s")
    (folder / "go").touch()
    code, _ = running.end()

    assert code == 0
    worker("slow.yaml").until("✔ completed  slow  ")
    assert (folder / "effects").read_text() == "began\nlast\n"


def test_a_second_signal_leaves_at_once_and_another_worker_goes_on(
    folder: Path, worker: Callable[..., Running]
) -> None:
    running = worker("slow.yaml")
    finished(folder, "run", "slow.yaml", "--detach", *DB)
    _until_file(folder / "effects")

    running.process.send_signal(signal.SIGINT)
    running.until_complaint("stopping:")
    running.process.send_signal(signal.SIGINT)
    code, _ = running.end()
    (folder / "go").touch()
    worker("slow.yaml").until("✔ completed  slow  ")

    assert code == 0
    assert (folder / "effects").read_text() == "began\nbegan\nlast\n"


def test_a_killed_worker_is_taken_over(folder: Path, worker: Callable[..., Running]) -> None:
    running = worker("slow.yaml", "--name", "first")
    finished(folder, "run", "slow.yaml", "--detach", *DB)
    _until_file(folder / "effects")

    running.kill()
    code, found = examined(folder)
    (folder / "go").touch()
    worker("slow.yaml").until("✔ completed  slow  ")

    problems = [each for each in found if each["level"] == "problem"]
    assert code == 1
    assert [each["topic"] for each in problems] == ["workers"]
    assert problems[0]["text"].startswith("first (")
    assert problems[0]["text"].endswith("is dead, or silent for a lease, and still owns 1 run")


def test_a_changed_definition_is_refused_unless_it_may_supersede(folder: Path) -> None:
    finished(folder, "run", "quick.yaml", *DB)
    (folder / "quick.yaml").write_text(QUICK.replace("echo two", "echo zwei"))

    refused = finished(folder, "worker", "quick.yaml", *DB)

    assert refused.returncode == 2
    assert "quick" in refused.stderr
    assert "version 1" in refused.stderr
    assert "wfe worker --supersede" in refused.stderr
    running = Running(folder, "worker", "quick.yaml", "--supersede", *DB)
    running.until_complaint("works on sqlite")
    running.kill()


def test_a_worker_needs_a_store_that_is_kept(folder: Path) -> None:
    refused = finished(folder, "worker", "quick.yaml", "--db", "memory://")

    assert refused.returncode == 2
    assert "lives in the memory of this process" in refused.stderr


def test_detaching_needs_a_new_run_and_a_store_that_is_kept(folder: Path) -> None:
    for args in (("--db", "memory://"), ("--resume", "last", *DB)):
        refused = finished(folder, "run", "quick.yaml", "--detach", *args)
        assert refused.returncode == 2
        assert "--detach starts a new run in a store that is kept" in refused.stderr


def test_the_configuration_names_the_store(folder: Path) -> None:
    (folder / "wfe.config.yaml").write_text("db: sqlite:///configured.db\n")

    ran = finished(folder, "run", "quick.yaml")
    listed = finished(folder, "list", "--json")
    other = finished(folder, "list", "--db", "sqlite:///other.db")

    assert ran.returncode == 0
    assert (folder / "configured.db").exists()
    assert [each["definition"] for each in json.loads(listed.stdout)] == ["quick"]
    assert other.returncode == 2


def test_a_wrong_configuration_stops_every_command(folder: Path) -> None:
    (folder / "wfe.config.yaml").write_text("dbb: sqlite:///configured.db\n")

    for args in (("list",), ("run", "quick.yaml"), ("doctor",)):
        refused = finished(folder, *args)
        assert refused.returncode == 2
        assert "wfe.config.yaml:1: there is no setting 'dbb'" in refused.stderr
    assert finished(folder, "list", "--config", "no.yaml").returncode == 2


def test_doctor_finds_nothing_wrong_with_a_sound_store(folder: Path) -> None:
    finished(folder, "run", "quick.yaml", *DB)

    ended = finished(folder, "doctor", *DB)

    assert ended.returncode == 0
    assert "✔ store        sqlite" in ended.stdout
    assert ended.stdout.endswith("all is well\n")


def test_doctor_tells_of_a_store_that_it_cannot_open(folder: Path) -> None:
    (folder / "runs.db").write_bytes(b"no database" * 100)

    code, found = examined(folder)

    assert code == 1
    assert [(each["level"], each["topic"]) for each in found] == [("problem", "store")]
    assert "runs.db" in found[0]["text"]


def test_doctor_names_suspended_runs_and_why(folder: Path) -> None:
    run = finished(folder, "run", "slow.yaml", "--detach", *DB).stdout.strip()
    finished(folder, "suspend", run, *DB)

    code, found = examined(folder)
    before = [each["text"] for each in found if each["level"] == "warning"]
    running = Running(folder, "worker", "slow.yaml", *DB)
    running.until("⏸ suspended  slow  ")
    running.process.send_signal(signal.SIGTERM)
    running.end()
    code, found = examined(folder)

    assert before == []
    assert code == 0
    (warning,) = [each for each in found if each["level"] == "warning"]
    assert warning["text"].startswith(f"run {run} (slow) is suspended")
    assert f"wfe resume {run}" in warning["hint"]


def _until_file(path: Path) -> None:
    """Return when another process has made *path*."""
    import time  # noqa: PLC0415 - only here

    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} was never written"
        time.sleep(0.01)  # noqa: TID251 - another process


def test_a_run_that_is_left_to_nobody_is_warned_of(
    folder: Path, worker: Callable[..., Running]
) -> None:
    alone = finished(folder, "run", "quick.yaml", "--detach", *DB)
    worker("slow.yaml")
    unknown = finished(folder, "run", "quick.yaml", "--detach", "--json", *DB)
    worker("quick.yaml")
    taken = finished(folder, "run", "quick.yaml", "--detach", *DB)

    assert (alone.returncode, unknown.returncode, taken.returncode) == (0, 0, 0)
    id_ = alone.stdout.strip()
    assert f"warning: run {id_} waits: no worker is there to drive it" in alone.stderr
    assert "start one that has it: wfe worker quick.yaml --db sqlite:///runs.db" in alone.stderr
    busy = "nobody took it within a second: 1 worker is there, but busy, or without its definition"
    assert busy in unknown.stderr
    assert json.loads(unknown.stdout)["definition"] == "quick"
    assert "warning" not in taken.stderr


def test_a_command_that_reads_is_no_worker(folder: Path) -> None:
    """One that is killed must not look like a worker for as long as a lease."""
    finished(folder, "run", "quick.yaml", *DB)

    async def work(host: WorkflowHost) -> list[str]:
        return [each["name"] for each in (await host.health())["workers"]]

    assert store.on_store(f"sqlite:///{folder}/runs.db", work) == []
