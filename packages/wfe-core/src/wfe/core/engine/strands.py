"""The strands of a durable function, and what its journal says they did.

A strand is a line of calls one after the other: the function itself, and each argument of a
``gather``.  A strand makes the same calls again when the function is run again, so each call is
known by its number in the strand, and checked by name, use and arguments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, Literal, TypeAlias

import attrs

from wfe.core.lean import define, frozen

__all__ = ["STRAND", "Cut", "Journal", "Record", "Strand", "call_key", "state_of_row"]

State: TypeAlias = Literal["open", "done", "failed"]

_OPEN: Final = frozenset({"step_sleeping", "step_waiting", "step_retrying"})
_CUT: Final = "strands_cancelled"
_ANEW: Final = frozenset({"workflow_retried", "workflow_rewound"})


@define(kw_only=True, eq=False)
class Record:
    """What the journal says of one call.

    Attributes:
        n: Its number in its strand.
        kind: Of its row.
        state: ``open``: it lasts still; ``done``; ``failed``.
        info: Of its row.
        at: When that was committed, µs.
        seq: Of that row.
    """

    key: str
    n: int
    name: str
    hash: str
    site: str
    kind: str
    state: State
    info: Mapping[str, Any]
    at: int
    seq: int


@frozen
class Cut:
    """Where strands were cancelled because another failed.

    Attributes:
        first: Number of the argument that failed.
        at: By strand: how many calls it had begun and got an answer to, and whether it was
            waiting for a gather of its own.
    """

    first: int
    at: Mapping[str, tuple[int, bool]]


@define(eq=False)
class Strand:
    """One line of calls.

    Attributes:
        path: Which one: ``""`` the function's own, ``g1.0`` the first argument of its first gather.
        records: What the journal has of it and was not asked for yet, by number.
        last: Highest number in *records* at the start, -1: none.
        now: When its last call ended, µs.
        seq: Of the row that ended its last call.
        calls: How many calls it began.
        returned: How many of them ended.
        uses: Uses of each name so far.
        cursors: Position after the events consumed, by topic.
        patches: What ``patched`` said, by change.
        cut: Where it is cancelled in the journal, ``None``: it is not.
        inside: Whether it waits for a gather of its own.
        cancelled: Whether it was cancelled.
        undoing: How many sagas are being undone in it.
        current: Name and key of the call that has no answer yet.
        answered: Name and key of the call that was answered last.
        gated: Whether it is about to be cancelled, and begins nothing new.
        committing: Whether a step of it is done and being recorded.
        blocked: Whether it has come to where it is cancelled, and waits for that.
    """

    path: str
    records: dict[int, Record]
    now: int
    seq: int
    cursors: dict[str, Sequence[Any]]
    patches: dict[str, bool]
    cut: tuple[int, bool] | None = None
    last: int = attrs.Factory(lambda self: max(self.records, default=-1), takes_self=True)
    calls: int = 0
    returned: int = 0
    gathers: int = 0
    uses: dict[str, int] = attrs.Factory(dict[str, int])
    children: list[Strand] = attrs.Factory(list["Strand"])
    task: asyncio.Task[Any] | None = None
    inside: bool = False
    cancelled: bool = False
    undoing: int = 0
    current: tuple[str, str] | None = None
    answered: tuple[str, str] | None = None
    gated: bool = False
    committing: bool = False
    blocked: bool = False

    def barred(self) -> bool:
        """Whether it may not begin its next call, but waits to be cancelled."""
        if self.cut is not None and self.calls >= self.cut[0]:
            return True
        return self.gated and not self.undoing and self.calls not in self.records

    @property
    def replaying(self) -> bool:
        """Whether the next call is in the journal."""
        return self.calls <= self.last

    def key(self, name: str) -> str:
        """Return the key of the next call called *name*."""
        use = self.uses.get(name, 0) + 1
        self.uses[name] = use
        return call_key(name, use, self.path)

    def ended(self, at: int, seq: int) -> None:
        """A call got its answer."""
        self.returned += 1
        self.answered, self.current = self.current, None
        self.now = max(at, self.now)
        self.seq = seq

    def live(self) -> Iterator[Strand]:
        """Yield the strands in it that have not ended, itself last."""
        for child in self.children:
            yield from child.live()
        yield self


STRAND: Final[ContextVar[Strand]] = ContextVar("wfe_strand")
"""The strand that runs now."""


def call_key(name: str, use: int, path: str) -> str:
    """Return what names a call of a run; paths hold no ``@`` and no ``#``."""
    return f"{name}#{use}@{path}" if path else f"{name}#{use}"


def path_of(key: str) -> str:
    """Return the strand of a call by its key."""
    path = key.rpartition("@")[2]
    return "" if "#" in path else path


def state_of_row(kind: str, info: Mapping[str, Any]) -> State:
    """Return what a row makes of its call."""
    if kind in _OPEN or "again" in info:
        return "open"
    # A failure with a result: its policy says that the function goes on all the same.
    return "failed" if kind == "step_failed" and "result" not in info else "done"


class Journal:
    """The calls that a run's journal has, as far as the function did not ask for them yet."""

    def __init__(self) -> None:
        """Make an empty one."""
        self.by_path: dict[str, dict[int, Record]] = {}
        self.cuts: dict[str, Cut] = {}
        self.limits: dict[str, tuple[int, bool]] = {}
        self.begun: set[str] = set()
        self._by_key: dict[str, Record] = {}
        self._cut_at: dict[str, int] = {}
        self._failed: str | None = None
        self._undone: set[str] = set()

    def take(self, row: list[Any], at: int, seq: int) -> None:
        """Take in a row; rows about other things are passed over."""
        _, kind, _, step, _, info, _ = row
        if kind in _ANEW:
            if info and "from" in info:  # from a step, and the function is the only one
                self._clear()
            else:
                self._retried()
        if not info:
            return
        if "failed_call" in info:
            self._failed = info["failed_call"]
        key = info.get("call")
        if key is None:
            return
        if kind == _CUT:
            self.cuts[key] = Cut(info["first"], {p: (n, i) for p, n, i in info["at"]})
            self._cut_at[key] = seq
            return
        if "undoes" in info:
            self._undone.add(info["undoes"])
        self.note(key, kind, step, info, at, seq)

    def note(
        self, key: str, kind: str, name: str, info: Mapping[str, Any], at: int, seq: int
    ) -> None:
        """Keep what a row says of the call *key*."""
        record = self._by_key.get(key)
        state = state_of_row(kind, info)
        if record is not None:
            record.kind, record.state, record.at, record.seq = kind, state, at, seq
            record.info = {**record.info, **info}
            return
        record = Record(
            key=key,
            n=info["n"],
            name=name,
            hash=info["hash"],
            site=info["site"],
            kind=kind,
            state=state,
            info=info,
            at=at,
            seq=seq,
        )
        self._by_key[key] = record
        self.by_path.setdefault(path_of(key), {})[record.n] = record

    def known(self, key: str) -> bool:
        """Whether the journal has this call."""
        return key in self._by_key

    def forget(self, key: str) -> None:
        """Drop a call that the function asked for."""
        self._by_key.pop(key, None)

    def _clear(self) -> None:
        """The function is done again from its start."""
        self.by_path.clear()
        self.cuts.clear()
        self._by_key.clear()
        self._undone.clear()
        self._failed = None

    def _retried(self) -> None:
        """The run is tried again: forget the failure, what came after it, and what was undone.

        And what waited for something outside, for such a wait ended with the run.
        """
        for record in [r for r in self._by_key.values() if r.kind == "step_waiting"]:
            del self._by_key[record.key]
            del self.by_path[path_of(record.key)][record.n]
        failed = None if self._failed is None else self._by_key.get(self._failed)
        if failed is None:
            return
        gone = [
            record
            for record in self._by_key.values()
            if record.seq >= failed.seq or record.key in self._undone
        ]
        for record in gone:
            del self._by_key[record.key]
            del self.by_path[path_of(record.key)][record.n]
        self.cuts = {k: c for k, c in self.cuts.items() if self._cut_at[k] < failed.seq}
        self._failed = None

    def ready(self) -> None:
        """All rows are read: drop what strands did beyond where they were cancelled."""
        for cut in self.cuts.values():
            self.limits.update(cut.at)
        for path, (limit, _) in self.limits.items():
            records = self.by_path.get(path, {})
            for n in [n for n in records if n >= limit]:
                del records[n]

    def strand(self, path: str, now: int, seq: int, parent: Strand | None = None) -> Strand:
        """Return the strand *path* at its start."""
        self.begun.add(path)
        gated = parent is not None and parent.gated
        return Strand(
            path,
            self.by_path.get(path, {}),
            now,
            seq,
            dict(parent.cursors) if parent else {},
            dict(parent.patches) if parent else {},
            self.limits.get(path),
            gated=gated,
        )

    def has(self, prefix: str) -> bool:
        """Whether something is left of the strands whose paths begin so."""
        return any(path.startswith(prefix) and found for path, found in self.by_path.items())

    def left(self) -> Iterable[Record]:
        """Yield the calls that nobody asked for, the earliest first."""
        found = [record for records in self.by_path.values() for record in records.values()]
        return sorted(found, key=lambda record: record.seq)
