"""Durable functions: workflows as async functions that survive their process."""

from __future__ import annotations

from wfe.core.durable.context import WorkflowContext
from wfe.core.durable.functions import DurableFunction, workflow
from wfe.core.durable.saga import Saga

__all__ = ["DurableFunction", "Saga", "WorkflowContext", "workflow"]
