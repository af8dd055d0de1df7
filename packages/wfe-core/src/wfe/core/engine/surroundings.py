"""What a step may know of what became of the steps around it: hooks, failures before it, rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from wfe.core.codec import decode
from wfe.core.rounds import recorded
from wfe.core.rules.recording import key_of
from wfe.core.rules.state import Pointer

if TYPE_CHECKING:
    from wfe.core.engine.live import LiveRun

__all__ = ["failed_before", "hooked_by", "rounds_around"]

_STATUS: Final[Mapping[str, str]] = {"done": "complete", "skipped": "skipped", "failed": "failed"}
_ENDED_WELL: Final = frozenset({"complete", "skipped"})
_LOST: Final = frozenset("fx")


def rounds_around(pointers: Mapping[int, Pointer], pointer: int) -> list[tuple[int, Any, str]]:
    """Return number, item and name of each for-each around a pointer, innermost first."""
    found: list[tuple[int, Any, str]] = []
    here = pointers.get(pointer)
    while here is not None:
        if "rounds" in here.extra:  # it was taken out of where it stood, with what it saw
            return [*found, *((i, item, step) for i, item, step in here.extra["rounds"])]
        index = here.extra.get("index")
        here = None if here.parent is None else pointers.get(here.parent)
        if here is not None and index is not None and "items" in here.extra:
            found.append((index, here.extra["items"][index], here.step))
    return found


def hooked_by(run: LiveRun, pointer: int, path: Sequence[int]) -> Mapping[str, Any] | None:
    """Return what became of the step whose hook *pointer* belongs to, ``None`` outside of one.

    The mapping has ``name``, ``status`` (``complete``, ``failed``, ``errored``, ``aborted`` or
    ``skipped``), ``error`` (``type`` and ``message``, or ``None``) and ``outputs``.
    """
    pointers = run.state.pointers
    here = pointers.get(pointer)
    while here is not None and "hooks" not in here.extra:
        here = None if here.parent is None else pointers.get(here.parent)
    if here is None:
        return None
    outcome: list[Any] = here.extra["leaving"]
    status = _status(outcome)
    error = _error(outcome)
    return {
        "name": here.step,
        "status": status,
        "error": error and {"type": error["type"], "message": error["message"]},
        "outputs": _outputs(run, here, path) if status == "complete" else {},
    }


def _status(outcome: Sequence[Any]) -> str:
    if outcome[0] == "failed" and outcome[2].get("errored"):
        return "errored"
    if outcome[0] in ("cancelled", "aborted") and outcome[1]:  # it had completed before
        return "complete"
    return _STATUS.get(outcome[0], "aborted")


def _error(outcome: Sequence[Any]) -> Mapping[str, Any] | None:
    if outcome[0] not in ("failed", "end"):
        return None
    error: Mapping[str, Any] | None = outcome[2]
    return error


def _outputs(run: LiveRun, pointer: Pointer, path: Sequence[int]) -> Mapping[str, Any]:
    key = key_of(run.ready.plan.places[pointer.step].node)
    if key is None:
        return {}
    record: Mapping[str, Any] = recorded(run.state.data, path).get(key) or {}
    outputs: Mapping[str, Any] = decode(record.get("outputs") or {})
    return outputs


def failed_before(run: LiveRun, pointer: int) -> bool:
    """Whether something failed that the pointer, or what it stands in, comes after.

    In a hook it is the step that failed; among steps that need one another, one of those that
    the step needs, itself or by way of others.
    """
    pointers = run.state.pointers
    here = pointers.get(pointer)
    while here is not None and here.parent is not None:
        around = pointers[here.parent]
        if "hooks" in around.extra:
            return _status(around.extra["leaving"]) not in _ENDED_WELL
        if "st" in around.extra and _needs_failed(run, here.step, around.extra["st"]):
            return True
        here = around
    return False


def _needs_failed(run: LiveRun, step: str, states: Mapping[str, str]) -> bool:
    places = run.ready.plan.places
    seen: set[str] = set()
    open_ = [step]
    while open_:
        node = places[open_.pop()].node
        for name in (*node.needs, *node.needs_any):
            if states.get(name) in _LOST:
                return True
            if name not in seen:
                seen.add(name)
                open_.append(name)
    return False
