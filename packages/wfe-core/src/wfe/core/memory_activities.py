"""Activities of a memory store: work for whoever claims it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import attrs

from wfe.core.providers import ActivityRow, ActivityStart

__all__ = ["MemoryActivities"]


class MemoryActivities:
    """Activities by number, oldest first."""

    def __init__(self) -> None:
        self._rows: dict[int, ActivityRow] = {}
        self._by_name: defaultdict[str, dict[int, None]] = defaultdict(dict)
        self._by_run: defaultdict[int, dict[int, int]] = defaultdict(dict)
        self._by_token: dict[str, int] = {}
        self._last_a = 0

    def offer(self, n: int, start: ActivityStart) -> None:
        """Add an activity; one of the same pointer is replaced."""
        self.drop(n, start.pointer)
        self._last_a += 1
        self._rows[self._last_a] = ActivityRow(
            a=self._last_a,
            n=n,
            pointer=start.pointer,
            attempt=start.attempt,
            name=start.name,
            parameters=start.parameters,
            token=None,
            worker=None,
            lease_until=None,
            progress=None,
        )
        self._by_name[start.name][self._last_a] = None
        self._by_run[n][start.pointer] = self._last_a

    def drop(self, n: int, pointer: int) -> None:
        """Delete the activity of a pointer, if there is one."""
        a = self._by_run[n].pop(pointer, None) if n in self._by_run else None
        if a is None:
            return
        row = self._rows.pop(a)
        del self._by_name[row.name][a]
        if row.token is not None:
            del self._by_token[row.token]
        if not self._by_run[n]:
            del self._by_run[n]

    def end(self, n: int) -> None:
        """Delete the activities of a run."""
        if n in self._by_run:
            for pointer in tuple(self._by_run[n]):
                self.drop(n, pointer)

    def claim(
        self, names: Sequence[str], worker: str, token: str, until: int, now: int
    ) -> ActivityRow | None:
        """Give the oldest free activity of *names* to *worker* until then."""
        free = [
            next((a for a in self._by_name.get(name, ()) if _is_free(self._rows[a], now)), None)
            for name in names
        ]
        first = min((a for a in free if a is not None), default=None)
        if first is None:
            return None
        old = self._rows[first]
        if old.token is not None:
            del self._by_token[old.token]
        row = attrs.evolve(old, token=token, worker=worker, lease_until=until)
        self._rows[first] = row
        self._by_token[token] = first
        return row

    def held(self, token: str, now: int) -> ActivityRow | None:
        """Return the activity whose present claim has this token, if its lease has not passed."""
        a = self._by_token.get(token)
        return None if a is None or _is_free(self._rows[a], now) else self._rows[a]

    def beat(self, token: str, until: int, progress: str | None, now: int) -> bool:
        """Prolong a claim; ``None`` leaves the progress as it is."""
        row = self.held(token, now)
        if row is None:
            return False
        progress = row.progress if progress is None else progress
        self._rows[row.a] = attrs.evolve(row, lease_until=until, progress=progress)
        return True

    def rows(self, n: int | None) -> list[ActivityRow]:
        return [row for row in self._rows.values() if n in (None, row.n)]


def _is_free(row: ActivityRow, now: int) -> bool:
    return row.lease_until is None or row.lease_until < now
