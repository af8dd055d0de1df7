"""What one commit is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from wfe.core.lean import define, frozen

if TYPE_CHECKING:
    import asyncio

    from wfe.core.engine.live import LiveRun
    from wfe.core.providers import Item, Outcome

__all__ = ["Batch", "Call", "reowned", "size_of", "unowned"]


@frozen
class Call:
    """What a caller wants written; *direct*: a live run may take it at once."""

    item: Item
    future: asyncio.Future[Outcome]
    direct: bool = False


@define
class Batch:
    """One commit: the transitions of runs, then what callers want written as it is.

    Attributes:
        size: In bytes, about.
        calls: Whom the last ``len(calls)`` items are for.
        direct: How many of these are transitions, of the last of the runs.
    """

    runs: list[LiveRun] = attrs.field(factory=list["LiveRun"])
    items: list[Item] = attrs.field(factory=list["Item"])
    size: int = 0
    calls: list[Call] = attrs.field(factory=list[Call])
    direct: int = 0

    @property
    def own(self) -> int:
        """How many runs decided on what is theirs alone."""
        return len(self.runs) - self.direct

    def add(self, run: LiveRun, item: Item) -> None:
        """Add the transition of a run."""
        self.runs.append(run)
        self.items.append(item)
        self.size += run.size


def unowned(item: Item) -> bool:
    """Whether *item* starts a run that nobody drives yet."""
    return item.new is not None and item.new.owner is None


def reowned(item: Item, epoch: int | None) -> Item:
    """Return *item* with *epoch* for owner, if it starts a run that has one."""
    new = item.new
    if new is None or new.owner is None:
        return item
    return attrs.evolve(item, new=attrs.evolve(new, owner=epoch))


def size_of(item: Item) -> int:
    """Return the bytes of what *item* has of its own run, about."""
    size = sum(map(len, item.rows))
    if item.fold is not None:
        size += len(item.fold.state) + len(item.fold.data)
    return size
