"""The pure rules: all control flow, retry, join, cancellation and timer semantics.

No module in here imports asyncio, a clock, a driver or user code; the engine awaits, the rules
decide.  See :func:`decide`.
"""

from __future__ import annotations

from wfe.core.rules.decide import begin, begin_from, decide
from wfe.core.rules.inputs import Decision, Input
from wfe.core.rules.plan import Plan, make_plan
from wfe.core.rules.state import State, apply

__all__ = [
    "Decision",
    "Input",
    "Plan",
    "State",
    "apply",
    "begin",
    "begin_from",
    "decide",
    "make_plan",
]
