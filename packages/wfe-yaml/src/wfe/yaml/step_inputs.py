"""What a step gets from the inputs of the workflow and its own: variables, or typed values."""

from __future__ import annotations

from wfe.core.definition import Cel, Expr
from wfe.yaml.context import Context
from wfe.yaml.declarations import read_inputs
from wfe.yaml.modifiers import env_value, input_variable
from wfe.yaml.scope import Scope, cel_literal
from wfe.yaml.tree import MapNode, Scalar

__all__ = ["input_env", "input_values", "workflow_env"]


def workflow_env(scope: Scope) -> dict[str, Expr]:
    """Return the workflow's inputs as environment variables, as WFE has them: in upper case."""
    found: dict[str, Expr] = {}
    for name, access in _workflow_inputs(scope).items():
        variable = input_variable(name)
        if variable is not None:
            found[variable] = access
    return found


def _workflow_inputs(scope: Scope) -> dict[str, Expr]:
    """Return how each input is read; a secret goes nowhere without being asked for."""
    return {
        name: Cel(f"inputs.{name}" if name.isidentifier() else f"inputs[{cel_literal(name)}]")
        for name, kind in scope.inputs.items()
        if kind.kind != "secret"
    }


def input_env(step: MapNode, context: Context, scope: Scope) -> dict[str, Expr]:
    """Return the step's ``inputs`` as environment variables."""
    found: dict[str, Expr] = {}
    scope = scope.for_secrets()
    for name, entry in read_inputs(step, context, scope).items():
        variable = input_variable(name)
        if variable is None:
            message = f"the input `{name}` would become the environment variable `{name.upper()}`"
            hint = "choose another name: programs give this one a meaning"
            context.problems.warning("WFE050", entry.key.span, message, hint)
            continue
        if isinstance(entry.value, Scalar):
            value = env_value(entry.value, context, scope.for_secrets(), f"`{name}`")
        else:
            read = context.expressions.value(entry.value, scope.for_secrets())
            value = read[0] if read else None
        if value is not None:
            found[variable] = value
    return found


def input_values(step: MapNode, context: Context, scope: Scope) -> dict[str, Expr]:
    """Return the workflow's inputs and the step's own, which come first, as typed values."""
    found = _workflow_inputs(scope)
    scope = scope.for_secrets()
    for name, entry in read_inputs(step, context, scope).items():
        read = context.expressions.value(entry.value, scope.for_secrets())
        if read is not None:
            found[name] = read[0]
    return found
