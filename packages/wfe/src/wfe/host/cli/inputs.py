"""Makes the data that a run starts with from ``-i`` and ``--input-file``."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from wfe.core.definition import WorkflowDefinition
from wfe.core.errors import WfeError
from wfe.host.cli.errors import CommandError
from wfe.host.cli.sources import pairs, suffix_of

__all__ = ["start_data"]


def start_data(definition: WorkflowDefinition, assignments: Sequence[str], file: str | None) -> Any:
    """Return the start data of *definition*; ``-i`` wins over the file.

    Raises:
        CommandError: The file cannot be read, or an assignment has no value.
        WfeError: An input is unknown, missing, or of the wrong type.
    """
    given: dict[str, Any] = dict(_from_file(file)) if file is not None else {}
    texts = pairs(assignments, "-i")
    if "inputs" in definition.meta:
        from wfe.yaml.inputs import start_data as declared  # noqa: PLC0415 - the plugin

        try:
            return declared(definition, {**given, **texts})
        except WfeError as error:
            raise CommandError(str(error), _declared(definition)) from error
    kinds = _field_types(definition.data_type)
    given.update({name: _value(text, kinds.get(name)) for name, text in texts.items()})
    return given


def _declared(definition: WorkflowDefinition) -> str:
    """Return the inputs that a file declares, with their types, for whoever got one wrong."""
    from wfe.yaml.value_types import ValueType  # noqa: PLC0415 - the plugin

    rows: list[str] = []
    for name, spec in definition.meta["inputs"].items():
        kind = str(ValueType.from_json(spec["type"]))
        default = spec.get("default")
        more = " (required)" if spec["required"] else f" = {json.dumps(default)}"
        about = f"  {spec['description']}" if spec.get("description") else ""
        rows.append(
            f"{name}: {kind}{'' if default is None and not spec['required'] else more}{about}"
        )
    if not rows:
        return f"workflow {definition.id} takes no inputs"
    return "\n    ".join([f"inputs of workflow {definition.id}:", *rows])


def _field_types(data_type: type | None) -> Mapping[str, Any]:
    if data_type is None:
        return {}
    try:
        return typing.get_type_hints(data_type)
    except (NameError, TypeError):
        return {}


def _value(text: str, kind: Any) -> Any:
    """Read a text for a data class's field: as JSON where it is JSON and no text is wanted."""
    if kind is str:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _from_file(name: str) -> Mapping[str, Any]:
    if suffix_of(name) in {"yaml", "yml"}:
        from wfe.yaml.variables import merge_variables  # noqa: PLC0415 - the plugin

        return merge_variables(files=[name]).values
    try:
        content: Any = json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"the input file {name!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        problem = f"the input file {name!r} is not JSON: {error}"
        raise CommandError(problem, "write a JSON object, or name it .yaml for YAML") from error
    if not isinstance(content, dict):
        problem = f"the input file {name!r} holds {type(content).__name__}, not an object"
        raise CommandError(problem, 'write {"name": value, …}')
    return cast("dict[str, Any]", content)
