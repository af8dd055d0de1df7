"""The fluent builder: definitions written in Python."""

from wfe.core.builder.arguments import expr
from wfe.core.builder.chain import BranchBuilder, ParallelBuilder, StepBuilder, WorkflowBuilder

__all__ = ["BranchBuilder", "ParallelBuilder", "StepBuilder", "WorkflowBuilder", "expr"]
