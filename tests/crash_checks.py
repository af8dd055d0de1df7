"""What must hold of a store after a process died and another one went on, read from the file."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from wfe.core.rules.state import State, apply, state_from_json

__all__ = ["Run", "Seen", "look", "outline", "sound", "violations"]

Body: TypeAlias = tuple[str, int]
"""Idempotency key and attempt."""

Schedule: TypeAlias = tuple[str, dict[str, Any], dict[str, Any]]
"""Id, what it says, what it remembers."""

_ENDS: Final = frozenset({"step_completed", "step_failed", "step_retrying", "step_cancelled"})
# What depends on when a process died, or on who came first.
_VOLATILE: Final = frozenset(
    {
        "step_interrupted",
        "step_waiting",
        "places_granted",
        "signal_received",
        "step_sleeping",
        "message_ignored",
    }
)
_EMPTY: Final = (
    "inbox",
    "subscriptions",
    "holders",
    "waiters",
    "activities",
    "outbox",
    "cache_claims",
)
_FINAL: Final = frozenset({"complete", "failed", "terminated"})


@attrs.frozen(kw_only=True)
class Run:
    """A run as stored, with all of its rows."""

    id: str
    definition: str
    status: str
    owner: int | None
    rows: list[list[Any]]
    seqs: list[int]
    stored: State
    idem: str | None

    @property
    def folded(self) -> State:
        """Return what its rows alone make of it."""
        state = State()
        for row in self.rows:
            apply(state, row)
        return state


@attrs.frozen(kw_only=True)
class Seen:
    """What another program sees of a store, and the effects that bodies had.

    Attributes:
        bodies: How often the bodies of each step ran.
        kept: Steps whose results are in the cache.
    """

    runs: list[Run] = attrs.field(factory=list[Run])
    effects: Counter[Body] = attrs.field(factory=Counter[Body])
    bodies: Counter[str] = attrs.field(factory=Counter[str])
    kept: frozenset[str] = frozenset()
    left: dict[str, int] = attrs.field(factory=dict[str, int])
    schedules: list[Schedule] = attrs.field(factory=list["Schedule"])

    def rows(self) -> Iterator[tuple[Run, list[Any]]]:
        """Return each row with its run."""
        for run in self.runs:
            for row in run.rows:
                yield run, row

    def ends(self) -> Counter[Body]:
        """Return how often the journal says that a body came to its end.

        Commands know no key of theirs: theirs is ``RUN@STEP``.
        """
        ended = [(run, row) for run, row in self.rows() if row[1] in _ENDS]
        keys = [_key(run, row) for run, row in ended] + [f"{run.id}@{row[3]}" for run, row in ended]
        return Counter((key, row[4] or 0) for key, (_, row) in zip(keys, ended * 2, strict=True))


def _call(row: list[Any]) -> str | None:
    info: dict[str, Any] = row[5] or {}
    return info.get("call")


def _key(run: Run, row: list[Any]) -> str:
    """Return the idempotency key that the body of *row* had."""
    call = _call(row)
    return f"{run.id}:{row[2]}" + (f":{call}" if call else "")


def look(folder: Path) -> Seen:
    """Read the store and the effects in *folder*; nothing, if the death came before they began."""
    effects = folder / "effects"
    lines = effects.read_text(encoding="utf-8").splitlines() if effects.exists() else []
    told = [line.split("\t") for line in lines]
    found = Counter((key, int(attempt)) for key, attempt, *_ in told)
    bodies = Counter(step for _, _, step, *_ in told)
    with contextlib.closing(sqlite3.connect(f"file:{folder}/crash.db?mode=ro", uri=True)) as db:
        try:
            runs = [_run(db, *header) for header in db.execute(_RUNS).fetchall()]
            left = {name: db.execute(_COUNT.format(name)).fetchone()[0] for name in _EMPTY}
            schedules = [
                (id_, json.loads(spec), json.loads(state))
                for id_, spec, state in db.execute(_SCHEDULES)
            ]
            kept = frozenset(step for (step,) in db.execute(_KEPT))
        except sqlite3.OperationalError:  # killed before the schema was there
            return Seen(effects=found, bodies=bodies)
    return Seen(runs=runs, effects=found, bodies=bodies, kept=kept, left=left, schedules=schedules)


_RUNS: Final = "SELECT n, id, definition, status, owner, idem FROM wfe_instances ORDER BY n"
_COUNT: Final = "SELECT count(*) FROM wfe_{}"
_SCHEDULES: Final = "SELECT id, spec, state FROM wfe_schedules"
_KEPT: Final = "SELECT step FROM wfe_cache"
_JOURNAL: Final = "SELECT seq, event FROM wfe_journal WHERE instance = ? ORDER BY seq"
_SNAPSHOT: Final = "SELECT seq, state, data FROM wfe_snapshots WHERE n = ?"


def _run(
    db: sqlite3.Connection,
    n: int,
    id: str,
    definition: str,
    status: str,
    owner: int | None,
    idem: str | None,
) -> Run:
    rows = [(seq, json.loads(event)) for seq, event in db.execute(_JOURNAL, (n,))]
    snapshot = db.execute(_SNAPSHOT, (n,)).fetchone()
    since, stored = -1, State()
    if snapshot is not None:
        since = snapshot[0]
        stored = state_from_json(json.loads(snapshot[1]), json.loads(snapshot[2]))
    for seq, row in rows:
        if seq > since:
            apply(stored, row)
    return Run(
        id=id,
        definition=definition,
        status=status,
        owner=owner,
        rows=[row for _, row in rows],
        seqs=[seq for seq, _ in rows],
        stored=stored,
        idem=idem,
    )


def violations(
    wanted: Seen, deaths: Sequence[Seen], end: Seen, undoable: Iterable[str] = ()
) -> list[str]:
    """Return what is wrong.

    Args:
        wanted: What came of it when nobody died.
        deaths: At each death, in order.
        end: After one more process went on to the end.
        undoable: Steps of sagas that can be undone.
    """
    again = [*_repeated(deaths, end), *_made_again(deaths, end)]
    return [*_different(wanted, end), *again, *sound(end, undoable)]


def sound(end: Seen, undoable: Iterable[str] = ()) -> list[str]:
    """Return what is wrong with a store in which every run has ended, whatever happened before."""
    undos = frozenset(undoable)
    twice = [*_completed_twice(end), *_made_twice(end)]
    return [*twice, *_unsound(end), *_not_undone(end, undos), *_wrongly_fired(end)]


def _different(wanted: Seen, end: Seen) -> Iterator[str]:
    """Results, statuses, runs and what happened to each step are those of an undisturbed run."""
    yield from _gap("results", _results(wanted), _results(end))
    yield from _gap("rows", _happened(wanted), _happened(end))


def _gap(what: str, wanted: Counter[Any], found: Counter[Any]) -> Iterator[str]:
    if wanted != found:
        missing, extra = dict(wanted - found), dict(found - wanted)
        yield f"{what}: {missing} are missing, {extra} are too many"


def _results(seen: Seen) -> Counter[str]:
    return Counter(
        json.dumps([run.definition, run.status, run.stored.data, _error(run)], sort_keys=True)
        for run in seen.runs
    )


def _error(run: Run) -> Any:
    error = run.stored.error or {}
    return [error.get("type"), error.get("message")]


def _happened(seen: Seen) -> Counter[tuple[str, str, str | None]]:
    return sum((outline(run) for run in seen.runs), Counter[tuple[str, str, str | None]]())


def outline(run: Run) -> Counter[tuple[str, str, str | None]]:
    """Return how often what happened to each step; without what depends on chance."""
    return Counter((run.definition, row[1], row[3]) for row in run.rows if row[1] not in _VOLATILE)


def _repeated(deaths: Sequence[Seen], end: Seen) -> Iterator[str]:
    """In each life, a body ran once for each end in the journal, and once more if it was killed."""
    before = Seen()
    for number, after in enumerate([*deaths, end]):
        interrupted = number < len(deaths)
        ran, ended = after.effects - before.effects, after.ends() - before.ends()
        for body, times in ran.items():
            if times > ended[body] + interrupted:
                yield f"{body} ran again: {times} times in life {number}, for {ended[body]} ends"
        before = after


def _made_again(deaths: Sequence[Seen], end: Seen) -> Iterator[str]:
    """What was in the cache when a process died is taken from there ever after."""
    for number, death in enumerate(deaths):
        for step in death.kept:
            more = end.bodies[step] - death.bodies[step]
            if more:
                yield f"{step} ran {more} times after death {number}, when its result was kept"


def _made_twice(end: Seen) -> Iterator[str]:
    """A result is made once, however many want it at a time."""
    made = Counter(
        row[5]["cache"]["key"]
        for _, row in end.rows()
        if row[1] == "step_completed" and "cache" in (row[5] or {})
    )
    yield from (f"the result {key} was made {n} times" for key, n in made.items() if n != 1)


def _completed_twice(end: Seen) -> Iterator[str]:
    done = Counter(
        (run.id, str(row[2]), str(row[4]), _call(row))
        for run, row in end.rows()
        if row[1] == "step_completed"
    )
    yield from (f"{key} was completed {times} times" for key, times in done.items() if times != 1)


def _unsound(end: Seen) -> Iterator[str]:
    for run in end.runs:
        if run.seqs != list(range(len(run.seqs))):
            yield f"{run.definition} has the rows {run.seqs}"
        elif run.folded != run.stored:
            yield f"{run.definition} is {run.stored}, but its rows say {run.folded}"
        if run.status not in _FINAL or run.owner is not None or run.stored.pointers:
            yield f"{run.definition} is {run.status}, owned by {run.owner}: {run.stored.pointers}"
    yield from (f"{count} left in {name}" for name, count in end.left.items() if count)


def _not_undone(end: Seen, undoable: frozenset[str]) -> Iterator[str]:
    """What was done is undone once, the last first; what failed is undone before that."""
    for run in end.runs:
        did: list[Any] = []
        undid: list[Any] = []
        calls: list[str] = []
        uncalls: list[str] = []
        for _, kind, pointer, step, _, info, _ in run.rows:
            if kind == "step_completed" and step in undoable:
                did.append(pointer)
            elif kind == "step_compensated" and step in undoable:
                undid.append(pointer)
            elif info and "undoes" in info and kind == "step_completed":
                uncalls.append(info["undoes"])
            elif info and "call" in info and kind == "step_completed":
                calls.append(info["call"])
        if undid[len(undid) - len(did) :] != did[::-1] or len(undid) != len(set(undid)):
            yield f"{run.definition} did {did}, and undid {undid}"
        if uncalls != [call for call in calls[::-1] if call in uncalls]:
            yield f"{run.definition} called {calls}, and undid {uncalls}"


def _wrongly_fired(end: Seen) -> Iterator[str]:
    """Each time of a schedule has one run."""
    for id_, spec, state in end.schedules:
        times = range(spec["start"], spec["end"], spec["every"])
        fired = Counter(run.idem for run in end.runs if run.idem and id_ in run.idem)
        if fired != Counter(f"schedule:{id_}:{at}" for at in times):
            yield f"{id_} fired {dict(fired)} for the times {list(times)}"
        if state["skipped"] or state["missed"] or state["failed"]:
            yield f"{id_} lost times: {state}"
