"""The runs of a matrix: all combinations of its axes, without some, and with others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from wfe.core.equality import same
from wfe.core.errors import DefinitionError

__all__ = ["combinations", "fits"]

_MOST: Final = 10_000  # combinations, before any is excluded


def combinations(
    axes: Mapping[str, Sequence[Any]],
    exclude: Sequence[Mapping[str, Any]] = (),
    include: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return the runs of a matrix in order: the first axis changes slowest.

    Args:
        axes: Values by axis, in JSON form.
        exclude: Combinations that have all values of one of these are left out.
        include: Each adds its further values to the combinations that have its values of the
            axes (to all, if it has none), or, when there are none, is a run of its own at the end.

    Raises:
        DefinitionError: An axis has no values, nothing is left, or there are too many.
    """
    for name, values in axes.items():
        if not values:
            raise DefinitionError(f"the axis {name!r} of the matrix has no values")
    count = math.prod(map(len, axes.values()))
    if count > _MOST:
        raise DefinitionError(f"the matrix has {count:,} runs; at most {_MOST:,} are allowed")
    product = [dict(zip(axes, each, strict=True)) for each in itertools.product(*axes.values())]
    kept = [each for each in product if not any(fits(out, each) for out in exclude)]
    found: list[dict[str, Any]] = [dict(each) for each in kept]
    alone: list[dict[str, Any]] = []
    for entry in include:
        wanted = {name: value for name, value in entry.items() if name in axes}
        further = {name: value for name, value in entry.items() if name not in axes}
        fitting = [i for i, each in enumerate(kept) if fits(wanted, each)]
        for position in fitting:
            found[position].update(further)
        if not fitting:
            alone.append(dict(entry))
    if not found and not alone:
        raise DefinitionError("the matrix has no runs: every combination is excluded")
    return [*found, *alone]


def fits(wanted: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Whether a run has all values of *wanted*."""
    return all(name in run and same(value, run[name]) for name, value in wanted.items())
