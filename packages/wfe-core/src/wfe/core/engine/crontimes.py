"""The times of a cron text in a time zone, by the library of the extra ``[cron]``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wfe.core.errors import DefinitionError
from wfe.core.lean import frozen
from wfe.core.models import from_micros, to_micros

__all__ = ["CronTimes", "cron_times", "zone", "zone_name"]

_COUNTED: Final = 1000
_LAST: Final = to_micros(datetime(9000, 1, 1, tzinfo=UTC))  # the library goes 50 years beyond
_FIRST_WINDOW: Final = 3600 * 1_000_000  # µs
_CURE: Final = "pip install 'wfe-core[cron]'"


def zone_name(timezone: str | tzinfo) -> str:
    """Return the IANA name of a time zone.

    Raises:
        DefinitionError: It is unknown, or an object without such a name.
    """
    if isinstance(timezone, ZoneInfo):
        timezone = timezone.key or timezone
    if timezone is UTC:
        timezone = "UTC"
    if not isinstance(timezone, str):
        problem = f"the time zone {timezone!r} has no IANA name"
        hint = 'use a name such as "Europe/Berlin", or a ZoneInfo made from one'
        raise DefinitionError(problem, "schedule", hint)
    zone(timezone)
    return timezone


def zone(name: str) -> tzinfo:
    """Return the time zone with this IANA name.

    Raises:
        DefinitionError: It is unknown.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        problem = f"the time zone {name!r} is unknown"
        hint = f'use an IANA name such as "Europe/Berlin"; their data come with {_CURE}'
        raise DefinitionError(problem, "schedule", hint) from error


def cron_times(cron: str, timezone: str) -> CronTimes:
    """Return the times of *cron*.

    Raises:
        DefinitionError: It is no cron text, it never fires, the time zone is unknown, or the
            extra ``[cron]`` is not installed.
    """
    try:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415 - an extra
    except ImportError as error:
        problem = f"the cron text {cron!r} needs a library that is not installed"
        raise DefinitionError(problem, "schedule", _CURE) from error
    where = zone(timezone)
    try:
        CronSim(cron, from_micros(0))
    except (CronSimError, ValueError) as error:
        problem = f"the cron text {cron!r} is wrong or never fires: {error}"
        hint = "five fields: minute hour day month weekday; six: a second before them"
        raise DefinitionError(problem, "schedule", hint) from error
    return CronTimes(cron, where, CronSim)


@frozen
class CronTimes:
    """The times of a cron text; µs.

    A text whose minute and hour are fixed means times of day: one that a change of the clocks
    leaves out comes right after the gap, one that it repeats comes once, the first time.  With a
    ``*`` in minute or hour, and with six fields, it means whatever the clock on the wall shows:
    what is left out does not come, what is repeated comes twice.
    """

    _cron: str
    _zone: tzinfo
    _library: Any

    def _from(self, when: int) -> Iterator[int]:
        """Yield the times after *when*, in order."""
        if when >= _LAST:
            return
        last = when
        for each in self._library(self._cron, from_micros(when).astimezone(self._zone)):
            # Around a change of the clocks the library repeats times, or begins too early.
            found = to_micros(each)
            if found >= _LAST:
                return
            if found > last:
                last = found
                yield found

    def _between(self, start: int, end: int) -> Iterator[int]:
        for each in self._from(start - 1):
            if each >= end:
                return
            yield each

    def after(self, when: int) -> int | None:
        """Return the first time after *when*; ``None``: none in the next 50 years."""
        return next(self._from(when), None)

    def newest(self, start: int, end: int, most: int) -> tuple[int, ...]:
        """Return the last *most* times in [*start*, *end*)."""
        window = _FIRST_WINDOW
        while True:
            begin = max(end - window, start)
            found = deque(self._between(begin, end), maxlen=most)
            if len(found) >= most or begin == start:
                return tuple(found)
            window *= 4

    def count(self, start: int, end: int) -> int:
        """Return how many times there are in [*start*, *end*); counted up to a thousand."""
        return sum(1 for _ in islice(self._between(start, end), _COUNTED))
