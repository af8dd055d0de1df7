"""Events and who waits for them, inside a write transaction: it is what lets them meet."""

from __future__ import annotations

from typing import Final

from wfe.core.providers import Event, Message, Subscription, event_payload, located
from wfe.sqlite.tx import Tx

__all__ = ["END_WAITS", "LAST_EVENT", "publish", "subscribe", "unsubscribe"]

END_WAITS: Final = "DELETE FROM wfe_subscriptions WHERE instance = ?"
"""Ends all waits of a run."""
LAST_EVENT: Final = """
SELECT max(coalesce((SELECT max(e) FROM wfe_events), 0),
    coalesce((SELECT value FROM wfe_meta WHERE key = 'last_e'), 0))"""
"""The last number of an event; those of deleted events are never given out again."""
_END_WAIT: Final = "DELETE FROM wfe_subscriptions WHERE instance = ? AND pointer = ?"
_EVENT: Final = f"""
INSERT INTO wfe_events (e, id, name, key, at, payload, expires)
SELECT ({LAST_EVENT}) + 1, ?, ?, ?, ?, ?, ? WHERE true
ON CONFLICT (id) DO NOTHING RETURNING e"""
# The deletion of the row is the one-time use of the subscription.
_MATCH: Final = """
DELETE FROM wfe_subscriptions
WHERE name = ? AND key = ? AND as_of <= ? AND (?, ?) > (after_at, after_e)
RETURNING instance, pointer"""
_EARLIEST: Final = """
SELECT e, at, id, payload FROM wfe_events
WHERE name = ? AND key = ? AND (at, e) >= (?, ?) AND (expires IS NULL OR expires > ?)
ORDER BY at, e LIMIT 1"""
_PLACE: Final = "SELECT at, e FROM wfe_events WHERE id = ?"
_SUBSCRIBE: Final = """
INSERT OR REPLACE INTO wfe_subscriptions (instance, pointer, name, key, as_of, after_at, after_e)
VALUES (?, ?, ?, ?, ?, ?, ?)"""


def unsubscribe(tx: Tx, n: int, pointer: int) -> None:
    tx.run(_END_WAIT, (n, pointer))


def subscribe(tx: Tx, n: int, wait: Subscription) -> None:
    """Begin a wait, or end it at once with an event that is there."""
    if wait.past:
        places = [row for id in wait.past for row in tx.run(_PLACE, (id,)).fetchall()]
        wait = located(wait, places)
    first = max((wait.after_at, wait.after_e + 1), (wait.as_of, 0))
    row = tx.run(_EARLIEST, (wait.name, wait.key, *first, tx.now)).fetchone()
    if row is None:
        after = (wait.as_of, wait.after_at, wait.after_e)
        tx.run(_SUBSCRIBE, (n, wait.pointer, wait.name, wait.key, *after))
        return
    e, at, id_, payload = row
    unsubscribe(tx, n, wait.pointer)
    event = Event(id=id_, name=wait.name, key=wait.key, payload=payload, at=at)
    tx.deliver(n, _message(n, wait.pointer, e, at, event))


def publish(tx: Tx, event: Event) -> None:
    """Store an event, and end the waits that it matches."""
    at = tx.now if event.at is None else event.at
    args = (event.id, event.name, event.key, at, event.payload, event.expires)
    stored = tx.run(_EVENT, args).fetchall()
    if not stored or (event.expires is not None and event.expires <= tx.now):
        return
    e = stored[0][0]
    matched = tx.run(_MATCH, (event.name, event.key, at, at, e)).fetchall()
    for n, pointer in sorted(matched):
        tx.deliver(n, _message(n, pointer, e, at, event))


def _message(n: int, pointer: int, e: int, at: int, event: Event) -> Message:
    payload = event_payload(pointer, e, at, event)
    dedupe = f"event:{pointer}:{e}"
    # Who waits is not final, or is just being retried.
    return Message(
        target=n, kind="event", payload=payload, dedupe=dedupe, strict=True, allow_final=True
    )
