"""Plugins of the repository's own test run."""

from __future__ import annotations

__all__ = ["pytest_plugins"]

pytest_plugins = ["pytester", "skip_guard"]
