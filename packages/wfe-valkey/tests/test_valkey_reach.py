"""Silence counts only for who listened to one server without a gap."""

from __future__ import annotations

import pytest

from wfe.valkey.reach import Reach

LEASE = 30_000_000  # µs
START = 5_000_000_000_000


def _listen(reach: Reach, start: int, end: int, pace: int = 1_000_000, life: str = "a") -> int:
    for here in range(start, end + 1, pace):
        reach.answered(here, here + 7, life)
    return end


def test_nothing_is_known_at_first() -> None:
    assert not Reach().lasts(LEASE, START)


def test_a_lease_of_listening_is_needed() -> None:
    reach = Reach()

    _listen(reach, START, START + LEASE - 1_000_000)
    assert not reach.lasts(LEASE, START + LEASE - 1)

    _listen(reach, START + LEASE, START + LEASE)
    assert reach.lasts(LEASE, START + LEASE)


def test_short_leases_need_shorter_gaps() -> None:
    reach = Reach()
    _listen(reach, START, START + LEASE, pace=2_000_000)

    assert reach.lasts(LEASE, START + LEASE)
    assert not reach.lasts(3_000_000, START + LEASE)


@pytest.mark.parametrize(
    ("pause", "jump", "life"),
    [
        pytest.param(LEASE // 3 + 1, LEASE // 3 + 1, "a", id="nobody asked"),
        pytest.param(1_000_000, 3_600_000_000, "a", id="the server's clock went forward"),
        pytest.param(1_000_000, -3_600_000_000, "a", id="the server's clock went back"),
        pytest.param(1_000_000, 1_000_000, "b", id="the server forgot everything"),
    ],
)
def test_a_gap_begins_the_lease_anew(pause: int, jump: int, life: str) -> None:
    reach = Reach()
    before = _listen(reach, START, START + 2 * LEASE)
    assert reach.lasts(LEASE, before)

    after = before + pause
    reach.answered(after, before + 7 + jump, life)

    assert not reach.lasts(LEASE, after)
    for here in range(after + 1_000_000, after + LEASE, 1_000_000):
        reach.answered(here, before + 7 + jump + here - after, life)
        assert not reach.lasts(LEASE, here)
    reach.answered(after + LEASE, before + 7 + jump + LEASE, life)
    assert reach.lasts(LEASE, after + LEASE)


def test_what_was_heard_long_ago_says_nothing_now() -> None:
    reach = Reach()
    end = _listen(reach, START, START + 2 * LEASE)

    assert not reach.lasts(LEASE, end + LEASE // 3 + 1)


def test_a_lease_without_end_is_never_over() -> None:
    reach = Reach()
    end = _listen(reach, START, START + 2 * LEASE)

    assert not reach.lasts(2**62, end)
