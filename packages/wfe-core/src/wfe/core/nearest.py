"""Suggests the name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["nearest"]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?``, or what there is when nothing is near."""
    import difflib  # noqa: PLC0415 - only for mistakes

    names = list(known)
    found = difflib.get_close_matches(name, names, 1)
    if found:
        return f"; did you mean {found[0]!r}?"
    return f" (there is: {', '.join(names)})" if names else ""
