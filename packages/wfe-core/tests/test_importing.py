"""Imports with the collector off."""

from __future__ import annotations

import gc

import pytest

from wfe.core.lazy import importing


def _failing() -> None:
    with importing():
        assert not gc.isenabled()
        raise ImportError


def test_the_collector_is_off_meanwhile_and_on_again_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(ImportError):
        _failing()
    assert gc.isenabled()


def test_who_has_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with importing():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_was_imported_is_old_at_once() -> None:
    """The next look at young objects, which comes soon, does not go through all modules."""
    gc.collect()
    with importing():
        made: list[list[object]] = [[] for _ in range(10_000)]

    assert {id(each) for each in made} <= {id(each) for each in gc.get_objects(2)}


def test_what_somebody_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with importing():
            pass
        assert gc.get_freeze_count() == frozen > 0
    finally:
        gc.unfreeze()
