"""Times of cron texts, also where the clocks change."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.core.engine.crontimes import cron_times, zone, zone_name
from wfe.core.errors import DefinitionError
from wfe.core.models import from_micros, to_micros

BERLIN = "Europe/Berlin"
SPRING = datetime(2025, 3, 29, 12, tzinfo=UTC)  # 30 March: 02:00 becomes 03:00
AUTUMN = datetime(2025, 10, 25, 20, tzinfo=UTC)  # 26 October: 03:00 becomes 02:00


def _shown(cron: str, start: datetime, hours: int, timezone: str = BERLIN) -> list[str]:
    return [
        f"{when.astimezone(zone(timezone)):%H:%M%z}"
        for when in _between(cron, timezone, start, start + timedelta(hours=hours))
    ]


def _between(cron: str, timezone: str, start: datetime, end: datetime) -> Iterator[datetime]:
    times = cron_times(cron, timezone)
    at = times.after(to_micros(start))
    while at is not None and at < to_micros(end):
        yield from_micros(at)
        at = times.after(at)


def test_times_are_those_of_the_time_zone() -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)

    assert _shown("0 9 * * *", start, 24) == ["09:00+0100"]
    assert _shown("0 9 * * *", start, 24, "UTC") == ["09:00+0000"]


def test_six_fields_have_seconds() -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)

    found = list(_between("*/20 * * * * *", "UTC", start, start + timedelta(minutes=1)))

    assert [when.second for when in found] == [20, 40]


@pytest.mark.parametrize(
    ("cron", "start", "times"),
    [
        # A time of day in the gap comes right after it, one in the repeated hour comes once.
        ("30 2 * * *", SPRING, ["03:00+0200"]),
        ("30 2,3 * * *", SPRING, ["03:00+0200", "03:30+0200"]),
        ("0 2 * * *", SPRING, ["03:00+0200"]),
        ("30 2 * * *", AUTUMN, ["02:30+0200"]),
        ("30 2,3 * * *", AUTUMN, ["02:30+0200", "03:30+0100"]),
        # With a star, and with seconds, the clock on the wall counts.
        ("30 * * * *", SPRING + timedelta(hours=12), ["01:30+0100", "03:30+0200", "04:30+0200"]),
        ("30 * * * *", AUTUMN + timedelta(hours=4), ["02:30+0200", "02:30+0100", "03:30+0100"]),
        ("0 30 2 * * *", SPRING, []),
        ("0 30 2 * * *", AUTUMN, ["02:30+0200", "02:30+0100"]),
    ],
)
def test_a_change_of_the_clocks(cron: str, start: datetime, times: list[str]) -> None:
    hours = 3 if "*" in cron.split()[1] and len(cron.split()) == 5 else 20
    assert _shown(cron, start, hours)[: len(times) + 1] == times


@given(
    cron=st.sampled_from(["30 2 * * *", "0,30 1-3 * * *", "*/15 * * * *", "0 30 2 * * *"]),
    season=st.sampled_from([SPRING, AUTUMN]),
    minutes=st.integers(0, 20 * 60),
)
def test_from_wherever_one_asks_the_times_are_the_same(
    cron: str, season: datetime, minutes: int
) -> None:
    end = season + timedelta(hours=40)
    every = list(_between(cron, BERLIN, season, end))
    asked = season + timedelta(minutes=minutes)

    assert every == sorted(set(every))
    assert list(_between(cron, BERLIN, asked, end)) == [when for when in every if when > asked]


@given(
    cron=st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 0 1 * *", "0 0 29 2 *", "5 4 * * SUN"]),
    hours=st.integers(0, 24 * 400),
    most=st.integers(0, 5),
)
def test_the_newest_times_are_the_last_ones(cron: str, hours: int, most: int) -> None:
    start = datetime(2024, 2, 1, tzinfo=UTC)
    end = start + timedelta(hours=hours if "29" in cron or "1 *" in cron else hours % 72)
    times = cron_times(cron, BERLIN)
    every = [to_micros(when) for when in _between(cron, BERLIN, start, end)]

    found = times.newest(to_micros(start) + 1, to_micros(end), most)

    assert found == tuple(every[-most:] if most else ())
    assert times.count(to_micros(start) + 1, to_micros(end)) == min(len(every), 1000)


def test_counting_ends_at_a_thousand() -> None:
    start = to_micros(SPRING)

    assert cron_times("* * * * *", "UTC").count(start, start + 10**13) == 1000


@pytest.mark.parametrize(
    "cron", ["0 0 30 2 *", "0 0 31 4,6 *", "61 * * * *", "* * * *", "", "@daily", "a b c d e"]
)
def test_wrong_and_impossible_texts_are_refused(cron: str) -> None:
    with pytest.raises(DefinitionError, match="is wrong or never fires"):
        cron_times(cron, "UTC")


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../etc/passwd", "\0"])
def test_unknown_time_zones_are_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="is unknown"):
        zone_name(name)


def test_time_zones_may_be_objects_that_have_a_name() -> None:
    assert zone_name(ZoneInfo(BERLIN)) == BERLIN
    assert zone_name(UTC) == "UTC"
    with pytest.raises(DefinitionError, match="no IANA name"):
        zone_name(timezone(timedelta(hours=1)))


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)

    with pytest.raises(DefinitionError, match=r"pip install 'wfe-core\[cron\]'"):
        cron_times("* * * * *", "UTC")


def test_the_end_of_the_calendar_is_the_end_of_the_times() -> None:
    times = cron_times("0 0 1 1 *", "UTC")

    assert times.after(to_micros(datetime(9990, 1, 1, tzinfo=UTC))) is None
