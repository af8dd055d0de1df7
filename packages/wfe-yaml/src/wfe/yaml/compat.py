"""What WFE accepts in silence: for files that were written for it, as warnings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from wfe.yaml.diagnostics import Diagnostic, Severity

__all__ = ["ACCEPTED", "as_warnings"]

ACCEPTED: Final = frozenset(
    {
        "WFE012",  # unknown keys are ignored
        "WFE016",  # a duration that is none means no time-out
        "WFE017",  # types are texts that nobody reads
        "WFE022",  # a child is looked up when its step runs
        "WFE032",  # names in conditions are looked up in the data
        "WFE033",
        "WFE034",
        "WFE042",  # children get all data, and are asked for any output
        "WFE060",  # keys of a config are ignored or fail at the run
    }
)
"""Codes of what WFE reads without a word."""


def as_warnings(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return the diagnostics with those that WFE would not make as warnings."""
    return [_as_warning(each) if each.code in ACCEPTED else each for each in dict.fromkeys(found)]


def _as_warning(found: Diagnostic) -> Diagnostic:
    return attrs.evolve(found, severity=Severity.WARNING)
