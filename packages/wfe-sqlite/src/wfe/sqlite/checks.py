"""Why an item cannot be applied, found out before anything of it is written."""

from __future__ import annotations

from typing import Final

from wfe.core.providers import Conflict, Fire, Header, Item, Outcome, Refused, Stale
from wfe.sqlite.tx import Tx

__all__ = ["CONFLICT", "LOOK", "exists", "needs_seen", "problem"]

CONFLICT: Final = Conflict()
_STALE: Final = Stale()

LOOK: Final = """
SELECT owner, poke, (SELECT coalesce(max(seq), -1) FROM wfe_journal WHERE instance = i.n),
    completed_at
FROM wfe_instances i WHERE n = ?"""
_BY_IDEM: Final = "SELECT id FROM wfe_instances WHERE definition = ? AND idem = ?"
_BY_DEDUP: Final = """
SELECT id FROM wfe_instances WHERE definition = ? AND dedup = ? AND completed_at IS NULL"""
_BY_NAME: Final = "SELECT id FROM wfe_instances WHERE name = ?"
_TARGET: Final = "SELECT status, completed_at FROM wfe_instances WHERE n = ?"
# Who has the deduplication text of a final run by now.
_RIVAL: Final = """
SELECT other.id FROM wfe_instances i JOIN wfe_instances other
    ON other.definition = i.definition AND other.dedup = i.dedup AND other.completed_at IS NULL
WHERE i.n = ? AND i.completed_at IS NOT NULL AND i.dedup IS NOT NULL"""
_SCHEDULE: Final = "SELECT 1 FROM wfe_schedules WHERE id = ? AND rev = ? AND NOT paused"


def problem(tx: Tx, item: Item) -> Outcome | None:
    """Return why *item* cannot be applied."""
    found: Outcome | None = None
    if item.fire is not None:
        found = _fire_problem(tx, item.fire)
    if found is None and item.new is not None:
        found = _new_problem(tx, item.new)
    elif found is None and item.n:
        found = _owned_problem(tx, item)
    for message in item.messages:
        if found is None and message.strict and message.target is not None:
            found = _target_problem(tx, message.target, message.allow_final)
    for child in item.starts:
        if found is None:
            found = _child_problem(tx, child)
    return found


def exists(tx: Tx, new: Header) -> Refused | None:
    """Return that the start was made before, or that another run deduplicates it."""
    if new.idem is not None:
        row = tx.run(_BY_IDEM, (new.definition, new.idem)).fetchone()
        if row is not None:
            return Refused("idem", row[0])
    if new.dedup is not None:
        row = tx.run(_BY_DEDUP, (new.definition, new.dedup)).fetchone()
        if row is not None:
            return Refused("dedup", row[0])
    return None


def needs_seen(item: Item) -> bool:
    """Whether an item of an owner is stale when messages have arrived meanwhile."""
    if item.header is None:
        return bool(item.consumed)
    return item.header.final or not item.header.release


def _fire_problem(tx: Tx, fire: Fire) -> Outcome | None:
    found = tx.run(_SCHEDULE, (fire.id, fire.rev)).fetchone()
    return Refused("schedule") if found is None else None


def _new_problem(tx: Tx, new: Header) -> Outcome | None:
    found = exists(tx, new)
    if found is not None:
        return found
    if new.name is not None:
        row = tx.run(_BY_NAME, (new.name,)).fetchone()
        if row is not None:
            return Refused("name", row[0])
    return None if new.owner in (None, tx.epoch) else CONFLICT


def _child_problem(tx: Tx, child: Item) -> Outcome | None:
    if child.new is None:
        return CONFLICT
    found = _new_problem(tx, child.new)
    is_there = isinstance(found, Refused) and found.why in {"idem", "dedup"}
    return None if is_there else found


def _owned_problem(tx: Tx, item: Item) -> Outcome | None:
    row = tx.run(LOOK, (item.n,)).fetchone()
    if row is None or tx.epoch is None:
        return CONFLICT
    owner, poke, base, completed_at = row
    if owner != tx.epoch or base != item.base:
        return CONFLICT
    if poke != item.seen and needs_seen(item):
        return _STALE
    if completed_at is None or item.header is None or item.header.final:
        return None
    return _revival_problem(tx, item.n)


def _target_problem(tx: Tx, n: int, allow_final: bool) -> Outcome | None:
    row = tx.run(_TARGET, (n,)).fetchone()
    if row is None:
        return Refused("missing")
    status, completed_at = row
    if completed_at is None:
        return None
    return _revival_problem(tx, n) if allow_final else Refused("final", status)


def _revival_problem(tx: Tx, n: int) -> Outcome | None:
    """Return why a final run cannot go on: another has its deduplication text by now."""
    row = tx.run(_RIVAL, (n,)).fetchone()
    return None if row is None else Refused("dedup", row[0])
