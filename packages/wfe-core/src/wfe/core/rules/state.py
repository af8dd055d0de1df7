"""The state of a run, and how journal rows fold into it.

A row is a flat list ``[format, kind, pointer, step, attempt, info, ops]``: what happened, for
people (``kind`` to ``info``), and what it changed, for machines (``ops``).  Folding applies the
ops and looks at nothing else: it never calls user code and needs no definition, so a journal
reads the same whatever the rules became since.  The ops::

    p id step parent status attempt wake extra   put a pointer
    d id                                         drop a pointer
    e id {key: value}                            change extras of a pointer (null removes)
    k id key subkey value                        change one entry of a mapping in its extras
    t id status attempt wake                     change a pointer's status, attempt, wake time
    s {field: value}                             set data fields
    x [field]                                    delete data fields
    r field reducer operand                      reduce an operand into a data field
    i status error [origin]                      change the run's status and error
    c                                            drop every pointer
    u frame pointer step rounds                  push onto the undo log of a frame
    v frame                                      pop from the undo log of a frame
    m from to                                    merge one undo log into another
    q name payload                               queue a signal
    w name                                       take the first signal of a name
    z pointers logs next since                   put pointers and undo logs in place of all others

An undo log is a stack of entries, the step that completed last on top: popping it is undoing in
reverse order of completion.  In memory it is a chain of pairs ``(entry, rest)``, so that growing
it by one costs the same however long it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from wfe.core.lean import define, frozen, lean
from wfe.core.models import WorkflowStatus
from wfe.core.reducers import REDUCERS

__all__ = [
    "FORMAT",
    "Log",
    "Pointer",
    "State",
    "Undo",
    "apply",
    "folded",
    "log_from_json",
    "log_to_json",
    "merged_logs",
    "pointers_to_json",
    "state_from_json",
    "state_to_json",
]

FORMAT: Final = 1
"""Version of the rows and snapshots written now."""


@lean
class Pointer:
    """One branch's place.

    Attributes:
        id: Grows by one per step execution of a run.
        step: Name of the node.
        parent: Pointer of the container, ``None`` at the top.
        status: A :class:`~wfe.core.models.PointerStatus` value.
        attempt: From 0.
        wake: When it is due (sleeping) or times out (waiting), µs; ``None``: not by time.
        extra: What the node's kind keeps, see ``wfe.core.rules.flow``.
    """

    id: int
    step: str
    parent: int | None
    status: str
    attempt: int
    wake: int | None
    extra: Mapping[str, Any]

    def having(self, extra: Mapping[str, Any]) -> Pointer:
        """Return the pointer with other extras."""
        return Pointer(self.id, self.step, self.parent, self.status, self.attempt, self.wake, extra)

    def turned(self, status: str, attempt: int, wake: int | None) -> Pointer:
        """Return the pointer with another status, attempt and wake time."""
        return Pointer(self.id, self.step, self.parent, status, attempt, wake, self.extra)


@frozen
class Undo:
    """A completed step that can be undone.

    Attributes:
        seq: Of the row that completed it.
        pointer: That it had.
        rounds: (index, item, step) of each for-each around it, innermost first.
    """

    seq: int
    pointer: int
    step: str
    rounds: list[Any]


Log: TypeAlias = "tuple[Undo, Log] | None"
"""An undo log: its top entry and the rest, ``None`` when it is empty."""


@define
class State:
    """A run as folded from its journal; only :func:`apply` changes it.

    Attributes:
        seq: Of the last row folded, -1 before the first.
        data: Never changed in place, so that a step can keep what it saw.
        writers: Seq of the row that wrote each data field last.
        next_pointer: Id that the next pointer gets.
        logs: Undo log by the pointer of its frame (a saga, or a step that is undone alone).
        signals: Payloads of signals that nobody waited for yet, by name.
        origin: Of a run that failed or was terminated: seq before the failure (or the end) and
            the pointer that failed: where ``retry`` begins.  ``None``: it was neither.
        since: When its time began anew by ``retry``, µs; ``None``: with its start.
    """

    seq: int = -1
    status: str = WorkflowStatus.RUNNABLE.value
    error: Mapping[str, Any] | None = None
    data: dict[str, Any] = attrs.field(factory=dict[str, Any])
    pointers: dict[int, Pointer] = attrs.field(factory=dict[int, Pointer])
    writers: dict[str, int] = attrs.field(factory=dict[str, int])
    next_pointer: int = 1
    logs: dict[int, Log] = attrs.field(factory=dict[int, "Log"])
    signals: dict[str, tuple[Any, ...]] = attrs.field(factory=dict[str, tuple[Any, ...]])
    origin: tuple[int, int | None] | None = None
    since: int | None = None


def apply(state: State, row: list[Any]) -> None:
    """Fold one *row* into *state*."""
    state.seq += 1
    for op in row[6]:
        _FOLD[op[0]](state, op)


def _put(state: State, op: list[Any]) -> None:
    _, key, step, parent, status, attempt, wake, extra = op
    state.pointers[key] = Pointer(key, step, parent, status, attempt, wake, extra or _EMPTY)
    if key >= state.next_pointer:
        state.next_pointer = key + 1


def folded(state: State, rows: Iterable[list[Any]]) -> State:
    """Return what *state* becomes by *rows*; *state* stays as it is."""
    after = State(
        state.seq,
        state.status,
        state.error,
        state.data,
        dict(state.pointers),
        dict(state.writers),
        state.next_pointer,
        dict(state.logs),
        dict(state.signals),
        state.origin,
        state.since,
    )
    for row in rows:
        apply(after, row)
    return after


_EMPTY: Mapping[str, Any] = {}
_WITHOUT_ORIGIN: Final = 3  # length of an ``i`` op that names no origin


def _drop(state: State, op: list[Any]) -> None:
    state.pointers.pop(op[1], None)
    state.logs.pop(op[1], None)


def _extras(state: State, op: list[Any]) -> None:
    pointer = state.pointers[op[1]]
    merged = {**pointer.extra, **op[2]}
    extra = {key: value for key, value in merged.items() if value is not None}
    state.pointers[op[1]] = pointer.having(extra)


def _entry(state: State, op: list[Any]) -> None:
    _, key, name, entry, value = op
    pointer = state.pointers[key]
    extra = {**pointer.extra, name: {**pointer.extra[name], entry: value}}
    state.pointers[key] = pointer.having(extra)


def _turn(state: State, op: list[Any]) -> None:
    _, key, status, attempt, wake = op
    state.pointers[key] = state.pointers[key].turned(status, attempt, wake)


def _set(state: State, op: list[Any]) -> None:
    state.data = {**state.data, **op[1]}
    for name in op[1]:
        state.writers[name] = state.seq


def _delete(state: State, op: list[Any]) -> None:
    state.data = {name: value for name, value in state.data.items() if name not in op[1]}
    for name in op[1]:
        state.writers[name] = state.seq


def _reduce(state: State, op: list[Any]) -> None:
    _, name, reducer, operand = op
    current = state.data.get(name)
    # The first operand stands alone: a reducer never sees a missing value.
    merged = REDUCERS[reducer](current, operand) if name in state.data else operand
    state.data = {**state.data, name: merged}
    state.writers[name] = state.seq


def _instance(state: State, op: list[Any]) -> None:
    state.status, state.error = op[1], op[2]
    state.origin = tuple(op[3]) if len(op) > _WITHOUT_ORIGIN else None


def _clear(state: State, _op: list[Any]) -> None:
    state.pointers.clear()
    state.logs.clear()


def _push(state: State, op: list[Any]) -> None:
    _, frame, pointer, step, rounds = op
    state.logs[frame] = (Undo(state.seq, pointer, step, rounds), state.logs.get(frame))


def _pop(state: State, op: list[Any]) -> None:
    log = state.logs.get(op[1])
    state.logs[op[1]] = log[1] if log else None


def _merge(state: State, op: list[Any]) -> None:
    _, source, target = op
    state.logs[target] = merged_logs(state.logs.pop(source, None), state.logs.get(target))


def merged_logs(newer: Log, older: Log) -> Log:
    """Return one log of two, ordered by completion; cheap when *newer* is short and recent."""
    taken: list[Undo] = []
    while newer is not None:
        if older is not None and older[0].seq > newer[0].seq:
            taken.append(older[0])
            older = older[1]
        else:
            taken.append(newer[0])
            newer = newer[1]
    for entry in reversed(taken):
        older = (entry, older)
    return older


def _queue(state: State, op: list[Any]) -> None:
    _, name, payload = op
    state.signals[name] = (*state.signals.get(name, ()), payload)


def _take(state: State, op: list[Any]) -> None:
    rest = state.signals[op[1]][1:]
    if rest:
        state.signals[op[1]] = rest
    else:
        del state.signals[op[1]]


def _restore(state: State, op: list[Any]) -> None:
    _, pointers, logs, following, state.since = op
    state.pointers = {row[0]: Pointer(*row) for row in pointers}
    state.logs = {int(frame): log_from_json(log) for frame, log in logs.items()}
    state.next_pointer = max(state.next_pointer, following)


_FOLD: Final[Mapping[str, Callable[[State, list[Any]], None]]] = {
    "p": _put,
    "d": _drop,
    "e": _extras,
    "k": _entry,
    "t": _turn,
    "s": _set,
    "x": _delete,
    "r": _reduce,
    "i": _instance,
    "c": _clear,
    "u": _push,
    "v": _pop,
    "m": _merge,
    "q": _queue,
    "w": _take,
    "z": _restore,
}


def log_to_json(log: Log) -> list[Any]:
    """Return an undo log as a list, its top first."""
    entries: list[Any] = []
    while log is not None:
        entry, log = log
        entries.append([entry.seq, entry.pointer, entry.step, entry.rounds])
    return entries


def log_from_json(stored: list[Any]) -> Log:
    """Return the log that :func:`log_to_json` stored."""
    log: Log = None
    for row in reversed(stored):
        log = (Undo(*row), log)
    return log


def pointers_to_json(pointers: Iterable[Pointer]) -> list[Any]:
    """Return pointers as lists of their fields."""
    return [[p.id, p.step, p.parent, p.status, p.attempt, p.wake, dict(p.extra)] for p in pointers]


def state_to_json(state: State) -> dict[str, Any]:
    """Return the snapshot of *state* without its data, which is stored beside it."""
    return {
        "format": FORMAT,
        "seq": state.seq,
        "status": state.status,
        "error": state.error,
        "pointers": pointers_to_json(state.pointers.values()),
        "writers": state.writers,
        "next": state.next_pointer,
        "logs": {str(frame): log_to_json(log) for frame, log in state.logs.items() if log},
        "signals": state.signals,
        "origin": state.origin,
        "since": state.since,
    }


def state_from_json(stored: Mapping[str, Any], data: dict[str, Any]) -> State:
    """Return the state that :func:`state_to_json` stored, with its *data*."""
    return State(
        seq=stored["seq"],
        status=stored["status"],
        error=stored["error"],
        data=data,
        pointers={row[0]: Pointer(*row) for row in stored["pointers"]},
        writers=dict(stored["writers"]),
        next_pointer=stored["next"],
        logs={int(frame): log_from_json(log) for frame, log in stored.get("logs", {}).items()},
        signals={name: tuple(queue) for name, queue in stored.get("signals", {}).items()},
        origin=tuple(stored["origin"]) if stored.get("origin") else None,
        since=stored.get("since"),
    )
