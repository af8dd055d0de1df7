"""Starts and events inside the application's own transaction on the same database."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import orjson
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from wfe.core.errors import ProviderError
from wfe.core.providers import Conflict, Done, Event, Header, Hold, Item, Outcome, Refused
from wfe.postgres.arrays import Ints, Texts
from wfe.postgres.commit import commit_in
from wfe.postgres.effects import document, locks
from wfe.postgres.faults import is_bad_data, translate
from wfe.postgres.names import NOW
from wfe.postgres.parts import PostgresPart
from wfe.postgres.wake import ANYBODY, MAIL, encoded

if TYPE_CHECKING:
    from wfe.postgres.database import Connection, Database, Row
    from wfe.postgres.names import Names

__all__ = ["IDENTITY", "PostgresOutbox"]

_LOG: Final = logging.getLogger("wfe.postgres")

Statements: TypeAlias = Generator[tuple[str, dict[str, Any]], Sequence[Any], Outcome]
Woken: TypeAlias = tuple[int, int, int | None]

IDENTITY: Final = """
(SELECT system_identifier::text FROM pg_control_system()), d.oid::bigint, d.datname::text"""
"""Columns of ``pg_database d``: who this server is (its standbys are the same), and which of its
databases this is."""
_IDENTITY: Final = f"SELECT {IDENTITY} FROM pg_database d WHERE datname = current_database()"  # noqa: S608 - constants
# In place of an event's expiry: the row is about a place under a limit that a started run wants.
_PLACE: Final = -1
_APPLICATION: Final = "-"  # as the sender of hints: no store passes over them
_TOLD: Final = """
told AS (SELECT count(pg_notify(%(channel)s, %(hint)s || coalesce({0}, '')) ) AS count
    FROM {1} WHERE %(notify)s)"""
# Whatever is there already, of this or of another transaction, leaves no row, and no error that
# would end the application's transaction.
_START: Final = f"""
WITH t AS MATERIALIZED (
    SELECT {NOW} AS now, CASE WHEN %(n)s::bigint = 0 THEN nextval('wfe_numbers')
        ELSE %(n)s::bigint END AS n),
new AS (
    INSERT INTO wfe_instances (n, id, d, definition, version, name, reference, status, wake,
        parent, parent_pointer, parent_id, root_id, idem, priority, dedup, created_at)
    SELECT t.n, %(id)s, %(d)s, %(definition)s, %(version)s, %(name)s, %(reference)s, %(status)s,
        %(wake)s, %(parent)s, %(parent_pointer)s, %(parent_id)s, %(root_id)s, %(idem)s,
        %(priority)s, %(dedup)s, t.now
    FROM t ON CONFLICT DO NOTHING RETURNING n, created_at),
begun AS (
    INSERT INTO wfe_journal (instance, seq, at, event)
    SELECT n, k - 1, created_at, event
    FROM new, unnest(%(rows)s::text[]) WITH ORDINALITY AS r (event, k)),
places AS (
    INSERT INTO wfe_outbox (id, name, key, at, payload, expires)
    SELECT n::text, '', h ->> 'key', created_at, h, {_PLACE}
    FROM new, unnest(%(holds)s::text[]) AS p (payload), LATERAL (SELECT payload::json) AS j (h)),
{_TOLD.format("to_hex(n)", "new")}
SELECT n, created_at FROM new CROSS JOIN told"""  # noqa: S608 - constants
_EXISTING: Final = """
SELECT 'idem', id FROM wfe_instances WHERE definition = %(definition)s AND idem = %(idem)s
UNION ALL
SELECT 'dedup', id FROM wfe_instances
WHERE definition = %(definition)s AND dedup = %(dedup)s AND completed_at IS NULL
UNION ALL
SELECT 'name', id FROM wfe_instances WHERE name = %(name)s"""
_PUT: Final = f"""
WITH t AS MATERIALIZED (SELECT {NOW} AS now),
put AS (
    INSERT INTO wfe_outbox (id, name, key, at, payload, expires)
    SELECT id, name, key, coalesce(at, t.now), payload, expires
    FROM t, unnest(%(ids)s::text[], %(names)s::text[], %(keys)s::text[], %(ats)s::bigint[],
        %(payloads)s::text[], %(expiries)s::bigint[])
        WITH ORDINALITY AS e (id, name, key, at, payload, expires, k)
    ORDER BY k),
{_TOLD.format("NULL", "t")}
SELECT now FROM t CROSS JOIN told"""  # noqa: S608 - constants

_LOOK: Final = f"""
SELECT coalesce(bool_or(expires IS DISTINCT FROM {_PLACE}), false),
    coalesce(bool_or(expires = {_PLACE}), false)
FROM (SELECT expires FROM wfe_outbox LIMIT 10000) first_ones"""  # noqa: S608 - constants
# The deletion is what makes that an event is published once.
_TAKE: Final = """
DELETE FROM wfe_outbox WHERE i = ANY (ARRAY(
    SELECT i FROM wfe_outbox WHERE (expires IS NOT DISTINCT FROM -1) = %(places)s
    ORDER BY i LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING i, id, name, key, at, payload, expires"""
_HOLD: Final = f"""
SELECT w.n FROM unnest(%(runs)s::bigint[], %(holds)s::text[]) WITH ORDINALITY AS h (n, hold, k),
    LATERAL unnest(wfe_hold_1(h.n, hold::jsonb, {NOW})) AS w (n) ORDER BY k"""  # noqa: S608 - constants
_WOKEN: Final = "SELECT n, d, owner FROM wfe_instances WHERE n = ANY (%(numbers)s) ORDER BY n"


class PostgresOutbox(PostgresPart):
    """The outbox of a :class:`~wfe.postgres.store.PostgresStore`.

    Attributes:
        notify: Whether a start or an event in a transaction of the application wakes hosts when
            that commits; else they find it within a second.  The server lets only one transaction
            at a time commit that notifies.
    """

    notify: bool = True
    _identity: tuple[Any, ...] = ()  # known from opening

    def enqueue(
        self, connection: Any, item: Item, *, notify: bool | None = None
    ) -> Outcome | Awaitable[Outcome]:
        """Write *item* on the application's connection; it counts once that is committed.

        Args:
            connection: A psycopg ``Connection``, or an ``AsyncConnection``: then what is returned
                is to be awaited.  Also what lends one (SQLAlchemy, Django).
            item: A start without owner, or publications.
            notify: In place of the store's own :attr:`notify`.

        Raises:
            ProviderError: It is none, it is connected to another database, or in no transaction.
        """
        db = self._opened
        driver = _driver(connection, db.where)
        told = {
            "now": self._now,
            "notify": self.notify if notify is None else notify,
            "channel": db.names.channel(),
        }
        work = _enqueued(item, self._identity, told, db.where)
        if _is_async(driver):
            return _run_async(driver, work, db)
        return _run(driver, work, db)

    async def drain_outbox(self, limit: int) -> Sequence[Woken]:
        db = self._opened
        ((events, places),) = await db.all(_LOOK)
        woken: list[Woken] = []
        if events:
            woken += await self._publish(limit)
        if places:
            woken += await db.run(partial(_place, db, limit, self._now))
        return woken

    async def _publish(self, limit: int) -> list[Woken]:
        """Publish events that were left.

        One that the server cannot store keeps no other from being published: it is taken out.
        """
        db = self._opened
        try:
            return await db.repeated(partial(_publish, db, limit, self._now))
        except psycopg.Error as error:
            if not is_bad_data(error):
                raise translate(error, db.where) from error
            if limit == 1:
                _LOG.exception("an event in the outbox cannot be published, and was taken out")
                await db.all(_TAKE, {"limit": 1, "places": False})
                return []
        woken: list[Woken] = []
        for _ in range(limit):
            ((left, _),) = await db.all(_LOOK)
            woken += await self._publish(1) if left else []
        return woken


# -- in the application's transaction -----------------------------------------------------------


def _driver(connection: Any, where: str) -> Any:
    """Return the driver's connection in whatever lends it, ready for a statement."""
    found = connection
    for _ in range(4):
        if isinstance(found, (psycopg.Connection, psycopg.AsyncConnection)):
            _check_ready(cast("psycopg.Connection[Any]", found))
            return cast("Any", found)
        for name in ("driver_connection", "__wrapped__", "connection"):
            inner = getattr(found, name, None)
            if inner is not None:
                found = inner
                break
        else:
            break
    problem = (
        f"within= takes the application's psycopg Connection or AsyncConnection to {where},"
        f" got {_named(cast('object', connection))}"
    )
    raise ProviderError("postgres", problem, transient=False)


def _named(given: object) -> str:
    kind = type(given)  # with its module: connections of other drivers are called alike
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _is_async(driver: object) -> bool:
    return isinstance(driver, psycopg.AsyncConnection)


def _check_ready(connection: psycopg.Connection[Any]) -> None:
    status = connection.info.transaction_status
    if status == TransactionStatus.INTRANS:
        return
    if status == TransactionStatus.IDLE:
        if not connection.autocommit:
            return  # the driver begins one with the first statement
        problem = "is in no transaction and begins none by itself; use it within its transaction()"
    elif status == TransactionStatus.INERROR:
        problem = "is in a transaction that has failed; roll it back first"
    elif status == TransactionStatus.ACTIVE:
        problem = "is busy with another statement; await that first"
    else:
        problem = "is closed"
    raise ProviderError("postgres", f"within= got a connection that {problem}", transient=False)


def _enqueued(
    item: Item, identity: tuple[Any, ...], told: dict[str, Any], where: str
) -> Statements:
    """Do the work of ``enqueue`` by asking for statements and being sent what they found."""
    (found,) = yield _IDENTITY, {}
    if tuple(found) != identity:
        problem = (
            f"within= got a connection to database {found[2]!r} of another server or to another"
            f" database, the runs are in {where}; only a connection to the same database can take"
            " them in its transaction"
        )
        raise ProviderError("postgres", problem, transient=False)
    if item.new is None:
        return (yield from _put(item.publish, told))
    return (yield from _start(item, item.new, told))


def _put(events: Sequence[Event], told: dict[str, Any]) -> Statements:
    args = {
        **told,
        "hint": next(encoded(_APPLICATION, {ANYBODY: {MAIL: None}})),
        "ids": [event.id for event in events],
        "names": [event.name for event in events],
        "keys": [event.key for event in events],
        "ats": [event.at for event in events],
        "payloads": [event.payload for event in events],
        "expiries": [event.expires for event in events],
    }
    ((now,),) = yield _PUT, args
    return Done(now)


def _start(item: Item, new: Header, told: dict[str, Any]) -> Statements:
    args = {
        **told,
        "hint": f"{_APPLICATION} {ANYBODY:x},",
        "n": item.n,
        "id": new.id,
        "d": new.d,
        "definition": new.definition,
        "version": new.version,
        "name": new.name,
        "reference": new.reference,
        "status": new.status,
        "wake": new.wake,
        "parent": new.parent,
        "parent_pointer": new.parent_pointer,
        "parent_id": new.parent_id,
        "root_id": new.root_id,
        "idem": new.idem,
        "priority": new.priority,
        "dedup": new.dedup,
        "rows": list(item.rows),
        "holds": _holds(item),
    }
    found = yield _START, args
    if found:
        ((n, at),) = found
        due = new.wake is not None and new.wake <= at
        return Done(at, ((n, new.d, None),) if due else ())
    # A later statement: what another transaction has just committed is seen by this one.
    keys = {"definition": new.definition, "idem": new.idem, "dedup": new.dedup, "name": new.name}
    existing = yield _EXISTING, keys
    return Refused(*existing[0]) if existing else Conflict()


def _holds(item: Item) -> list[str]:
    """Return the places that *item* wants, each as the JSON that a commit would be given."""
    if not item.hold:
        return []
    (found,) = orjson.loads(document([Item(hold=item.hold)]))
    return [orjson.dumps(hold).decode() for hold in found["hold"]]


def _hold(text: str) -> Hold:
    found = orjson.loads(text)
    return Hold(**{key: value for key, value in found.items() if key != "reason"})


def _run(connection: psycopg.Connection[Any], work: Statements, db: Database) -> Outcome:
    try:
        with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
            found: Sequence[Any] | None = None
            while True:
                try:
                    sql, args = next(work) if found is None else work.send(found)
                except StopIteration as ended:
                    return cast("Outcome", ended.value)
                found = cursor.execute(db.names.sql(sql), args, prepare=False).fetchall()
    except psycopg.Error as error:
        raise translate(error, db.where) from error


async def _run_async(
    connection: psycopg.AsyncConnection[Any], work: Statements, db: Database
) -> Outcome:
    try:
        async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
            found: Sequence[Any] | None = None
            while True:
                try:
                    sql, args = next(work) if found is None else work.send(found)
                except StopIteration as ended:
                    return cast("Outcome", ended.value)
                await cursor.execute(db.names.sql(sql), args, prepare=False)
                found = await cursor.fetchall()
    except psycopg.Error as error:
        raise translate(error, db.where) from error


# -- in transactions of the store ---------------------------------------------------------------


async def _take(names: Names, conn: Connection, limit: int, *, places: bool) -> list[Row]:
    found = await conn.execute(names.sql(_TAKE), {"limit": limit, "places": places})
    return sorted(await found.fetchall())


async def _publish(db: Database, limit: int, now: int | None, conn: Connection) -> list[Woken]:
    """Publish events that were left; in one transaction."""
    async with conn.transaction():
        items = [
            Item(publish=(Event(id=id_, name=name, key=key, payload=text, at=at, expires=expires),))
            for _, id_, name, key, at, text, expires in await _take(
                db.names, conn, limit, places=False
            )
        ]
        outcomes = await commit_in(db, conn, None, items, now) if items else []
    return [woken for done in outcomes if isinstance(done, Done) for woken in done.woken]


async def _place(db: Database, limit: int, now: int | None, conn: Connection) -> list[Woken]:
    """Ask for the places that started runs want; in one transaction."""
    sql = db.names.sql
    async with conn.transaction():
        rows = await _take(db.names, conn, limit, places=True)
        runs, holds = [int(row[1]) for row in rows], [row[5] for row in rows]
        item = Item(hold=tuple(map(_hold, holds)))
        for statement, args in locks([item], runs, db.names):
            await conn.execute(sql(statement), args)
        args = {"runs": Ints(runs), "holds": Texts(holds), "now": now}
        found = await (await conn.execute(sql(_HOLD), args)).fetchall()
        numbers = [n for (n,) in found]
        woken = await (await conn.execute(sql(_WOKEN), {"numbers": Ints(numbers)})).fetchall()
    return [(n, d, owner) for n, d, owner in woken]
