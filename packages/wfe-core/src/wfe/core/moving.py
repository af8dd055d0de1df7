"""Says whether a running instance could go on with another definition, and why not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from wfe.core.definition import WorkflowDefinition
from wfe.core.diff import Spot, outline

__all__ = ["obstacles"]


def obstacles(
    old: WorkflowDefinition,
    new: WorkflowDefinition,
    standing: Iterable[str],
    undo: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return what keeps an instance of *old* from going on with *new*; nothing: it could.

    It could when each of its live pointers finds its step, of the same kind, inside the same
    containers, and when what it has done still is what comes before.

    Args:
        old: What the instance follows.
        new: What it would follow.
        standing: Names of the steps that its live pointers stand at, containers too.
        undo: Completed steps that a failure would undo.
    """
    before, after = outline(old), outline(new)
    found: dict[str, None] = {}
    for name in standing:
        if name not in before:  # a call of a function, or the frame of the limits
            continue
        for problem in _of_pointer(name, before, after):
            found[problem] = None
    for step in undo:
        for problem in _of_undo(step, after):
            found[problem] = None
    return tuple(found)


def _of_pointer(name: str, before: Mapping[str, Spot], after: Mapping[str, Spot]) -> Iterator[str]:
    here, there = before[name], after.get(name)
    if there is None:
        yield f"it stands at {name!r}, which is gone"
        return
    if here.node.kind is not there.node.kind:
        yield f"it stands at {name!r}, which was {here.node.kind} and is {there.node.kind}"
    if here.containers != there.containers:
        yield f"it stands at {name!r}, which is {_within(there)} and was {_within(here)}"
        return
    yield from _of_order(name, here, there, before, after)
    if here.dag:
        yield from _of_needs(name, here, there)


def _within(spot: Spot) -> str:
    return f"in {' > '.join(spot.containers)}" if spot.containers else "at the top"


def _of_order(
    name: str,
    here: Spot,
    there: Spot,
    before: Mapping[str, Spot],
    after: Mapping[str, Spot],
) -> Iterator[str]:
    for step in there.before:
        if step not in before:
            yield f"{step!r} is new and comes before {name!r}: it would never be done"
        elif step not in here.before:
            yield f"{step!r} comes before {name!r} now: it would never be done"
    for step in here.before:
        if step in after and step not in there.before:
            yield f"{step!r} is done and does not come before {name!r} any more"


def _of_needs(name: str, here: Spot, there: Spot) -> Iterator[str]:
    old = {*here.node.needs, *here.node.needs_any}
    more = [step for step in (*there.node.needs, *there.node.needs_any) if step not in old]
    if more:
        yield f"{name!r} has begun and now needs {', '.join(map(repr, more))} before"


def _of_undo(step: str, after: Mapping[str, Spot]) -> Iterator[str]:
    there = after.get(step)
    if there is None:
        yield f"{step!r} is done and would have to be undone by steps that are gone"
    elif there.node.undo is None:
        yield f"{step!r} is done and cannot be undone any more"
