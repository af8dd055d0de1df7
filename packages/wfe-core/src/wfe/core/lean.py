"""Frozen classes for what is made with every step: frozen for type checkers, plain at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["lean"]

if TYPE_CHECKING:
    from attrs import frozen as lean
else:
    import functools

    import attrs

    # The __init__ of a truly frozen class stores each attribute by a call of object.__setattr__,
    # which takes five times as long.  Assigning to an attribute stays an error, of the type check.
    lean = functools.partial(attrs.define, unsafe_hash=True)
