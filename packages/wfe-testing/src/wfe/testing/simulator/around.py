"""What stands around the nodes of a drawn definition: undo steps, hooks, limits."""

from __future__ import annotations

import random  # noqa: TID251 - only its type: the source is a parameter
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import attrs

from wfe.core.definition import Block, Kind, Limit, Node, Value
from wfe.core.policies import (
    Compensate,
    CompensateThenRetry,
    CompensateThenSuspend,
    ErrorPolicy,
    Fail,
    Retry,
)
from wfe.core.rules.plan import CONTAINERS

__all__ = ["conflict", "dressed", "of_saga"]

_HOLDS: Final = frozenset({Kind.SUB_WORKFLOW, Kind.SEQUENCE})
_LIMITED: Final = _HOLDS | {Kind.STEP, Kind.DELAY}


def dressed(node: Node, rng: random.Random, step: Callable[[str], Node], *, saga: bool) -> Node:
    """Return *node*, now and then with hooks, limits, or, in a *saga*, an undo step.

    Args:
        node: As drawn.
        rng: To draw from.
        step: Makes a plain step; its argument begins the name.
        saga: Whether a saga is around it.
    """
    often = 0.7 if node.kind is Kind.STEP else 0.2 if node.kind in CONTAINERS else 0
    if saga and often and not node.hooks and rng.random() < often:
        policy = Retry(max_retries=1, interval=timedelta(0), then=Fail())
        undo = attrs.evolve(step("u"), on_error=policy if rng.random() < 0.5 else None)
        return attrs.evolve(node, undo=Block((undo,)))
    if rng.random() < 0.08:
        others = ["on_success", "on_failure", "on_error", "on_abort"]
        names = ["ensure", *rng.sample(others, rng.randrange(3))]
        hooks = tuple((name, Block((step("h"),))) for name in sorted(names))
        node = attrs.evolve(node, hooks=hooks)
    if node.kind in _LIMITED and rng.random() < 0.1:
        # A container or sub-workflow never shares its key with what is inside: that would hang.
        shared = node.kind not in _HOLDS and rng.random() < 0.7
        key = Value(f"door{rng.randrange(2)}") if shared else None
        per = 2_000_000 if rng.random() < 0.15 else None
        taken = conflict(rng) if per is None else "queue"
        node = attrs.evolve(node, limits=(Limit(key, rng.randrange(1, 3), per, taken),))
    return node


def conflict(rng: random.Random) -> str:
    """Return what one does that finds no place."""
    return rng.choice(["queue", "queue", "queue", "skip", "cancel_running"])


def of_saga(rng: random.Random) -> ErrorPolicy | None:
    """Return the error policy of a saga."""
    pause = timedelta(milliseconds=rng.choice([0, 300]))
    policy: ErrorPolicy | None = rng.choice(
        [
            None,
            None,
            Compensate(),
            CompensateThenSuspend(),
            CompensateThenRetry(rng.choice([1, 2]), pause),
            Retry(max_retries=1, interval=pause),
        ]
    )
    return policy
