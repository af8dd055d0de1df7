"""An instance of a memory store, and the commit that is changing some."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from wfe.core.lean import define
from wfe.core.providers import (
    Done,
    Header,
    InboxRow,
    Message,
    Row,
    Snapshot,
    StoredInstance,
    Subscription,
)

__all__ = ["Deliver", "MemoryCommit", "MemoryRun"]


@define(eq=False, kw_only=True)
class MemoryRun:
    """An instance; *rows* by seq, *inbox* by i with the dedupe text of each message."""

    new: Header
    created_at: int
    status: str
    wake: int | None
    owner: int | None = None
    poke: int = 0
    takeovers: int = 0
    faults: int = 0
    error: str | None = None
    completed_at: int | None = None
    retain_until: int | None = None
    snapshot: Snapshot | None = None
    rows: list[tuple[int, str]] = attrs.field(factory=list[tuple[int, str]])
    inbox: dict[int, tuple[InboxRow, str | None]] = attrs.field(
        factory=dict[int, tuple[InboxRow, str | None]]
    )
    dedupes: set[str] = attrs.field(factory=set[str])
    subscriptions: dict[int, Subscription] = attrs.field(factory=dict[int, Subscription])

    def stored(self) -> StoredInstance:
        new = self.new
        return StoredInstance(
            n=new.n,
            id=new.id,
            d=new.d,
            definition=new.definition,
            version=new.version,
            name=new.name,
            reference=new.reference,
            status=self.status,
            wake=self.wake,
            owner=self.owner,
            poke=self.poke,
            takeovers=self.takeovers,
            faults=self.faults,
            parent=new.parent,
            parent_pointer=new.parent_pointer,
            parent_id=new.parent_id,
            root_id=new.root_id,
            idem=new.idem,
            error=self.error,
            created_at=self.created_at,
            completed_at=self.completed_at,
            priority=new.priority,
            retain_until=self.retain_until,
        )

    def messages(self) -> tuple[InboxRow, ...]:
        return tuple(row for row, _ in self.inbox.values())

    def after(self, seq: int, limit: int | None = None) -> tuple[Row, ...]:
        first = seq + 1
        last = None if limit is None else first + limit
        return tuple(Row(first + k, at, text) for k, (at, text) in enumerate(self.rows[first:last]))


@define(eq=False)
class MemoryCommit:
    """One commit: its time, its worker, and whom the current item woke."""

    now: int
    epoch: int | None
    woken: dict[int, MemoryRun] = attrs.field(factory=dict[int, MemoryRun])

    def done(self) -> Done:
        woken = tuple((n, run.new.d, run.owner) for n, run in self.woken.items())
        self.woken = {}
        return Done(self.now, woken)


Deliver: TypeAlias = Callable[[MemoryRun, Message, MemoryCommit], bool]
"""Puts a message into an inbox and wakes its run; ``False``: it was there already."""
