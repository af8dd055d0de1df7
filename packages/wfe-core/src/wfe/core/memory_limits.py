"""Places under limits in a memory store, and who waits for one."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable

from wfe.core.memory_run import Deliver, MemoryCommit, MemoryRun
from wfe.core.providers import Hold, Message, granted_payload, superseded

__all__ = ["MemoryLimits"]


class MemoryLimits:
    """Holders and waiters by key, waiters in their order; grants of rates by key.

    The latest limit of a key counts, for those that wait already too: so the first of them is
    who fits, or nobody does.

    Args:
        deliver: How a grant reaches its run.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._holders: defaultdict[str, dict[tuple[int, int], MemoryRun]] = defaultdict(dict)
        self._waiters: defaultdict[str, dict[tuple[int, int], tuple[MemoryRun, Hold]]] = (
            defaultdict(dict)
        )
        # Of each key that somebody waits for.
        self._limits: dict[str, int] = {}
        # What each instance holds or waits for: (pointer, key).
        self._wanted: defaultdict[int, set[tuple[int, str]]] = defaultdict(set)
        self._grants: defaultdict[str, list[int]] = defaultdict(list)
        # (until, key, at) of each grant of a rate: from then on it matters no more.
        self._over: list[tuple[int, str, int]] = []

    def hold(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        """Grant a place, or queue for one."""
        if hold.per is not None:
            self._hold_rate(run, hold, hold.per, commit)
            return
        place = (run.new.n, hold.pointer)
        if place in self._holders[hold.key]:
            self._tell(run, hold, commit.now, commit)
            return
        if hold.on_conflict != "queue" and self._full(hold):
            if hold.on_conflict == "skip":
                self._tell(run, hold, commit.now, commit, taken=True)
                return
            self._supersede(run, hold, commit)
        waiters = self._waiters[hold.key]
        self._limits[hold.key] = hold.limit
        waiters[place] = (run, hold)
        self._wanted[run.new.n].add((hold.pointer, hold.key))
        self._grant(hold.key, commit)

    def _full(self, hold: Hold) -> bool:
        waiting = bool(self._waiters.get(hold.key))
        return waiting or len(self._holders.get(hold.key, ())) >= hold.limit

    def _supersede(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        """End the runs that have the places, the oldest first, and those that wait for one."""
        holders = self._holders[hold.key]
        extra = max(len(holders) - hold.limit + 1, 0)
        held = [each for each in holders.values() if each is not run][:extra]
        waiting = [each for each, _ in self._waiters[hold.key].values() if each is not run]
        for each in {other.new.n: other for other in (*held, *waiting)}.values():
            self._deliver(each, superseded(each.new.n, hold.key), commit)

    def unhold(self, run: MemoryRun, pointers: Iterable[int], commit: MemoryCommit) -> None:
        """Free what these pointers hold, and end their waiting."""
        given_up = frozenset(pointers)
        places = self._wanted.get(run.new.n, ())
        self._free(run, [place for place in places if place[0] in given_up], commit)

    def end(self, run: MemoryRun, commit: MemoryCommit) -> None:
        """Free all that a run holds, and end its waiting."""
        places = self._wanted.get(run.new.n)
        if places:
            self._free(run, places, commit)

    def _free(
        self, run: MemoryRun, places: Iterable[tuple[int, str]], commit: MemoryCommit
    ) -> None:
        n = run.new.n
        freed: set[str] = set()
        for pointer, key in tuple(places):
            if (n, pointer) in self._holders[key]:
                del self._holders[key][n, pointer]
                freed.add(key)
            self._waiters[key].pop((n, pointer), None)
            self._wanted[n].remove((pointer, key))
        if n in self._wanted and not self._wanted[n]:
            del self._wanted[n]
        for key in sorted(freed):
            self._grant(key, commit)

    def _grant(self, key: str, commit: MemoryCommit) -> None:
        """Give the places of *key* that are free to those that wait longest."""
        waiters, holders = self._waiters[key], self._holders[key]
        while waiters and len(holders) < self._limits[key]:
            place = next(iter(waiters))
            run, hold = waiters.pop(place)
            holders[place] = run
            self._tell(run, hold, commit.now, commit)
        if not waiters:
            del self._waiters[key]
            self._limits.pop(key, None)
        if not holders:
            del self._holders[key]

    def _hold_rate(self, run: MemoryRun, hold: Hold, per: int, commit: MemoryCommit) -> None:
        while self._over and self._over[0][0] <= commit.now:
            _, key, old = heapq.heappop(self._over)
            grants = self._grants[key]
            del grants[bisect_left(grants, old)]
            if not grants:
                del self._grants[key]
        grants = self._grants[hold.key]
        at = commit.now
        if len(grants) >= hold.limit:
            at = max(at, grants[-hold.limit] + per)
        if self._tell(run, hold, at, commit):
            insort(grants, at)
            heapq.heappush(self._over, (at + per, hold.key, at))

    def _tell(
        self, run: MemoryRun, hold: Hold, at: int, commit: MemoryCommit, *, taken: bool = False
    ) -> bool:
        message = Message(
            target=run.new.n,
            kind="granted",
            payload=granted_payload(hold, at, taken=taken),
            dedupe=f"granted:{hold.pointer}:{hold.attempt}:{hold.key}",
        )
        return self._deliver(run, message, commit)
