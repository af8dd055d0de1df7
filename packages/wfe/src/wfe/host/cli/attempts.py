"""When a step was tried, and when it will be tried again: exact, from its history and policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from wfe.core.lean import frozen
from wfe.core.models import HistoryEntry, from_micros
from wfe.core.policies import ErrorPolicy, Retry
from wfe.host.cli.drawing import duration
from wfe.host.cli.visits import error_text

__all__ = ["Attempt", "attempts_of", "policy_text", "upcoming"]

_SHOWN: Final = 5  # attempts to come, of a policy without an end
_TOLD: Final = 4  # pauses of a policy


@frozen(kw_only=True)
class Attempt:
    """One attempt of an execution.

    Attributes:
        number: From 1.
        started: ``None``: it was not stored.
        ended: ``None``: it goes on.
        error: Why it failed, ``None``: it did not.
    """

    number: int
    started: datetime | None = None
    ended: datetime | None = None
    error: str | None = None


def attempts_of(entries: Sequence[HistoryEntry]) -> list[Attempt]:
    """Return the attempts that the history entries of one execution tell of, in order."""
    found: list[Attempt] = []
    for entry in entries:
        if entry.kind in {"step_retrying", "step_failed", "step_completed"}:
            data: Any = entry.data or {}
            started = data.get("started")
            error = entry.error
            found.append(
                Attempt(
                    number=(entry.attempt or 0) + 1,
                    started=from_micros(started) if isinstance(started, int) else None,
                    ended=entry.at,
                    error=error_text(error.type, error.message) if error is not None else None,
                )
            )
    return found


def upcoming(
    policy: ErrorPolicy | None, number: int, wake: datetime, first: datetime | None
) -> Iterator[tuple[int, datetime, timedelta]]:
    """Yield the attempts to come: number, earliest time and how far jitter may move that.

    Each later one is counted from the one before as if that failed at once.

    Args:
        policy: Of the step.
        number: Of the next attempt, from 1.
        wake: When it begins: this time is stored, so it is exact.
        first: When the first attempt began: the bound of the whole time counts from there.
    """
    yield number, wake, timedelta(0)
    if not isinstance(policy, Retry):
        return
    most = number + _SHOWN if policy.max_retries is None else policy.max_retries + 1
    at, spread = wake, timedelta(0)
    for later in range(number + 1, min(most, number + _SHOWN) + 1):
        pause = timedelta(microseconds=policy.delay(later - 2, 0))
        at, spread = at + pause, spread + pause * policy.jitter
        if policy.max_time is not None and first is not None and at > first + policy.max_time:
            return
        yield later, at, spread


def policy_text(policy: ErrorPolicy | None) -> str:
    """Return a policy in words."""
    if policy is None:
        return "none: the first failure counts"
    if not isinstance(policy, Retry):
        return f"on failure: {_action(policy)}"
    times = "without end" if policy.max_retries is None else f"at most {policy.max_retries + 1}"
    most = _TOLD if policy.max_retries is None else min(policy.max_retries, _TOLD)
    pauses = [duration(policy.delay(k, 0) / 1e6) for k in range(most)]
    more = ", …" if policy.max_retries is None or policy.max_retries > len(pauses) else ""
    parts = [f"attempts: {times}", f"pauses {', '.join(pauses)}{more}" if pauses else ""]
    if policy.jitter:
        parts.append(f"each ±{policy.jitter:.0%}")
    if policy.max_time is not None:
        parts.append(f"none later than {duration(policy.max_time.total_seconds())} after the first")
    if policy.retry_on:
        parts.append(f"only after {', '.join(policy.retry_on)}")
    parts.append(f"then: {_action(policy.then)}")
    return "; ".join(part for part in parts if part)


def _action(policy: object) -> str:
    return type(policy).__name__.lower()
