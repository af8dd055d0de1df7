"""What a search finds."""

from __future__ import annotations

from typing import Any

from wfe.core.lean import frozen
from wfe.core.models import LogLine, WorkflowInstance

__all__ = ["FoundLine", "FoundRun"]


@frozen(kw_only=True)
class FoundRun:
    """A run that a search found; *score* is higher the better it fits, when ordered by that."""

    instance: WorkflowInstance[Any]
    score: float | None = None


@frozen(kw_only=True)
class FoundLine:
    """A line that a search found, with the definition of its run."""

    line: LogLine
    definition: str
    score: float | None = None
