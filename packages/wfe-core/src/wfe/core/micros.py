"""Times and durations as integers of µs, as they are stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["from_micros", "to_micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


def to_micros(when: datetime | timedelta) -> int:
    """Return an aware datetime as µs since 1970 (UTC), or a duration as µs.

    Raises:
        ValueError: The datetime is naive.
        TypeError: It is neither.
    """
    if isinstance(when, timedelta):
        return when // _MICRO
    given: object = when
    if not isinstance(given, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] - users may
        problem = f"expected a timedelta or an aware datetime, got {when!r} ({type(when).__name__})"
        raise TypeError(problem)
    if when.tzinfo is None:
        problem = f"{when!r} has no time zone; use an aware datetime, for example datetime.now(UTC)"
        raise ValueError(problem)
    return (when - _EPOCH) // _MICRO


def from_micros(micros: int) -> datetime:
    """Return the aware UTC datetime for *micros* (µs since 1970)."""
    return _EPOCH + timedelta(microseconds=micros)
