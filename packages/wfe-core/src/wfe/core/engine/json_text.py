"""JSON texts of plain values."""

from __future__ import annotations

import orjson

__all__ = ["dumps"]


def dumps(value: object) -> str:
    """Return the JSON text of plain *value*."""
    return orjson.dumps(value).decode()
