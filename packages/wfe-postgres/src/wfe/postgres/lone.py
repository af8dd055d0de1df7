"""The statement that commits one usual item: values in place of columns.

Most batches of a host that is not busy are one item.  Without arrays there is less to send and to
plan, and a run is looked up by its number whatever the statistics of a new table say.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, TypeAlias

from psycopg import DataError
from psycopg.pq.abc import PGresult

from wfe.core.lean import frozen
from wfe.core.providers import Item
from wfe.postgres.arrays import packed_ints, packed_texts
from wfe.postgres.effects import BUCKETS, guard_of_topic
from wfe.postgres.names import GUARDS, NOW, Names
from wfe.postgres.wire import Packed, positional
from wfe.postgres.writing import is_rare

__all__ = ["Answer", "Lone"]

Values: TypeAlias = dict[str, bytes | None]

_INT: Final = struct.Struct("!q")

_CLIENT, _NEW, _CHANGE, _FINAL, _RELEASE = 1, 2, 4, 8, 16
_ALIVE, _ROW, _ROWS, _FOLD, _USED = 32, 64, 128, 256, 512
_HELD, _UNSUBSCRIBE, _PUBLISH = 1024, 2048, 4096

# In a statement of its own before the other, which must see what the former holders wrote.
_GUARD: Final = f"""
SELECT pg_advisory_xact_lock(%(class)s::bigint::int, hashtext(%(guard)s::text) & {BUCKETS})"""

# The worker, locked, with the time; nobody when it is fenced.
_ME: Final = f"""
me AS MATERIALIZED (
    SELECT {NOW} AS now, epoch FROM wfe_workers
    WHERE epoch = %(epoch)s::bigint AND fenced IS NULL FOR KEY SHARE)"""  # noqa: S608 - constants
_ANYBODY: Final = f"me AS MATERIALIZED (SELECT {NOW} AS now, NULL::bigint AS epoch)"
_INSERT: Final = """
ok AS (
    INSERT INTO wfe_instances (n, id, d, definition, version, name, reference, status, wake, owner,
        parent, parent_pointer, parent_id, root_id, idem, priority, dedup, created_at)
    SELECT %(n)s::bigint, %(id)s::text, %(d)s::bigint, %(definition)s::text, %(version)s::bigint,
        %(name)s::text, %(reference)s::text, %(status)s::text, %(wake)s::bigint, %(owner)s::bigint,
        %(parent)s::bigint, %(parent_pointer)s::bigint, %(parent_id)s::text, %(root_id)s::text,
        %(idem)s::text, %(priority)s::bigint, %(dedup)s::text, me.now
    FROM me
    ON CONFLICT DO NOTHING RETURNING n)"""
# Owner, last row and messages are looked at as in the statement for many, whose comments say more.
_MINE: Final = """
    WHERE i.n = %(n)s::bigint AND i.owner IS NOT DISTINCT FROM me.epoch
        AND coalesce((SELECT j.seq FROM wfe_journal j WHERE j.instance = %(n)s::bigint
            ORDER BY j.seq DESC LIMIT 1), -1) = %(base)s::bigint"""
_SEEN: Final = " AND i.poke = %(seen)s::bigint"
_OPEN: Final = " AND i.completed_at IS NULL"
# As a range in order, or the server would rather read through a table that it knows nothing of.
_PLACELESS: Final = """
        AND (SELECT x.instance FROM wfe_holders x
            WHERE x.instance >= %(n)s::bigint AND x.instance <= %(n)s::bigint
            ORDER BY x.instance LIMIT 1) IS NULL
        AND (SELECT x.instance FROM wfe_waiters x
            WHERE x.instance >= %(n)s::bigint AND x.instance <= %(n)s::bigint
            ORDER BY x.instance LIMIT 1) IS NULL"""
# Whoever else waits for the event is served by the function.
_UNHEARD: Final = """
        AND NOT EXISTS (SELECT 1 FROM wfe_subscriptions s
            WHERE s.name = %(topic)s::text AND s.key = %(key)s::text{0})"""
_NOT_MINE: Final = " AND s.instance <> %(n)s::bigint"
_NOT_ENDED: Final = """
                AND (s.instance <> %(n)s::bigint OR s.pointer <> ALL (%(waits)s::bigint[]))"""
_ENDS: Final = (
    """completed_at = me.now, retain_until = %(retain)s::bigint, owner = NULL, wake = NULL"""
)
_GOES_ON: Final = "completed_at = NULL, retain_until = NULL"
_GIVES_UP: Final = """, owner = NULL,
        wake = CASE WHEN i.poke = %(seen)s::bigint THEN %(wake)s::bigint ELSE me.now END"""
_MERE: Final = """
jr AS (
    INSERT INTO wfe_journal (instance, seq, at, event)
    SELECT %(n)s::bigint, %(base)s::bigint + 1, me.now, %(event)s::text FROM me)"""
_ROW_TEXT: Final = """
jr AS (
    INSERT INTO wfe_journal (instance, seq, at, event)
    SELECT %(n)s::bigint, %(base)s::bigint + 1, me.now, %(event)s::text FROM me CROSS JOIN ok)"""
_ROWS_TEXT: Final = """
jr AS (
    INSERT INTO wfe_journal (instance, seq, at, event)
    SELECT %(n)s::bigint, %(base)s::bigint + r.k, me.now, r.event
    FROM me CROSS JOIN ok
    CROSS JOIN unnest(%(events)s::text[]) WITH ORDINALITY AS r (event, k))"""
_FOLD_TEXT: Final = """
folds AS (
    INSERT INTO wfe_snapshots (n, seq, at, state, data)
    SELECT %(n)s::bigint, %(fold)s::bigint, me.now, %(state)s::text, %(data)s::text
    FROM me CROSS JOIN ok
    ON CONFLICT (n) DO UPDATE SET seq = excluded.seq, at = excluded.at, state = excluded.state,
        data = excluded.data)"""
_USED_TEXT: Final = """
used AS (
    DELETE FROM wfe_inbox x USING ok
    WHERE x.i = ANY (%(used)s::bigint[]) AND x.instance = %(n)s::bigint)"""
_OVER: Final = """
waits AS (
    DELETE FROM wfe_subscriptions x
    WHERE x.instance = %(n)s::bigint AND EXISTS (SELECT 1 FROM ok)),
offers AS (
    DELETE FROM wfe_activities x
    WHERE x.instance = %(n)s::bigint AND EXISTS (SELECT 1 FROM ok))"""
_ENDED: Final = """
ended AS (
    DELETE FROM wfe_subscriptions x USING ok
    WHERE x.instance = %(n)s::bigint AND x.pointer = ANY (%(waits)s::bigint[]))"""
_TOLD: Final = """
told AS (
    INSERT INTO wfe_events (id, name, key, at, payload, expires)
    SELECT %(event_id)s::text, %(topic)s::text, %(key)s::text, coalesce(%(at)s::bigint, me.now),
        %(payload)s::text, %(expires)s::bigint
    FROM me CROSS JOIN ok
    ON CONFLICT (id) DO NOTHING)"""
_EFFECTS: Final = {
    _ROW: _ROW_TEXT,
    _ROWS: _ROWS_TEXT,
    _FOLD: _FOLD_TEXT,
    _USED: _USED_TEXT,
    _UNSUBSCRIBE: _ENDED,
    _PUBLISH: _TOLD,
    _FINAL: _OVER,
}


@frozen
class Answer:
    """What the server said of an item of a worker that is not fenced.

    Attributes:
        now: Its time, µs.
        accepted: Whether the item was applied; else it left no trace.
        due: Number of the definition when the run was given up and is due again; else ``None``.
    """

    now: int
    accepted: bool = True
    due: int | None = None

    @classmethod
    def of(cls, result: PGresult) -> Answer | None:
        """Read what the statement returned, ``None``: the worker is fenced."""
        if not result.ntuples:
            return None
        now = _int(result.get_value(0, 0))
        if result.nfields == 1:
            return cls(now)
        due = result.get_value(0, 2)
        accepted = _int(result.get_value(0, 1)) > 0
        return cls(now, accepted, None if due is None else _int(due))


@frozen
class Lone:
    """An item that can be committed by a statement of its own.

    Args:
        kind: What there is in the item, as bits.
    """

    epoch: int | None
    item: Item
    kind: int

    @classmethod
    def of(cls, epoch: int | None, item: Item) -> Lone | None:
        """Return *item* so, ``None``: it is none of ours.

        Args:
            epoch: The worker that owns it; ``None``: a client.
            item: The only one of its batch.
        """
        kind = _kind(epoch, item)
        return None if kind is None else cls(epoch, item, kind)

    def statements(self, names: Names, now: int | None) -> list[Packed]:
        """Return what is asked, of which the last answers.

        Raises:
            DataError: A value cannot be sent.
        """
        try:
            values = self._values(now)
            if self.kind & _PUBLISH:
                _add_event(values, self.item, names)
        except (UnicodeEncodeError, struct.error) as error:  # half of a character; a huge number
            raise DataError(str(error)) from error
        return [
            (text, [values[place] for place in places])
            for text, places in _statements(self.kind, names)
        ]

    def _values(self, now: int | None) -> Values:
        item, kind, pack = self.item, self.kind, _INT.pack
        values: Values = {
            "now": None if now is None else pack(now),
            "epoch": None if self.epoch is None else pack(self.epoch),
            "n": pack(item.n),
            "base": pack(item.base),
            "seen": pack(item.seen),
        }
        if kind & _ROW:
            values["event"] = item.rows[0].encode()
        elif kind & _ROWS:
            values["events"] = packed_texts(item.rows)
        if kind & _CHANGE:
            _add_change(values, item)
        elif kind & _NEW:
            _add_new(values, item)
        if item.fold is not None:
            values["fold"] = pack(item.fold.seq)
            values["state"] = item.fold.state.encode()
            values["data"] = item.fold.data.encode()
        if kind & _USED:
            values["used"] = packed_ints(item.consumed)
        if kind & (_PUBLISH | _UNSUBSCRIBE):
            values["waits"] = packed_ints(item.unsubscribe)
        return values


def _kind(epoch: int | None, item: Item) -> int | None:
    """Return what there is in *item*; ``None``: something that the statement does not do."""
    if not item.n or is_rare(item) or len(item.publish) > 1:
        return None
    kind = 0 if item.fold is None else _FOLD
    if item.rows:
        kind |= _ROW if len(item.rows) == 1 else _ROWS
    if item.new is not None:
        return _kind_of_start(epoch, item, kind)
    change = item.header
    if epoch is None or (item.alive and change is None):
        return None
    kind |= (_USED if item.consumed else 0) | (_PUBLISH if item.publish else 0)
    if change is not None:
        kind |= _CHANGE | (_FINAL if change.final else _RELEASE if change.release else 0)
        kind |= _ALIVE if item.alive else 0
    if item.unsubscribe and not kind & _FINAL:  # at the end all waits end
        kind |= _UNSUBSCRIBE
    if kind == _ROW or kind & _CHANGE:
        return kind
    return kind | _HELD if kind & ~_ROWS else kind or None


def _kind_of_start(epoch: int | None, item: Item, kind: int) -> int | None:
    new = item.new
    assert new is not None
    others = item.header or item.alive or item.consumed or item.publish or item.unsubscribe
    if others or new.n != item.n or (new.owner is not None and new.owner != epoch):
        return None
    return kind | (_NEW if epoch is not None else _NEW | _CLIENT)


def _add_change(values: Values, item: Item) -> None:
    change = item.header
    assert change is not None
    wake, error = change.wake, change.error
    values["status"] = change.status.encode()
    values["error"] = None if error is None else error.encode()
    values["wake"] = None if wake is None else _INT.pack(wake)
    values["retain"] = None if change.retain_until is None else _INT.pack(change.retain_until)


def _add_new(values: Values, item: Item) -> None:
    new, pack = item.new, _INT.pack
    assert new is not None
    for name in ("d", "version", "priority"):
        values[name] = pack(getattr(new, name))
    for name in ("wake", "owner", "parent", "parent_pointer"):
        number = getattr(new, name)
        values[name] = None if number is None else pack(number)
    for name in ("id", "definition", "status", "root_id"):
        values[name] = getattr(new, name).encode()
    for name in ("name", "reference", "parent_id", "idem", "dedup"):
        text = getattr(new, name)
        values[name] = None if text is None else text.encode()


def _add_event(values: Values, item: Item, names: Names) -> None:
    (event,) = item.publish
    values["class"] = _INT.pack(names.lock(GUARDS))
    values["guard"] = guard_of_topic(event.name, event.key).encode()
    values["event_id"], values["payload"] = event.id.encode(), event.payload.encode()
    values["topic"], values["key"] = event.name.encode(), event.key.encode()
    values["at"] = None if event.at is None else _INT.pack(event.at)
    values["expires"] = None if event.expires is None else _INT.pack(event.expires)


@lru_cache(maxsize=1024)
def _statements(kind: int, names: Names) -> tuple[tuple[bytes, tuple[str, ...]], ...]:
    """Return the statements as the server takes them, each with its values' names in order."""
    texts = [_GUARD, _sql(kind)] if kind & _PUBLISH else [_sql(kind)]
    return tuple([positional(names.sql(text)) for text in texts])


def _sql(kind: int) -> str:
    if kind == _ROW:  # most of all
        return f"WITH {_ME}, {_MERE} SELECT now FROM me"  # noqa: S608 - constants
    ctes = [_ANYBODY if kind & _CLIENT else _ME]
    if kind & _NEW:
        ctes.append(_INSERT)
    elif kind & _CHANGE:
        ctes.append(_update(kind))
    elif kind & _HELD:
        ctes.append(_held(kind))
    else:
        ctes.append("ok AS (SELECT 1 FROM me)")
    ctes += [text for part, text in _EFFECTS.items() if kind & part]
    due = "(SELECT d FROM ok WHERE due)" if kind & _RELEASE else "NULL::bigint"
    answer = f"SELECT now, (SELECT count(*) FROM ok), {due} FROM me"  # noqa: S608 - constants
    return f"WITH {', '.join(ctes)} {answer}"


def _update(kind: int) -> str:
    final = bool(kind & _FINAL)
    sets = _ENDS if final else _GOES_ON + (_GIVES_UP if kind & _RELEASE else "")
    if kind & _ALIVE:
        sets += ", takeovers = 0, faults = 0"
    seen = "" if kind & _RELEASE else _SEEN
    return f"""
ok AS (
    UPDATE wfe_instances i SET status = %(status)s::text, error = %(error)s::text, {sets},
        rev = pg_current_xact_id()::text::bigint
    FROM me {_MINE}{seen}{_PLACELESS if final else _OPEN}{_unheard(kind)}
    RETURNING i.d, {"i.wake <= me.now" if kind & _RELEASE else "false"} AS due)"""  # noqa: S608 - constants


def _held(kind: int) -> str:
    return f"""
ok AS MATERIALIZED (
    SELECT i.d FROM me CROSS JOIN wfe_instances i {_MINE}
    {_SEEN if kind & _USED else ""}{_unheard(kind)}
    FOR NO KEY UPDATE OF i)"""  # noqa: S608 - constants


def _unheard(kind: int) -> str:
    if not kind & _PUBLISH:
        return ""
    return _UNHEARD.format(_NOT_MINE if kind & _FINAL else _NOT_ENDED)


def _int(value: bytes | None) -> int:
    assert value is not None
    number: int = _INT.unpack(value)[0]
    return number
