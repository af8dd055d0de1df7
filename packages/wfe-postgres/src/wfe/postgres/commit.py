"""The write path: most batches are one statement; the others one pipeline with one sync."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import attrs
import orjson
import psycopg
from psycopg.pq import TransactionStatus

from wfe.core.lean import frozen
from wfe.core.providers import (
    Conflict,
    Done,
    Fenced,
    Header,
    Item,
    Outcome,
    Refused,
    Stale,
    located,
)
from wfe.postgres.arrays import Texts
from wfe.postgres.database import Args, Connection, Database, Row
from wfe.postgres.effects import APPLY, document, locks
from wfe.postgres.faults import is_bad_data, is_unique, translate
from wfe.postgres.lone import Answer, Lone
from wfe.postgres.writing import Batch, sends

__all__ = ["commit", "commit_in"]

_LOG: Final = logging.getLogger("wfe.postgres")
_FENCED: Final = Fenced()
_CONFLICT: Final = Conflict()
_STALE: Final = Stale()
_RACES: Final = 5  # times that an item is looked at anew when another start came between
# µs.  A start that is due at once has the time of its host, which may be a little ahead of the
# server's: others are told of it all the same, or they would find it by their polls only.
_SOON: Final = 100_000

_PLACES: Final = "SELECT id, at, e FROM wfe_events WHERE id = ANY (%(ids)s::text[])"

Outcomes = dict[int, Outcome]
"""By the item's place in its batch."""


async def commit(
    db: Database, epoch: int | None, items: Sequence[Item], now: int | None
) -> list[Outcome]:
    """Apply *items* as one outcome each.

    A value that the server cannot store keeps no other item from being committed: it is found by
    halving, and answered with a conflict.

    Raises:
        ProviderError: The server failed; ``unknown``: it may have committed all the same.
    """
    db.stats.items += len(items)
    try:
        past = sorted({id for item in items for wait in item.subscribe for id in wait.past})
        if past:
            items = await _located(db, items, past)
        return await _careful(db, epoch, items, now)
    except (psycopg.Error, OSError) as error:
        raise translate(error, db.where) from error


async def _located(db: Database, items: Sequence[Item], past: Sequence[str]) -> list[Item]:
    """Return *items* whose waits are after the events *past*: their places never change."""
    sql, args = db.names.sql(_PLACES), {"ids": Texts(past)}
    rows = await db.repeated(lambda conn: conn.ask(sql, args))
    places = {id: (at, e) for id, at, e in rows}
    return [
        attrs.evolve(
            item,
            subscribe=tuple(
                [located(w, [places[id] for id in w.past if id in places]) for w in item.subscribe]
            ),
        )
        for item in items
    ]


async def _careful(
    db: Database, epoch: int | None, items: Sequence[Item], now: int | None
) -> list[Outcome]:
    try:
        return await db.repeated(lambda conn: commit_in(db, conn, epoch, items, now))
    except psycopg.Error as error:
        if not is_unique(error) and not is_bad_data(error):
            raise
        problem = error
    # A start was made meanwhile, or a row is there already: each is looked at before it is done.
    for _ in range(_RACES if is_unique(problem) else 0):
        try:
            return await db.repeated(
                lambda conn: commit_in(db, conn, epoch, items, now, bulk=False)
            )
        except psycopg.Error as error:
            if not is_unique(error):
                if not is_bad_data(error):
                    raise
                problem = error
                break
    if len(items) > 1:
        half = len(items) // 2
        first = await _careful(db, epoch, items[:half], now)
        return first + await _careful(db, epoch, items[half:], now)
    _LOG.error("an item of run number %s cannot be stored: %s", items[0].n, problem)
    return [_CONFLICT]


async def commit_in(
    db: Database,
    conn: Connection,
    epoch: int | None,
    items: Sequence[Item],
    now: int | None,
    *,
    bulk: bool = True,
) -> list[Outcome]:
    """Apply *items* on *conn*: one transaction in autocommit, else part of the present one.

    Args:
        db: Whose connection it is.
        conn: Under READ COMMITTED.
        epoch: The worker that owns the items; ``None``: a client.
        items: Of any number of instances.
        now: The time, µs; ``None``: the server's.
        bulk: Whether the usual kinds may go many at a time; never inside a transaction.

    Raises:
        psycopg.Error: Nothing was written; the present transaction is over.
    """
    bulk = bulk and _is_alone(conn)
    lone = Lone.of(epoch, items[0]) if bulk and len(items) == 1 else None
    if lone is not None:
        outcome = await _committed(db, conn, lone, now)
        if outcome is not None:
            return [outcome]
        bulk = False
    work = _Work(db, conn, epoch, items, now)
    # Inside a transaction nothing can be tried again when another came first: so it is looked,
    # under the locks, before anything is done.
    outcomes = await work.first(bulk=bulk)
    if len(outcomes) < len(items):
        # Why they were not accepted, the function says; or it can do what the statement cannot.
        outcomes.update(await work.apply([k for k in range(len(items)) if k not in outcomes]))
    done = [outcomes[k] for k in range(len(items))]
    db.stats.rows += sum(
        [len(item.rows) for item, o in zip(items, done, strict=True) if isinstance(o, Done)]
    )
    return done


async def _committed(db: Database, conn: Connection, lone: Lone, now: int | None) -> Outcome | None:
    """Apply one usual item; ``None``: it was not accepted, and left no trace."""
    stats, item = db.stats, lone.item
    statements = lone.statements(db.names, now)
    stats.commits += 1
    stats.statements += len(statements)
    stats.round_trips += 1
    answer = Answer.of(await conn.ask_packed(statements))
    if answer is None:
        return _FENCED
    if not answer.accepted:
        return None
    stats.rows += len(item.rows)
    if answer.due is not None:
        return Done(answer.now, ((item.n, answer.due, None),))
    if item.new is not None and _is_for_others(item.new, answer.now, now):
        return Done(answer.now, ((item.n, item.new.d, None),))
    return Done(answer.now)


def _is_for_others(new: Header, at: int, now: int | None) -> bool:
    """Whether a run that was started is due, and nobody's; *at* is the time of the commit."""
    soon = at + _SOON if now is None else at
    return new.owner is None and new.wake is not None and new.wake <= soon


@frozen
class _Work:
    db: Database
    conn: Connection
    epoch: int | None
    items: Sequence[Item]
    now: int | None

    async def first(self, *, bulk: bool) -> Outcomes:
        """Apply all; who is missing in the answer was not accepted, and left no trace."""
        batch = Batch(self.epoch)
        rare: list[int] = []
        ordered = any(map(sends, self.items))
        often = Counter([item.n for item in self.items] if len(self.items) > 1 else ())
        usual: list[int] = []
        for k, item in enumerate(self.items):
            if bulk and often[item.n] <= 1 and batch.add(item, ordered=ordered):
                usual.append(k)
            else:
                rare.append(k)
        if not rare:
            (found,) = await self._send([(batch.sql(), batch.args(self.now))])
            return self._accepted(usual, batch, found[0])
        if batch.empty:
            return await self.apply(rare)
        heads = [item.n for item in batch.heads]
        statements = [*self._locks(rare, heads), (batch.sql(), batch.args(self.now))]
        *_, found, applied = await self._send([*statements, self._application(rare)])
        return {**self._accepted(usual, batch, found[0]), **self._applied(rare, applied)}

    async def apply(self, places: Sequence[int]) -> Outcomes:
        """Apply the items in these places, each looked at before it is done."""
        *_, applied = await self._send([*self._locks(places), self._application(places)])
        return self._applied(places, applied)

    def _locks(self, places: Sequence[int], others: Sequence[int] = ()) -> list[tuple[str, Any]]:
        return list(locks([self.items[k] for k in places], others, self.db.names))

    def _application(self, places: Sequence[int]) -> tuple[str, Any]:
        items = document([self.items[k] for k in places])
        return (APPLY, {"epoch": self.epoch, "now": self.now, "items": items})

    async def _send(self, statements: Sequence[tuple[str, Args]]) -> list[list[Row]]:
        stats = self.db.stats
        stats.commits += 1
        stats.statements += len(statements)
        if _is_alone(self.conn):
            stats.round_trips += 1
            if len(statements) > 1:
                return await self.db.pipeline(self.conn, statements)
            ((sql, args),) = statements
            return [await self.conn.ask(self.db.names.sql(sql), args)]
        # One after another inside a transaction: the driver ends a pipeline with a message after
        # which the server does not watch for an idle transaction any more.
        found: list[list[Row]] = []
        for sql, args in statements:
            stats.round_trips += 1
            cursor = await self.conn.execute(self.db.names.sql(sql), args)
            found.append(await cursor.fetchall())
        return found

    def _accepted(self, places: Sequence[int], batch: Batch, found: Row) -> Outcomes:
        now, alive, *more = found
        if not alive:
            return dict.fromkeys(places, _FENCED)
        plain = Done(now)
        if not more:
            return dict.fromkeys(places, plain)
        accepted, due, definitions = more
        done = frozenset(accepted)
        woken = {n: Done(now, ((n, d, None),)) for n, d in zip(due, definitions, strict=True)}
        for new in batch.starts:
            if _is_for_others(new, now, self.now):
                woken[new.n] = Done(now, ((new.n, new.d, None),))
        items = self.items
        return {k: woken.get(items[k].n, plain) for k in places if items[k].n in done}

    def _applied(self, places: Sequence[int], rows: Sequence[Row]) -> Outcomes:
        if not rows:
            return dict.fromkeys(places, _FENCED)
        return {k: _outcome(row) for k, row in zip(places, rows, strict=True)}


def _is_alone(conn: Connection) -> bool:
    """Whether what is sent is a transaction of its own."""
    return conn.pgconn.transaction_status == TransactionStatus.IDLE


def _outcome(row: Row) -> Outcome:
    at, what, info, woken = row
    if what == "done":
        return Done(at, () if woken is None else tuple(tuple(each) for each in orjson.loads(woken)))
    if what == "conflict":
        return _CONFLICT
    return _STALE if what == "stale" else Refused(what, info)
