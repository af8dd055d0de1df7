"""Workflow files: load, check and run them."""

from __future__ import annotations

from wfe.yaml.diagnostics import (
    Diagnostic,
    Severity,
    WorkflowFileError,
    render,
    render_github,
    render_json,
)
from wfe.yaml.inputs import start_data
from wfe.yaml.loader import check, check_text, load_workflow, load_workflows
from wfe.yaml.tree import Limits
from wfe.yaml.variables import Variables, merge_variables, parse_assignments

__all__ = [
    "Diagnostic",
    "Limits",
    "Severity",
    "Variables",
    "WorkflowFileError",
    "check",
    "check_text",
    "load_workflow",
    "load_workflows",
    "merge_variables",
    "parse_assignments",
    "render",
    "render_github",
    "render_json",
    "start_data",
]
