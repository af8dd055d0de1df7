"""What applications import: the host, in its async and its blocking form."""

from __future__ import annotations

from wfe.core.engine.middleware import StepMiddleware, WorkflowMiddleware
from wfe.host.host import WorkflowHost
from wfe.host.runs import WorkflowRun
from wfe.host.sync import SyncWorkflowHost, SyncWorkflowRun, arun, run

__all__ = [
    "StepMiddleware",
    "SyncWorkflowHost",
    "SyncWorkflowRun",
    "WorkflowHost",
    "WorkflowMiddleware",
    "WorkflowRun",
    "arun",
    "run",
]
