"""Whether a store can commit without waiting for anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from wfe.core.providers import Item, Outcome, PersistenceProvider

__all__ = ["CommitNow", "instant"]

CommitNow: TypeAlias = Callable[[int | None, Sequence[Item]], Sequence[Outcome] | None]


def instant(store: PersistenceProvider) -> CommitNow | None:
    """Return the ``commit_now`` of *store*, if the class that says how it commits has one.

    A class that overrides or wraps ``commit`` alone means every commit to go through it.
    """
    for cls in type(store).__mro__:
        if "commit" in vars(cls):
            found: CommitNow | None = getattr(store, "commit_now", None)
            return found if "commit_now" in vars(cls) else None
    return None
