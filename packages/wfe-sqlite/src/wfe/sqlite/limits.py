"""Places under limits, inside a write transaction: it is what makes the count exact."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wfe.core.providers import Hold, Message, granted_payload, superseded
from wfe.sqlite.tx import Tx

__all__ = ["end", "hold", "unhold"]

_HOLDERS: Final = "SELECT count(*) FROM wfe_holders WHERE key = ?"
# Whether the pointer has a place, how many have, and the limit of those that wait.
_LOOK: Final = """
SELECT EXISTS (SELECT 1 FROM wfe_holders WHERE key = ?1 AND instance = ?2 AND pointer = ?3),
    (SELECT count(*) FROM wfe_holders WHERE key = ?1),
    (SELECT lim FROM wfe_waiters WHERE key = ?1 ORDER BY w LIMIT 1)"""
# Others that hold a place, the oldest first, and others that wait for one.
_OTHERS: Final = """
SELECT instance FROM wfe_holders WHERE key = ? AND instance <> ? ORDER BY at, instance LIMIT ?"""
_WAITING: Final = "SELECT instance FROM wfe_waiters WHERE key = ? AND instance <> ?"
_TAKE: Final = "INSERT INTO wfe_holders (key, instance, pointer, at) VALUES (?, ?, ?, ?)"
_LIMIT: Final = "UPDATE wfe_waiters SET lim = ? WHERE key = ?"
_ASK_AGAIN: Final = """
UPDATE wfe_waiters SET attempt = ? WHERE instance = ? AND pointer = ? AND key = ?"""
_QUEUE: Final = """
INSERT INTO wfe_waiters (key, lim, instance, pointer, attempt) VALUES (?, ?, ?, ?, ?)"""
_FIRST: Final = """
SELECT w, lim, instance, pointer, attempt FROM wfe_waiters WHERE key = ? ORDER BY w LIMIT 1"""
_LEAVE: Final = "DELETE FROM wfe_waiters WHERE w = ?"
_FREE: Final = "DELETE FROM wfe_holders WHERE instance = ? AND pointer = ? RETURNING key"
_FREE_ALL: Final = "DELETE FROM wfe_holders WHERE instance = ? RETURNING key"
_GIVE_UP: Final = "DELETE FROM wfe_waiters WHERE instance = ? AND pointer = ?"
_GIVE_UP_ALL: Final = "DELETE FROM wfe_waiters WHERE instance = ?"
_NTH_GRANT: Final = """
SELECT at FROM wfe_rates WHERE key = ? ORDER BY at DESC LIMIT 1 OFFSET ?"""
_GRANTED: Final = "INSERT INTO wfe_rates (key, at, until) VALUES (?, ?, ?)"
# Of any key, also of those that nobody ever asks for again.
_FORGET: Final = """
DELETE FROM wfe_rates WHERE r IN (SELECT r FROM wfe_rates WHERE until <= ? LIMIT 100)"""


def hold(tx: Tx, n: int, wanted: Hold) -> None:
    """Grant a place, or queue for one.

    The latest limit of a key counts, for those that wait already too: so the first of them is
    who fits, or nobody does.
    """
    if wanted.per is not None:
        _hold_rate(tx, n, wanted, wanted.per)
        return
    key, pointer = wanted.key, wanted.pointer
    has, holders, limit = tx.run(_LOOK, (key, n, pointer)).fetchone()
    if not has and limit is None and holders < wanted.limit:
        tx.run(_TAKE, (key, n, pointer, tx.now))
        has = True
    if has:
        _tell(tx, n, wanted, tx.now)
        return
    if wanted.on_conflict == "skip":
        _tell(tx, n, wanted, tx.now, taken=True)
        return
    if wanted.on_conflict == "cancel_running":
        _supersede(tx, n, wanted, holders)
    if limit is not None and limit != wanted.limit:
        tx.run(_LIMIT, (wanted.limit, key))
    if limit is None or not tx.run(_ASK_AGAIN, (wanted.attempt, n, pointer, key)).rowcount:
        tx.run(_QUEUE, (key, wanted.limit, n, pointer, wanted.attempt))
    if holders < wanted.limit:
        _grant(tx, key)


def _supersede(tx: Tx, n: int, wanted: Hold, holders: int) -> None:
    """End the runs that have the places, the oldest first, and those that wait for one."""
    extra = max(holders - wanted.limit + 1, 0)
    held = tx.run(_OTHERS, (wanted.key, n, extra)).fetchall()
    waiting = tx.run(_WAITING, (wanted.key, n)).fetchall()
    for (other,) in dict.fromkeys([*held, *waiting]):
        tx.deliver(other, superseded(other, wanted.key))


def unhold(tx: Tx, n: int, pointers: Iterable[int]) -> None:
    """Free what these pointers hold, and end their waiting."""
    freed: set[str] = set()
    for pointer in pointers:
        freed.update(key for (key,) in tx.run(_FREE, (n, pointer)).fetchall())
        tx.run(_GIVE_UP, (n, pointer))
    for key in sorted(freed):
        _grant(tx, key)


def end(tx: Tx, n: int) -> None:
    """Free all that a run holds, and end its waiting."""
    freed = {key for (key,) in tx.run(_FREE_ALL, (n,)).fetchall()}
    tx.run(_GIVE_UP_ALL, (n,))
    for key in sorted(freed):
        _grant(tx, key)


def _grant(tx: Tx, key: str) -> None:
    """Give the places of *key* that are free to those that wait longest."""
    first = tx.run(_FIRST, (key,)).fetchone()
    if first is None:
        return
    ((holders,),) = tx.run(_HOLDERS, (key,)).fetchall()
    while first is not None:
        w, limit, n, pointer, attempt = first
        if holders >= limit:
            return
        tx.run(_LEAVE, (w,))
        tx.run(_TAKE, (key, n, pointer, tx.now))
        holders += 1
        _tell(tx, n, Hold(pointer=pointer, attempt=attempt, key=key, limit=limit), tx.now)
        first = tx.run(_FIRST, (key,)).fetchone()


def _hold_rate(tx: Tx, n: int, wanted: Hold, per: int) -> None:
    tx.run(_FORGET, (tx.now,))
    nth = tx.run(_NTH_GRANT, (wanted.key, wanted.limit - 1)).fetchone()
    at = tx.now if nth is None else max(tx.now, nth[0] + per)
    if _tell(tx, n, wanted, at):
        tx.run(_GRANTED, (wanted.key, at, at + per))


def _tell(tx: Tx, n: int, granted: Hold, at: int, *, taken: bool = False) -> bool:
    # Who holds or waits is not final, or is just being retried.
    message = Message(
        target=n,
        kind="granted",
        payload=granted_payload(granted, at, taken=taken),
        dedupe=f"granted:{granted.pointer}:{granted.attempt}:{granted.key}",
        strict=True,
        allow_final=True,
    )
    return tx.deliver(n, message)
