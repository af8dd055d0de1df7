"""Deterministic simulation of whole clusters: one seed, one history, every fault.

``python -m wfe.testing.simulator --seeds 300`` simulates many; see :func:`simulate`.
"""

from __future__ import annotations

from wfe.testing.simulator.laws import Law
from wfe.testing.simulator.simulation import Failure, Report, simulate

__all__ = ["Failure", "Law", "Report", "simulate"]
