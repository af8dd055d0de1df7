"""How a state is put together for a retry, where the journal leaves gaps."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import Any, cast

import pytest

from wfe.core.rules import reopening
from wfe.core.rules.reopening import _Journal, _Loss, _Moment, _Part
from wfe.core.rules.state import Pointer, State


def pointer(id: int, parent: int | None) -> Pointer:
    return Pointer(id, f"s{id}", parent, "running", 0, None, {})


def moment(*pointers: Pointer) -> _Moment:
    return _Moment({each.id: each for each in pointers}, {})


class Dropped:
    """A journal of which only the ends of pointers are known."""

    def __init__(self, **dropped: int) -> None:
        self.dropped = {int(key[1:]): seq for key, seq in dropped.items()}


def chain(journal: Dropped, then: _Moment, loss: _Loss) -> list[_Part]:
    return list(reopening._chain(cast("_Journal", journal), then, loss))


NESTED = moment(pointer(1, None), pointer(2, 1), pointer(3, 2))


def test_each_container_is_taken_as_it_was_when_what_failed_in_it_ended() -> None:
    parts = chain(Dropped(p3=8, p2=12), NESTED, _Loss(1, 5, 3))

    assert parts == [_Part(1, 11), _Part(2, 7), _Part(3, 5)]


@pytest.mark.parametrize(
    ("branch", "parts"), [(1, [_Part(1, 5)]), (None, [])], ids=["a branch", "the run"]
)
def test_a_run_that_ended_first_goes_on_from_before_the_failure(
    branch: int | None, parts: list[Any]
) -> None:
    assert chain(Dropped(p2=12), NESTED, _Loss(branch, 5, 3)) == parts


@pytest.mark.parametrize(
    ("later", "fits"),
    [
        (moment(pointer(1, None), pointer(2, 1)), True),
        (moment(pointer(1, None)), False),
        (moment(pointer(1, None), pointer(2, 9)), False),
    ],
    ids=["it stands there", "it is gone", "it stands elsewhere"],
)
def test_parts_fit_only_where_they_stood(later: _Moment, fits: bool) -> None:
    moments = {11: later, 7: moment(pointer(1, None), pointer(2, 1), pointer(3, 2))}

    assert reopening._fits(moments, [_Part(1, 11), _Part(2, 7)]) is fits


def test_a_frame_that_is_gone_is_not_begun_anew() -> None:
    state = State()
    state.pointers[1] = pointer(1, None)

    reopening._begin_anew(state, [1, 7])

    assert list(state.pointers) == [1]
    assert state.pointers[1].status == "pending"
