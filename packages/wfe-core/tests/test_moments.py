"""Times and pauses that expressions give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wfe.core.definition import Call, Cel, Expr, Value
from wfe.core.engine.moments import moment, pause


@pytest.mark.parametrize(
    ("given", "expr", "micros"),
    [
        (timedelta(seconds=2), Call(), 2_000_000),
        (timedelta(seconds=-2), Call(), 0),
        ("90.500000s", Cel("data.pause"), 90_500_000),
        ("-3s", Cel("data.pause"), 0),
        (7, Value(7), 7),
    ],
)
def test_a_pause_is_a_duration(given: Any, expr: Expr, micros: int) -> None:
    assert pause(given, expr, "delay()") == micros


@pytest.mark.parametrize(
    ("given", "expr", "micros"),
    [
        (datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC), Call(), 2_000_000),
        ("1970-01-01T01:00:02+01:00", Cel("data.when"), 2_000_000),
        ("1970-01-01T00:00:02Z", Cel("data.when"), 2_000_000),
        (-7, Value(-7), -7),
    ],
)
def test_a_moment_is_a_time(given: Any, expr: Expr, micros: int) -> None:
    assert moment(given, expr, "schedule()") == micros


@pytest.mark.parametrize("given", [5, 2.5, None, "soon", "5 s", True])
def test_what_is_no_pause_is_refused(given: Any) -> None:
    message = f"delay() must give a timedelta, got {given!r} ({type(given).__name__})"

    with pytest.raises(TypeError) as raised:
        pause(given, Call(), "delay()")

    assert str(raised.value) == message


@pytest.mark.parametrize("given", [5, None, timedelta(1)])
def test_what_is_no_time_is_refused(given: Any) -> None:
    message = f"schedule() must give an aware datetime, got {given!r} ({type(given).__name__})"

    with pytest.raises(TypeError) as raised:
        moment(given, Call(), "schedule()")

    assert str(raised.value) == message


@pytest.mark.parametrize("given", ["soon", datetime(2030, 1, 1), "2030-01-01T00:00:00"])  # noqa: DTZ001 - it is refused
def test_a_time_without_a_zone_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"no time zone|Invalid isoformat"):
        moment(given, Call(), "schedule()")
