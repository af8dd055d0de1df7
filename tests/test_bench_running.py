"""What a race makes of its contestants: of their lines, their crashes, and of a kill -9."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks import race, recovering, rivals, running
from benchmarks.lanes import Lane
from benchmarks.race import Size
from benchmarks.recovering import judged, read_log
from benchmarks.rivals import PEERS, Contestant, Peer, contestants
from benchmarks.running import Answer, PeerError, answer_in, imported, measured_once, started

GOOD = {"figures": {"ms_per_step": [1, 2.5]}, "settings": "as it comes", "versions": {"x": "1"}}


# -- the line -------------------------------------------------------------------------------------


def test_the_last_line_counts() -> None:
    answer = answer_in(f"a library says hello\n{{}}\n\n{json.dumps(GOOD)}\n")

    assert answer == Answer(
        figures={"ms_per_step": [1.0, 2.5]}, settings="as it comes", versions={"x": "1"}
    )


def test_times_become_percentiles() -> None:
    line = json.dumps({"figures": {"ms": [float(ms) for ms in range(1, 101)], "n": [3]}})

    assert answer_in(line).figures == {"n": [3.0], "p50_ms": [51.0], "p99_ms": [100.0]}


@pytest.mark.parametrize(
    "output",
    [
        pytest.param("", id="nothing"),
        pytest.param("Traceback (most recent call last):", id="no-json"),
        pytest.param('{"figures": {"ms": [1.0', id="cut-off"),
        pytest.param("[1, 2]", id="no-object"),
        pytest.param('{"figure": {}}', id="no-figures"),
        pytest.param('{"figures": {}}', id="empty-figures"),
        pytest.param('{"figures": {"ms": []}}', id="no-samples"),
        pytest.param('{"figures": {"ms": ["fast"]}}', id="no-number"),
        pytest.param('{"figures": [1.0]}', id="figures-without-names"),
    ],
)
def test_a_line_that_cannot_be_read_is_an_error_that_shows_it(output: str) -> None:
    with pytest.raises(PeerError, match="line") as caught:
        answer_in(output)

    assert output in str(caught.value)


# -- processes ------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A contestant's interpreter that runs a shell script instead."""
    script = tmp_path / "fake"

    def of(_: Contestant) -> Path:
        return script

    monkeypatch.setattr(running, "python_of", of)
    monkeypatch.setattr(recovering, "python_of", of)
    return script


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


RIVAL = Contestant(peer=PEERS["dbos"], store="sqlite")


def _measured(patience: float = 30) -> Answer:
    return measured_once(RIVAL, "SEQ", Lane(url="x:///y"), n=3, repeat=2, patience=patience)


def test_a_contestant_is_told_its_work_and_answers(fake: Path) -> None:
    _script(fake, f"echo \"$@\"\necho '{json.dumps(GOOD)}'")

    assert _measured().figures == {"ms_per_step": [1.0, 2.5]}


def test_a_crash_is_told_with_the_last_words(fake: Path) -> None:
    _script(fake, "echo first; echo 'ImportError: no such thing' >&2; exit 3")

    with pytest.raises(PeerError, match=r"^ended with 3: ImportError: no such thing$"):
        _measured()


def test_who_takes_too_long_is_killed_with_its_children(fake: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    _script(fake, f"sleep 60 &\necho $! >> {pids}\necho $$ >> {pids}\nsleep 60")

    with pytest.raises(PeerError, match="not done after 1 s; killed"):
        _measured(patience=1)

    for pid in map(int, pids.read_text().split()):
        assert _ended(pid)


def _ended(pid: int) -> bool:
    """Return whether a process has ended, within seconds; a zombie has."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        os.sched_yield()
    return False


def test_a_child_that_is_left_behind_does_not_hold_up_the_race(fake: Path) -> None:
    _script(fake, f"sleep 60 &\necho '{json.dumps(GOOD)}'")
    began = time.monotonic()

    _measured()

    assert time.monotonic() - began < 30


def test_an_import_is_measured_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(_: Contestant) -> Path:
        return Path(sys.executable)

    monkeypatch.setattr(running, "python_of", here)
    ours = imported(Contestant(peer=None, store="sqlite"))

    assert ours.figures["import_ms"][0] > 1
    assert ours.figures["modules"][0] > 50
    with pytest.raises(PeerError, match="ModuleNotFoundError"):
        imported(RIVAL)


# -- the race -------------------------------------------------------------------------------------


def test_the_race_goes_on_without_who_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash fails its row and spares the rival further turns; a missing one is said, too."""
    turns: list[tuple[str, str]] = []

    def measured(one: Contestant, workload: str, _: Lane, **__: Any) -> Answer:
        turns.append((workload, one.name))
        if one.peer is not None and workload == "SEQ":
            raise PeerError(f"ended with 1: {Path.home()}/thing broke")
        return Answer(figures={"ms_per_step": [1.0], "steps_per_s": [1.0]}, settings="s")

    def install(peer: Peer) -> None:
        if peer.name == "langgraph":
            raise rivals.InstallError("pip install langgraph: no such version")

    monkeypatch.setattr(race, "measured_once", measured)
    monkeypatch.setattr(race, "install", install)
    lanes = [lane for lane in contestants(("dbos", "langgraph"), ("sqlite",)) if "sql" in lane.name]
    plan = {"SEQ": Size(n=5, rounds=2), "FANOUT": Size(n=5, rounds=2)}

    results = race.race(lanes, plan)

    assert turns == [
        ("SEQ", "wfe, sqlite"),
        ("SEQ", "dbos, sqlite"),
        ("SEQ", "wfe, sqlite"),
        *[("FANOUT", "wfe, sqlite"), ("FANOUT", "dbos, sqlite")] * 2,
    ]
    errors = {(r["workload"], r["contestant"]): r["error"] for r in results["runs"] if "error" in r}
    assert errors == {
        ("SEQ", "dbos, sqlite"): "ended with 1: ~/thing broke",
        ("SEQ", "langgraph, sqlite"): "not installed: pip install langgraph: no such version",
        ("FANOUT", "langgraph, sqlite"): "not installed: pip install langgraph: no such version",
    }


def test_ours_and_theirs_take_turns() -> None:
    lanes = [lane.name for lane in contestants(("dbos", "absurd"), ("memory", "sqlite"))]

    assert lanes == [
        "wfe, memory",
        "dbos, sqlite",
        "wfe, sqlite",
        "dbos, postgres",
        "absurd, postgres",
    ]


def test_every_rival_has_fixed_versions_and_a_script() -> None:
    for peer in PEERS.values():
        script = running.ROOT / "benchmarks" / "peers" / f"{peer.name}_peer.py"
        assert script.is_file()
        assert all("==" in one or "<" in one for one in peer.requirements)


# -- recovery -------------------------------------------------------------------------------------

CRASH = """\
accepted 0 0 1
accepted 1 0 2
begin 0 0 3
begin 1 0 4
end 0 0 5
begin 0 1 6
end 1 0 7
begin 1 1"""


def test_a_line_that_the_crash_cut_off_does_not_count() -> None:
    log = read_log(CRASH)

    assert log.accepted == {0, 1}
    assert dict(log.begun) == {(0, 0): 1, (1, 0): 1, (0, 1): 1}
    assert log.ended == {(0, 0): 5, (1, 0): 7}


def test_what_was_lost_and_what_ran_twice_is_found() -> None:
    rest = [f"\nbegin 0 1 2000000000\nbegin 1 0 2000000000\nend 1 0 {2 * 10**9}\n"]
    rest += [f"begin 0 {s} 0\nend 0 {s} {3 * 10**9 + s}\n" for s in range(2, 10)]
    rest += ["end 0 1 2000000001\n"]

    found = judged(read_log(CRASH), read_log(CRASH + "".join(rest)), restart=10**9)

    # Of workflow 1, one step ended before the crash, and none after it; its step 0 was in flight,
    # as it had ended and the next had not begun.
    assert found == {
        "recover_s": pytest.approx(2.0, abs=1e-6),
        "left": 18,
        "running": 2,
        "lost": 9,
        "twice": 2,
    }


NEXT = "\\n"  # as printf reads it


def test_a_contestant_is_killed_at_half_and_started_again(fake: Path) -> None:
    """Its first process does six of ten steps and hangs; the second does the rest."""
    loop = 'for s in {0}; do echo "begin 0 $s 1" >> $7; echo "end 0 $s 99" >> $7; done'
    # All in one go, or who reads might kill it in the middle of the sixth.
    lines = ["accepted 0 0 1"]
    lines += [f"{what} 0 {step} 9" for step in range(6) for what in ("begin", "end")]
    first = f"printf '%b' '{NEXT.join(lines)}{NEXT}' >> $7; sleep 60"
    second = f"{loop.format('5 6 7 8 9')}; sleep 60"
    _script(fake, f'case "$*" in *--again*) {second};; *) {first};; esac')

    answer = recovering.recovered(RIVAL, Lane(), n=1, patience=20)

    assert answer.figures["lost"] == [0.0]
    assert answer.figures["running"] == [1.0]
    assert answer.figures["twice"] == [1.0]
    assert 4 <= answer.figures["left"][0] <= 5


def test_who_ends_by_itself_cannot_recover(fake: Path) -> None:
    _script(fake, "echo boom; exit 1")

    with pytest.raises(PeerError, match="ended with 1: boom"):
        recovering.recovered(RIVAL, Lane(), n=1, patience=20)


def test_who_does_nothing_is_not_waited_for_for_ever(fake: Path) -> None:
    _script(fake, "sleep 60")

    with pytest.raises(PeerError, match=r"half of the steps were not done after 0.1 s"):
        recovering.recovered(RIVAL, Lane(), n=1, patience=0.1)


def test_who_does_not_do_the_rest_has_not_recovered(fake: Path) -> None:
    half = 'echo "accepted 0 0 1" >> $7; for s in 0 1 2 3 4; do echo "end 0 $s 9" >> $7; done'
    _script(fake, f'case "$*" in *--again*) sleep 60;; *) {half}; sleep 60;; esac')

    with pytest.raises(PeerError, match=r"not all steps were done 2 s after the restart"):
        recovering.recovered(RIVAL, Lane(), n=1, patience=2)


def test_a_slow_rival_has_fewer_turns() -> None:
    slow = Contestant(peer=PEERS["prefect"], store="own SQLite")

    assert [slow.runs("SEQ", turn) for turn in (0, 1)] == [True, False]
    assert [RIVAL.runs("SEQ", turn) for turn in (0, 1)] == [True, True]
    assert not slow.runs("RECOVER")


def test_nothing_of_a_process_group_is_left() -> None:
    with tempfile.TemporaryFile("w+") as out, started(["/bin/sleep", "60"], {}, out) as process:
        pid = process.pid

    assert _ended(pid)
