"""The command ``wfe``."""

from __future__ import annotations

from wfe.host.cli.commands import main

__all__ = ["main"]
