"""Cuts a tree to the height of a terminal: what is active stays. Pure."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import Final

import attrs

from wfe.host.cli.drawing import Line
from wfe.host.cli.visits import State

__all__ = ["fitted"]

_FOLDING: Final = frozenset({State.COMPLETE, State.SKIPPED, State.CANCELLED})


def fitted(lines: Sequence[Line], height: int) -> list[Line]:
    """Return at most *height* of the lines: what is active stays, what is cut is counted.

    What is over is folded first, as far as needed, the oldest first.
    """
    lines = _folded(lines, height)
    if len(lines) <= height:
        return lines
    keep = _kept(lines, max(height - 1, 1))
    shown = [line for position, line in enumerate(lines) if position in keep]
    if height < 2:
        return shown
    return [*shown, Line(guides="", text=f"… {len(lines) - len(shown)} more")]


def _folded(lines: Sequence[Line], height: int) -> list[Line]:
    """Take away what is inside of containers that are over, until the lines fit."""
    rest = list(lines)
    position = 0
    while len(rest) > height and position < len(rest):
        line = rest[position]
        position += 1
        if line.state not in _FOLDING:
            continue
        inside = position
        while inside < len(rest) and rest[inside].depth > line.depth:
            inside += 1
        steps = sum(each.state is not None for each in rest[position:inside])
        if steps:
            note = f"{steps} step{'' if steps == 1 else 's'}"
            rest[position - 1] = attrs.evolve(line, note=", ".join(filter(None, (note, line.note))))
            del rest[position:inside]
    return rest


def _kept(lines: Sequence[Line], height: int) -> set[int]:
    """Choose lines by rank: active ones, their output, then their neighbours."""
    busy = [position for position, line in enumerate(lines) if line.active or line.output]
    near = busy or [0]

    def distance(position: int) -> int:
        at = bisect(near, position)
        return min(abs(position - other) for other in near[max(at - 1, 0) : at + 1])

    ranked = sorted(range(len(lines)), key=distance)
    return set(ranked[:height])
