"""The engine: the shell around the rules that claims, runs, commits and wakes.

Names are imported when they are first used: most of its parts do not need all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wfe.core.lazy import Lookup, lazily

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.middleware import StepMiddleware, WorkflowMiddleware
    from wfe.core.engine.settings import Settings

__all__ = ["Engine", "Settings", "StepMiddleware", "WorkflowMiddleware"]

_HOMES = {
    "Engine": "wfe.core.engine.engine",
    "Settings": "wfe.core.engine.settings",
    "StepMiddleware": "wfe.core.engine.middleware",
    "WorkflowMiddleware": "wfe.core.engine.middleware",
}
__getattr__: Lookup = lazily(globals(), _HOMES)
