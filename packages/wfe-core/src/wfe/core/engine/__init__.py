"""The engine: the shell around the rules that claims, runs, commits and wakes.

Names are imported when they are first used: most of its parts do not need all of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    """Import the module that *name* lives in, and remember it (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
