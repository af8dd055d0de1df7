"""The rules: (plan, state, what happened, now) to a decision, without any effect.

Nothing here awaits, reads a clock or calls user code; the state stays as it is.  What happened
is a batch: everything that arrived while the last decision was being committed.

What is usual has short ways.  All the rest is in ``drafted``, which needs most modules of the
rules and is loaded with the first definition that has more than steps in a row, or else by the
first decision that is not usual: a host that takes over straight runs begins bodies before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from wfe.core.models import WorkflowStatus
from wfe.core.rules.inputs import Decision, Input, Recovered
from wfe.core.rules.state import FORMAT, State
from wfe.core.rules.straight import straight, straight_end, straight_start

if TYPE_CHECKING:
    from wfe.core.rules.inputs import Restored
    from wfe.core.rules.plan import Plan

__all__ = ["begin", "begin_from", "by_draft", "decide", "load"]

_RUNNABLE: Final = WorkflowStatus.RUNNABLE.value


def begin(plan: Plan, data: Mapping[str, Any], now: int, info: Mapping[str, Any]) -> Decision:
    """Return the first rows of a run with *data* (stored form); *info* goes to the history."""
    usual = straight_start(plan, data, info)
    if usual is not None:
        return usual
    from wfe.core.rules import drafted  # noqa: PLC0415 - see above

    return drafted.begin(plan, data, now, info)


def begin_from(plan: Plan, found: Restored, now: int, info: Mapping[str, Any]) -> Decision:
    """Return the first row of a run that goes on from an earlier state of another."""
    from wfe.core.rules import drafted  # noqa: PLC0415 - see above

    return drafted.begin_from(plan, found, now, info)


def decide(plan: Plan, state: State, inputs: Sequence[Input], now: int) -> Decision:
    """Return what *inputs*, in their order, make of *state* at *now* (µs)."""
    if len(inputs) == 1:
        usual = straight(plan, state, inputs[0])
        if usual is not None:
            return Decision(rows=[usual.row], status=state.status, error=state.error)
        if isinstance(inputs[0], Recovered) and state.status == _RUNNABLE and not plan.rounds:
            return _recovered(state, inputs[0])
        end = straight_end(plan, state, inputs[0])
        if end is not None:
            return end
    return by_draft(plan, state, inputs, now)


def _recovered(state: State, each: Recovered) -> Decision:
    """Note the bodies that a takeover interrupted: that changes nothing."""
    rows: list[list[Any]] = []
    for key in each.pointers:
        p = state.pointers[key]
        rows.append([FORMAT, "step_interrupted", p.id, p.step, p.attempt, None, []])
    return Decision(rows=rows, status=state.status, error=state.error)


def by_draft(plan: Plan, state: State, inputs: Sequence[Input], now: int) -> Decision:
    """Do what :func:`decide` does, whatever the inputs are."""
    return _drafted()(plan, state, inputs, now)


def load(plan: Plan) -> None:
    """Load the rules that runs of *plan* are sure to need, so that no run waits for them."""
    if not all(place.plain for place in plan.places.values()):
        _drafted()


@cache
def _drafted() -> Callable[[Plan, State, Sequence[Input], int], Decision]:
    from wfe.core.rules import drafted  # noqa: PLC0415 - see above

    return drafted.by_draft
