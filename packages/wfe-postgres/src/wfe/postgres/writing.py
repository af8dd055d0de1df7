"""The statement that commits what most items are: rows, headers, snapshots, starts.

It is put together from the parts that a batch needs, so that a batch of mere rows pays for rows
only; there are few combinations, and each is prepared once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias

import attrs

from wfe.core.lean import define
from wfe.core.providers import Header, Item
from wfe.postgres.arrays import Bools, Ints, Texts
from wfe.postgres.names import NOW

__all__ = ["Batch", "is_rare", "needs_seen", "sends"]

_TIME: Final = f"t AS MATERIALIZED (SELECT {NOW} AS now)"
# A lock, not a look: a fence waits for who has it, and who waits for a fence looks again.
_ME: Final = """
me AS MATERIALIZED (
    SELECT epoch FROM wfe_workers WHERE epoch = %(epoch)s::bigint AND fenced IS NULL
    FOR KEY SHARE)"""
# Of a client: nobody's worker need be alive.
_ANYBODY: Final = "me AS MATERIALIZED (SELECT NULL::bigint AS epoch)"
# Owner, last row and messages are looked at, and the rows locked in the order that they are given
# in: that of their numbers.  LATERAL, so that each is found by its number whatever the statistics
# say; and no plain `=` for the owner, for the index of owned runs looks best when there are none,
# and has then all that this host ever owned until they are vacuumed away.
# A run that ends while it has or wants places, and one that comes back to life, are not ours.
_HEAD: Final = """
head AS MATERIALIZED (
    SELECT h.n, h.seen, h.change, h.alive, h.final, h.release, h.status, h.error, h.wake, h.retain
    FROM me CROSS JOIN unnest(%(hn)s::bigint[], %(hbase)s::bigint[], %(hseen)s::bigint[],
        %(hstrict)s::boolean[], %(hchange)s::boolean[], %(halive)s::boolean[],
        %(hfinal)s::boolean[], %(hrelease)s::boolean[], %(hstatus)s::text[], %(herror)s::text[],
        %(hwake)s::bigint[], %(hretain)s::bigint[])
        AS h (n, base, seen, strict, change, alive, final, release, status, error, wake, retain)
    CROSS JOIN LATERAL (
        SELECT i.n FROM wfe_instances i
        WHERE i.n = h.n AND i.owner IS NOT DISTINCT FROM me.epoch
            AND (NOT h.strict OR i.poke = h.seen)
            AND coalesce((SELECT j.seq FROM wfe_journal j WHERE j.instance = h.n
                ORDER BY j.seq DESC LIMIT 1), -1) = h.base
            AND (i.completed_at IS NULL OR h.final OR NOT h.change)
            AND NOT (h.final AND (EXISTS (SELECT 1 FROM wfe_holders x WHERE x.instance = h.n)
                OR EXISTS (SELECT 1 FROM wfe_waiters x WHERE x.instance = h.n)))
        FOR NO KEY UPDATE OF i) own)"""
_NEW: Final = """
new AS (
    INSERT INTO wfe_instances (n, id, d, definition, version, name, reference, status, wake, owner,
        parent, parent_pointer, parent_id, root_id, idem, priority, dedup, created_at)
    SELECT s.*, t.now FROM t CROSS JOIN me CROSS JOIN unnest(%(sn)s::bigint[], %(sid)s::text[],
        %(sd)s::bigint[], %(sdefinition)s::text[], %(sversion)s::bigint[], %(sname)s::text[],
        %(sreference)s::text[], %(sstatus)s::text[], %(swake)s::bigint[], %(sowner)s::bigint[],
        %(sparent)s::bigint[], %(sparent_pointer)s::bigint[], %(sparent_id)s::text[],
        %(sroot_id)s::text[], %(sidem)s::text[], %(spriority)s::bigint[], %(sdedup)s::text[]) AS s
    ON CONFLICT DO NOTHING RETURNING n)"""
_PLAIN: Final = "SELECT p.n FROM me CROSS JOIN unnest(%(pn)s::bigint[]) AS p (n)"
_HEADERS: Final = """
upd AS (
    UPDATE wfe_instances i SET
        status = CASE WHEN h.change THEN h.status ELSE i.status END,
        error = CASE WHEN h.change THEN h.error ELSE i.error END,
        completed_at = CASE WHEN h.final THEN t.now WHEN h.change THEN NULL
            ELSE i.completed_at END,
        retain_until = CASE WHEN h.change THEN h.retain ELSE i.retain_until END,
        owner = CASE WHEN h.final OR h.release THEN NULL ELSE i.owner END,
        wake = CASE WHEN h.final THEN NULL WHEN NOT h.release THEN i.wake
            WHEN i.poke = h.seen THEN h.wake ELSE t.now END,
        takeovers = CASE WHEN h.alive THEN 0 ELSE i.takeovers END,
        faults = CASE WHEN h.alive THEN 0 ELSE i.faults END,
        rev = CASE WHEN h.change THEN pg_current_xact_id()::text::bigint ELSE i.rev END
    FROM head h CROSS JOIN t
    WHERE i.n = h.n AND (h.change OR (h.alive AND (i.takeovers <> 0 OR i.faults <> 0)))
    RETURNING i.n, i.d, h.release AND NOT h.final AND i.wake <= t.now AS due)"""
_WAITS: Final = """
waits AS (DELETE FROM wfe_subscriptions x USING head h WHERE h.final AND x.instance = h.n)"""
_OFFERS: Final = """
offers AS (DELETE FROM wfe_activities x USING head h WHERE h.final AND x.instance = h.n)"""
_ROWS: Final = """
jr AS (
    INSERT INTO wfe_journal (instance, seq, at, event)
    SELECT r.n, r.seq, t.now, r.event
    FROM t CROSS JOIN unnest(%(jn)s::bigint[], %(jseq)s::bigint[], %(jevent)s::text[])
        AS r (n, seq, event) JOIN ok USING (n))"""
_FOLDS: Final = """
folds AS (
    INSERT INTO wfe_snapshots (n, seq, at, state, data)
    SELECT f.n, f.seq, t.now, f.state, f.data
    FROM t CROSS JOIN unnest(%(fn)s::bigint[], %(fseq)s::bigint[], %(fstate)s::text[],
        %(fdata)s::text[]) AS f (n, seq, state, data) JOIN ok USING (n)
    ON CONFLICT (n) DO UPDATE SET seq = excluded.seq, at = excluded.at, state = excluded.state,
        data = excluded.data)"""
_CONSUMED: Final = """
used AS (
    DELETE FROM wfe_inbox x
    USING unnest(%(xi)s::bigint[], %(xn)s::bigint[]) AS u (i, n) JOIN ok USING (n)
    WHERE x.i = u.i AND x.instance = u.n)"""
_ANSWER: Final = "SELECT (SELECT now FROM t), (SELECT count(*) FROM me), ARRAY(SELECT n FROM ok)"
_NOBODY: Final = ", ARRAY[]::bigint[], ARRAY[]::bigint[]"
_DUE: Final = ", ARRAY(SELECT n FROM upd WHERE due), ARRAY(SELECT d FROM upd WHERE due)"

# Most of all: rows alone.  All of them, or none when the worker is fenced.
_MERE: Final = f"""
WITH {_TIME}, {_ME}, jr AS (
    INSERT INTO wfe_journal (instance, seq, at, event)
    SELECT r.n, r.seq, t.now, r.event
    FROM t CROSS JOIN me CROSS JOIN unnest(%(jn)s::bigint[], %(jseq)s::bigint[],
        %(jevent)s::text[]) AS r (n, seq, event))
SELECT (SELECT now FROM t), (SELECT count(*) FROM me)"""  # noqa: S608 - constants

_Columns: TypeAlias = Mapping[str, type[Ints | Texts]]
_START_COLUMNS: Final[_Columns] = {
    "n": Ints,
    "id": Texts,
    "d": Ints,
    "definition": Texts,
    "version": Ints,
    "name": Texts,
    "reference": Texts,
    "status": Texts,
    "wake": Ints,
    "owner": Ints,
    "parent": Ints,
    "parent_pointer": Ints,
    "parent_id": Texts,
    "root_id": Texts,
    "idem": Texts,
    "priority": Ints,
    "dedup": Texts,
}
_ROW_COLUMNS: Final[_Columns] = {"jn": Ints, "jseq": Ints, "jevent": Texts}
_FOLD_COLUMNS: Final[_Columns] = {"fn": Ints, "fseq": Ints, "fstate": Texts, "fdata": Texts}
_CONSUMED_COLUMNS: Final[_Columns] = {"xi": Ints, "xn": Ints}


@lru_cache(maxsize=256)
def _statement(parts: frozenset[str]) -> str:
    ctes = [_TIME, _ANYBODY if "client" in parts else _ME]
    accepted: list[str] = []
    if "head" in parts:
        ctes.append(_HEAD)
        accepted.append("SELECT n FROM head")
    if "plain" in parts:
        accepted.append(_PLAIN)
    if "new" in parts:
        ctes.append(_NEW)
        accepted.append("SELECT n FROM new")
    ctes.append(f"ok AS MATERIALIZED ({' UNION ALL '.join(accepted)})")
    if "change" in parts:
        ctes.append(_HEADERS)
    if "final" in parts:
        ctes += [_WAITS, _OFFERS]
    ctes += [text for part, text in _EFFECTS.items() if part in parts]
    return f"WITH {', '.join(ctes)} {_ANSWER}{_DUE if 'change' in parts else _NOBODY}"


_EFFECTS: Final = {"rows": _ROWS, "folds": _FOLDS, "consumed": _CONSUMED}


@define
class Batch:
    """Items for the statement, as columns.

    Args:
        epoch: The worker that owns them; ``None``: a client.
    """

    epoch: int | None
    parts: set[str] = attrs.field(factory=set[str], init=False)
    heads: list[Item] = attrs.field(factory=list[Item], init=False)
    starts: list[Header] = attrs.field(factory=list[Header], init=False)
    plain: list[int] = attrs.field(factory=list[int], init=False)
    rows: list[tuple[int, int, str]] = attrs.field(factory=list[tuple[int, int, str]], init=False)
    folds: list[tuple[int, int, str, str]] = attrs.field(
        factory=list[tuple[int, int, str, str]], init=False
    )
    consumed: list[tuple[int, int]] = attrs.field(factory=list[tuple[int, int]], init=False)

    def add(self, item: Item, *, ordered: bool) -> bool:
        """Take *item* in; ``False``: it is none of ours.

        Args:
            item: Of an instance that no other item of the batch is of.
            ordered: Whether other items may send something to it, so that its turn matters.
        """
        if not item.n or is_rare(item) or item.publish or item.unsubscribe:
            return False
        new = item.new
        if new is not None:
            if item.header or item.alive or item.consumed or new.n != item.n:
                return False
            if new.owner not in (None, self.epoch):
                return False
            self.starts.append(new)
        elif self.epoch is None:
            return False
        elif item.header is None and not (item.alive or item.fold or item.consumed):
            self.plain.append(item.n)
        elif ordered:
            return False
        else:
            self.heads.append(item)
        self._add_effects(item)
        return True

    @property
    def empty(self) -> bool:
        """Whether nothing was taken in."""
        return not (self.heads or self.starts or self.plain)

    def sql(self) -> str:
        """Return the statement for just these items.

        Its one row is the time, how many workers there are, who was accepted, who is due and of
        which definition; it ends after the first two when the items are rows alone.
        """
        if self.rows and not (self.heads or self.starts or self.folds or self.consumed):
            return _MERE
        parts = {
            "client": self.epoch is None,
            "head": self.heads,
            "plain": self.plain,
            "new": self.starts,
            "change": [i for i in self.heads if i.header is not None or i.alive],
            "final": [i for i in self.heads if i.header is not None and i.header.final],
            "rows": self.rows,
            "folds": self.folds,
            "consumed": self.consumed,
        }
        return _statement(frozenset(part for part, there in parts.items() if there))

    def args(self, now: int | None) -> dict[str, Any]:
        """Return what the statement is given."""
        found: dict[str, Any] = {"now": now, "epoch": self.epoch, "pn": Ints(self.plain)}
        if self.heads:
            self.heads.sort(key=attrgetter("n"))
            found.update(_head_columns(self.heads))
        if self.starts:
            # One order for all hosts: who meets at a unique index waits, and does not deadlock.
            self.starts.sort(key=_turn)
            for name, kind in _START_COLUMNS.items():
                found[f"s{name}"] = kind([getattr(new, name) for new in self.starts])
        if self.rows:
            found.update(_columns(_ROW_COLUMNS, self.rows))
        if self.folds:
            found.update(_columns(_FOLD_COLUMNS, self.folds))
        if self.consumed:
            found.update(_columns(_CONSUMED_COLUMNS, self.consumed))
        return found

    def _add_effects(self, item: Item) -> None:
        n, fold = item.n, item.fold
        self.rows.extend([(n, seq, event) for seq, event in enumerate(item.rows, item.base + 1)])
        if fold is not None:
            self.folds.append((n, fold.seq, fold.state, fold.data))
        self.consumed.extend([(i, n) for i in item.consumed])


def needs_seen(item: Item) -> bool:
    """Whether an item of an owner is stale when messages have arrived meanwhile."""
    if item.header is None:
        return bool(item.consumed)
    return item.header.final or not item.header.release


def sends(item: Item) -> bool:
    """Whether applying *item* may put messages into inboxes."""
    return bool(item.messages or item.publish or item.subscribe or item.hold or item.unhold)


def is_rare(item: Item) -> bool:
    """Whether there is something in *item* that only the function in the database does."""
    return bool(
        item.messages
        or item.subscribe
        or item.starts
        or item.activities
        or item.end_activities
        or item.hold
        or item.unhold
        or item.fire
    )


def _turn(new: Header) -> tuple[str, str, str, int]:
    return (new.definition, new.idem or "", new.name or "", new.n)


def _head_columns(items: Sequence[Item]) -> dict[str, Any]:
    heads = [item.header for item in items]
    return {
        "hn": Ints([item.n for item in items]),
        "hbase": Ints([item.base for item in items]),
        "hseen": Ints([item.seen for item in items]),
        "hstrict": Bools([needs_seen(item) for item in items]),
        "hchange": Bools([head is not None for head in heads]),
        "halive": Bools([item.alive for item in items]),
        "hfinal": Bools([head is not None and head.final for head in heads]),
        "hrelease": Bools([head is not None and head.release for head in heads]),
        "hstatus": Texts([None if head is None else head.status for head in heads]),
        "herror": Texts([None if head is None else head.error for head in heads]),
        "hwake": Ints([None if head is None else head.wake for head in heads]),
        "hretain": Ints([h.retain_until if h is not None and h.final else None for h in heads]),
    }


def _columns(kinds: _Columns, rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    columns = zip(kinds.items(), zip(*rows, strict=True), strict=True)
    return {name: kind(column) for (name, kind), column in columns}
