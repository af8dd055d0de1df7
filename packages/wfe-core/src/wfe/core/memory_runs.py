"""The instances of a memory store, and how an item changes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from wfe.core.memory_activities import MemoryActivities
from wfe.core.memory_due import MemoryDue
from wfe.core.memory_limits import MemoryLimits
from wfe.core.memory_order import MemoryOrder
from wfe.core.memory_run import MemoryCommit, MemoryRun
from wfe.core.memory_schedules import MemorySchedules
from wfe.core.memory_topics import MemoryTopics
from wfe.core.models import WorkflowStatus
from wfe.core.providers import (
    Conflict,
    Done,
    Header,
    HeaderChange,
    InboxRow,
    Item,
    Message,
    Outcome,
    Refused,
    Stale,
    activity_payload,
)

if TYPE_CHECKING:
    from wfe.core.memory_search import MemoryFeed

__all__ = ["MemoryRun", "MemoryRuns"]

_STALE: Final = Stale()
_CONFLICT: Final = Conflict()


class MemoryRuns:
    """Instances with their indexes; every change of them is here."""

    def __init__(self) -> None:
        self.by_n: dict[int, MemoryRun] = {}
        self.by_id: dict[str, MemoryRun] = {}
        self.order: MemoryOrder = MemoryOrder(self.by_n)
        self.by_name: dict[str, MemoryRun] = {}
        self.owned: defaultdict[int, dict[int, MemoryRun]] = defaultdict(dict)
        self.due: MemoryDue = MemoryDue(self.by_n)
        self.topics: MemoryTopics = MemoryTopics(self.deliver)
        self.limits: MemoryLimits = MemoryLimits(self.deliver)
        self.activities: MemoryActivities = MemoryActivities()
        self.schedules: MemorySchedules = MemorySchedules()
        # From the first search on.
        self.feed: MemoryFeed | None = None
        self._by_idem: dict[tuple[str, str], MemoryRun] = {}
        # Those that are not final.
        self._by_dedup: dict[tuple[str, str], MemoryRun] = {}
        self._children: defaultdict[int, list[MemoryRun]] = defaultdict(list)
        self._last_i = 0

    def commit(self, epoch: int | None, items: Sequence[Item], now: int) -> list[Outcome]:
        """Apply *items* of a worker that is alive (or of a client); one outcome each."""
        plain = Done(now)
        commit: MemoryCommit | None = None
        outcomes: list[Outcome] = []
        for item in items:
            if item.only_rows:
                outcomes.append(self._append(item, epoch, plain))
                continue
            problem = self._problem(item, epoch)
            if problem is not None:
                outcomes.append(problem)
            else:
                commit = commit or MemoryCommit(now, epoch)
                self._apply(item, commit)
                outcomes.append(commit.done())
        return outcomes

    def _append(self, item: Item, epoch: int | None, done: Done) -> Outcome:
        """Apply an item that has nothing but rows, as most do."""
        problem = self._owned_problem(item, epoch)
        if problem is None:
            at = done.at
            self.by_n[item.n].rows.extend([(at, text) for text in item.rows])
        return done if problem is None else problem

    def own(self, run: MemoryRun, epoch: int) -> None:
        run.owner = epoch
        self.owned[epoch][run.new.n] = run

    def release(self, run: MemoryRun, wake: int | None) -> None:
        if run.owner is not None:
            del self.owned[run.owner][run.new.n]
        run.owner = None
        run.wake = wake
        if wake is not None:
            self.due.add(run, wake)

    def suspend(self, run: MemoryRun, error: str) -> None:
        """Suspend a run that nobody can go on with, and release it."""
        if self._rival(run.new) not in (None, run):
            # It was final, and another has its deduplication text by now.
            run.new = attrs.evolve(run.new, dedup=None)
        run.status, run.error = WorkflowStatus.SUSPENDED.value, error
        self._complete(run, None, None)
        self.release(run, None)
        self._note(run)

    def finish_activity(self, token: str, result: str, now: int) -> Outcome:
        """Delete a claimed activity and tell its run."""
        row = self.activities.held(token, now)
        if row is None:
            return Refused("missing")
        self.activities.drop(row.n, row.pointer)
        commit = MemoryCommit(now, None)
        payload = activity_payload(row.pointer, row.attempt, result)
        message = Message(target=row.n, kind="activity_done", payload=payload, actor=row.worker)
        self.deliver(self.by_n[row.n], message, commit)
        return commit.done()

    def family(self, n: int) -> list[MemoryRun]:
        """Return a run and all runs below it, each after its parent; empty when there is none."""
        found = [self.by_n[n]] if n in self.by_n else []
        for run in found:
            found.extend(self._children.get(run.new.n, ()))
        return found

    def forget(self, run: MemoryRun) -> None:
        """Delete a final run that nobody owns, as if it had never been."""
        new = run.new
        del self.by_n[new.n], self.by_id[new.id]
        if self.feed is not None:
            self.feed.forget(run)
        if new.name is not None:
            del self.by_name[new.name]
        if new.idem is not None:
            del self._by_idem[new.definition, new.idem]
        self._children.pop(new.n, None)
        if new.parent is not None and new.parent in self._children:
            self._children[new.parent].remove(run)

    # -- what an item may be refused for ------------------------------------------------------

    def _problem(self, item: Item, epoch: int | None) -> Outcome | None:
        """Return why *item* cannot be applied; looks at everything before anything is written."""
        problem: Outcome | None = None
        if item.fire is not None:
            problem = self.schedules.check(item.fire)
        if problem is None and item.new is not None:
            problem = self._new_problem(item.new, epoch)
        elif problem is None and item.n:
            problem = self._owned_problem(item, epoch)
        for message in item.messages:
            if problem is None and message.strict and message.target is not None:
                problem = self._target_problem(message.target, message.allow_final)
        if problem is None and item.starts:
            problem = self._starts_problem(item.starts, epoch)
        return problem

    def _owned_problem(self, item: Item, epoch: int | None) -> Outcome | None:
        run = self.by_n.get(item.n)
        if run is None or run.owner != epoch or epoch is None:
            return _CONFLICT
        if len(run.rows) - 1 != item.base:
            return _CONFLICT
        if run.poke != item.seen and _needs_seen(item):
            return _STALE
        if run.completed_at is None or item.header is None or item.header.final:
            return None
        return self._revival_problem(run)

    def _revival_problem(self, run: MemoryRun) -> Outcome | None:
        """Return why a final run cannot go on: another has its deduplication text by now."""
        rival = self._rival(run.new)
        return None if rival in (None, run) else Refused("dedup", rival.new.id)

    def _rival(self, new: Header) -> MemoryRun | None:
        """Return the run with this definition's deduplication text that is not final."""
        return None if new.dedup is None else self._by_dedup.get((new.definition, new.dedup))

    def _new_problem(self, new: Header, epoch: int | None) -> Outcome | None:
        if new.idem is not None:
            same = self._by_idem.get((new.definition, new.idem))
            if same is not None:
                return Refused("idem", same.new.id)
        if (same := self._rival(new)) is not None:
            return Refused("dedup", same.new.id)
        if new.name is not None and (same := self.by_name.get(new.name)) is not None:
            return Refused("name", same.new.id)
        if new.n in self.by_n or new.id in self.by_id or new.owner not in (None, epoch):
            return _CONFLICT
        return None

    def _starts_problem(self, starts: Sequence[Item], epoch: int | None) -> Outcome | None:
        names: set[str] = set()
        for child in starts:
            if child.new is None:
                return _CONFLICT
            problem = self._new_problem(child.new, epoch)
            if isinstance(problem, Refused) and problem.why in {"idem", "dedup"}:
                continue  # the child exists: it is left as it is
            if problem is not None:
                return problem
            if child.new.name in names:
                return Refused("name")
            if child.new.name is not None:
                names.add(child.new.name)
        return None

    def _target_problem(self, n: int, allow_final: bool) -> Outcome | None:
        target = self.by_n.get(n)
        if target is None:
            return Refused("missing")
        if target.completed_at is None:
            return None
        return self._revival_problem(target) if allow_final else Refused("final", target.status)

    # -- applying it ----------------------------------------------------------------------------

    def _apply(self, item: Item, commit: MemoryCommit) -> None:
        if item.new is not None:
            self._start(item, item.new, commit)
        if item.n:
            self._change(self.by_n[item.n], item, commit)
        for child in item.starts:
            if not self._is_there(child.new):
                self._apply(child, commit)
        # A run that ends with this item waits for nothing.
        over = item.header is not None and item.header.final
        for subscription in () if over else item.subscribe:
            self.topics.subscribe(self.by_n[item.n], subscription, commit)
        self._send(item, commit)
        if item.n:
            self._want(self.by_n[item.n], item, over, commit)
        if item.fire is not None:
            self.schedules.apply(item.fire, item.n)

    def _is_there(self, new: Header | None) -> bool:
        """Whether a child is left as it is, or is none."""
        if new is None or (new.idem and (new.definition, new.idem) in self._by_idem):
            return True
        return self._rival(new) is not None

    def _start(self, item: Item, new: Header, commit: MemoryCommit) -> None:
        run = MemoryRun(new=new, created_at=commit.now, status=new.status, wake=new.wake)
        self.by_n[item.n] = self.by_id[new.id] = run
        if new.name is not None:
            self.by_name[new.name] = run
        if new.idem is not None:
            self._by_idem[new.definition, new.idem] = run
        if new.dedup is not None:
            self._by_dedup[new.definition, new.dedup] = run
        if new.parent is not None:
            self._children[new.parent].append(run)
        if new.owner is not None:
            self.own(run, new.owner)
        elif new.wake is not None:
            self.due.add(run, new.wake)
            if new.wake <= commit.now:
                commit.woken[new.n] = run
        self._note(run)

    def _note(self, run: MemoryRun) -> None:
        if self.feed is not None:
            self.feed.note(run)

    def _change(self, run: MemoryRun, item: Item, commit: MemoryCommit) -> None:
        run.rows.extend([(commit.now, text) for text in item.rows])
        if item.fold is not None:
            run.snapshot = item.fold
        if item.alive:
            run.takeovers = run.faults = 0
        for i in item.consumed:
            _, dedupe = run.inbox.pop(i, (None, None))
            if dedupe is not None:
                run.dedupes.discard(dedupe)
        for pointer in item.unsubscribe:
            self.topics.unsubscribe(run, pointer)
        if item.header is not None:
            self._head(run, item.header, item.seen, commit)

    def _head(self, run: MemoryRun, header: HeaderChange, seen: int, commit: MemoryCommit) -> None:
        before = (run.status, run.error, run.completed_at)
        if header.final or header.release or before != (header.status, header.error, None):
            self._note(run)
        run.status, run.error = header.status, header.error
        if header.final:
            self._complete(run, commit.now, header.retain_until)
            self.topics.end(run)
            self.release(run, None)
            return
        self._complete(run, None, None)
        if header.release:
            wake = header.wake if run.poke == seen else commit.now
            self.release(run, wake)
            if wake is not None and wake <= commit.now:
                commit.woken[run.new.n] = run

    def _complete(self, run: MemoryRun, at: int | None, retain_until: int | None) -> None:
        """Note when a run was over, or that it is not."""
        run.completed_at, run.retain_until = at, retain_until
        new = run.new
        if new.dedup is None:
            return
        if at is None:
            self._by_dedup[new.definition, new.dedup] = run
        elif self._rival(new) is run:
            del self._by_dedup[new.definition, new.dedup]

    def _want(self, run: MemoryRun, item: Item, over: bool, commit: MemoryCommit) -> None:
        """Apply what the item says about activities and limits."""
        if over:
            self.activities.end(run.new.n)
            self.limits.end(run, commit)
            return
        for pointer in item.end_activities:
            self.activities.drop(run.new.n, pointer)
        for activity in item.activities:
            self.activities.offer(run.new.n, activity)
        if item.unhold:
            self.limits.unhold(run, item.unhold, commit)
        for hold in item.hold:
            self.limits.hold(run, hold, commit)

    def _send(self, item: Item, commit: MemoryCommit) -> None:
        for event in item.publish:
            self.topics.publish(event, commit)
        for message in item.messages:
            for target in self._targets(item.n, message):
                self.deliver(target, message, commit)

    # -- messages -------------------------------------------------------------------------------

    def _targets(self, n: int, message: Message) -> Iterable[MemoryRun]:
        if message.target is None:
            return [child for child in self._children[n] if child.completed_at is None]
        target = self.by_n.get(message.target)
        if target is None:
            return ()
        keeps = target.completed_at is None or (message.strict and message.allow_final)
        return (target,) if keeps else ()

    def deliver(self, run: MemoryRun, message: Message, commit: MemoryCommit) -> bool:
        """Put a message into an inbox and wake its run; ``False``: it was there already."""
        if message.dedupe is not None:
            if message.dedupe in run.dedupes:
                return False
            run.dedupes.add(message.dedupe)
        self._last_i += 1
        row = InboxRow(
            i=self._last_i,
            n=run.new.n,
            kind=message.kind,
            at=commit.now,
            payload=message.payload,
            actor=message.actor,
            reason=message.reason,
        )
        run.inbox[row.i] = (row, message.dedupe)
        run.poke += 1
        if run.owner is None and (run.wake is None or run.wake > commit.now):
            self.release(run, commit.now)
        commit.woken[run.new.n] = run
        return True


def _needs_seen(item: Item) -> bool:
    if item.header is None:
        return bool(item.consumed)
    return not item.header.release or item.header.final
