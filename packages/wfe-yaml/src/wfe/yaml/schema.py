"""What editors and ``wfe steps`` know: a JSON Schema of workflow files, and the step types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from wfe.core import plugins
from wfe.core.lean import frozen
from wfe.core.step_types import Role, Setting, StepType
from wfe.yaml.configs import config_keys
from wfe.yaml.schema_parts import DEFINITIONS, FILE, STEP, WORKFLOW, closed, ref
from wfe.yaml.settings import SettingType, setting_type
from wfe.yaml.step_kinds import GROUP, Unusable, find_type, installed_types

__all__ = ["StepKey", "StepTypeRow", "json_schema", "step_types"]


@frozen(kw_only=True)
class StepKey:
    """A key of a step type's ``config``.

    Attributes:
        type: In words: ``a text``, ``one of a, b`` …
        default: ``None`` when it is required, or when there is none worth showing.
    """

    name: str
    type: str
    required: bool
    default: Any
    description: str


@frozen(kw_only=True)
class StepTypeRow:
    """A step type that is installed.

    Attributes:
        source: Distribution and version.
        problem: Why it cannot be used, ``None`` when it can.
    """

    name: str
    source: str
    description: str = ""
    keys: tuple[StepKey, ...] = ()
    outputs: Mapping[str, str] = attrs.field(factory=dict[str, str])
    problem: str | None = None


_WORKFLOW_KEYS = (
    StepKey(
        name="workflow",
        type="a text",
        required=True,
        default=None,
        description="Id of the workflow to run.",
    ),
    StepKey(
        name="workflow_version",
        type="an integer",
        required=False,
        default=None,
        description="Its version; without it the highest.",
    ),
)


def step_types() -> tuple[StepTypeRow, ...]:
    """Return every installed step type by name; imports all of them."""
    rows: dict[str, StepTypeRow] = {}
    for name, source, _ in plugins.described(GROUP):
        found = find_type(name)
        if isinstance(found, Unusable):
            problem = f"{found.message}; {found.hint}"
            rows[name] = StepTypeRow(name=name, source=source, problem=problem)
        else:
            rows[name] = _row(found, source)
    rows["workflow"] = StepTypeRow(
        name="workflow",
        source="the language itself",
        description="Run another workflow, with inputs, and give its outputs.",
        keys=_WORKFLOW_KEYS,
    )
    return tuple(rows[name] for name in sorted(rows))


def _row(kind: StepType, source: str) -> StepTypeRow:
    hook = getattr(kind.cls, "missing", None)
    wanting: tuple[str, str] | None = None if hook is None else hook()
    return StepTypeRow(
        name=kind.name,
        source=source,
        description=kind.description,
        keys=tuple(_key(each) for each in kind.settings if each.in_config),
        outputs=kind.outputs,
        problem=None if wanting is None else "; ".join(wanting),
    )


def _key(setting: Setting) -> StepKey:
    default = setting.default
    plain = isinstance(default, str | int | float | bool | list | dict)
    return StepKey(
        name=setting.name,
        type=_typed(setting).wanted,
        required=setting.required,
        default=default if plain else None,
        description=setting.description,
    )


def _typed(setting: Setting) -> SettingType:
    kind = setting_type(setting.type)
    if setting.choices:
        return attrs.evolve(kind, kind="choice", choices=setting.choices)
    return kind


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a workflow file, with every installed step type.

    It is for editors: what depends on several places (names, types of expressions) is checked by
    the loader alone.
    """
    types = {name: find_type(name) for name in installed_types() if name != "workflow"}
    usable = {name: kind for name, kind in types.items() if not isinstance(kind, Unusable)}
    configs = {f"config_{name}": _config(kind) for name, kind in usable.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "WFE workflow file",
        "type": "object",
        "properties": dict(FILE),
        "patternProperties": {"^_": {"description": "A home of anchors and templates."}},
        "additionalProperties": False,
        "not": {"required": ["workflow", "workflows"]},
        "$defs": {
            **DEFINITIONS,
            **configs,
            "config_workflow": _child_config(),
            "workflow": _workflow(),
            "step": _step(usable),
        },
    }


def _workflow() -> dict[str, Any]:
    # What `extends` brings is not seen here, so nothing is required beside it.
    needed = {"required": ["id", "version", "steps"]}
    return {**closed(WORKFLOW), "anyOf": [needed, {"required": ["extends"]}]}


def _child_config() -> dict[str, Any]:
    version = {"anyOf": [{"type": "integer", "minimum": 0}, ref("variable")]}
    keys: dict[str, Any] = {
        "workflow": {"type": "string"},
        "workflow_version": version,
        "timeout": ref("duration"),
    }
    return closed(keys, "workflow")


def _step(types: Mapping[str, StepType]) -> dict[str, Any]:
    names = [*types, "workflow"]
    known = {"enum": sorted(names), "description": "What the step does."}
    # Types of plugins that are not installed here are the loader's to refuse.
    properties = {**STEP, "type": {"anyOf": [known, {"type": "string"}]}}
    chosen = [_when_type(name) for name in names]
    return {**closed(properties), "allOf": [*chosen, _short_shell()]}


def _when_type(name: str) -> dict[str, Any]:
    typed = {"properties": {"type": {"const": name}}, "required": ["type"]}
    return {
        "if": {**typed, "not": {"required": ["extends"]}},
        "then": {"properties": {"config": ref(f"config_{name}")}},
    }


def _short_shell() -> dict[str, Any]:
    """Return that a step with ``config.run`` and no type is a shell step."""
    has_run = {"type": "object", "required": ["run"]}
    typed = {"anyOf": [{"required": ["type"]}, {"required": ["extends"]}]}
    return {
        "if": {"properties": {"config": has_run}, "required": ["config"], "not": typed},
        "then": {"properties": {"config": ref("config_shell")}},
    }


def _config(kind: StepType) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    around = {"env": ref("env"), "env_from_host": ref("names"), "working_dir": {"type": "string"}}
    own = {each.name: each for each in kind.settings if each.in_config}
    for key in config_keys(kind):
        if key in own:
            properties[key] = _setting(own[key])
        else:
            properties[key] = around.get(key, ref("duration"))
    # The short form `run:` stands on the step instead.
    required = [name for name, each in own.items() if each.required and name != "run"]
    return {**closed(properties, *required), "description": kind.description}


def _setting(setting: Setting) -> dict[str, Any]:
    schema = {"type": "string"} if setting.role is Role.CODE else _schema(_typed(setting), setting)
    if setting.description:
        schema = {**schema, "description": setting.description}
    plain = isinstance(setting.default, str | int | float | bool)
    return {**schema, "default": setting.default} if plain else schema


def _schema(kind: SettingType, setting: Setting) -> dict[str, Any]:
    """Return *kind* as a schema; whatever is no text may be an expression that gives it."""
    schema = _plain(kind, setting)
    if kind.kind in {"any", "string", "path"} and not kind.optional:
        return schema
    options = [schema]
    if kind.optional:
        options.append({"type": "null"})
    if kind.kind != "string":
        options.append(ref("variable" if setting.role is Role.CONSTANT else "computed"))
    return options[0] if len(options) == 1 else {"anyOf": options}


_SIMPLE: Final[Mapping[str, Mapping[str, Any]]] = {
    "any": {},
    "string": {"type": "string"},
    "path": {"type": "string"},
    "timestamp": {"type": "string", "format": "date-time"},
    "duration": ref("duration"),
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
}


def _plain(kind: SettingType, setting: Setting) -> dict[str, Any]:
    match kind.kind:
        case "string" if setting.name == "args":
            return {"type": ["string", "number", "boolean"]}
        case "choice":
            return {"enum": list(kind.choices)}
        case "union":
            return {"anyOf": [_schema(option, setting) for option in kind.options]}
        case "list":
            return {"type": "array", "items": _item(kind, setting)}
        case "map":
            return {"type": "object", "additionalProperties": _item(kind, setting)}
        case "record":
            fields = {name: _schema(each, setting) for name, (each, _) in kind.fields.items()}
            return closed(fields, *(name for name, (_, needed) in kind.fields.items() if needed))
        case _:
            return dict(_SIMPLE[kind.kind])


def _item(kind: SettingType, setting: Setting) -> dict[str, Any]:
    return {} if kind.item is None else _schema(kind.item, setting)
