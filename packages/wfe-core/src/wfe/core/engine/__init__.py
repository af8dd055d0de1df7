"""The engine: the shell around the rules that claims, runs, commits and wakes."""

from __future__ import annotations

from wfe.core.engine.engine import Engine
from wfe.core.engine.middleware import StepMiddleware, WorkflowMiddleware
from wfe.core.engine.settings import Settings

__all__ = ["Engine", "Settings", "StepMiddleware", "WorkflowMiddleware"]
