"""What must hold when all faults are healed and everything is at rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from faults.client import Ledger
from faults.reading import Effect, Run, Seen
from faults.workload import BOOKING, LIMIT, UNDOABLE

__all__ = ["LAWS", "Judged", "judge"]

_FINAL: Final = frozenset({"complete", "failed", "terminated"})
_ENDS: Final = frozenset({"workflow_completed", "workflow_failed", "workflow_terminated"})
_GOOD: Final = {"doomed": "terminated", "asleep": "terminated"}
_TOLERANCE: Final = 20_000
"""µs by which the clock of an effect and that of a commit may differ."""
# What depends on who came first, on when a host died, or on what clients asked.
_VOLATILE: Final = frozenset(
    {
        "step_interrupted",
        "step_waiting",
        "places_granted",
        "signal_received",
        "step_sleeping",
        "message_ignored",
        "workflow_suspended",
        "workflow_resumed",
    }
)
_PERHAPS: Final = "perhaps"
"""The step whose time-out races with its event."""


@attrs.frozen(kw_only=True)
class Judged:
    """What the laws look at.

    Attributes:
        wanted: By definition and number: how often what happens to each step when all goes well.
        stopped: Processes of hosts that were stopped politely: what they had to give up they hand
            back, and begin no history with it.
        paused: When the schedules were paused, µs.
    """

    seen: Seen
    ledgers: list[Ledger]
    wanted: Mapping[tuple[str, str], Counter[tuple[str, str]]]
    stopped: frozenset[int] = frozenset()
    paused: int = 0

    def started(self) -> Iterator[dict[str, Any]]:
        """Return the starts that were acknowledged."""
        for ledger in self.ledgers:
            yield from (fact for (what, _), fact in ledger.done.items() if what == "start")


def judge(judged: Judged) -> dict[str, list[str]]:
    """Return what is wrong, by law."""
    return {name: list(law(judged)) for name, law in LAWS.items()}


def _kept(judged: Judged) -> Iterator[str]:
    by_id = {run.id: run for run in judged.seen.runs}
    for fact in judged.started():
        run = by_id.get(fact["got"])
        if run is None:
            yield f"start {fact['name']} was acknowledged as {fact['got']}, which is not there"
        elif run.definition != fact["kind"] or run.idem != f"key:{fact['name']}":
            yield f"start {fact['name']} was acknowledged as {run.id}, which is {run.idem}"
    for ledger in judged.ledgers:
        for (what, name), fact in ledger.done.items():
            if what == "event" and fact["got"] not in judged.seen.events:
                yield f"event {name} was acknowledged, and is not there"


def _settled(judged: Judged) -> Iterator[str]:
    for run in judged.seen.runs:
        good = _GOOD.get(run.definition, "complete")
        if run.status != good:
            last = [(row.kind, row.pointer, row.step) for row in run.rows[-4:]]
            live = run.folded.pointers
            yield (
                f"{run.definition} {run.id} (n {run.n}) is {run.status}, owner {run.owner}, wake"
                f" {run.wake}, takeovers {run.takeovers}, faults {run.faults}; last {last}; {live}"
            )


def _keys(judged: Judged) -> Iterator[str]:
    keys = Counter((run.definition, run.idem) for run in judged.seen.runs if run.idem is not None)
    yield from (f"{count} runs have the key {key}" for key, count in keys.items() if count != 1)


def _intents(judged: Judged) -> Iterator[str]:
    named = Counter(who for run in judged.seen.runs for who in _asked(run))
    asked: dict[tuple[str, str], bool] = {}
    for fact in (fact for ledger in judged.ledgers for fact in ledger.facts):
        if "actor" in fact:
            who = (fact["run"], fact["actor"])
            asked[who] = asked.get(who, False) or (fact["sure"] and not fact["refused"])
    for who, sure in asked.items():
        if named[who] > 1 or (sure and not named[who]):
            told = " and was told yes" if sure else ""
            yield f"{who[1]} asked {who[0]}{told}: {named[who]} rows"


def _asked(run: Run) -> Iterator[tuple[str, str]]:
    """Yield (run, who asked) of each row that names somebody."""
    stopping: set[str] = set()
    for row in run.rows:
        actor = row.info.get("actor")
        if actor is None or actor in stopping:
            continue  # a run that stops first and then ends has two rows about one
        if row.kind == "workflow_stopping":
            stopping.add(actor)
        yield run.id, actor


def _gapless(judged: Judged) -> Iterator[str]:
    for run in judged.seen.runs:
        seqs = [row.seq for row in run.rows]
        if seqs != list(range(len(seqs))):
            yield f"{run.definition} {run.id} has the rows {seqs}"
        elif run.folded != run.stored:
            yield f"{run.definition} {run.id} is {run.stored}, but its rows say {run.folded}"


def _final(judged: Judged) -> Iterator[str]:
    for run in judged.seen.runs:
        ends = [row.seq for row in run.rows if row.kind in _ENDS]
        late = [row.kind for row in run.rows[ends[-1] + 1 :]] if ends else []
        # What was asked of it until the end is answered by rows behind it.
        if run.status in _FINAL and (len(ends) != 1 or set(late) - {"message_ignored"}):
            yield f"{run.definition} {run.id} ended by the rows {ends}; behind them {late}"


def _once(judged: Judged) -> Iterator[str]:
    for run in judged.seen.runs:
        done = Counter(
            (run.key(row), row.attempt) for row in run.rows if row.kind == "step_completed"
        )
        yield from (
            f"{key} was completed {times} times" for key, times in done.items() if times > 1
        )


def _complete(judged: Judged) -> Iterator[str]:
    """What happened in a run is what happens when nothing goes wrong."""
    numbers = {fact["got"]: fact["number"] for fact in judged.started()}
    for run in judged.seen.runs:
        key = (run.definition, variant(run.definition, numbers.get(run.id)))
        wanted = judged.wanted.get(key)
        if wanted is None or run.status not in _FINAL:
            continue
        found = outline(run)
        if found != wanted:
            missing, extra = dict(wanted - found), dict(found - wanted)
            yield f"{run.definition} {run.id}: {missing} are missing, {extra} are too many"


def variant(definition: str, number: int | None) -> str:
    """Return in which way a run of a definition goes."""
    match definition, number:
        case "order", int():
            return str(number % 4)
        case "trip", int():
            return str(number % 3 == 1)
        case "order" | "trip", None:
            return "unknown"
        case _:
            return ""


def outline(run: Run) -> Counter[tuple[str, str]]:
    """Return how often what happened to each step; without what depends on chance."""
    found: Counter[tuple[str, str]] = Counter()
    for row in run.rows:
        tried = row.kind == "step_retrying" and row.step == BOOKING  # the server was away
        if row.kind not in _VOLATILE and not tried:
            kind = "step_decided" if row.step == _PERHAPS else row.kind
            found[kind, str(row.call or row.step)] += 1
    return found


def _effects(judged: Judged) -> Iterator[str]:
    """A body ran once for each attempt, and once more for each time that it was interrupted."""
    ran: dict[tuple[str, int], list[Effect]] = defaultdict(list)
    for effect in _bodies(judged):
        ran[effect.key, effect.attempt].append(effect)
    interrupted = Counter(
        f"{run.id}:{row.pointer}"
        for run in judged.seen.runs
        for row in run.rows
        if row.kind == "step_interrupted"
    )
    for (key, attempt), began in ran.items():
        if began[0].step == BOOKING:
            continue  # when the store fails at its commit, it is rolled back and begins again
        taken = interrupted[":".join(key.split(":")[:2])]
        handed_back = sum(each.pid in judged.stopped for each in began)
        if len(began) > 1 + taken + handed_back:
            yield (
                f"{began[0].step} ({key}) attempt {attempt} ran {len(began)} times after {taken}"
                f" interruptions and {handed_back} stops of its host: {began}"
            )


def _books(judged: Judged) -> Iterator[str]:
    """What a transaction changed is there once if its step is done, and else not at all."""
    done: Counter[str] = Counter()
    for run in judged.seen.runs:
        for row in run.rows:
            called = row.kind == "step_completed" and row.call and row.step == BOOKING
            if row.kind == "step_committed" or called:
                done[run.key(row)] += 1
    for key in done | judged.seen.books:
        if done[key] != judged.seen.books[key]:
            yield f"{key} is committed {done[key]} times and booked {judged.seen.books[key]} times"


def _bodies(judged: Judged) -> Iterator[Effect]:
    return (effect for effect in judged.seen.effects if effect.what == "begin")


def _never_again(judged: Judged) -> Iterator[str]:
    """No body begins after the row that says that it is done."""
    done: dict[str, int] = {}
    for run in judged.seen.runs:
        for row in run.rows:
            if row.kind == "step_completed":
                done[run.key(row)] = row.at
    for effect in _bodies(judged):
        at = done.get(effect.key)
        if at is not None and effect.at > at + _TOLERANCE:
            late = f"{(effect.at - at) / 1000:.0f} ms after it was done"
            yield f"{effect.step} ({effect.key}) began {late}, pid {effect.pid}"


def _really(judged: Judged) -> Iterator[str]:
    """What is said to be done was done."""
    ran = {effect.key for effect in _bodies(judged)}
    steps = {effect.step for effect in _bodies(judged)}
    for run in judged.seen.runs:
        for row in run.rows:
            has_body = row.step in steps and (run.definition != "errand" or row.call is not None)
            if row.kind == "step_completed" and has_body and run.key(row) not in ran:
                yield f"{row.step} ({run.key(row)}) is complete, and never ran"


def _events(judged: Judged) -> Iterator[str]:
    """Each wait was ended by one event, which is there; each event woke each wait once."""
    for run in judged.seen.runs:
        woken = [row for row in run.rows if "event" in row.info and "id" in row.info]
        for row in woken:
            if row.info["id"] not in judged.seen.events:
                yield f"{run.key(row)} was woken by {row.info['id']}, which is not there"
        waits = Counter((run.key(row), row.call) for row in woken)
        yield from (f"{key} was woken {n} times" for key, n in waits.items() if n > 1)
        both = Counter((row.info["id"]) for row in woken)
        yield from (f"{id} woke {run.id} {n} times" for id, n in both.items() if n > 1)


def _children(judged: Judged) -> Iterator[str]:
    """Each wait for a child has one, and no child is without."""
    by_id = {run.id: run for run in judged.seen.runs}
    told: Counter[str] = Counter()
    for run in judged.seen.runs:
        for row in run.rows:
            child = row.info.get("child")
            if row.kind != "step_waiting" or child is None:
                continue
            told[child] += 1
            found = by_id.get(child)
            if found is None or found.parent != run.n:
                yield f"{run.key(row)} waits for {child}, which is {found and found.parent}'s"
    for run in judged.seen.runs:
        if run.parent is not None and told[run.id] != 1:
            yield f"{run.definition} {run.id} is a child, {told[run.id]} rows tell of it"


def _schedules(judged: Judged) -> Iterator[str]:
    """Each time of a schedule has its run."""
    for id, (spec, state) in judged.seen.schedules.items():
        fired = Counter(run.idem for run in judged.seen.runs if run.idem and f":{id}:" in run.idem)
        last = max((int(idem.rsplit(":", 1)[1]) for idem in fired), default=0)
        times = range(spec["start"], max(judged.paused - spec["every"], last + 1), spec["every"])
        wanted = Counter(f"schedule:{id}:{at}" for at in times)
        if fired != wanted:
            missing, extra = dict(wanted - fired), dict(fired - wanted)
            yield f"{id} did not fire for {missing}, and too often for {extra}; {spec} {state}"
        if state["skipped"] or state["missed"] or state["failed"]:
            yield f"{id} lost times: {state}"


def _limits(judged: Judged) -> Iterator[str]:
    """Never did more bodies hold a place than may: from their last begin to their completion."""
    begins: dict[str, list[int]] = defaultdict(list)
    for effect in _bodies(judged):
        if effect.step == "item":
            begins[effect.key].append(effect.at)
    changes: list[tuple[int, int]] = []
    for run in judged.seen.runs:
        for row in run.rows:
            if row.kind == "step_completed" and row.step == "item":
                before = [at for at in begins[run.key(row)] if at <= row.at]
                if before:
                    changes += [(max(before), 1), (row.at, -1)]
    holding = 0
    for at, change in sorted(changes, key=lambda each: (each[0], each[1])):
        holding += change
        if holding > LIMIT:
            yield f"{holding} held a place at {at}, {LIMIT} may"


def _sagas(judged: Judged) -> Iterator[str]:
    """What was done is undone once, the last first, or all of it stays."""
    for run in judged.seen.runs:
        did: list[Any] = []
        undid: list[Any] = []
        calls: list[Any] = []
        uncalls: list[Any] = []
        failed = False
        for row in run.rows:
            if row.kind == "step_completed" and row.step in UNDOABLE:
                did.append(row.pointer)
            elif row.kind == "step_compensated" and row.step in UNDOABLE:
                undid.append(row.pointer)
            elif row.kind == "step_completed" and "undoes" in row.info:
                uncalls.append(row.info["undoes"])
            elif row.kind == "step_completed" and row.call is not None:
                calls.append(row.call)
            failed = failed or (row.kind == "step_failed" and row.step == "pay")
        if run.status in _FINAL and undid != (did[::-1] if failed else []):
            yield f"{run.definition} {run.id} did {did}, and undid {undid}"
        if uncalls != [call for call in calls[::-1] if call in uncalls]:
            yield f"{run.definition} {run.id} called {calls}, and undid {uncalls}"


def _timers(judged: Judged) -> Iterator[str]:
    """Nothing slept less than it should."""
    for run in judged.seen.runs:
        until: dict[str, int] = {}
        for row in run.rows:
            key = run.key(row)
            if row.kind == "step_sleeping":
                until[key] = row.info["wake"]
            elif row.kind == "step_completed" and row.at + _TOLERANCE < until.get(key, 0):
                early = (until[key] - row.at) / 1000
                yield f"{key} went on {early:.0f} ms before its time"


def _left(judged: Judged) -> Iterator[str]:
    """Nothing is left behind."""
    yield from (f"{count} left in {name}" for name, count in judged.seen.left.items() if count)
    for run in judged.seen.runs:
        if run.owner is not None:
            worker = judged.seen.workers.get(run.owner)
            yield f"{run.definition} {run.id} is {run.status}, owned by {run.owner} ({worker})"


LAWS: Final[dict[str, Callable[[Judged], Iterator[str]]]] = {
    "what was acknowledged is there": _kept,
    "every run came to its end": _settled,
    "one run for each key": _keys,
    "an accepted intent has one row": _intents,
    "history is gap-free and folds to the state": _gapless,
    "one final row, the last": _final,
    "nothing is completed twice": _once,
    "nothing is missing, nothing too many": _complete,
    "bodies ran once, and again only when interrupted": _effects,
    "a completed step never begins again": _never_again,
    "what is complete was done": _really,
    "a transaction and its step are one": _books,
    "each event woke each wait once": _events,
    "each child once": _children,
    "each time of a schedule once": _schedules,
    "limits hold": _limits,
    "sagas undo what was done, the last first": _sagas,
    "no timer is early": _timers,
    "nothing is left behind": _left,
}
