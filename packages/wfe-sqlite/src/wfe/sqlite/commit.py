"""The write path: a batch of items as plain statements inside one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
import orjson

from wfe.core.providers import (
    Done,
    Fenced,
    Fire,
    Header,
    HeaderChange,
    Item,
    Message,
    Outcome,
)
from wfe.sqlite import activities, events, limits
from wfe.sqlite.checks import CONFLICT, LOOK, exists, needs_seen, problem
from wfe.sqlite.tx import Tx
from wfe.sqlite.writer import Stats

__all__ = ["BulkFailedError", "Commit"]

_FENCED: Final = Fenced()

_ALIVE: Final = "SELECT 1 FROM wfe_workers WHERE epoch = ? AND fenced IS NULL"
_START: Final = """
INSERT INTO wfe_instances (n, id, d, definition, version, name, reference, status, wake, owner,
    parent, parent_pointer, parent_id, root_id, idem, priority, dedup, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_ROW: Final = "INSERT INTO wfe_journal (instance, seq, at, event) VALUES (?, ?, ?, ?)"
_ROW_IF_ALIVE: Final = """
INSERT INTO wfe_journal (instance, seq, at, event) SELECT ?, ?, ?, ?
WHERE EXISTS (SELECT 1 FROM wfe_workers WHERE epoch = ? AND fenced IS NULL)"""
_FOLD: Final = """
INSERT OR REPLACE INTO wfe_snapshots (n, seq, at, state, data) VALUES (?, ?, ?, ?, ?)"""
_CONSUME: Final = "DELETE FROM wfe_inbox WHERE i = ? AND instance = ?"

# Owner, poke and base are checked by the change itself: fewer rows changed than meant is a failure.
_IF_OWNED: Final = """
WHERE n = ? AND owner = ? AND (? OR poke = ?)
    AND (SELECT coalesce(max(seq), -1) FROM wfe_journal WHERE instance = wfe_instances.n) = ?"""
_REVIVE: Final = "UPDATE wfe_instances SET takeovers = 0, faults = 0" + _IF_OWNED  # noqa: S608 - constants
_FINISH: Final = (
    """
UPDATE wfe_instances SET status = ?, error = ?, completed_at = ?, retain_until = ?,
    owner = NULL, wake = NULL, takeovers = takeovers * ?, faults = faults * ?"""
    + _IF_OWNED
)
# Whether anybody has activities or places, and who of some: these end with their runs.
_ANY_WANTS: Final = """
SELECT EXISTS (SELECT 1 FROM wfe_activities) OR EXISTS (SELECT 1 FROM wfe_holders)
    OR EXISTS (SELECT 1 FROM wfe_waiters)"""
_WHO_WANTS: Final = """
SELECT value FROM json_each(?)
WHERE EXISTS (SELECT 1 FROM wfe_activities WHERE instance = value)
    OR EXISTS (SELECT 1 FROM wfe_holders WHERE instance = value)
    OR EXISTS (SELECT 1 FROM wfe_waiters WHERE instance = value)"""

_HEAD: Final = """
UPDATE wfe_instances SET status = ?, error = ?, completed_at = ?, retain_until = ?,
    owner = iif(?, NULL, owner), wake = iif(?, ?, wake) WHERE n = ? RETURNING d"""
_RESET: Final = "UPDATE wfe_instances SET takeovers = 0, faults = 0 WHERE n = ?"
_CHILDREN: Final = "SELECT n FROM wfe_instances WHERE parent = ? AND completed_at IS NULL"
_FIRE: Final = """
UPDATE wfe_schedules SET next_at = ?, state = ?, rev = rev + 1, last_n = iif(?, ?, last_n)
WHERE id = ?"""


class BulkFailedError(Exception):
    """Some item of a batch cannot be applied: roll back and take them one by one."""


@attrs.define
class _Plan:
    """Parameters for the statements of :meth:`Commit.bulk`.

    Attributes:
        ordered: What an item does may make another of the batch stale: then order matters.
        wanting: Numbers of runs that have activities or places.
    """

    ordered: bool = False
    wanting: frozenset[int] = frozenset()
    starts: list[tuple[Any, ...]] = attrs.field(factory=list[tuple[Any, ...]])
    revivals: list[tuple[Any, ...]] = attrs.field(factory=list[tuple[Any, ...]])
    finals: list[tuple[Any, ...]] = attrs.field(factory=list[tuple[Any, ...]])
    rows: list[tuple[Any, ...]] = attrs.field(factory=list[tuple[Any, ...]])
    folds: list[tuple[Any, ...]] = attrs.field(factory=list[tuple[Any, ...]])
    consumed: list[tuple[Any, ...]] = attrs.field(factory=list[tuple[Any, ...]])
    waits: list[tuple[int]] = attrs.field(factory=list[tuple[int]])


class Commit:
    """One batch inside a write transaction.

    Args:
        db: Its connection, in a transaction.
        epoch: The worker that owns the items; ``None``: a client.
        now: The store's time, µs.
        stats: Where to count.
    """

    def __init__(self, db: sqlite3.Connection, epoch: int | None, now: int, stats: Stats) -> None:
        self._tx = Tx(db, epoch, now, stats)
        self._epoch = epoch
        self._now = now
        self._stats = stats
        self._rows = 0

    def bulk(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Apply all: the usual kinds many at a time, the others in their order.

        Raises:
            BulkFailedError: Of the many at a time, one cannot be applied; use :meth:`one_by_one`.
        """
        if len(items) == 1 and items[0].only_rows and self._append(items[0]):
            self._count(items)
            return [Done(self._now)]
        if self._fenced():
            return [_FENCED] * len(items)
        plain = Done(self._now)
        outcomes: list[Outcome] = [plain] * len(items)
        alone: list[int] = []
        wanting = self._wanting(items)
        plan = _Plan(bool(wanting) or any(map(_sends, items)), wanting)
        for k, item in enumerate(items):
            if not self._plan(item, plan):
                alone.append(k)
            elif item.new is not None and _is_due(item.new, self._now):
                outcomes[k] = Done(self._now, ((item.n, item.new.d, None),))
        try:
            self._execute(plan)
            for k in alone:
                outcomes[k] = self._one(items[k])
        except sqlite3.IntegrityError as error:
            raise BulkFailedError from error
        self._count(items)
        return outcomes

    def one_by_one(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Apply all in their order, each on its own: who cannot be applied leaves no trace."""
        if self._fenced():
            return [_FENCED] * len(items)
        outcomes: list[Outcome] = []
        for item in items:
            self._run("SAVEPOINT item", ())
            try:
                outcomes.append(self._one(item))
            except sqlite3.IntegrityError:
                self._tx.woken = {}
                self._run("ROLLBACK TO item", ())
                outcomes.append(CONFLICT)
            self._run("RELEASE item", ())
        self._count(items)
        return outcomes

    def _count(self, items: Sequence[Item]) -> None:
        self._stats.items += len(items)
        self._stats.rows += self._rows

    def _fenced(self) -> bool:
        if self._epoch is None:
            return False
        return self._run(_ALIVE, (self._epoch,)).fetchone() is None

    def _append(self, item: Item) -> bool:
        """Append the rows of an item that has nothing else; ``False``: the worker is fenced.

        Whether it may, and whether the base is right, the statement and its index say.
        """
        seq = item.base
        for event in item.rows:
            seq += 1
            args = (item.n, seq, self._now, event, self._epoch)
            try:
                if self._run(_ROW_IF_ALIVE, args).rowcount != 1:
                    return False
            except sqlite3.IntegrityError as error:
                raise BulkFailedError from error
            self._rows += 1
        return True

    # -- many at a time -----------------------------------------------------------------------

    def _wanting(self, items: Sequence[Item]) -> frozenset[int]:
        """Return which of the runs that end now have activities or places."""
        ending = [item.n for item in items if item.header is not None and item.header.final]
        if not ending or not self._run(_ANY_WANTS, ()).fetchone()[0]:
            return frozenset()
        numbers = orjson.dumps(ending).decode()
        return frozenset([n for (n,) in self._run(_WHO_WANTS, (numbers,)).fetchall()])

    def _plan(self, item: Item, plan: _Plan) -> bool:
        """Add *item* to *plan*; ``False``: it must be applied alone."""
        header, new = item.header, item.new
        if _is_rare(item) or item.n in plan.wanting:
            return False
        if not item.n or (header is not None and (new is not None or not header.final)):
            return False
        if new is not None:
            if item.alive or item.consumed or new.owner not in (None, self._epoch):
                return False
            plan.starts.append(_start_row(new, self._now))
        elif header is None and not item.alive:
            # Mere rows: whether the base is right, their unique index says.
            if item.fold or item.consumed or not item.rows or self._epoch is None:
                return False
        elif plan.ordered:
            return False
        elif header is None:
            plan.revivals.append(self._owned(item))
        else:
            keep = 0 if item.alive else 1
            plan.finals.append((*self._head_row(header), keep, keep, *self._owned(item)))
            plan.waits.append((item.n,))
        self._plan_rows(item, plan)
        return True

    def _plan_rows(self, item: Item, plan: _Plan) -> None:
        n, seq, now = item.n, item.base, self._now
        for event in item.rows:
            seq += 1
            plan.rows.append((n, seq, now, event))
        if item.fold is not None:
            plan.folds.append((n, item.fold.seq, now, item.fold.state, item.fold.data))
        if item.consumed:
            plan.consumed.extend([(i, n) for i in item.consumed])

    def _owned(self, item: Item) -> tuple[Any, ...]:
        return (item.n, self._epoch, not needs_seen(item), item.seen, item.base)

    def _head_row(self, header: HeaderChange) -> tuple[Any, ...]:
        if header.final:
            return (header.status, header.error, self._now, header.retain_until)
        return (header.status, header.error, None, None)

    def _execute(self, plan: _Plan) -> None:
        self._many(_START, plan.starts)
        # Before the rows: these look at the last row.
        self._many(_REVIVE, plan.revivals, exact=True)
        self._many(_FINISH, plan.finals, exact=True)
        self._many(_ROW, plan.rows)
        self._rows += len(plan.rows)
        self._many(_FOLD, plan.folds)
        self._many(_CONSUME, plan.consumed)
        self._many(events.END_WAITS, plan.waits)

    def _many(self, sql: str, rows: Sequence[tuple[Any, ...]], *, exact: bool = False) -> None:
        if not rows:
            return
        cursor = self._tx.db.executemany(sql, rows)
        self._stats.statements += len(rows)
        if exact and cursor.rowcount != len(rows):
            raise BulkFailedError

    # -- one item -----------------------------------------------------------------------------

    def _run(self, sql: str, args: tuple[Any, ...]) -> sqlite3.Cursor:
        return self._tx.run(sql, args)

    def _one(self, item: Item) -> Outcome:
        found = problem(self._tx, item)
        if found is not None:
            return found
        self._tx.woken = {}
        self._apply(item)
        return self._tx.done()

    def _apply(self, item: Item) -> None:
        tx = self._tx
        if item.new is not None:
            self._start(item.new)
        if item.n:
            self._change(item)
        self._start_children(item.starts)
        # A run that ends with this item waits for nothing.
        over = item.header is not None and item.header.final
        for subscription in () if over else item.subscribe:
            events.subscribe(tx, item.n, subscription)
        for event in item.publish:
            events.publish(tx, event)
        for message in item.messages:
            for target in self._targets(item.n, message):
                tx.deliver(target, message)
        if item.n:
            self._want(item, over)
        if item.fire is not None:
            self._fire(item.fire, item.n)

    def _start(self, new: Header) -> None:
        self._run(_START, _start_row(new, self._now))
        if _is_due(new, self._now):
            self._tx.wake(new.n, new.d)

    def _start_children(self, starts: Sequence[Item]) -> None:
        """Start those that do not exist yet; the others are left as they are."""
        for child in starts:
            if child.new is not None and exists(self._tx, child.new) is None:
                self._apply(child)

    def _change(self, item: Item) -> None:
        plan = _Plan()
        self._plan_rows(item, plan)
        if item.header is not None:
            self._head(item, item.header)
        if item.alive:
            self._run(_RESET, (item.n,))
        for pointer in item.unsubscribe:
            events.unsubscribe(self._tx, item.n, pointer)
        self._execute(plan)

    def _head(self, item: Item, header: HeaderChange) -> None:
        gives_up = header.final or header.release
        wake = None if header.final else header.wake
        if gives_up and not header.final:
            (_, poke, _, _) = self._run(LOOK, (item.n,)).fetchone()
            wake = header.wake if poke == item.seen else self._now
        args = (*self._head_row(header), gives_up, gives_up, wake, item.n)
        ((d,),) = self._run(_HEAD, args).fetchall()
        if header.final:
            self._run(events.END_WAITS, (item.n,))
        elif gives_up and wake is not None and wake <= self._now:
            self._tx.wake(item.n, d)

    def _targets(self, n: int, message: Message) -> Iterable[int]:
        if message.target is not None:
            return (message.target,)
        return [child for (child,) in self._run(_CHILDREN, (n,)).fetchall()]

    def _want(self, item: Item, over: bool) -> None:
        """Apply what the item says about activities and limits, after all else of it."""
        tx, n = self._tx, item.n
        if over:
            activities.end(tx, n)
            limits.end(tx, n)
            return
        for pointer in item.end_activities:
            activities.drop(tx, n, pointer)
        for activity in item.activities:
            activities.offer(tx, n, activity)
        if item.unhold:
            limits.unhold(tx, n, item.unhold)
        for hold in item.hold:
            limits.hold(tx, n, hold)

    def _fire(self, fire: Fire, n: int) -> None:
        self._run(_FIRE, (fire.next_at, fire.state, fire.started, n, fire.id))


def _start_row(new: Header, now: int) -> tuple[Any, ...]:
    return (
        new.n,
        new.id,
        new.d,
        new.definition,
        new.version,
        new.name,
        new.reference,
        new.status,
        new.wake,
        new.owner,
        new.parent,
        new.parent_pointer,
        new.parent_id,
        new.root_id,
        new.idem,
        new.priority,
        new.dedup,
        now,
    )


def _is_due(new: Header, now: int) -> bool:
    return new.owner is None and new.wake is not None and new.wake <= now


def _sends(item: Item) -> bool:
    """Whether applying *item* may put messages into inboxes."""
    return bool(item.messages or item.publish or item.subscribe or item.hold or item.unhold)


def _is_rare(item: Item) -> bool:
    """Whether there is something in *item* that is applied alone."""
    return bool(
        item.starts
        or item.subscribe
        or item.unsubscribe
        or item.messages
        or item.publish
        or item.activities
        or item.end_activities
        or item.hold
        or item.unhold
        or item.fire
    )
