"""What the rules are told: outcomes of bodies, timers, messages; and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from wfe.core.providers import Item, Message, Subscription

__all__ = [
    "NO_WRITES",
    "Branched",
    "Completed",
    "Decision",
    "Due",
    "Expired",
    "Failed",
    "Input",
    "Items",
    "Received",
    "Recovered",
    "Skipped",
    "Slept",
    "StartsChild",
    "Stopped",
    "Waits",
    "Writes",
]


@attrs.frozen
class Writes:
    """What a step changed in the data, in stored form.

    Attributes:
        fields: New values by field.
        removed: Fields that are gone.
        reduced: Operands by field, for fields with a reducer.
        base: Seq of the state that the step saw.
    """

    fields: Mapping[str, Any]
    removed: tuple[str, ...] = ()
    reduced: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    base: int = -1


NO_WRITES = Writes({})


@attrs.frozen
class Completed:
    """A body is done; *outcome* selects ``when`` blocks."""

    pointer: int
    attempt: int
    outcome: Any = None
    writes: Writes = NO_WRITES
    started: int = 0


@attrs.frozen
class Branched:
    """A container's expression chose blocks, by number; none: it is done."""

    pointer: int
    attempt: int
    blocks: tuple[int, ...]


@attrs.frozen
class Items:
    """A for-each (or a body's ``branch``) computed its items, in stored form."""

    pointer: int
    attempt: int
    items: list[Any]
    writes: Writes = NO_WRITES


@attrs.frozen
class Slept:
    """A body or a delay goes on at *until* (µs); *memory* is its persistence data."""

    pointer: int
    attempt: int
    until: int
    memory: Any = None
    writes: Writes = NO_WRITES


@attrs.frozen(kw_only=True)
class Waits:
    """A body or a wait goes on when the event comes; *until* is its time-out, µs."""

    pointer: int
    attempt: int
    name: str
    key: str
    as_of: int
    until: int | None = None
    writes: Writes = NO_WRITES


@attrs.frozen
class StartsChild:
    """A sub-workflow begins; *start* is the child's first item."""

    pointer: int
    attempt: int
    start: Item


@attrs.frozen(kw_only=True)
class Failed:
    """An attempt failed.

    Attributes:
        type: Class name of the error.
        spread: -1 to 1, drawn by the shell: where in the jitter's range the pause falls.
    """

    pointer: int
    attempt: int
    type: str
    message: str
    retryable: bool = True
    spread: float = 0.0
    started: int = 0


@attrs.frozen
class Skipped:
    """The node's ``run_if`` was false, or the body said so."""

    pointer: int
    attempt: int


@attrs.frozen
class Stopped:
    """The body of a cancelled pointer has ended (or never ran)."""

    pointer: int


@attrs.frozen
class Due:
    """A delay is over, or a wait timed out."""

    pointer: int


@attrs.frozen
class Expired:
    """The run's own time-out has passed."""


@attrs.frozen
class Recovered:
    """The run was taken over from a dead host; *pointers* may have been running."""

    pointers: tuple[int, ...]


@attrs.frozen(kw_only=True)
class Received:
    """A message from the inbox."""

    i: int
    kind: str
    payload: Any
    actor: str | None = None
    reason: str | None = None


Input: TypeAlias = (
    Completed
    | Branched
    | Items
    | Slept
    | Waits
    | StartsChild
    | Failed
    | Skipped
    | Stopped
    | Due
    | Expired
    | Recovered
    | Received
)


@attrs.frozen(kw_only=True)
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
    changed: bool
    final: bool
    consumed: tuple[int, ...]
    subscribe: tuple[Subscription, ...]
    unsubscribe: tuple[int, ...]
    starts: tuple[Item, ...]
    messages: tuple[Message, ...]
