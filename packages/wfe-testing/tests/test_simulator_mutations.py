"""Bugs planted in rules, engine and store: the simulator must find each, and say what broke."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import pytest

from wfe.core import memory_runs
from wfe.core.engine import Engine, live
from wfe.core.engine.committer import Committer
from wfe.core.engine.delivering import Delivering
from wfe.core.engine.live import LiveRun
from wfe.core.engine.seeking import Seeker
from wfe.core.errors import ProviderError
from wfe.core.memory import MemoryStore
from wfe.core.memory_limits import MemoryLimits
from wfe.core.memory_runs import MemoryRuns
from wfe.core.memory_topics import MemoryTopics
from wfe.core.models import PointerStatus
from wfe.core.providers import Done
from wfe.core.rules import closing, flow, leaving, state
from wfe.core.rules.draft import Draft
from wfe.testing.simulator import Law, simulate

SEEDS = 300  # as many as one run in CI

Plant: TypeAlias = Callable[[pytest.MonkeyPatch], None]
FOUND: list[tuple[str, int, str]] = []


def wrapped(cls: Any, name: str, around: Callable[..., Any]) -> Plant:
    """Plant *around*, which gets the original first, in place of a function."""
    original = getattr(cls, name)

    def planted(*args: Any, **options: Any) -> Any:
        return around(original, *args, **options)

    return lambda patch: patch.setattr(cls, name, planted)


def any_owner_will_do(original: Any, self: Any, item: Any, epoch: int | None) -> Any:
    run = self.by_n.get(item.n)
    if run is None:
        return original(self, item, epoch)
    # Nor where it stands: a host that knows an earlier state is caught by that otherwise.
    anywhere = attrs.evolve(item, base=len(run.rows) - 1, seen=run.poke)
    return original(self, anywhere, run.owner)


def fence_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def alive(self: Any, epoch: int) -> bool:
        return epoch in self._workers

    patch.setattr(MemoryStore, "_alive", alive)


def no(*_: Any) -> bool:
    return False


def undo_forward(patch: pytest.MonkeyPatch) -> None:
    def last(log: Any, entry: Any) -> Any:
        return (entry, None) if log is None else (log[0], last(log[1], entry))

    def push(self: Any, frame: int, pointer: Any) -> None:
        entry = state.Undo(self.seq, pointer.id, pointer.step, self.rounds(pointer))
        self._log()[frame] = last(self.log(frame), entry)
        self._ops.append(["u", frame, entry.pointer, entry.step, entry.rounds])

    def folded(run: Any, op: list[Any]) -> None:
        _, frame, pointer, step, rounds = op
        entry = state.Undo(run.seq, pointer, step, rounds)
        run.logs[frame] = last(run.logs.get(frame), entry)

    patch.setattr(Draft, "push", push)
    patch.setattr(state, "_FOLD", {**vars(state)["_FOLD"], "u": folded})


def ensure_skipped_on_cancel(patch: pytest.MonkeyPatch) -> None:
    hooks = vars(leaving)["_HOOKS"]
    patch.setattr(leaving, "_HOOKS", {**hooks, "cancelled": (), "failed": ()})


def one_too_many(original: Any, self: Any, run: Any, hold: Any, commit: Any) -> None:
    original(self, run, attrs.evolve(hold, limit=hold.limit + 1), commit)


async def takes_over_the_living(original: Any, self: Any, limit: int) -> int:
    released = 0
    for epoch, runs in list(self._runs.owned.items()):
        worker = self._workers.get(epoch)
        if worker is not None and worker.beat < self.clock.now() - 3_000_000:
            for run in list(runs.values()):
                self._runs.release(run, self.clock.now())
                released += 1
    return released + int(await original(self, limit))


async def takeover_without_fence(original: Any, self: Any) -> int:
    return int(await original(self)) + int(await self._store.orphans(100))


def takeover(patch: pytest.MonkeyPatch) -> None:
    from wfe.core.engine.membership import Takeover  # noqa: PLC0415 - only here

    wrapped(MemoryStore, "orphans", takes_over_the_living)(patch)
    wrapped(Takeover, "look", takeover_without_fence)(patch)


def drops_a_pointer(original: Any, run_state: Any) -> Any:
    stored = original(run_state)
    return {**stored, "pointers": stored["pointers"][:-1]}


def a_second_early(original: Any, self: Any, pointer: Any) -> bool:
    wake = None if pointer.wake is None else pointer.wake - 1_000_000
    return bool(original(self, pointer.turned(pointer.status, pointer.attempt, wake)))


def retry_without_count(original: Any, self: Any, pointer: Any, status: str, **more: Any) -> Any:
    if status == PointerStatus.SLEEPING:
        more.pop("attempt", None)
    return original(self, pointer, status, **more)


def doubled_join(original: Any, draft: Any, pointer: Any, *rest: Any) -> None:
    done = pointer.extra.get("done", 0)
    original(draft, draft.extra(pointer, done=done + 1), *rest)


def kept_subscription(original: Any, self: Any, run: Any, subscription: Any, *rest: Any) -> None:
    original(self, run, subscription, *rest)
    run.subscriptions[subscription.pointer] = subscription
    topic = (subscription.name, subscription.key)
    self._waiting[topic][run.new.n, subscription.pointer] = (run, subscription)


def kept_message(original: Any, self: Any, run: Any, item: Any, commit: Any) -> None:
    original(self, run, attrs.evolve(item, consumed=()), commit)


def release_without_poke(original: Any, self: Any, run: Any, head: Any, seen: int, c: Any) -> None:
    original(self, run, head, run.poke if head.release else seen, c)


def two_for_a_key(original: Any, self: Any, new: Any, epoch: int | None) -> Any:
    return original(self, attrs.evolve(new, idem=None), epoch)


def no_answer_to_parent(original: Any, self: Any, decision: Any) -> Any:
    return decision.messages


def told_too_early(original: Any, self: Any) -> Any:
    item = original(self)
    if item is not None and self._decision is not None:
        self.owner.report.happened(self, self._decision.rows, 0)
    return item


async def yes_to_all(original: Any, self: Any, item: Any, **more: Any) -> Any:
    try:
        return await original(self, item, **more)
    except ProviderError:
        return Done(0)


async def nothing(original: Any, self: Any, *rest: Any, **more: Any) -> None:
    return None


def ends_nobody(original: Any, self: Any, *rest: Any) -> None:
    return None


def _not_seen(original: Any, item: Any) -> bool:
    return bool(item.consumed != (0,) and original(item))


def kept_wait(original: Any, self: Any, run: Any, item: Any) -> Any:
    taken = original(self, run, item)
    return taken if taken is None else attrs.evolve(taken, unsubscribe=())


def not_published(original: Any, self: Any, run: Any, item: Any) -> Any:
    taken = original(self, run, item)
    return taken if taken is None else attrs.evolve(taken, publish=())


def kept_input(original: Any, self: Any, run: Any, why: Any) -> None:
    if run.in_flight:
        run.again()
    self.changed(run)


def always_direct(original: Any, self: Any, item: Any, *, direct: bool = False) -> Any:
    return original(self, item, direct=direct or bool(item.publish))


def never_stopped(original: Any, self: Any, key: int) -> None:
    branch = self.branches.get(key)
    if branch is None or branch.ctx is not None:
        original(self, key)


PLANTED: dict[str, tuple[Plant, set[Law]]] = {
    "store: epoch of the writer is not checked": (
        wrapped(MemoryRuns, "_owned_problem", any_owner_will_do),
        {Law.OWNER, Law.GAPLESS},
    ),
    "store: a fence is forgotten": (fence_is_forgotten, {Law.OWNER}),
    "store: unread messages are not checked": (
        wrapped(memory_runs, "_needs_seen", no),
        {Law.LATE, Law.WEDGED, Law.WAKES, Law.SETTLES},
    ),
    "store: a consumed message stays": (
        wrapped(MemoryRuns, "_change", kept_message),
        {Law.WAKES, Law.LIMITS},
    ),
    "store: a matched subscription stays": (
        wrapped(MemoryTopics, "_match", kept_subscription),
        {Law.WAKES},
    ),
    "store: a release ignores what came meanwhile": (
        wrapped(MemoryRuns, "_head", release_without_poke),
        {Law.WEDGED, Law.SETTLES},
    ),
    "store: a limit grants one too many": (
        wrapped(MemoryLimits, "hold", one_too_many),
        {Law.LIMITS, Law.WAKES},
    ),
    "store: who takes a place ends nobody": (
        wrapped(MemoryLimits, "_supersede", ends_nobody),
        {Law.WAKES},
    ),
    "store: a key starts two runs": (
        wrapped(MemoryRuns, "_new_problem", two_for_a_key),
        {Law.ONCE},
    ),
    "engine: takeover without a fence": (takeover, {Law.OWNER}),
    "engine: a snapshot drops a pointer": (
        wrapped(live, "state_to_json", drops_a_pointer),
        {Law.FOLDS},
    ),
    "engine: a sleeping body begins early": (
        wrapped(LiveRun, "_runnable", a_second_early),
        {Law.TIMERS},
    ),
    "engine: a cancelled pointer that did not begin is forgotten": (
        wrapped(LiveRun, "_cancel", never_stopped),
        {Law.SETTLES, Law.WEDGED, Law.COMPLETED},
    ),
    "engine: a child does not tell its parent": (
        wrapped(LiveRun, "_messages", no_answer_to_parent),
        {Law.WEDGED, Law.SETTLES},
    ),
    "engine: observers are told before the commit": (
        wrapped(LiveRun, "prepare", told_too_early),
        {Law.LIFECYCLE},
    ),
    "engine: a caller is told yes when the store failed": (
        wrapped(Committer, "submit", yes_to_all),
        {Law.KEPT, Law.INTENTS, Law.LIFECYCLE},
    ),
    "engine: what a lost claim got is not looked for": (
        wrapped(Seeker, "_recall", nothing),
        {Law.SETTLES, Law.WEDGED},
    ),
    "engine: a lost hint is never made good": (
        wrapped(Seeker, "_catch_up", nothing),
        {Law.SETTLES},
    ),
    "engine: a run in doubt is not looked at": (
        wrapped(Engine, "doubt", no),
        {Law.WEDGED, Law.ORPHANS},
    ),
    "store: what a run takes at once does not need an empty inbox": (
        wrapped(memory_runs, "_needs_seen", _not_seen),
        {Law.WAKES},
    ),
    "engine: the wait for an event that is taken at once stays": (
        wrapped(Delivering, "taken", kept_wait),
        {Law.WAKES},
    ),
    "engine: an event that is taken at once is not published": (
        wrapped(Delivering, "taken", not_published),
        {Law.KEPT, Law.WAKES},
    ),
    "engine: what was taken in vain is taken again": (
        wrapped(Committer, "_unsettled", kept_input),
        {Law.WAKES, Law.INTENTS, Law.INTERNAL},
    ),
    "engine: an event that was published before is taken at once": (
        wrapped(Committer, "submit", always_direct),
        {Law.WAKES},
    ),
    "rules: a join counts twice": (wrapped(flow, "_parallel_over", doubled_join), {Law.ORDER}),
    "rules: a cancelled branch is not awaited": (
        wrapped(closing, "may_run", no),
        {Law.SCOPES, Law.ENSURE, Law.INTERNAL},
    ),
    "rules: a retry forgets its number": (
        wrapped(Draft, "turn", retry_without_count),
        {Law.ATTEMPTS},
    ),
    "rules: undo runs forward": (undo_forward, {Law.UNDO}),
    "rules: ensure is skipped when a step is cancelled or fails": (
        ensure_skipped_on_cancel,
        {Law.ENSURE},
    ),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, laws = PLANTED[bug]
    plant(monkeypatch)

    failure = next(
        (report.failures[0] for report in map(simulate, range(SEEDS)) if report.failures), None
    )

    assert failure is not None, f"{SEEDS} seeds did not find it"
    assert failure.law in laws, str(failure)
    FOUND.append((bug, failure.seed, failure.law))


def test_table_of_planted_bugs(capsys: pytest.CaptureFixture[str]) -> None:
    width = max(map(len, PLANTED))

    with capsys.disabled():
        print()  # noqa: T201
        for bug, seed, law in FOUND:
            print(f"{bug:{width}}  seed {seed:3}  {law}")  # noqa: T201 - shown in CI
    assert len(PLANTED) >= 10
