"""The instances of a memory store: what they are, and how an item changes them."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final

import attrs

from wfe.core.providers import (
    Conflict,
    Done,
    Event,
    Header,
    HeaderChange,
    InboxRow,
    Item,
    Message,
    Outcome,
    Refused,
    Row,
    Snapshot,
    Stale,
    StoredInstance,
    Subscription,
    event_payload,
)

__all__ = ["MemoryRun", "MemoryRuns"]

_STALE: Final = Stale()
_CONFLICT: Final = Conflict()


@attrs.define(eq=False, kw_only=True)
class MemoryRun:
    """An instance; *rows* by seq, *inbox* by i with the dedupe text of each message."""

    new: Header
    created_at: int
    status: str
    wake: int | None
    owner: int | None = None
    poke: int = 0
    takeovers: int = 0
    faults: int = 0
    error: str | None = None
    completed_at: int | None = None
    retain_until: int | None = None
    snapshot: Snapshot | None = None
    rows: list[tuple[int, str]] = attrs.field(factory=list[tuple[int, str]])
    inbox: dict[int, tuple[InboxRow, str | None]] = attrs.field(
        factory=dict[int, tuple[InboxRow, str | None]]
    )
    dedupes: set[str] = attrs.field(factory=set[str])
    subscriptions: dict[int, Subscription] = attrs.field(factory=dict[int, Subscription])

    def stored(self) -> StoredInstance:
        new = self.new
        return StoredInstance(
            n=new.n,
            id=new.id,
            d=new.d,
            definition=new.definition,
            version=new.version,
            name=new.name,
            reference=new.reference,
            status=self.status,
            wake=self.wake,
            owner=self.owner,
            poke=self.poke,
            takeovers=self.takeovers,
            faults=self.faults,
            parent=new.parent,
            parent_pointer=new.parent_pointer,
            parent_id=new.parent_id,
            root_id=new.root_id,
            idem=new.idem,
            error=self.error,
            created_at=self.created_at,
            completed_at=self.completed_at,
        )

    def messages(self) -> tuple[InboxRow, ...]:
        return tuple(row for row, _ in self.inbox.values())

    def after(self, seq: int, limit: int | None = None) -> tuple[Row, ...]:
        first = seq + 1
        last = None if limit is None else first + limit
        return tuple(Row(first + k, at, text) for k, (at, text) in enumerate(self.rows[first:last]))


@attrs.define(eq=False)
class _Commit:
    """One commit: its time, its worker, and whom the current item woke."""

    now: int
    epoch: int | None
    woken: dict[int, MemoryRun] = attrs.field(factory=dict[int, MemoryRun])

    def done(self) -> Done:
        woken = tuple((n, run.new.d, run.owner) for n, run in self.woken.items())
        self.woken = {}
        return Done(self.now, woken)


class MemoryRuns:
    """Instances with their indexes, subscriptions and events; every change of them is here."""

    def __init__(self) -> None:
        self.by_n: dict[int, MemoryRun] = {}
        self.by_id: dict[str, MemoryRun] = {}
        self.by_name: dict[str, MemoryRun] = {}
        self.owned: defaultdict[int, dict[int, MemoryRun]] = defaultdict(dict)
        self._by_idem: dict[tuple[str, str], MemoryRun] = {}
        self._children: defaultdict[int, list[MemoryRun]] = defaultdict(list)
        # (wake, n) of unowned runs by definition; entries that became untrue are dropped late.
        self._due: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        self._topics: defaultdict[tuple[str, str], dict[tuple[int, int], Subscription]] = (
            defaultdict(dict)
        )
        self._events: defaultdict[tuple[str, str], list[tuple[int, int, Event]]] = defaultdict(list)
        self._event_ids: set[str] = set()
        self._last_i = self._last_e = 0

    def commit(self, epoch: int | None, items: Sequence[Item], now: int) -> list[Outcome]:
        """Apply *items* of a worker that is alive (or of a client); one outcome each."""
        commit = _Commit(now, epoch)
        plain = Done(now)
        outcomes: list[Outcome] = []
        for item in items:
            problem = self._problem(item, epoch)
            if problem is not None:
                outcomes.append(problem)
            elif _only_rows(item):
                self.by_n[item.n].rows.extend([(now, text) for text in item.rows])
                outcomes.append(plain)
            else:
                self._apply(item, commit)
                outcomes.append(commit.done())
        return outcomes

    def own(self, run: MemoryRun, epoch: int) -> None:
        run.owner = epoch
        self.owned[epoch][run.new.n] = run

    def _problem(self, item: Item, epoch: int | None) -> Outcome | None:
        """Return why *item* cannot be applied; looks at everything before anything is written."""
        if item.new is not None:
            problem = self._new_problem(item.new, epoch)
            if problem is not None:
                return problem
        elif item.n:
            run = self.by_n.get(item.n)
            if run is None or run.owner != epoch or epoch is None:
                return _CONFLICT
            if len(run.rows) - 1 != item.base:
                return _CONFLICT
            if run.poke != item.seen and _needs_seen(item):
                return _STALE
        for message in item.messages:
            if message.strict and message.target is not None:
                refused = self._target_problem(message.target, message.allow_final)
                if refused is not None:
                    return refused
        return self._starts_problem(item.starts, epoch) if item.starts else None

    def _new_problem(self, new: Header, epoch: int | None) -> Outcome | None:
        if new.idem is not None:
            same = self._by_idem.get((new.definition, new.idem))
            if same is not None:
                return Refused("idem", same.new.id)
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
            if isinstance(problem, Refused) and problem.why == "idem":
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
        if target.completed_at is not None and not allow_final:
            return Refused("final", target.status)
        return None

    def _apply(self, item: Item, commit: _Commit) -> None:
        if item.new is not None:
            self._start(item, item.new, commit)
        if item.n:
            self._change(self.by_n[item.n], item, commit)
        for child in item.starts:
            new = child.new
            if new is None or (new.idem and (new.definition, new.idem) in self._by_idem):
                continue
            self._apply(child, commit)
        # A run that ends with this item waits for nothing.
        over = item.header is not None and item.header.final
        for subscription in () if over else item.subscribe:
            self._subscribe(self.by_n[item.n], subscription, commit)
        for event in item.publish:
            self._publish(event, commit)
        for message in item.messages:
            for target in self._targets(item.n, message):
                self._deliver(target, message, commit)

    def _start(self, item: Item, new: Header, commit: _Commit) -> None:
        run = MemoryRun(new=new, created_at=commit.now, status=new.status, wake=new.wake)
        self.by_n[item.n] = self.by_id[new.id] = run
        if new.name is not None:
            self.by_name[new.name] = run
        if new.idem is not None:
            self._by_idem[new.definition, new.idem] = run
        if new.parent is not None:
            self._children[new.parent].append(run)
        if new.owner is not None:
            self.own(run, new.owner)
        elif new.wake is not None:
            heapq.heappush(self._due[new.d], (new.wake, new.n))
            if new.wake <= commit.now:
                commit.woken[new.n] = run

    def _change(self, run: MemoryRun, item: Item, commit: _Commit) -> None:
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
            self._unsubscribe(run, pointer)
        if item.header is not None:
            self._head(run, item.header, item.seen, commit)

    def _head(self, run: MemoryRun, header: HeaderChange, seen: int, commit: _Commit) -> None:
        run.status, run.error = header.status, header.error
        run.completed_at = commit.now if header.final else None
        run.retain_until = header.retain_until if header.final else None
        if header.final:
            for pointer in tuple(run.subscriptions):
                self._unsubscribe(run, pointer)
            self.release(run, None)
        elif header.release:
            wake = header.wake if run.poke == seen else commit.now
            self.release(run, wake)
            if wake is not None and wake <= commit.now:
                commit.woken[run.new.n] = run

    def release(self, run: MemoryRun, wake: int | None) -> None:
        if run.owner is not None:
            del self.owned[run.owner][run.new.n]
        run.owner = None
        run.wake = wake
        if wake is not None:
            heapq.heappush(self._due[run.new.d], (wake, run.new.n))

    def _targets(self, n: int, message: Message) -> Iterable[MemoryRun]:
        if message.target is None:
            return [child for child in self._children[n] if child.completed_at is None]
        target = self.by_n.get(message.target)
        if target is None:
            return ()
        keeps = target.completed_at is None or (message.strict and message.allow_final)
        return (target,) if keeps else ()

    def _deliver(self, run: MemoryRun, message: Message, commit: _Commit) -> None:
        if message.dedupe is not None:
            if message.dedupe in run.dedupes:
                return
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

    def _unsubscribe(self, run: MemoryRun, pointer: int) -> None:
        subscription = run.subscriptions.pop(pointer, None)
        if subscription is not None:
            topic = (subscription.name, subscription.key)
            waiting = self._topics[topic]
            del waiting[run.new.n, pointer]
            if not waiting:
                del self._topics[topic]

    def _subscribe(self, run: MemoryRun, subscription: Subscription, commit: _Commit) -> None:
        self._unsubscribe(run, subscription.pointer)
        topic = (subscription.name, subscription.key)
        run.subscriptions[subscription.pointer] = subscription
        self._topics[topic][run.new.n, subscription.pointer] = subscription
        events = self._events.get(topic, [])
        after = (subscription.after_at, subscription.after_e + 1)
        first = max(after, (subscription.as_of, 0))
        k = bisect_left(events, first, key=lambda stored: stored[:2])
        if k < len(events):
            self._match(run, subscription, events[k], commit)

    def _publish(self, event: Event, commit: _Commit) -> None:
        if event.id in self._event_ids:
            return
        self._event_ids.add(event.id)
        self._last_e += 1
        at = commit.now if event.at is None else event.at
        stored = (at, self._last_e, event)
        topic = (event.name, event.key)
        insort(self._events[topic], stored, key=lambda other: other[:2])
        waiting = self._topics.get(topic, {})
        for (n, _), subscription in sorted(waiting.items(), key=itemgetter(0)):
            after = (subscription.after_at, subscription.after_e)
            if subscription.as_of <= at and after < stored[:2]:
                self._match(self.by_n[n], subscription, stored, commit)

    def _match(
        self,
        run: MemoryRun,
        subscription: Subscription,
        stored: tuple[int, int, Event],
        commit: _Commit,
    ) -> None:
        at, e, event = stored
        pointer = subscription.pointer
        self._unsubscribe(run, pointer)
        payload = event_payload(pointer, e, at, event)
        message = Message(
            target=run.new.n, kind="event", payload=payload, dedupe=f"event:{pointer}:{e}"
        )
        self._deliver(run, message, commit)

    def earliest(self, definitions: Sequence[int], now: int, limit: int) -> list[MemoryRun]:
        found: dict[int, MemoryRun] = {}
        while len(found) < limit:
            heads = [(head, d) for d in definitions if (head := self.head(d)) is not None]
            if not heads:
                break
            (wake, n), d = min(heads)
            if wake > now:
                break
            heapq.heappop(self._due[d])
            found[n] = self.by_n[n]
        return list(found.values())

    def head(self, d: int) -> tuple[int, int] | None:
        """Return the earliest true entry of a definition's heap, dropping untrue ones above it."""
        heap = self._due.get(d)
        while heap:
            wake, n = heap[0]
            run = self.by_n[n]
            if run.owner is None and run.wake == wake:
                return heap[0]
            heapq.heappop(heap)
        return None


def _only_rows(item: Item) -> bool:
    return item.n != 0 and not (
        item.header
        or item.new
        or item.fold
        or item.consumed
        or item.subscribe
        or item.unsubscribe
        or item.messages
        or item.publish
        or item.starts
        or item.alive
    )


def _needs_seen(item: Item) -> bool:
    if item.header is None:
        return bool(item.consumed)
    return not item.header.release or item.header.final
