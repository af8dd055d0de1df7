"""The write path: a batch of items as plain statements inside one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

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
from wfe.sqlite.plans import Plan, fold_row, is_due, is_rare, journal_rows, sends, start_row
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
# Whether the worker is alive, and anybody waits for an event, or has activities or places: these
# end with their runs.
_BEFORE_ENDS: Final = """
SELECT EXISTS (SELECT 1 FROM wfe_workers WHERE epoch = ? AND fenced IS NULL),
    EXISTS (SELECT 1 FROM wfe_subscriptions),
    EXISTS (SELECT 1 FROM wfe_activities) OR EXISTS (SELECT 1 FROM wfe_holders)
    OR EXISTS (SELECT 1 FROM wfe_waiters)"""
# Who of some has activities or places.
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
        self._wants = True  # until it is known that nobody has activities or places

    def bulk(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Apply all: the usual kinds many at a time, the others in their order.

        Raises:
            BulkFailedError: Of the many at a time, one cannot be applied; use :meth:`one_by_one`.
        """
        if len(items) == 1 and items[0].only_rows and self._append(items[0]):
            self._count(items)
            return [Done(self._now)]
        plan = self._begin(items)
        if plan is None:
            return [_FENCED] * len(items)
        plain = Done(self._now)
        outcomes: list[Outcome] = [plain] * len(items)
        alone: list[int] = []
        for k, item in enumerate(items):
            if not self._plan(item, plan):
                alone.append(k)
            elif item.new is not None and is_due(item.new, self._now):
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

    def _begin(self, items: Sequence[Item]) -> Plan | None:
        """Return an empty plan for *items*; ``None``: the worker is fenced."""
        ordered = any(map(sends, items))
        ending = [item.n for item in items if item.header is not None and item.header.final]
        if not ending or self._epoch is None:
            return None if self._fenced() else Plan(ordered=ordered)
        alive, waits, wants = self._run(_BEFORE_ENDS, (self._epoch,)).fetchone()
        if not alive:
            return None
        self._wants = bool(wants)
        if not wants:
            return Plan(ordered=ordered, waits=waits)
        numbers = orjson.dumps(ending).decode()
        wanting = frozenset([n for (n,) in self._run(_WHO_WANTS, (numbers,)).fetchall()])
        return Plan(ordered=ordered or bool(wanting), waits=waits, wanting=wanting)

    def _plan(self, item: Item, plan: Plan) -> bool:
        """Add *item* to *plan*; ``False``: it must be applied alone."""
        header, new = item.header, item.new
        if is_rare(item) or item.n in plan.wanting:
            return False
        if not item.n or (header is not None and (new is not None or not header.final)):
            return False
        if new is not None:
            if item.alive or item.consumed or new.owner not in (None, self._epoch):
                return False
            plan.starts.append(new)
        elif header is None and not item.alive:
            # Mere rows: whether the base is right, their unique index says.
            if item.fold or item.consumed or not item.rows or self._epoch is None:
                return False
        elif plan.ordered:
            return False
        elif header is None:
            plan.revivals.append(item)
        else:
            plan.finals.append(item)
        plan.written.append(item)
        return True

    def _owned(self, item: Item) -> tuple[Any, ...]:
        return (item.n, self._epoch, not needs_seen(item), item.seen, item.base)

    def _head_row(self, header: HeaderChange) -> tuple[Any, ...]:
        if header.final:
            return (header.status, header.error, self._now, header.retain_until)
        return (header.status, header.error, None, None)

    def _final_row(self, item: Item, header: HeaderChange) -> tuple[Any, ...]:
        keep = 0 if item.alive else 1
        return (*self._head_row(header), keep, keep, *self._owned(item))

    def _execute(self, plan: Plan) -> None:
        if plan.starts:
            rows = (start_row(new, self._now) for new in plan.starts)
            self._many(_START, len(plan.starts), rows)
        # Before the rows: these look at the last row.
        if plan.revivals:
            rows = (self._owned(item) for item in plan.revivals)
            self._many(_REVIVE, len(plan.revivals), rows, exact=True)
        if plan.finals:
            rows = (self._final_row(i, i.header) for i in plan.finals if i.header is not None)
            self._many(_FINISH, len(plan.finals), rows, exact=True)
        self._write(plan.written)
        if plan.finals and plan.waits:
            self._many(events.END_WAITS, len(plan.finals), ((item.n,) for item in plan.finals))

    def _write(self, items: Sequence[Item]) -> None:
        """Write the rows and snapshots of *items*, and delete what they have consumed."""
        count = sum([len(item.rows) for item in items])
        if count:
            self._many(_ROW, count, journal_rows(items, self._now))
            self._rows += count
        folds = [item for item in items if item.fold is not None]
        if folds:
            rows = (fold_row(i.n, i.fold, self._now) for i in folds if i.fold is not None)
            self._many(_FOLD, len(folds), rows)
        consumed = [(i, item.n) for item in items for i in item.consumed if i]
        if consumed:
            self._many(_CONSUME, len(consumed), consumed)

    def _many(
        self, sql: str, count: int, rows: Iterable[tuple[Any, ...]], *, exact: bool = False
    ) -> None:
        """Run a statement for *count* sets of parameters.

        They are made when they are needed: many that live at once are what starts the garbage
        collector.
        """
        cursor = self._tx.db.executemany(sql, rows)
        self._stats.statements += count
        if exact and cursor.rowcount != count:
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
        self._run(_START, start_row(new, self._now))
        if is_due(new, self._now):
            self._tx.wake(new.n, new.d)

    def _start_children(self, starts: Sequence[Item]) -> None:
        """Start those that do not exist yet; the others are left as they are."""
        for child in starts:
            if child.new is not None and exists(self._tx, child.new) is None:
                self._apply(child)

    def _change(self, item: Item) -> None:
        if item.header is not None:
            self._head(item, item.header)
        if item.alive:
            self._run(_RESET, (item.n,))
        over = item.header is not None and item.header.final  # that ends all waits
        for pointer in () if over else item.unsubscribe:
            events.unsubscribe(self._tx, item.n, pointer)
        self._write([item])

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
            if self._wants:
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
