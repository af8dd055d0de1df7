"""The write path: a batch of items as plain statements inside one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from wfe.core.providers import (
    Conflict,
    Done,
    Event,
    Fenced,
    Header,
    HeaderChange,
    Item,
    Message,
    Outcome,
    Refused,
    Stale,
    Subscription,
    event_payload,
)
from wfe.sqlite.writer import Stats

__all__ = ["BulkFailedError", "Commit"]

_FENCED: Final = Fenced()
_STALE: Final = Stale()
_CONFLICT: Final = Conflict()

_ALIVE: Final = "SELECT 1 FROM wfe_workers WHERE epoch = ? AND fenced IS NULL"
_START: Final = """
INSERT INTO wfe_instances (n, id, d, definition, version, name, reference, status, wake, owner,
    parent, parent_pointer, parent_id, root_id, idem, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_ROW: Final = "INSERT INTO wfe_journal (instance, seq, at, event) VALUES (?, ?, ?, ?)"
_FOLD: Final = """
INSERT OR REPLACE INTO wfe_snapshots (n, seq, at, state, data) VALUES (?, ?, ?, ?, ?)"""
_CONSUME: Final = "DELETE FROM wfe_inbox WHERE i = ? AND instance = ?"
_END_WAITS: Final = "DELETE FROM wfe_subscriptions WHERE instance = ?"
_END_WAIT: Final = "DELETE FROM wfe_subscriptions WHERE instance = ? AND pointer = ?"

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

_LOOK: Final = """
SELECT owner, poke, (SELECT coalesce(max(seq), -1) FROM wfe_journal WHERE instance = i.n)
FROM wfe_instances i WHERE n = ?"""
_HEAD: Final = """
UPDATE wfe_instances SET status = ?, error = ?, completed_at = ?, retain_until = ?,
    owner = iif(?, NULL, owner), wake = iif(?, ?, wake) WHERE n = ? RETURNING d"""
_RESET: Final = "UPDATE wfe_instances SET takeovers = 0, faults = 0 WHERE n = ?"
_BY_IDEM: Final = "SELECT id FROM wfe_instances WHERE definition = ? AND idem = ?"
_BY_NAME: Final = "SELECT id FROM wfe_instances WHERE name = ?"
_TARGET: Final = "SELECT status, completed_at FROM wfe_instances WHERE n = ?"
_CHILDREN: Final = "SELECT n FROM wfe_instances WHERE parent = ? AND completed_at IS NULL"
_MESSAGE: Final = """
INSERT INTO wfe_inbox (instance, kind, dedupe, at, actor, reason, payload)
SELECT n, ?, ?, ?, ?, ?, ? FROM wfe_instances WHERE n = ? AND (completed_at IS NULL OR ?)
ON CONFLICT DO NOTHING"""
_POKE: Final = """
UPDATE wfe_instances SET poke = poke + 1,
    wake = CASE WHEN owner IS NULL THEN min(coalesce(wake, ?), ?) ELSE wake END
WHERE n = ? RETURNING d, owner"""
_EVENT: Final = """
INSERT INTO wfe_events (id, name, key, at, payload) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING RETURNING e"""
# The deletion of the row is the one-time use of the subscription.
_MATCH: Final = """
DELETE FROM wfe_subscriptions
WHERE name = ? AND key = ? AND as_of <= ? AND (?, ?) > (after_at, after_e)
RETURNING instance, pointer"""
_EARLIEST: Final = """
SELECT e, at, id, payload FROM wfe_events
WHERE name = ? AND key = ? AND (at, e) >= (?, ?) ORDER BY at, e LIMIT 1"""
_SUBSCRIBE: Final = """
INSERT OR REPLACE INTO wfe_subscriptions (instance, pointer, name, key, as_of, after_at, after_e)
VALUES (?, ?, ?, ?, ?, ?, ?)"""


class BulkFailedError(Exception):
    """Some item of a batch cannot be applied: roll back and take them one by one."""


@attrs.define
class _Plan:
    """Parameters for the statements of :meth:`Commit.bulk`."""

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
    """

    def __init__(self, db: sqlite3.Connection, epoch: int | None, now: int, stats: Stats) -> None:
        self._db = db
        self._epoch = epoch
        self._now = now
        self._stats = stats
        self._rows = 0
        self._woken: dict[int, tuple[int, int, int | None]] = {}

    def bulk(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Apply all: the usual kinds many at a time, the others in their order.

        Raises:
            BulkFailedError: Of the many at a time, one cannot be applied; use :meth:`one_by_one`.
        """
        if self._fenced():
            return [_FENCED] * len(items)
        plain = Done(self._now)
        outcomes: list[Outcome] = [plain] * len(items)
        alone: list[int] = []
        plan = _Plan()
        # What sends messages may make another item of the batch stale: then order matters.
        ordered = any(item.messages or item.publish or item.subscribe for item in items)
        for k, item in enumerate(items):
            if not self._plan(item, plan, ordered):
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
                self._woken = {}
                self._run("ROLLBACK TO item", ())
                outcomes.append(_CONFLICT)
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

    # -- many at a time -----------------------------------------------------------------------

    def _plan(self, item: Item, plan: _Plan, ordered: bool) -> bool:
        """Add *item* to *plan*; ``False``: it must be applied alone."""
        header, new = item.header, item.new
        if item.starts or item.subscribe or item.unsubscribe or item.messages or item.publish:
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
        elif ordered:
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
        return (item.n, self._epoch, not _needs_seen(item), item.seen, item.base)

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
        self._many(_END_WAITS, plan.waits)

    def _many(self, sql: str, rows: Sequence[tuple[Any, ...]], *, exact: bool = False) -> None:
        if not rows:
            return
        cursor = self._db.executemany(sql, rows)
        self._stats.statements += len(rows)
        if exact and cursor.rowcount != len(rows):
            raise BulkFailedError

    # -- one item -----------------------------------------------------------------------------

    def _run(self, sql: str, args: tuple[Any, ...]) -> sqlite3.Cursor:
        self._stats.statements += 1
        return self._db.execute(sql, args)

    def _one(self, item: Item) -> Outcome:
        problem = self._problem(item)
        if problem is not None:
            return problem
        self._woken = {}
        self._apply(item)
        return Done(self._now, tuple(self._woken.values()))

    def _problem(self, item: Item) -> Outcome | None:
        problem = None
        if item.new is not None:
            problem = self._new_problem(item.new)
        elif item.n:
            problem = self._owned_problem(item)
        for message in item.messages:
            if problem is None and message.strict and message.target is not None:
                problem = self._target_problem(message.target, message.allow_final)
        for child in item.starts:
            if problem is None:
                problem = self._child_problem(child)
        return problem

    def _new_problem(self, new: Header) -> Outcome | None:
        if new.idem is not None:
            row = self._run(_BY_IDEM, (new.definition, new.idem)).fetchone()
            if row is not None:
                return Refused("idem", row[0])
        if new.name is not None:
            row = self._run(_BY_NAME, (new.name,)).fetchone()
            if row is not None:
                return Refused("name", row[0])
        return None if new.owner in (None, self._epoch) else _CONFLICT

    def _owned_problem(self, item: Item) -> Outcome | None:
        row = self._run(_LOOK, (item.n,)).fetchone()
        if row is None or self._epoch is None:
            return _CONFLICT
        owner, poke, base = row
        if owner != self._epoch or base != item.base:
            return _CONFLICT
        return _STALE if poke != item.seen and _needs_seen(item) else None

    def _target_problem(self, n: int, allow_final: bool) -> Outcome | None:
        row = self._run(_TARGET, (n,)).fetchone()
        if row is None:
            return Refused("missing")
        status, completed_at = row
        return None if completed_at is None or allow_final else Refused("final", status)

    def _child_problem(self, child: Item) -> Outcome | None:
        if child.new is None:
            return _CONFLICT
        problem = self._new_problem(child.new)
        exists = isinstance(problem, Refused) and problem.why == "idem"
        return None if exists else problem

    def _apply(self, item: Item) -> None:
        if item.new is not None:
            self._start(item.new)
        if item.n:
            self._change(item)
        for child in item.starts:
            new = child.new
            if new is not None and (
                new.idem is None
                or self._run(_BY_IDEM, (new.definition, new.idem)).fetchone() is None
            ):
                self._apply(child)
        # A run that ends with this item waits for nothing.
        over = item.header is not None and item.header.final
        for subscription in () if over else item.subscribe:
            self._subscribe(item.n, subscription)
        for event in item.publish:
            self._publish(event)
        for message in item.messages:
            for target in self._targets(item.n, message):
                self._deliver(target, message)

    def _start(self, new: Header) -> None:
        self._run(_START, _start_row(new, self._now))
        if _is_due(new, self._now):
            self._woken[new.n] = (new.n, new.d, None)

    def _change(self, item: Item) -> None:
        plan = _Plan()
        self._plan_rows(item, plan)
        if item.header is not None:
            self._head(item, item.header)
        if item.alive:
            self._run(_RESET, (item.n,))
        for pointer in item.unsubscribe:
            self._run(_END_WAIT, (item.n, pointer))
        self._execute(plan)

    def _head(self, item: Item, header: HeaderChange) -> None:
        gives_up = header.final or header.release
        wake = None if header.final else header.wake
        if gives_up and not header.final:
            (_, poke, _) = self._run(_LOOK, (item.n,)).fetchone()
            wake = header.wake if poke == item.seen else self._now
        args = (*self._head_row(header), gives_up, gives_up, wake, item.n)
        ((d,),) = self._run(_HEAD, args).fetchall()
        if header.final:
            self._run(_END_WAITS, (item.n,))
        elif gives_up and wake is not None and wake <= self._now:
            self._woken[item.n] = (item.n, d, None)

    # -- messages and events --------------------------------------------------------------------

    def _targets(self, n: int, message: Message) -> Iterable[int]:
        if message.target is not None:
            return (message.target,)
        return [child for (child,) in self._run(_CHILDREN, (n,)).fetchall()]

    def _deliver(self, n: int, message: Message) -> None:
        final_too = message.strict and message.allow_final
        args = (
            message.kind,
            message.dedupe,
            self._now,
            message.actor,
            message.reason,
            message.payload,
            n,
            final_too,
        )
        if self._run(_MESSAGE, args).rowcount == 0:
            return
        ((d, owner),) = self._run(_POKE, (self._now, self._now, n)).fetchall()
        self._woken[n] = (n, d, owner)

    def _subscribe(self, n: int, wait: Subscription) -> None:
        first = max((wait.after_at, wait.after_e + 1), (wait.as_of, 0))
        row = self._run(_EARLIEST, (wait.name, wait.key, *first)).fetchone()
        if row is None:
            after = (wait.as_of, wait.after_at, wait.after_e)
            self._run(_SUBSCRIBE, (n, wait.pointer, wait.name, wait.key, *after))
            return
        e, at, id_, payload = row
        self._run(_END_WAIT, (n, wait.pointer))
        event = Event(id=id_, name=wait.name, key=wait.key, payload=payload, at=at)
        self._deliver(n, _event_message(n, wait.pointer, e, at, event))

    def _publish(self, event: Event) -> None:
        at = self._now if event.at is None else event.at
        stored = self._run(_EVENT, (event.id, event.name, event.key, at, event.payload)).fetchall()
        if not stored:
            return
        e = stored[0][0]
        matched = self._run(_MATCH, (event.name, event.key, at, at, e)).fetchall()
        for n, pointer in sorted(matched):
            self._deliver(n, _event_message(n, pointer, e, at, event))


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
        now,
    )


def _is_due(new: Header, now: int) -> bool:
    return new.owner is None and new.wake is not None and new.wake <= now


def _needs_seen(item: Item) -> bool:
    if item.header is None:
        return bool(item.consumed)
    return item.header.final or not item.header.release


def _event_message(n: int, pointer: int, e: int, at: int, event: Event) -> Message:
    payload = event_payload(pointer, e, at, event)
    dedupe = f"event:{pointer}:{e}"
    # Who waits is not final, or is just being retried.
    return Message(
        target=n, kind="event", payload=payload, dedupe=dedupe, strict=True, allow_final=True
    )
