"""A map that only grows and shares what it holds: a copy with one more entry is cheap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

import attrs

from wfe.core.lean import define, frozen

__all__ = ["Layers", "layered"]

V = TypeVar("V")


@define(eq=False)
class _Pool(Generic[V]):
    """Every entry that any map of one origin holds, in the order in which they came.

    Attributes:
        names: Of the entries.
        values: Of the entries.
        places: Name -> positions of its entries.
        repeated: Bits of the names that have several entries.
    """

    names: list[str] = attrs.field(factory=list[str])
    values: list[V] = attrs.field(factory=list["V"])
    places: dict[str, list[int]] = attrs.field(factory=dict[str, list[int]])
    repeated: int = 0

    def add(self, name: str, value: V) -> int:
        place = len(self.names)
        self.names.append(name)
        self.values.append(value)
        others = self.places.setdefault(name, [])
        others.append(place)
        if len(others) > 1:
            self.repeated |= sum(1 << other for other in others)
        return place


@frozen(eq=False, repr=False)
class Layers(Mapping[str, V]):
    """A frozen map; of several entries of a name the latest counts.

    A file of thousands of steps has a scope for each: with plain dicts the copies alone would take
    a time that grows with the square of their number.  Here all of one origin share a pool of
    entries, and each is an integer that has a bit for every entry it holds.
    """

    _pool: _Pool[V] = attrs.field(factory=_Pool["V"])
    _held: int = 0

    def with_all(self, entries: Mapping[str, V]) -> Layers[V]:
        """Return the map with *entries* added."""
        held = self._held
        for name, value in entries.items():
            held &= ~self._bits(name)
            held |= 1 << self._pool.add(name, value)
        return self if held == self._held else Layers(self._pool, held)

    def joined(self, other: Mapping[str, V]) -> Layers[V]:
        """Return the map with what *other* has beyond what both share."""
        if not isinstance(other, Layers) or other._pool is not self._pool:  # noqa: SLF001 - of the same class
            return self.with_all(other)
        new = other._held & ~self._held  # noqa: SLF001 - of the same class
        held = self._held
        for place in _places(new & self._pool.repeated):
            held &= ~self._bits(self._pool.names[place])
        return Layers(self._pool, held | new)

    def beyond(self, other: Mapping[str, V]) -> Iterator[tuple[str, V]]:
        """Yield the entries whose names *other* does not have."""
        held = self._held
        if isinstance(other, Layers) and other._pool is self._pool:  # noqa: SLF001 - of the same class
            held &= ~other._held  # noqa: SLF001
        for place in _places(held):
            name = self._pool.names[place]
            if name not in other:
                yield name, self._pool.values[place]

    def _bits(self, name: str) -> int:
        return sum(1 << place for place in self._pool.places.get(name, ()))

    def __getitem__(self, name: str) -> V:
        for place in self._pool.places.get(name, ()):
            if self._held >> place & 1:
                return self._pool.values[place]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (self._pool.names[place] for place in _places(self._held))

    def __len__(self) -> int:
        return self._held.bit_count()


def _places(held: int) -> Iterator[int]:
    """Yield the positions of the bits of *held*, the lowest first."""
    digits = f"{held:b}"[::-1] if held else ""
    place = digits.find("1")
    while place >= 0:
        yield place
        place = digits.find("1", place + 1)


def layered(entries: Mapping[str, V]) -> Layers[V]:
    """Return *entries* as layers."""
    return entries if isinstance(entries, Layers) else Layers[V]().with_all(entries)
