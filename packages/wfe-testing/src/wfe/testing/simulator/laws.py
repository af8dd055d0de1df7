"""The laws that a simulation checks, and how one that is broken is told."""

from __future__ import annotations

from enum import StrEnum

import attrs

__all__ = ["Broken", "Law"]


class Law(StrEnum):
    """The invariants, with their numbers in the design where they have one."""

    GAPLESS = "1 history is gap-free"
    FOLDS = "1 history folds to the state"
    OWNER = "2 only the owner writes"
    ORPHANS = "3 no owner without a live worker"
    WEDGED = "3 no wedged run"
    WAKES = "4 each match wakes once"
    LATE = "4 a final run has no inbox"
    INTENTS = "5 an intent has one row"
    FINAL = "5 one final row"
    LIMITS = "6 limits hold, first come first served"
    SCHEDULES = "7 one run per schedule and time"
    ONCE = "7 one run per key"
    COMPLETED = "8 a completed step never begins again"
    ATTEMPTS = "8 attempts are counted"
    LIFECYCLE = "11 no lifecycle event without its row"
    KEPT = "9 what was acknowledged stays"
    ORDER = "what comes after begins after"
    SCOPES = "what is left has ended"
    TIMERS = "no timer is early"
    UNDO = "undo is complete, in reverse, and only on failure"
    ENSURE = "ensure runs once"
    SETTLES = "everything settles"
    INTERNAL = "no internal error"


@attrs.define(eq=False)
class Broken(Exception):  # noqa: N818 - reads as the news that it is
    """A law does not hold."""

    law: Law
    detail: str

    def __str__(self) -> str:
        return f"{self.law}: {self.detail}"
