"""What a provider implements; everything is async and batch-first.

Each rule that a docstring names is a test of the suites in ``wfe.testing.contracts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from wfe.core.records import (
    Claimed,
    Conflict,
    DefinitionRow,
    Done,
    Event,
    Fenced,
    Header,
    HeaderChange,
    Hint,
    InboxRow,
    InstanceQuery,
    Item,
    Loaded,
    LogRow,
    Message,
    Outcome,
    Refused,
    Row,
    Snapshot,
    Stale,
    StoredInstance,
    StoreInfo,
    Subscription,
    WorkerInfo,
    WorkerRow,
    data_has,
    event_payload,
)

__all__ = [
    "PROVIDER_API",
    "Claimed",
    "Clock",
    "Conflict",
    "DefinitionRow",
    "Done",
    "Event",
    "Fenced",
    "Header",
    "HeaderChange",
    "Hint",
    "InboxRow",
    "InstanceQuery",
    "Item",
    "Loaded",
    "LockProvider",
    "LogRow",
    "Message",
    "Outcome",
    "PersistenceProvider",
    "QueueProvider",
    "Refused",
    "Row",
    "Snapshot",
    "Stale",
    "StoreInfo",
    "StoredInstance",
    "Subscription",
    "WorkerInfo",
    "WorkerRow",
    "data_has",
    "event_payload",
]

PROVIDER_API: Final = 1
"""Version of these protocols; compared when a plugin is loaded."""


class Clock(Protocol):
    """The one clock of a store and of the hosts on it."""

    def now(self) -> int:
        """Return µs since 1970, UTC; never goes back within a process."""
        ...

    async def sleep_until(self, when: int) -> None:
        """Return when :meth:`now` is at least *when* (µs)."""
        ...


class PersistenceProvider(Protocol):
    """The store: the only truth.

    All methods raise :class:`~wfe.core.errors.ProviderError` (or a subclass) when the backend
    fails; the driver's error is its cause.
    """

    @property
    def features(self) -> frozenset[str]:
        """Which of ``queue`` and ``lock`` this object does itself (fused)."""
        ...

    @property
    def clock(self) -> Clock:
        """The store's clock."""
        ...

    async def open(self) -> StoreInfo:
        """Connect, check or make the schema; idempotent."""
        ...

    async def close(self) -> None:
        """Let go of connections; idempotent."""
        ...

    async def register(self, worker: WorkerInfo) -> int:
        """Insert a worker and return its epoch: a random number of 63 bits, never used before."""
        ...

    async def unregister(self, epoch: int) -> None:
        """Fence *epoch* and release what it still owns: a clean stop (no takeover is counted)."""
        ...

    async def workers(self) -> Sequence[WorkerRow]:
        """Return the workers that are not fenced, or still own instances."""
        ...

    async def fence(self, epochs: Sequence[int], *, lease: int | None) -> Sequence[int]:
        """Fence workers and return those that this call fenced.

        After it returns, no commit of a fenced worker succeeds; one in flight is waited for.

        Args:
            epochs: Whom; unknown or fenced ones are passed over.
            lease: µs; only those whose last beat is older.  ``None``: unconditionally.
        """
        ...

    async def orphans(self, limit: int) -> int:
        """Release up to *limit* instances of fenced workers; return how many.

        Each becomes unowned and due now, and its ``takeovers`` grows by one.
        """
        ...

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        """Apply *items* in one transaction, as one outcome each, in their order.

        A refused, stale or conflicting item leaves no trace and does not keep the others from
        being committed.  *epoch* ``None``: items of a client that owns nothing (starts without
        owner, messages, publications).  A ``Done`` is durable when this returns.
        """
        ...

    async def claim(
        self, epoch: int, definitions: Sequence[int], limit: int, hints: Sequence[int] | None = None
    ) -> Sequence[Claimed]:
        """Own up to *limit* unowned instances that are due, earliest first.

        Only those of *definitions*; with *hints*, only those numbers.  A fenced worker gets none.
        """
        ...

    async def waiting(self, roots: Sequence[str]) -> Sequence[tuple[int, int, int]]:
        """Return (wake, n, d) of the unowned runs with a wake time below these roots; read-only.

        A root is below itself.  Earliest first.
        """
        ...

    async def fault(self, epoch: int, n: int, wake: int, reason: str, limit: int) -> None:
        """Release *n* until *wake* and count a fault; at *limit* faults it is SUSPENDED.

        *reason* is the JSON of the error, stored with the suspension.
        """
        ...

    async def load(self, numbers: Sequence[int]) -> Sequence[Loaded]:
        """Return what exists of *numbers*, consistent per instance."""
        ...

    async def inbox(
        self, numbers: Sequence[int]
    ) -> Sequence[tuple[int, int, tuple[InboxRow, ...]]]:
        """Return (n, poke, rows) of each, poke and rows read together."""
        ...

    async def due(self, definitions: Sequence[int]) -> int | None:
        """Return the earliest wake time of the unowned instances of *definitions*; read-only."""
        ...

    async def history(self, n: int, after: int, limit: int) -> Sequence[Row]:
        """Return up to *limit* rows with seq > *after*, in order."""
        ...

    async def get(self, id_or_name: str) -> StoredInstance | None:
        """Return the header of the instance with this id, else this name, else ``None``."""
        ...

    async def find(self, query: InstanceQuery) -> Sequence[StoredInstance]:
        """Return at most ``query.limit`` headers in the query's order."""
        ...

    async def put_definition(self, id: str, version: int, hash: str, body: str) -> int:
        """Store a definition unless it is there, make it current, and return its number."""
        ...

    async def definitions(self, id: str | None = None) -> Sequence[DefinitionRow]:
        """Return the stored definitions, all or those of one id."""
        ...

    async def allocate(self, count: int) -> int:
        """Return the first of *count* instance numbers (>= 1) that nobody else gets."""
        ...

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        """Store log lines."""
        ...

    async def logs(self, n: int, after: int, limit: int) -> Sequence[LogRow]:
        """Return up to *limit* lines of *n* with ``l`` > *after*, in order."""
        ...


class LockProvider(Protocol):
    """Who is alive.  Comfort, never the only guard of a write: the store's fence is that."""

    async def beat(self, epoch: int, lease: int) -> bool:
        """Say that *epoch* lives for another *lease* µs; ``False``: it was fenced.

        Called from a thread and event loop of its own, so that a blocked loop or a slow commit
        does not cost the lease: it shares no connection with the other methods.
        """
        ...

    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        """Return which of *epochs* are certainly dead (lock free) or silent for *lease* µs."""
        ...

    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        """Take the named lock for *lease* µs; ``True`` too when *epoch* has it already."""
        ...


class QueueProvider(Protocol):
    """Hints: they may be lost, doubled or late.  Nothing is true because a queue said so."""

    async def hint(self, hints: Sequence[Hint]) -> None:
        """Tell the owner, or for unowned instances some host, that there is work."""
        ...

    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        """Return instance numbers hinted to *epoch*, waiting at most *timeout* µs; may be empty."""
        ...
