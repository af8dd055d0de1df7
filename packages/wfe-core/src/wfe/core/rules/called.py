"""What the rules are told about a durable function: its calls, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wfe.core.lean import frozen
from wfe.core.policies import ErrorPolicy
from wfe.core.providers import Item
from wfe.core.rules.inputs import NO_WRITES, Writes

__all__ = [
    "CallDone",
    "CallFailed",
    "CallOffers",
    "CallSleeps",
    "CallStarts",
    "CallWaits",
    "CallWaitsSignal",
    "CallsCancelled",
    "FunctionBroken",
    "FunctionFailed",
]


@frozen(kw_only=True)
class CallDone:
    """A call is done.

    Attributes:
        pointer: The function's.
        attempt: Of the function.
        name: Of the call.
        info: Of its row.
        kind: Of its row.
        last: The pointer that the call had while it lasted, ``None``: it had none.
        writes: Data fields that it set.
        start: The first item of a run that it started, ``None``: none.
        undone: Name of the step that it undid, ``None``: none.
    """

    pointer: int
    attempt: int
    name: str
    info: Mapping[str, Any]
    kind: str = "step_completed"
    last: int | None = None
    writes: Writes = NO_WRITES
    start: Item | None = None
    undone: str | None = None


@frozen(kw_only=True)
class CallFailed:
    """An attempt of a call failed; *policy* says what follows, *spread* is as in ``Failed``."""

    pointer: int
    attempt: int
    name: str
    info: Mapping[str, Any]
    last: int | None
    error: Mapping[str, Any]
    policy: ErrorPolicy
    retryable: bool = True
    spread: float = 0.0


@frozen(kw_only=True)
class CallSleeps:
    """A call is over at *until* (µs)."""

    pointer: int
    attempt: int
    name: str
    info: Mapping[str, Any]
    until: int


@frozen(kw_only=True)
class CallWaits:
    """A call is over when the event comes; *after* is the position after which it counts."""

    pointer: int
    attempt: int
    name: str
    info: Mapping[str, Any]
    event: str
    key: str
    as_of: int
    after: Sequence[Any]
    until: int | None


@frozen(kw_only=True)
class CallWaitsSignal:
    """A call is over when the signal comes."""

    pointer: int
    attempt: int
    name: str
    info: Mapping[str, Any]
    signal: str
    until: int | None


@frozen(kw_only=True)
class CallStarts:
    """A call is over when the sub-workflow is; *select*: the field of its data that it gives."""

    pointer: int
    attempt: int
    name: str
    info: Mapping[str, Any]
    start: Item
    select: str | None
    until: int | None


@frozen(kw_only=True)
class CallOffers:
    """A call is over when a worker has done the activity; *parameters* is JSON."""

    pointer: int
    attempt: int
    name: str
    info: Mapping[str, Any]
    activity: str
    parameters: str
    until: int | None


@frozen(kw_only=True)
class CallsCancelled:
    """Strands of the function are cancelled; *calls*: (name, key) of what they waited for."""

    pointer: int
    attempt: int
    name: str
    info: Mapping[str, Any]
    calls: tuple[tuple[str, str], ...]


@frozen(kw_only=True)
class FunctionFailed:
    """The function raised *error*; *call*: key of the call that failed, if it was one."""

    pointer: int
    attempt: int
    error: Mapping[str, Any]
    started: int = 0
    call: str | None = None


@frozen(kw_only=True)
class FunctionBroken:
    """The function does not make the calls that its journal has; ``resume`` tries it again."""

    pointer: int
    attempt: int
    error: Mapping[str, Any]
