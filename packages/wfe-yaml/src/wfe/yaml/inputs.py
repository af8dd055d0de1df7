"""Turn what a user gives for a workflow's inputs into the data that a run starts with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfe.core.definition import WorkflowDefinition
from wfe.core.errors import DataTypeError, DefinitionError
from wfe.yaml.diagnostics import nearest
from wfe.yaml.value_types import UnfitValueError, ValueType

__all__ = ["start_data"]


def start_data(definition: WorkflowDefinition, given: Mapping[str, object]) -> dict[str, Any]:
    """Return the start data of a workflow that was loaded from a file.

    Args:
        definition: Whose ``meta["inputs"]`` declares them.
        given: Texts are read as the declared type (``-i n=3``); other values must fit it.

    Raises:
        DefinitionError: An input is unknown, or a required one is missing.
        DataTypeError: A value does not fit; ``path`` names the input.
    """
    declared: Mapping[str, Mapping[str, Any]] = definition.meta.get("inputs", {})
    for name in given:
        if name not in declared:
            near = nearest(name, declared)
            hint = (
                f"did you mean {near}?"
                if near
                else f"it takes {', '.join(declared) or 'no inputs'}"
            )
            raise DefinitionError(f"there is no input {name!r}", f"workflow {definition.id}", hint)
    missing = [name for name, spec in declared.items() if spec["required"] and name not in given]
    if missing:
        wanted = ", ".join(f"{name} ({_shown(declared[name]['type'])})" for name in missing)
        problem = f"inputs are missing: {wanted}"
        hint = "give them as " + " ".join(f"-i {name}=..." for name in missing)
        raise DefinitionError(problem, f"workflow {definition.id}", hint)
    return {"inputs": {name: _value(name, spec, given) for name, spec in declared.items()}}


def _shown(stored: object) -> str:
    return str(ValueType.from_json(stored))


def _value(name: str, spec: Mapping[str, Any], given: Mapping[str, object]) -> Any:
    if name not in given:
        return spec.get("default")
    kind = ValueType.from_json(spec["type"])
    value = given[name]
    try:
        return kind.read(value) if isinstance(value, str) else kind.convert(value)
    except UnfitValueError as error:
        raise DataTypeError(f"inputs.{name}", str(error)) from None
