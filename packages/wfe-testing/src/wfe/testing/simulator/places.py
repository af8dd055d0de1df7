"""A naive model of limits: who holds a place, who waits for one, and who must be told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from wfe.core.providers import Hold

__all__ = ["Places"]


@attrs.define
class _Door:
    """One key: holders, and those that wait, the first first."""

    limit: int = 1
    holders: list[tuple[int, int]] = attrs.field(factory=list[tuple[int, int]])
    waiters: list[tuple[int, Hold]] = attrs.field(factory=list[tuple[int, Hold]])

    def full(self, wanted: Hold) -> bool:
        """Whether one more would have to wait."""
        return bool(self.waiters) or len(self.holders) >= wanted.limit

    def wait(self, n: int, hold: Hold) -> None:
        """Have run *n* wait; who asks again keeps its turn."""
        for k, (waiter, other) in enumerate(self.waiters):
            if (waiter, other.pointer) == (n, hold.pointer):
                self.waiters[k] = (n, hold)
                return
        self.waiters.append((n, hold))


class Places:
    """All places of a store; every change yields (n, hold) of those that are granted one."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._doors: dict[str, _Door] = {}

    def hold(self, n: int, hold: Hold) -> Iterator[tuple[int, Hold]]:
        """Ask for a place; rates are granted at once."""
        if hold.per is not None:
            yield n, hold
            return
        door = self._doors.setdefault(hold.key, _Door())
        if (n, hold.pointer) in door.holders or (hold.on_conflict == "skip" and door.full(hold)):
            yield n, hold
            return
        door.limit = hold.limit
        door.wait(n, hold)
        yield from _granted(door)

    def taken(self, n: int, hold: Hold) -> bool:
        """Whether run *n* is told that there is no place, and does not wait."""
        door = self._doors.get(hold.key)
        held = door is not None and (n, hold.pointer) in door.holders
        return door is not None and not held and hold.on_conflict == "skip" and door.full(hold)

    def superseded(self, n: int, hold: Hold) -> list[int]:
        """Return the runs that must end because *n* takes their place."""
        door = self._doors.get(hold.key)
        if door is None or hold.on_conflict != "cancel_running" or not door.full(hold):
            return []
        if (n, hold.pointer) in door.holders:
            return []
        many = max(len(door.holders) - hold.limit + 1, 0)
        holders = [each for each, _ in door.holders if each != n][:many]
        return list(dict.fromkeys([*holders, *(w for w, _ in door.waiters if w != n)]))

    def free(self, n: int, pointers: Iterable[int] | None) -> Iterator[tuple[int, Hold]]:
        """Free the places of these pointers of run *n*; ``None``: all of its places."""
        gone = None if pointers is None else set(pointers)
        for door in self._doors.values():
            before = len(door.holders) + len(door.waiters)
            door.holders = [h for h in door.holders if h[0] != n or not _in(h[1], gone)]
            door.waiters = [w for w in door.waiters if w[0] != n or not _in(w[1].pointer, gone)]
            if len(door.holders) + len(door.waiters) < before:
                yield from _granted(door)

    def waiting(self, n: int) -> bool:
        """Whether run *n* waits for a place."""
        return any(n == waiter for door in self._doors.values() for waiter, _ in door.waiters)


def _in(pointer: int, gone: set[int] | None) -> bool:
    return gone is None or pointer in gone


def _granted(door: _Door) -> Iterator[tuple[int, Hold]]:
    while door.waiters and len(door.holders) < door.limit:
        n, hold = door.waiters.pop(0)
        door.holders.append((n, hold.pointer))
        yield n, hold
