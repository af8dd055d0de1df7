"""Whether two stored values are the same, more strictly than ``==`` says it."""

from __future__ import annotations

from typing import Any

__all__ = ["same"]


def same(one: Any, other: Any) -> bool:
    """Return whether two stored values are the same: 1, 1.0 and True all differ."""
    if one is other:
        return True
    kind = one.__class__
    if kind is not other.__class__:
        return False
    if kind is dict:
        return len(one) == len(other) and all(
            name in other and same(value, other[name]) for name, value in one.items()
        )
    if kind is list:
        return len(one) == len(other) and all(map(same, one, other))
    # -0.0 equals 0.0, but is another value.
    return bool(one == other) and (kind is not float or one != 0 or str(one) == str(other))
