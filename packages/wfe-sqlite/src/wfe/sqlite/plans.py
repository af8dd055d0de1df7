"""What of a batch is written many at a time, and the parameters for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from wfe.core.providers import Header, Item, Snapshot

__all__ = ["Plan", "fold_row", "is_due", "is_rare", "journal_rows", "sends", "start_row"]


class Plan:
    """What the statements of a batch are for; their parameters are made one by one.

    Attributes:
        ordered: What an item does may make another of the batch stale: then order matters.
        waits: Anybody waits for an event.
        wanting: Numbers of runs that have activities or places.
        written: All items that have rows, a snapshot or consumed messages.
    """

    def __init__(
        self, *, ordered: bool, waits: bool = True, wanting: frozenset[int] = frozenset()
    ) -> None:
        self.ordered = ordered
        self.waits = waits
        self.wanting = wanting
        self.starts: list[Header] = []
        self.revivals: list[Item] = []
        self.finals: list[Item] = []
        self.written: list[Item] = []


def start_row(new: Header, now: int) -> tuple[Any, ...]:
    """Return the columns of a new run."""
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


def journal_rows(items: Iterable[Item], now: int) -> Iterator[tuple[Any, ...]]:
    """Return the columns of the rows that *items* append."""
    for item in items:
        n, seq = item.n, item.base
        for event in item.rows:
            seq += 1
            yield n, seq, now, event


def fold_row(n: int, fold: Snapshot, now: int) -> tuple[Any, ...]:
    """Return the columns of a snapshot."""
    return n, fold.seq, now, fold.state, fold.data


def is_due(new: Header, now: int) -> bool:
    """Whether somebody should take a new run at once."""
    return new.owner is None and new.wake is not None and new.wake <= now


def sends(item: Item) -> bool:
    """Whether applying *item* may put messages into inboxes."""
    return bool(item.messages or item.publish or item.subscribe or item.hold or item.unhold)


def is_rare(item: Item) -> bool:
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
