"""The fault suite for a few seconds: real servers, hosts that die; and its judge, who must see."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from faults.client import Ledger
from faults.laws import LAWS, Judged, judge
from faults.plan import KINDS, drawn
from faults.reading import Effect, Row, Run
from faults.wanted import disturbed_by_nothing, outlines

from wfe.testing.services import Service

ROOT = Path(__file__).parents[1]
FAULTS = ("kill", "pause", "stop", "postgres-kill", "valkey-kill", "valkey-flush")
SECONDS = 10


def test_work_survives_deaths_pauses_and_restarts(
    tmp_path: Path, postgres_server: Service, valkey_server: Service
) -> None:
    """One of each kind, within seconds; ``nox -s faults`` does it for half an hour."""
    chosen = [part for name in FAULTS for part in ("--fault", name)]
    command = [sys.executable, "-m", "faults", "--seconds", str(SECONDS), "--every", "0.9"]
    command += ["--seed", "3", "--hosts", "2", "--clients", "1", "--report", str(tmp_path), *chosen]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=170
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "faults-postgres+valkey-3.json").read_text())
    assert found["violations"] == {}
    assert found["faults_in_all"] >= 4
    assert set(found["faults"]) <= set(FAULTS)
    assert found["acknowledged"]["start"] >= 8
    assert found["settled_after"] is not None
    assert found["bodies_begun"] >= found["steps_completed"] / 3


# -- the plan -------------------------------------------------------------------------------------


def test_a_plan_belongs_to_its_seed() -> None:
    kinds = list(KINDS)

    plan = drawn(1, 600, kinds, 3, 2)

    assert plan == drawn(1, 600, kinds, 3, 2)
    assert plan != drawn(2, 600, kinds, 3, 2)
    assert plan[:20] == drawn(1, 300, kinds, 3, 2)[:20]
    assert {fault.kind for fault in plan} == set(kinds)
    assert all(KINDS[f.kind].lasts[0] <= f.lasts <= KINDS[f.kind].lasts[1] for f in plan)


# -- the judge ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """What is to be judged when nothing goes wrong."""
    return disturbed_by_nothing(tmp_path_factory.mktemp("sound"))


def test_nothing_is_wrong_when_nothing_went_wrong(sound: Judged) -> None:
    assert {name: wrong for name, wrong in judge(sound).items() if wrong} == {}
    assert len(sound.seen.runs) > len(sound.ledgers[0].done) / 4
    assert outlines(sound.seen, {}).keys() >= {("errand", ""), ("tick", "")}


def _run(judged: Judged, definition: str) -> Run:
    return next(run for run in judged.seen.runs if run.definition == definition)


def _with_run(judged: Judged, old: Run, new: Run | None) -> Judged:
    runs = [new if run is old else run for run in judged.seen.runs]
    seen = attrs.evolve(judged.seen, runs=[run for run in runs if run is not None])
    return attrs.evolve(judged, seen=seen)


def _changed(judged: Judged, definition: str, **changes: Any) -> Judged:
    run = _run(judged, definition)
    return _with_run(judged, run, attrs.evolve(run, **changes))


def _rows(judged: Judged, definition: str, change: Callable[[list[Row]], list[Row]]) -> Judged:
    return _changed(judged, definition, rows=change(_run(judged, definition).rows))


def _at(rows: list[Row], kind: str, step: str | None = None) -> int:
    return next(k for k, r in enumerate(rows) if r.kind == kind and step in (None, r.step))


def _twice(kind: str, step: str | None = None) -> Callable[[list[Row]], list[Row]]:
    def change(rows: list[Row]) -> list[Row]:
        k = _at(rows, kind, step)
        return [*rows[: k + 1], rows[k], *rows[k + 1 :]]

    return change


def _without(kind: str, step: str | None = None) -> Callable[[list[Row]], list[Row]]:
    def change(rows: list[Row]) -> list[Row]:
        k = _at(rows, kind, step)
        return [*rows[:k], *rows[k + 1 :]]

    return change


def _early(rows: list[Row]) -> list[Row]:
    """Let the one who slept go on at once."""
    sleeping = rows[_at(rows, "step_sleeping")]
    k = next(
        k
        for k, r in enumerate(rows)
        if r.kind == "step_completed" and r.pointer == sleeping.pointer
    )
    return [*rows[:k], attrs.evolve(rows[k], at=sleeping.at), *rows[k + 1 :]]


def _backwards(rows: list[Row]) -> list[Row]:
    """Undo in the order in which it was done."""
    places = [k for k, row in enumerate(rows) if row.kind == "step_compensated"]
    changed = list(rows)
    for k, other in zip(places, reversed(places), strict=True):
        changed[k] = rows[other]
    return changed


def _again(judged: Judged, late: int = 0) -> Judged:
    """Let a body begin once more, *late* µs after it did."""
    first = next(effect for effect in judged.seen.effects if effect.what == "begin")
    effects = [*judged.seen.effects, attrs.evolve(first, at=first.at + late)]
    return attrs.evolve(judged, seen=attrs.evolve(judged.seen, effects=effects))


def _all_at_once(judged: Judged) -> Judged:
    """Let all bodies under the limit begin when the first one does."""

    def begin(effect: Effect) -> Effect:
        return attrs.evolve(effect, at=earliest) if effect.step == "item" else effect

    earliest = min(effect.at for effect in judged.seen.effects if effect.step == "item")
    effects = [begin(effect) for effect in judged.seen.effects]
    return attrs.evolve(judged, seen=attrs.evolve(judged.seen, effects=effects))


def _seen(judged: Judged, **changes: Any) -> Judged:
    return attrs.evolve(judged, seen=attrs.evolve(judged.seen, **changes))


def _lost_intent(judged: Judged) -> Judged:
    ledger = Ledger(judged.ledgers[0].path)
    for fact in judged.ledgers[0].facts:
        ledger.take(fact)
    run = _run(judged, "order").id
    fact = {"what": "signal", "name": "x", "actor": "x", "run": run, "sure": True}
    ledger.take({**fact, "refused": False})
    return attrs.evolve(judged, ledgers=[ledger])


def _trip(judged: Judged) -> Run:
    """Return a saga that was undone."""
    trips = (run for run in judged.seen.runs if run.definition == "trip")
    return next(run for run in trips if any(row.kind == "step_compensated" for row in run.rows))


def _undone_backwards(judged: Judged) -> Judged:
    run = _trip(judged)
    return _with_run(judged, run, attrs.evolve(run, rows=_backwards(run.rows)))


def _woken_again(judged: Judged) -> Judged:
    run = _run(judged, "errand")
    k = next(k for k, row in enumerate(run.rows) if "event" in row.info and "id" in row.info)
    return _changed(judged, "errand", rows=[*run.rows[: k + 1], run.rows[k], *run.rows[k + 1 :]])


def _missed_tick(judged: Judged) -> Judged:
    ticks = [run for run in judged.seen.runs if str(run.idem).startswith("schedule:ticks:")]
    assert len(ticks) >= 2
    return _with_run(judged, min(ticks, key=lambda run: str(run.idem)), None)


PLANTS: dict[str, tuple[Callable[[Judged], Judged], str]] = {
    "a run is lost": (
        lambda j: _with_run(j, _run(j, "order"), None),
        "what was acknowledged is there",
    ),
    "an event is lost": (lambda j: _seen(j, events={}), "what was acknowledged is there"),
    "a run is stuck": (
        lambda j: _changed(j, "order", status="runnable"),
        "every run came to its end",
    ),
    "a key has two runs": (
        lambda j: _seen(j, runs=[*j.seen.runs, _run(j, "order")]),
        "one run for each key",
    ),
    "an intent is lost": (_lost_intent, "an accepted intent has one row"),
    "a row is lost": (
        lambda j: _rows(j, "order", _without("step_completed")),
        "history is gap-free and folds to the state",
    ),
    "a run ends twice": (
        lambda j: _rows(j, "order", _twice("workflow_completed")),
        "one final row, the last",
    ),
    "a step is completed twice": (
        lambda j: _rows(j, "order", _twice("step_completed")),
        "nothing is completed twice",
    ),
    "a retry is repeated": (
        lambda j: _rows(j, "order", _twice("step_retrying")),
        "nothing is missing, nothing too many",
    ),
    "a body runs again": (_again, "bodies ran once, and again only when interrupted"),
    "a body runs late": (
        lambda j: _again(j, 60_000_000),
        "a completed step never begins again",
    ),
    "a body never ran": (
        lambda j: _seen(j, effects=j.seen.effects[1:]),
        "what is complete was done",
    ),
    "a booking is lost": (
        lambda j: _seen(j, books=j.seen.books - Counter([next(iter(j.seen.books))])),
        "a transaction and its step are one",
    ),
    "a booking is made twice": (
        lambda j: _seen(j, books=j.seen.books + j.seen.books),
        "a transaction and its step are one",
    ),
    "an event wakes twice": (_woken_again, "each event woke each wait once"),
    "a child is nobody's": (
        lambda j: _changed(j, "part", parent=999_999),
        "each child once",
    ),
    "a time is missed": (_missed_tick, "each time of a schedule once"),
    "too many at a time": (_all_at_once, "limits hold"),
    "undone in the wrong order": (_undone_backwards, "sagas undo what was done, the last first"),
    "a timer is early": (lambda j: _rows(j, "part", _early), "no timer is early"),
    "a message is left": (lambda j: _seen(j, left={"inbox": 1}), "nothing is left behind"),
    "an owner is dead": (lambda j: _changed(j, "order", owner=77), "nothing is left behind"),
}


@pytest.mark.parametrize("name", PLANTS)
def test_the_judge_sees_what_is_planted(name: str, sound: Judged) -> None:
    plant, law = PLANTS[name]

    assert judge(plant(sound))[law], f"nobody saw that {name}"


def test_every_law_has_something_planted() -> None:
    assert {law for _, law in PLANTS.values()} == set(LAWS)
