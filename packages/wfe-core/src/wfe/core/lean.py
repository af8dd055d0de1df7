"""attrs classes that cost less: to make, and those that are made with every step to fill.

attrs writes the source of each method of each class and compiles it; a program that starts makes
two hundred classes, and that was a third of its start.  ``__init__``, which runs with every
instance, is worth it.  ``__repr__``, ``__eq__`` and ``__hash__`` are functions here that do the
same (``==`` takes 0.5 us for six fields instead of 0.1).  Type checkers see attrs's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

import attrs

__all__ = ["define", "frozen", "lean"]


@recursive_repr()
def _shown(instance: Any) -> str:
    cls = instance.__class__
    fields = ", ".join([_shown_field(instance, each) for each in cls.__attrs_attrs__ if each.repr])
    return f"{cls.__qualname__.rpartition('>.')[2]}({fields})"


def _shown_field(instance: Any, field: attrs.Attribute[Any]) -> str:
    value = getattr(instance, field.name, attrs.NOTHING)
    return f"{field.name}={field.repr(value) if callable(field.repr) else repr(value)}"


def _values(made: Any) -> Callable[[Any], Any]:
    """Return what reads the fields of an instance by which it compares, all at once."""
    for each in made.__attrs_attrs__:
        if each.eq_key is not None or each.hash is not None:
            message = f"{made.__qualname__}.{each.name} compares in its own way: use attrs.frozen"
            raise TypeError(message)
    names = [each.name for each in made.__attrs_attrs__ if each.eq]
    return attrgetter(*names) if names else lambda _: ()


def _compare(made: Any, *, hashed: bool) -> None:
    values = _values(made)

    def same(one: Any, other: Any) -> Any:
        if other.__class__ is not one.__class__:
            return NotImplemented
        return values(one) == values(other)

    def hash_of(one: Any) -> int:
        return hash((made, values(one)))

    made.__eq__ = same
    made.__hash__ = hash_of if hashed else None


def _maker(*, immutable: bool, hashed: bool) -> Callable[..., Any]:
    def make(cls: type | None = None, /, **settings: Any) -> Any:
        if cls is None:
            return partial(make, **settings)
        compares = settings.pop("eq", "__eq__" not in cls.__dict__)
        shows = settings.pop("repr", "__repr__" not in cls.__dict__)
        made: Any = attrs.define(cls, frozen=immutable, eq=False, repr=False, **settings)
        if shows:
            made.__repr__ = _shown
        if compares:
            _compare(made, hashed=hashed)
        return made

    return make


if TYPE_CHECKING:
    from attrs import define, frozen
    from attrs import frozen as lean
else:
    define = _maker(immutable=False, hashed=False)
    frozen = _maker(immutable=True, hashed=True)
    # The __init__ of a truly frozen class stores each attribute by a call of object.__setattr__,
    # which takes five times as long.  Assigning to an attribute stays an error, of the type check.
    lean = _maker(immutable=False, hashed=True)
