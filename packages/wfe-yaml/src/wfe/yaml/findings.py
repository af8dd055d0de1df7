"""What is said of a workflow once all of it is checked: warnings that need the whole."""

from __future__ import annotations

from wfe.core.definition import WorkflowDefinition
from wfe.yaml.clashes import warn_of_clashes
from wfe.yaml.context import Context
from wfe.yaml.pointless import warn_of_pointless
from wfe.yaml.scope import Scope
from wfe.yaml.tree import MapNode
from wfe.yaml.unreachable import warn_of_unreachable
from wfe.yaml.unused import warn_of_unused

__all__ = ["look_over"]


def look_over(
    spec: MapNode, definition: WorkflowDefinition, scope: Scope, context: Context
) -> None:
    """Warn of what is useless or ambiguous in a workflow.

    Args:
        spec: As it is written.
        definition: What it became.
        scope: Of the workflow; it gathered what expressions read.
        context: Of the workflow.
    """
    if context.problems.failed:
        return  # what an error hides would be reported as unused
    warn_of_unreachable(spec, context.problems)
    warn_of_pointless(spec, context.problems)
    warn_of_clashes(definition, spec, context.signatures, context.problems)
    warn_of_unused(spec, scope.reads, context.problems)
