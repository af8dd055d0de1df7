"""The two stores that the state machine compares, and what of their answers must be equal."""

from __future__ import annotations

import attrs

from wfe.core.providers import ActivityRow, Done, InboxRow, Loaded, PersistenceProvider
from wfe.testing.contracts.runs import fields

__all__ = ["Side"]


@attrs.define
class Side:
    """One of the two stores, with the epochs that it issued, in order."""

    store: PersistenceProvider
    epochs: list[int] = attrs.field(factory=list[int])

    def epoch(self, k: int) -> int:
        return self.epochs[k % len(self.epochs)]

    def mortal(self, k: int) -> int:
        """Return any but the first, which stays: else soon nobody could do anything."""
        return self.epochs[1 + k % (len(self.epochs) - 1)]

    def name_of(self, epoch: int | None) -> int | None:
        return None if epoch is None else self.epochs.index(epoch)

    def comparable(self, value: object) -> object:
        """Replace what the stores may number as they like by what must be equal."""
        match value:
            case Loaded():
                shown = attrs.evolve(value.header, owner=self.name_of(value.header.owner))
                return (shown, value.snapshot, value.tail, [_shown(row) for row in value.inbox])
            case ActivityRow():
                return attrs.evolve(value, a=0)
            case Done():
                woken = sorted(
                    (n, d, -1 if o is None else self.epochs.index(o)) for n, d, o in value.woken
                )
                return (value.at, woken)
            case _:
                return value


def _shown(row: InboxRow) -> tuple[object, ...]:
    payload: object = row.payload
    if row.kind == "event":
        payload = {key: value for key, value in fields(row.payload).items() if key != "e"}
    return (row.n, row.kind, row.at, payload, row.actor, row.reason)
