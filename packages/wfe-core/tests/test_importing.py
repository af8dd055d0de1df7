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
