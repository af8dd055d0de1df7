"""No error about a URL shows what may be a piece of a password."""

from __future__ import annotations

import traceback

import pytest

from wfe.core.errors import ProviderError
from wfe.core.urls import split_url


@pytest.mark.parametrize("sign", ["/", "?", "#", "[", "]"])
def test_a_password_that_is_not_escaped_is_refused_and_not_shown(sign: str) -> None:
    with pytest.raises(ProviderError, match="escape") as caught:
        split_url("valkey", f"valkey://user:hunter{sign}two@host:6379/0")

    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter" not in shown.replace('f"valkey://user:hunter{sign}two@host:6379/0"', "")
    assert not caught.value.transient


@pytest.mark.parametrize(
    ("url", "netloc"),
    [
        ("valkey://user:hunter%2Ftwo@host:6379/0", "user:hunter%2Ftwo@host:6379"),
        ("postgresql://h1:5432,h2:5433/db?user=me@there", "h1:5432,h2:5433"),
        ("postgresql:///db", ""),
        ("redis://[::1]:6379/0?prefix=wfe:", "[::1]:6379"),
    ],
)
def test_a_url_that_can_be_read_is_split(url: str, netloc: str) -> None:
    assert split_url("any", url).netloc == netloc
