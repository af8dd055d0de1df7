"""What the retry of a run begins with: what failed as it was before, all else as it is now.

A failure notes the row before it, and who failed.  From there to the end of the run others went
on: branches beside it while its hooks ran, all of them where the container waits for them.  So
the state is put together: each container as it was when the branch that failed in it ended, and
in it this branch, taken from an earlier state in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from wfe.core.lean import frozen
from wfe.core.models import PointerStatus
from wfe.core.rules import failing
from wfe.core.rules.state import Log, Pointer, State, apply, folded

__all__ = ["before_failures"]

_PENDING: Final = PointerStatus.PENDING.value
_UNDOES: Final = "saga_compensating"
_FATAL: Final = ("fail", "terminate")


def before_failures(
    rows: Sequence[list[Any]], seq: int, failed: int | None
) -> tuple[State, frozenset[int]]:
    """Return the state in which what failed is about to be tried again, and what failed.

    Branches that failed while the others went on begin again where they failed; what completed
    since stays completed.  What was undone since begins anew, for nothing of it is there any more.

    Args:
        rows: The journal from row 0.
        seq: The last row before the failure that the run ended with.
        failed: The pointer that failed then; ``None``: somebody ended the run.
    """
    journal = _Journal(rows)
    parts: Sequence[_Part] = ()
    if failed is not None:
        (parts,) = _parts(journal, [_Loss(None, seq, failed)])
    state = journal.state(parts[0].seq if parts else seq)
    _begin_anew(state, journal.undone(state.seq))
    _put_in(journal, state, parts[1:])
    found = set[int]() if failed is None else {failed}
    known = set[_Loss]()
    while (pointer := _next(state, known)) is not None:
        losses = _losses(pointer)
        known.update(losses)
        found.discard(pointer.id)
        found.update(each.failed for each in losses)
        put_together = _parts(journal, losses)
        if "lost" in pointer.extra:
            state.pointers[pointer.id] = _reopened(journal, pointer, losses)
        for parts in put_together:
            _put_in(journal, state, parts)
    return state, frozenset(found)


# -- what failed ----------------------------------------------------------------------------------


@frozen
class _Loss:
    """A branch that failed.

    Attributes:
        branch: The pointer of the branch, ``None``: all of the run.
        seq: The last row before the failure.
        failed: The pointer that failed in it.
    """

    branch: int | None
    seq: int
    failed: int


def _next(state: State, known: Collection[_Loss]) -> Pointer | None:
    """Return the outermost pointer in *state* that lost what is not *known* yet."""
    for key in sorted(state.pointers):
        pointer = state.pointers[key]
        if not all(loss in known for loss in _losses(pointer)):
            return pointer
    return None


def _losses(pointer: Pointer) -> list[_Loss]:
    """Return the branches that a container lost, or itself, if it failed and its hooks run."""
    extra = pointer.extra
    match extra.get("leaving"):
        case ["failed", then, {"at": at, "by": by}] if then in _FATAL:
            return [_Loss(pointer.id, at, by)]
        case _:
            pass
    if "live" not in extra or "closing" in extra:  # it ends already, and its branches with it
        return []
    lost: Mapping[str, list[int]] = extra.get("lost", {})
    return [_Loss(int(branch), at, by) for branch, (at, by) in lost.items()]


def _reopened(journal: _Journal, pointer: Pointer, losses: Sequence[_Loss]) -> Pointer:
    """Return a container in which branches that failed are live again."""
    gone = ("lost", "error")
    extra = {key: value for key, value in pointer.extra.items() if key not in gone}
    extra["live"] = extra["live"] + len(losses)
    if "st" in extra:  # what could not run because of them waits again
        moments = journal.moments([loss.seq for loss in losses])
        names = [moments[loss.seq].pointers[loss.branch or 0].step for loss in losses]
        kept = {name: state for name, state in extra["st"].items() if state != "x"}
        extra["st"] = {**kept, **dict.fromkeys(names, "r")}
    return pointer.having(extra)


# -- putting a state together ---------------------------------------------------------------------


@frozen
class _Part:
    """A pointer, with all that stands in it, as it was after row *seq*."""

    key: int
    seq: int


@frozen
class _Moment:
    """Where a run stood after one of its rows."""

    pointers: Mapping[int, Pointer]
    logs: Mapping[int, Log]


class _Journal:
    """The rows of a run, and what was read out of them."""

    def __init__(self, rows: Sequence[list[Any]]) -> None:
        """Read *rows*, the first of which is row 0."""
        self._rows = rows
        self._moments: dict[int, _Moment] = {}
        self._undone = [
            (seq, row[2])
            for seq, row in enumerate(rows)
            if row[1] == _UNDOES and "call" not in (row[5] or {})  # functions undo on their own
        ]
        self.dropped: Mapping[int, int] = {
            op[1]: seq for seq, row in enumerate(rows) for op in row[6] if op[0] == "d"
        }

    def state(self, seq: int) -> State:
        """Return the state after row *seq*."""
        return folded(State(), self._rows[: seq + 1])

    def moments(self, seqs: Collection[int]) -> Mapping[int, _Moment]:
        """Return where the run stood after some rows; cheap when asked for many at once."""
        wanted = set(seqs).difference(self._moments)
        state = State()
        for row in self._rows[: max(wanted, default=-1) + 1]:
            apply(state, row)
            if state.seq in wanted:
                self._moments[state.seq] = _Moment(dict(state.pointers), dict(state.logs))
        return self._moments

    def undone(self, seq: int) -> list[int]:
        """Return the frames whose undo began after row *seq*."""
        return [frame for at, frame in self._undone if at > seq]


def _parts(journal: _Journal, losses: Sequence[_Loss]) -> list[Sequence[_Part]]:
    """Return what each branch that failed is put together from, outermost first."""
    moments = journal.moments([loss.seq for loss in losses])
    chains = [_chain(journal, moments[loss.seq], loss) for loss in losses]
    moments = journal.moments([part.seq for chain in chains for part in chain])
    return [
        chain if _fits(moments, chain) else _whole(loss)
        for chain, loss in zip(chains, losses, strict=True)
    ]


def _whole(loss: _Loss) -> Sequence[_Part]:
    """Return a branch as it was before the failure, whatever went on in it since."""
    return [] if loss.branch is None else [_Part(loss.branch, loss.seq)]


def _chain(journal: _Journal, then: _Moment, loss: _Loss) -> Sequence[_Part]:
    """Return what failed and the containers around it, each as it was when that in it ended."""
    key, seq = loss.failed, loss.seq
    chain = [_Part(key, seq)]
    while key != loss.branch and key in then.pointers:
        around = then.pointers[key].parent
        if around is None:
            break
        if key not in journal.dropped:  # the run ended first
            return _whole(loss)
        chain.append(_Part(around, journal.dropped[key] - 1))
        key = around
    return chain[::-1]


def _fits(moments: Mapping[int, _Moment], chain: Sequence[_Part]) -> bool:
    """Whether each part still stood in the one before it, as that was."""
    for around, part in pairwise(chain):
        inside = moments[around.seq].pointers.get(part.key)
        if inside is None or inside.parent != around.key:
            return False
    return all(part.key in moments[part.seq].pointers for part in chain)


def _put_in(journal: _Journal, state: State, parts: Sequence[_Part]) -> None:
    """Put parts into *state*, outermost first, each in place of what is there of it."""
    moments = journal.moments([part.seq for part in parts])
    for part in parts:
        then = moments[part.seq]
        around = then.pointers[part.key].parent
        if around is not None and not _is_open(state.pointers.get(around)):
            return  # what is around it begins anew
        _remove(state, _inside(state.pointers, part.key))
        inside = _inside(then.pointers, part.key)
        for key in inside:
            state.pointers[key] = then.pointers[key]
            if key in then.logs:
                state.logs[key] = then.logs[key]
        _begin_anew(state, [key for key in journal.undone(part.seq) if key in inside])


def _is_open(pointer: Pointer | None) -> bool:
    return pointer is not None and "live" in pointer.extra


def _begin_anew(state: State, frames: Iterable[int]) -> None:
    """Take frames, if they are there, back to where they were entered, with nothing in them."""
    for frame in frames:
        pointer = state.pointers.get(frame)
        if pointer is not None:
            _remove(state, _inside(state.pointers, frame))
            kept = {key: value for key, value in pointer.extra.items() if key in failing.KEPT}
            anew = pointer.having(kept).turned(_PENDING, pointer.attempt, None)
            state.pointers[frame] = anew


def _remove(state: State, keys: Iterable[int]) -> None:
    for key in keys:
        del state.pointers[key]
        state.logs.pop(key, None)


def _inside(pointers: Mapping[int, Pointer], key: int) -> set[int]:
    """Return a pointer and all that stands in it; nothing when it is not there."""
    if key not in pointers:
        return set()
    children: dict[int | None, list[int]] = {}
    for pointer in pointers.values():
        children.setdefault(pointer.parent, []).append(pointer.id)
    inside, following = set[int](), [key]
    while following:
        here = following.pop()
        inside.add(here)
        following += children.get(here, ())
    return inside
