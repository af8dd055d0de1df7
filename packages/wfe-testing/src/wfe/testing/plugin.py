"""The pytest plugin: the marker by which a contract's law names what a provider must claim."""

from __future__ import annotations

import pytest

__all__ = ["pytest_configure", "pytest_runtest_setup"]


def pytest_configure(config: pytest.Config) -> None:
    """Register ``needs(*capabilities)``."""
    config.addinivalue_line(
        "markers", "needs(*capabilities): skip unless the contract's class claims all of them"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip laws about what the provider does not claim."""
    claimed: frozenset[str] = getattr(getattr(item, "cls", None), "capabilities", frozenset())
    for marker in item.iter_markers("needs"):
        missing = [name for name in marker.args if name not in claimed]
        if missing:
            pytest.skip(f"provider does not claim {missing[0]!r}")
