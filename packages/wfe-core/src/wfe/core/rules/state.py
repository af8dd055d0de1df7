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
    i status error                               change the run's status and error
    c                                            drop every pointer
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from wfe.core.models import WorkflowStatus
from wfe.core.reducers import REDUCERS

__all__ = ["FORMAT", "Pointer", "State", "apply", "folded", "state_from_json", "state_to_json"]

FORMAT: Final = 1
"""Version of the rows and snapshots written now."""


@attrs.frozen
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


@attrs.define
class State:
    """A run as folded from its journal; only :func:`apply` changes it.

    Attributes:
        seq: Of the last row folded, -1 before the first.
        data: Never changed in place, so that a step can keep what it saw.
        writers: Seq of the row that wrote each data field last.
        next_pointer: Id that the next pointer gets.
    """

    seq: int = -1
    status: str = WorkflowStatus.RUNNABLE.value
    error: Mapping[str, Any] | None = None
    data: dict[str, Any] = attrs.field(factory=dict[str, Any])
    pointers: dict[int, Pointer] = attrs.field(factory=dict[int, Pointer])
    writers: dict[str, int] = attrs.field(factory=dict[str, int])
    next_pointer: int = 1


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
    )
    for row in rows:
        apply(after, row)
    return after


_EMPTY: Mapping[str, Any] = {}


def _drop(state: State, op: list[Any]) -> None:
    state.pointers.pop(op[1], None)


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
    _, state.status, state.error = op


def _clear(state: State, _op: list[Any]) -> None:
    state.pointers.clear()


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
}


def state_to_json(state: State) -> dict[str, Any]:
    """Return the snapshot of *state* without its data, which is stored beside it."""
    return {
        "format": FORMAT,
        "seq": state.seq,
        "status": state.status,
        "error": state.error,
        "pointers": [list(attrs.astuple(p, recurse=False)) for p in state.pointers.values()],
        "writers": state.writers,
        "next": state.next_pointer,
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
    )
