"""What a provider implements; everything is async and batch-first.

Each rule that a docstring names is a test of the suites in ``wfe.testing.contracts``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from typing import Any, Final, Protocol, runtime_checkable

from wfe.core.records import (
    GENTLY,
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
    Message,
    Outcome,
    PurgeQuery,
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
    located,
    superseded,
)
from wfe.core.side_records import (
    ActivityRow,
    ActivityStart,
    Fire,
    Hold,
    LogRow,
    ScheduleRow,
    StreamRow,
    activity_payload,
    granted_payload,
)
from wfe.core.transaction_provider import Transaction, TransactionProvider

__all__ = [
    "GENTLY",
    "PROVIDER_API",
    "ActivityRow",
    "ActivityStart",
    "BlobProvider",
    "Claimed",
    "Clock",
    "Conflict",
    "DefinitionRow",
    "Done",
    "Event",
    "Fenced",
    "Fire",
    "Header",
    "HeaderChange",
    "Hint",
    "Hold",
    "InboxRow",
    "InstanceQuery",
    "Item",
    "Loaded",
    "LockProvider",
    "LogRow",
    "Message",
    "OutboxProvider",
    "Outcome",
    "PayloadCodec",
    "PersistenceProvider",
    "PurgeQuery",
    "QueueProvider",
    "Refused",
    "Row",
    "ScheduleRow",
    "SeparateLock",
    "SeparateQueue",
    "Snapshot",
    "Stale",
    "StoreInfo",
    "StoredInstance",
    "StreamRow",
    "Subscription",
    "Transaction",
    "TransactionProvider",
    "WorkerInfo",
    "WorkerRow",
    "activity_payload",
    "data_has",
    "event_payload",
    "granted_payload",
    "located",
    "superseded",
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
        """Which of ``queue`` and ``lock`` this object does itself (fused), and what else it can.

        ``deaths``: its ``dead`` knows whose process has ended, and is asked beside another lock.
        """
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

        A class with this method may have ``commit_now`` beside it: the same without ``async``, for
        a store that often need not wait for anything.  ``None``: it has to, and nothing is written.
        """
        ...

    async def claim(
        self, epoch: int, definitions: Sequence[int], limit: int, hints: Sequence[int] | None = None
    ) -> Sequence[Claimed]:
        """Own up to *limit* unowned instances that are due, earliest first.

        Only those of *definitions*; with *hints*, only those numbers.  A fenced worker gets none.
        """
        ...

    async def owned(self, epoch: int) -> Sequence[Claimed]:
        """Return what a worker owns now, however it came to it; lowest number first; read-only.

        Whoever lost the answer to a claim asks what it got.
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

    async def claim_activity(
        self, names: Sequence[str], worker: str, token: str, lease: int
    ) -> ActivityRow | None:
        """Claim the oldest activity of *names* that nobody holds, for *lease* µs.

        A claim whose lease has passed does not count.  The row gets *token*, which nobody else
        ever used, and is returned as changed; ``None``: there is none.
        """
        ...

    async def beat_activity(self, token: str, lease: int, progress: str | None) -> bool:
        """Hold a claim for another *lease* µs from now; ``False``: it does not count any more."""
        ...

    async def finish_activity(self, token: str, result: str) -> Outcome:
        """Delete the claimed activity and tell its run, in one transaction.

        The run gets a message ``activity_done`` with :func:`activity_payload`.  ``Refused``
        (``missing``): the token is unknown, was used, its lease has passed, or the run is final.
        """
        ...

    async def activities(self, n: int | None = None) -> Sequence[ActivityRow]:
        """Return the open activities, all or those of one instance, oldest first."""
        ...

    async def put_schedule(self, row: ScheduleRow) -> bool:
        """Insert a schedule (``rev`` 0), or replace it if it is still at ``row.rev``.

        Its stored ``rev`` is ``row.rev + 1``.  ``False``: it exists, or is not at that rev.
        ``last_n`` and ``created_at`` of a stored one stay; a new one's ``created_at`` is now.
        """
        ...

    async def delete_schedule(self, id: str) -> bool:
        """Delete a schedule; its runs stay.  ``False``: there is none."""
        ...

    async def schedules(
        self, id: str | None = None, definition: str | None = None
    ) -> Sequence[ScheduleRow]:
        """Return the schedules that fit, by id."""
        ...

    async def due_schedules(self, limit: int) -> tuple[Sequence[ScheduleRow], int | None]:
        """Return up to *limit* schedules that are due and not paused, the earliest first.

        And, read-only too, when the next one after these is due (µs; ``None``: none).
        """
        ...

    async def pause_definition(self, id: str, *, paused: bool) -> bool:
        """Mark a definition (all versions) as paused or not; ``False``: it was so already."""
        ...

    async def paused(self) -> Sequence[str]:
        """Return the ids of the paused definitions."""
        ...

    async def append_stream(self, rows: Sequence[StreamRow]) -> None:
        """Store what steps emitted."""
        ...

    async def stream(self, n: int, after: int, limit: int) -> Sequence[StreamRow]:
        """Return up to *limit* rows of *n* with ``s`` > *after*, in order."""
        ...

    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        """Return roots that fit and whose whole families are final; read-only."""
        ...

    async def family(self, n: int) -> Sequence[StoredInstance]:
        """Return an instance and everything below it, each after its parent; read-only."""
        ...

    async def purge(self, roots: Sequence[int]) -> int:
        """Delete families: everything that is stored of these roots and what is below them.

        In transactions of bounded size, each header last, so that a crash in between leaves
        families that are still found and deleted by a later call.  A family that is not wholly
        final is passed over.  Returns the number of instances deleted.
        """
        ...

    async def purge_events(self, limit: int) -> int:
        """Delete up to *limit* events that have expired; return how many."""
        ...

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        """Store log lines."""
        ...

    async def logs(self, n: int, after: int, limit: int) -> Sequence[LogRow]:
        """Return up to *limit* lines of *n* with ``l`` > *after*, in order."""
        ...


@runtime_checkable
class OutboxProvider(Protocol):
    """A store that takes starts and events inside the application's own transaction.

    Feature ``outbox`` of a persistence provider.
    """

    def enqueue(self, connection: Any, item: Item) -> Outcome | Awaitable[Outcome]:
        """Write *item* on the application's connection; it counts once that is committed.

        A start whose ``n`` is 0 gets a number within the transaction.  ``Refused``: nothing of it
        was written, and the transaction goes on.

        Args:
            connection: The driver's own, inside a transaction.  What is returned is awaited when
                it can be.
            item: A start without owner, or publications.

        Raises:
            ProviderError: It is no connection of this store's driver, or to another database.
        """
        ...

    async def drain_outbox(self, limit: int) -> Sequence[tuple[int, int, int | None]]:
        """Publish up to *limit* events that committed transactions left; return who woke.

        As ``Done.woken``.  Each event is published once, whichever host does it.
        """
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


@runtime_checkable
class SeparateLock(Protocol):
    """What a lock that is not the store itself may offer beyond :class:`LockProvider`."""

    async def bury(self, epochs: Sequence[int]) -> None:
        """Take note that the store fenced *epochs*: they beat no more, and hold nothing."""
        ...

    async def leave(self) -> None:
        """Let go of what calls on the running event loop opened: the heartbeat's loop ends."""
        ...

    async def close(self) -> None:
        """Let go of connections; idempotent."""
        ...


@runtime_checkable
class SeparateQueue(Protocol):
    """What a queue that is not the store itself may offer beyond :class:`QueueProvider`."""

    def serve(self, epoch: int, definitions: Collection[int]) -> None:
        """Say whose unowned runs *epoch* can take from now on; before: nobody's.

        0 is among them when it takes hints about no run (schedules).
        """
        ...

    def forget(self, epoch: int) -> None:
        """Listen no more for *epoch*: it is over."""
        ...

    async def close(self) -> None:
        """Let go of connections; idempotent."""
        ...


class BlobProvider(Protocol):
    """Keeps big values outside of the store; each belongs to an owner, and is deleted with it.

    All methods raise :class:`~wfe.core.errors.ProviderError` when the backend fails.
    """

    async def put(self, owner: str, data: bytes) -> str:
        """Keep *data* and return a reference; durable when it returns.

        The same data of the same owner is kept once, and has the same reference.

        Args:
            owner: Digits, small letters and ``-``.
            data: Anything.
        """
        ...

    async def get(self, ref: str) -> bytes:
        """Return what is kept under *ref*, exactly."""
        ...

    async def delete(self, owners: Sequence[str]) -> None:
        """Delete all that belongs to *owners*; unknown ones are passed over."""
        ...

    async def owners(self, age: int) -> Sequence[str]:
        """Return the owners of whom nothing was put for *age* µs."""
        ...


class PayloadCodec(Protocol):
    """Turns stored texts into others and back, for example to compress or encrypt them.

    Called on the event loop; what it raises is a failure of the store.
    """

    def encode(self, text: str) -> str:
        """Return the form of *text* that is stored."""
        ...

    def decode(self, text: str) -> str:
        """Return the text that :meth:`encode` was given."""
        ...
