"""What the rules are told: outcomes of bodies, timers, messages; and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from wfe.core.lean import lean
from wfe.core.providers import ActivityStart, Hold, Item, Message, Subscription
from wfe.core.rules.writes import NO_WRITES, Writes

__all__ = [
    "NO_WRITES",
    "Answered",
    "AsksPerson",
    "AsksPlaces",
    "Branched",
    "Completed",
    "Decision",
    "Due",
    "Exceeded",
    "Expired",
    "Failed",
    "Input",
    "Items",
    "Joined",
    "Offers",
    "Received",
    "Recovered",
    "Restored",
    "Skipped",
    "Slept",
    "StartsChild",
    "Stopped",
    "Unwanted",
    "Waits",
    "WaitsSignal",
    "Writes",
    "completed_of",
]


@lean
class Completed:
    """A body is done; *outcome* selects ``when`` blocks.

    Attributes:
        notes: What else the history says of it, for example where the result comes from.
    """

    pointer: int
    attempt: int
    outcome: Any = None
    writes: Writes = NO_WRITES
    started: int = 0
    notes: Mapping[str, Any] | None = None


@lean
class Joined:
    """What a body did in a transaction of the store is committed together with this."""

    completed: Completed

    @property
    def pointer(self) -> int:
        """The pointer of the body."""
        return self.completed.pointer

    @property
    def attempt(self) -> int:
        """The attempt of the body."""
        return self.completed.attempt

    def stored(self) -> list[Any]:
        """Return the completion as the pointer keeps it until it is decided on."""
        each = self.completed
        writes = each.writes
        changed = [dict(writes.fields), list(writes.removed), dict(writes.reduced), writes.base]
        return [each.outcome, changed, each.started, each.notes]


def completed_of(pointer: int, attempt: int, stored: list[Any]) -> Completed:
    """Return the completion that :meth:`Joined.stored` kept."""
    outcome, (fields, removed, reduced, base), started, notes = stored
    writes = Writes(fields, tuple(removed), reduced, base)
    return Completed(pointer, attempt, outcome, writes, started, notes)


@lean
class Branched:
    """A container's expression chose blocks, by number; none: it is done."""

    pointer: int
    attempt: int
    blocks: tuple[int, ...]


@lean
class Items:
    """A for-each (or a body's ``branch``) computed its items, in stored form."""

    pointer: int
    attempt: int
    items: list[Any]
    writes: Writes = NO_WRITES


@lean
class Slept:
    """A body or a delay goes on at *until* (µs); *memory* is its persistence data."""

    pointer: int
    attempt: int
    until: int
    memory: Any = None
    writes: Writes = NO_WRITES


@lean(kw_only=True)
class Waits:
    """A body or a wait goes on when the event comes; *until* is its time-out, µs."""

    pointer: int
    attempt: int
    name: str
    key: str
    as_of: int
    until: int | None = None
    writes: Writes = NO_WRITES


@lean
class StartsChild:
    """A sub-workflow begins; *start* is the child's first item.

    Attributes:
        detached: Nobody waits for it: its id is the step's result.
        abandon: It goes on when its parent ends.
    """

    pointer: int
    attempt: int
    start: Item
    detached: bool = False
    abandon: bool = False


@lean(kw_only=True)
class Offers:
    """An activity is offered to external workers; *until* is its time-out, µs."""

    pointer: int
    attempt: int
    name: str
    parameters: str
    until: int | None = None


@lean(kw_only=True)
class AsksPerson:
    """An approval is asked for; *until* is its time-out, µs."""

    pointer: int
    attempt: int
    prompt: str
    options: tuple[str, ...]
    until: int | None = None


@lean(kw_only=True)
class WaitsSignal:
    """A wait for a signal to this run; *until* is its time-out, µs."""

    pointer: int
    attempt: int
    name: str
    until: int | None = None


@lean
class AsksPlaces:
    """A node with limits wants places: (key, limit, per µs or ``None``) each.

    *conflicts* has what a key does that finds no place, unless it waits.
    """

    pointer: int
    attempt: int
    places: tuple[tuple[str, int, int | None], ...]
    conflicts: Mapping[str, str] = attrs.field(factory=dict[str, str])


@lean
class Unwanted:
    """The node's ``cancel_when`` holds."""

    pointer: int


@lean
class Exceeded:
    """The run grew beyond a limit of the host; *message* says which."""

    message: str


@lean(kw_only=True)
class Failed:
    """An attempt failed.

    Attributes:
        type: Class name of the error.
        spread: -1 to 1, drawn by the shell: where in the jitter's range the pause falls.
        errored: Whether not the step said no, but what it needs did not work.
        labels: What the retries of a container may name: ``exit:3``, ``timeout``, ``error``.
    """

    pointer: int
    attempt: int
    type: str
    message: str
    retryable: bool = True
    spread: float = 0.0
    started: int = 0
    errored: bool = False
    labels: tuple[str, ...] = ()


@lean
class Skipped:
    """The node's ``run_if`` was false, or the body said so."""

    pointer: int
    attempt: int


@lean
class Stopped:
    """The body of a cancelled pointer has ended (or never ran)."""

    pointer: int


@lean
class Due:
    """A delay is over, or a wait timed out."""

    pointer: int


@lean
class Expired:
    """The run's own time-out has passed."""


@lean
class Recovered:
    """The run was taken over from a dead host; *pointers* may have been running."""

    pointers: tuple[int, ...]


@lean(kw_only=True)
class Received:
    """A message from the inbox.

    Attributes:
        found: What the shell looked up for it: a :class:`Restored`, an :class:`Answered`.
    """

    i: int
    kind: str
    payload: Any
    actor: str | None = None
    reason: str | None = None
    found: Any = None


@lean(kw_only=True)
class Restored:
    """An earlier state of the run, to go on from.

    Attributes:
        pointers, logs, next: As in a stored state.
        data: Field by field as of then; ``None``: the data stays as it is.
        failed: The pointers whose failure is undone by trying them again.
        children: Pointers whose sub-workflow ended before it was complete: it goes on, too.
    """

    pointers: list[Any]
    logs: Mapping[str, Any]
    next: int
    data: Mapping[str, Any] | None = None
    failed: frozenset[int] = frozenset()
    children: frozenset[int] = frozenset()


@lean(kw_only=True)
class Answered:
    """What the handler of an update said: a result, or the error of a refusal."""

    result: Any = None
    error: Mapping[str, Any] | None = None
    writes: Writes = NO_WRITES


Input: TypeAlias = (
    Completed
    | Joined
    | Branched
    | Items
    | Slept
    | Waits
    | StartsChild
    | Offers
    | AsksPerson
    | WaitsSignal
    | AsksPlaces
    | Unwanted
    | Exceeded
    | Failed
    | Skipped
    | Stopped
    | Due
    | Expired
    | Recovered
    | Received
)


@lean(kw_only=True)
class Decision:
    """What the rules decided: rows to append, and what must be committed with them.

    Attributes:
        rows: In the form of ``wfe.core.rules.state``.
        status: The run's status after the rows.
        changed: Whether status or error changed, so that the header must be written.
        final: Whether the run is over.
    """

    rows: list[list[Any]]
    status: str
    error: Mapping[str, Any] | None
    changed: bool = False
    final: bool = False
    consumed: tuple[int, ...] = ()
    subscribe: tuple[Subscription, ...] = ()
    unsubscribe: tuple[int, ...] = ()
    starts: tuple[Item, ...] = ()
    messages: tuple[Message, ...] = ()
    hold: tuple[Hold, ...] = ()
    unhold: tuple[int, ...] = ()
    activities: tuple[ActivityStart, ...] = ()
    end_activities: tuple[int, ...] = ()
