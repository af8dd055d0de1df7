"""The plain records that cross the seam between engine and providers.

Times are µs since 1970, UTC, by the *store's* clock.  An instance is known by its number ``n``
here; its public ``id`` is a column.  Texts (``state``, ``payload``, rows …) are JSON that the
engine wrote: a provider stores them unread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias, cast

import attrs
import orjson

from wfe.core.lean import lean
from wfe.core.side_records import ActivityStart, Fire, Hold

__all__ = [
    "GENTLY",
    "Claimed",
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
    "Message",
    "Outcome",
    "PurgeQuery",
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
    "located",
    "superseded",
]


@lean(kw_only=True)
class Header:
    """Columns of a new instance.

    Attributes:
        d: Number of its definition (:meth:`PersistenceProvider.put_definition`).
        wake: When it is due; ``None``: nothing is due.
        owner: Epoch of the worker that owns it from the start; ``None``: nobody.
        idem: Idempotency key, unique per definition id; ``None``: none.
        priority: Of those due, higher ones are claimed first.
        dedup: Unique per definition id among runs that are not final; ``None``: none.
    """

    n: int
    id: str
    d: int
    definition: str
    version: int
    name: str | None = None
    reference: str | None = None
    status: str = "runnable"
    wake: int | None = None
    owner: int | None = None
    parent: int | None = None
    parent_pointer: int | None = None
    parent_id: str | None = None
    root_id: str
    idem: str | None = None
    priority: int = 0
    dedup: str | None = None


@lean(kw_only=True)
class HeaderChange:
    """The header after a transition: whole, never partial.

    Attributes:
        wake: When the run is due next, ``None``: when something wakes it.  Used on release.
        release: Give the run up.  If messages arrived since ``Item.seen``, wake becomes now.
        error: JSON of the error, ``None``: none.
        final: The run is over: ``completed_at`` becomes now, owner and wake become null.
        retain_until: When retention may delete it, ``None``: never.  Used with *final*.
    """

    status: str
    wake: int | None = None
    release: bool = False
    error: str | None = None
    final: bool = False
    retain_until: int | None = None


@lean
class Snapshot:
    """A journal folded up to and including row *seq*.

    Attributes:
        state: The engine's state.
        data: The user's data alone, for ``find(data=...)``.
    """

    seq: int
    state: str
    data: str


@lean(kw_only=True)
class Subscription:
    """A wait for the first event (name, key) with time >= *as_of* and (time, e) > *after*.

    Attributes:
        past: Ids of events that the wait is after, too; unknown ones do not matter.
    """

    pointer: int
    name: str
    key: str
    as_of: int
    after_at: int = -1
    after_e: int = -1
    past: tuple[str, ...] = ()


def located(wait: Subscription, positions: Iterable[tuple[int, int]]) -> Subscription:
    """Return *wait* after these positions (time, e), which are those of its ``past``."""
    at, e = max([(wait.after_at, wait.after_e), *positions])
    return attrs.evolve(wait, after_at=at, after_e=e, past=())


GENTLY: Final = '{"gently":true}'
"""Payload of a ``terminate`` that no person sends: it never cuts off what ends a run already."""


@lean(kw_only=True)
class Message:
    """A row for another instance's inbox; it also bumps ``poke`` and wakes the target.

    Attributes:
        target: The instance; ``None``: each child of the item's instance that is not final.
        dedupe: At most one row of this text per target; ``None``: no limit.
        strict: Refuse the item when the target is missing or final; else the message is dropped.
        allow_final: With *strict*, final targets are accepted too, and made claimable (``retry``).
    """

    target: int | None
    kind: str
    payload: str = "null"
    dedupe: str | None = None
    actor: str | None = None
    reason: str | None = None
    strict: bool = False
    allow_final: bool = False


def superseded(target: int, key: str) -> Message:
    """Return what tells an instance that another one takes its place under the limit *key*."""
    reason = f"another run takes its place under the limit {key!r}"
    return Message(
        target=target, kind="terminate", payload=GENTLY, actor="concurrency", reason=reason
    )


@lean(kw_only=True)
class Event:
    """A published event.

    Attributes:
        id: A second event with the same id is dropped.
        at: Its time; ``None``: the store's now.
        expires: From this time on (µs) it matches nobody and may be deleted; ``None``: never.
    """

    id: str
    name: str
    key: str
    payload: str = "null"
    at: int | None = None
    expires: int | None = None


def event_payload(pointer: int, e: int, at: int, event: Event) -> str:
    """Return the payload of the message that a matched event becomes.

    Such a message has kind ``event``; its payload is a JSON object: ``pointer`` that waited,
    ``e`` and ``at`` (the event's position, for ``after_e`` and ``after_at`` of the branch's next
    wait), ``id`` and ``payload`` of the event.
    """
    id_ = orjson.dumps(event.id).decode()
    return f'{{"pointer":{pointer},"e":{e},"at":{at},"id":{id_},"payload":{event.payload}}}'


@lean(kw_only=True)
class Item:
    """One atomic change of at most one instance; the items of a batch are independent.

    Attributes:
        n: The instance; 0 for an item that only sends messages or publishes.
        base: Seq of the last row that the decision saw; -1 for a new instance.
        rows: JSON texts that become rows ``base + 1`` and following.
        new: Insert this instance (base -1).
        starts: Children: items with ``new``, applied if and only if this item is.  A child
            whose (definition, idem) exists already is left as it is.
        header: ``None``: unchanged.
        seen: ``poke`` at the time of the decision.  Checked when there is a header change or
            something consumed, unless the change is a release.
        consumed: Inbox rows (``i``) that this transition journals: deleted with it.  0: a message
            that never was in an inbox, for it came with the decision; there is nothing to delete.
        subscribe: Waits that begin; each is matched against stored events at once.
        unsubscribe: Pointers whose waits end, before *publish* looks for whom its events wake.
        alive: Set ``takeovers`` and ``faults`` to 0 (the first item after a claim).
        activities: Work to offer; one of the same pointer is replaced.
        end_activities: Pointers whose activities are not wanted any more.
        hold: Places wanted.
        unhold: Pointers that free (or do not want any more) all places of theirs.
        fire: A schedule's change that goes with ``new`` or with nothing: applied if and only if
            the rest is.

    A final header ends waits, activities and places of the instance.
    """

    n: int = 0
    base: int = -1
    rows: tuple[str, ...] = ()
    fold: Snapshot | None = None
    new: Header | None = None
    starts: tuple[Item, ...] = ()
    header: HeaderChange | None = None
    seen: int = 0
    consumed: tuple[int, ...] = ()
    subscribe: tuple[Subscription, ...] = ()
    unsubscribe: tuple[int, ...] = ()
    messages: tuple[Message, ...] = ()
    publish: tuple[Event, ...] = ()
    alive: bool = False
    activities: tuple[ActivityStart, ...] = ()
    end_activities: tuple[int, ...] = ()
    hold: tuple[Hold, ...] = ()
    unhold: tuple[int, ...] = ()
    fire: Fire | None = None

    @property
    def only_rows(self) -> bool:
        """Whether it appends rows to an instance and does nothing else, as most items."""
        return bool(self.n and self.rows) and not (
            self.header
            or self.new
            or self.fold
            or self.consumed
            or self.subscribe
            or self.unsubscribe
            or self.messages
            or self.publish
            or self.starts
            or self.alive
            or self.activities
            or self.end_activities
            or self.hold
            or self.unhold
            or self.fire
        )


@lean
class Done:
    """The item is committed.

    Attributes:
        at: The store's time of it, µs: the ``at`` of its rows.
        woken: (n, d, owner epoch or ``None``) of each instance whose inbox got a row, or which
            became due; hints for them are the engine's business.
    """

    at: int
    woken: tuple[tuple[int, int, int | None], ...] = ()


@lean
class Stale:
    """A message arrived meanwhile: read the inbox and decide again.  Nothing was written."""


@lean
class Conflict:
    """Not the owner, or *base* is not the last row: load again.  Nothing was written."""


@lean
class Refused:
    """The item can never be applied.  Nothing was written.

    Attributes:
        why: ``name``: taken; ``idem`` or ``dedup``: the start exists; ``final`` or ``missing``:
            the target is; ``schedule``: it was changed meanwhile, or is paused.
        existing: Public id of the instance in the way, or the target's status for ``final``.
    """

    why: Literal["name", "idem", "dedup", "final", "missing", "schedule"]
    existing: str | None = None


@lean
class Fenced:
    """The worker was fenced: nothing of the batch that it owns was written."""


Outcome: TypeAlias = Done | Stale | Conflict | Refused | Fenced


@lean
class StoreInfo:
    """What :meth:`PersistenceProvider.open` found.

    Attributes:
        kind: For messages, for example ``sqlite``.
        durable: Whether state survives the process.
        version: Of the backend's library or server.
    """

    kind: str
    durable: bool
    version: str


@lean(kw_only=True)
class WorkerInfo:
    """A host that registers."""

    name: str
    host: str
    pid: int


@lean(kw_only=True)
class WorkerRow:
    """A registered host.

    Attributes:
        fenced: When it was fenced, µs; ``None`` while it may write.
        owns: Whether it owns an instance.  Who owns none need not beat, and there is nothing to
            take over from it; a store that cannot tell says ``True``.
    """

    epoch: int
    name: str
    host: str
    pid: int
    started: int
    beat: int
    fenced: int | None
    owns: bool = True


@lean
class DefinitionRow:
    """A stored definition; *current*: new runs of (id, version) get it."""

    d: int
    id: str
    version: int
    hash: str
    body: str
    current: bool


@lean(kw_only=True)
class StoredInstance:
    """A header as read."""

    n: int
    id: str
    d: int
    definition: str
    version: int
    name: str | None
    reference: str | None
    status: str
    wake: int | None
    owner: int | None
    poke: int
    takeovers: int
    faults: int
    parent: int | None
    parent_pointer: int | None
    parent_id: str | None
    root_id: str
    idem: str | None
    error: str | None
    created_at: int
    completed_at: int | None
    priority: int = 0
    retain_until: int | None = None


@lean
class Claimed:
    """An instance that this worker owns now."""

    n: int
    d: int
    takeovers: int


@lean
class Row:
    """A journal row."""

    seq: int
    at: int
    event: str


@lean(kw_only=True)
class InboxRow:
    """A message that waits to be consumed; consumed in order of *i*."""

    i: int
    n: int
    kind: str
    at: int
    payload: str
    actor: str | None
    reason: str | None


@lean(kw_only=True)
class Loaded:
    """All that is needed to go on with an instance; ``header.poke`` belongs to *inbox*."""

    header: StoredInstance
    snapshot: Snapshot | None
    tail: tuple[Row, ...]
    inbox: tuple[InboxRow, ...]


@lean(kw_only=True)
class InstanceQuery:
    """Which instances to list.

    Attributes:
        since: Created at or after, µs.
        data: Top-level data fields that must equal these JSON values, as of the last snapshot.
        newest_first: By (created_at, n).
        after: (created_at, n) of the last instance of the page before.
    """

    definition: str | None = None
    status: str | None = None
    reference: str | None = None
    since: int | None = None
    data: Mapping[str, object] | None = None
    newest_first: bool = True
    limit: int = 100
    after: tuple[int, int] | None = None


@lean(kw_only=True)
class PurgeQuery:
    """Which finished families may be deleted: a root run with everything below it, all final.

    Attributes:
        definition: Of the root.
        status: Of the root.
        completed_before: µs; the root's ``completed_at``.
        retained_until: µs; the root's ``retain_until`` is at or before this (``None`` never is).
        limit: How many roots at most: those that were completed first; with *retained_until*,
            those whose time came first.
    """

    definition: str | None = None
    status: str | None = None
    completed_before: int | None = None
    retained_until: int | None = None
    limit: int = 500


@lean
class Hint:
    """Instance *n* of definition *d* has work; *owner* is who owns it, ``None``: nobody."""

    n: int
    d: int
    owner: int | None


def data_has(data: str, wanted: Mapping[str, object]) -> bool:
    """Whether the JSON object *data* has these fields; ``true`` is not 1 here, 1.0 is."""
    found: object = orjson.loads(data)
    if not isinstance(found, dict):
        return False
    fields = cast("dict[str, object]", found)
    return all(
        field in fields
        and fields[field] == value
        and isinstance(fields[field], bool) == isinstance(value, bool)
        for field, value in wanted.items()
    )
