"""The fixed parts of the JSON Schema of workflow files: values, modifiers, control steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

__all__ = ["DEFINITIONS", "FILE", "STEP", "WORKFLOW", "closed", "ref", "text"]

Schema: TypeAlias = dict[str, Any]

_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_-]{0,199}$"
_UNITS: Final = r"^(?=\d)(\d+d)?(\d+h)?(\d+m(?!s))?(\d+s)?(\d+ms)?$"


def ref(name: str) -> Schema:
    """Return a reference to the definition *name*."""
    return {"$ref": f"#/$defs/{name}"}


def text(description: str) -> Schema:
    """Return a text."""
    return {"type": "string", "description": description}


def closed(properties: Mapping[str, Schema], *required: str) -> Schema:
    """Return a map with these keys and no others."""
    found: Schema = {"type": "object", "properties": dict(properties)}
    if required:
        found["required"] = list(required)
    return {**found, "additionalProperties": False}


def _said(name: str, description: str) -> Schema:
    return {**ref(name), "description": description}


def _any(*options: Schema, description: str | None = None) -> Schema:
    found: Schema = {"anyOf": list(options)}
    return found if description is None else {**found, "description": description}


def _words(*words: str) -> Schema:
    return _any({"enum": list(words)}, ref("variable"))


def _number(least: float | None = None, most: float | None = None, kind: str = "integer") -> Schema:
    found: Schema = {"type": kind}
    if least is not None:
        found["minimum"] = least
    if most is not None:
        found["maximum"] = most
    return _any(found, ref("variable"))


_STEPS: Final = _said("steps", "Steps that run one after the other, or a DAG if one has `needs`.")
_TRUTH: Final = _any({"type": "boolean"}, ref("variable"))

DEFINITIONS: Final[Mapping[str, Schema]] = {
    "variable": {"type": "string", "pattern": r"\(\(", "description": "A load-time variable."},
    "computed": {"type": "string", "pattern": r"\$\{\{|\(\(", "description": "An expression."},
    "scalar": {"type": ["string", "number", "boolean", "null"]},
    "duration": _any(
        {"type": "string", "pattern": _UNITS},
        {"type": "integer", "minimum": 0, "description": "Milliseconds; better write the unit."},
        ref("variable"),
        description="500ms, 30s, 5m, 2h, 1d, 1h30m.",
    ),
    "expression": {
        "type": ["string", "boolean"],
        "description": "CEL, or one whole ${{ }}: inputs, steps, data, env, run, item ...",
    },
    "condition": _any(
        ref("expression"),
        {"type": "object", "description": "WFE's tree of conditions."},
    ),
    "type": {
        "type": "string",
        "minLength": 1,
        "description": "string number integer bool any bytes duration timestamp artifact secret, "
        "T?, list<T>, map<T>, enum(a|b), or a record of `types`.",
    },
    "env": {
        "type": "object",
        "propertyNames": {"pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": ref("scalar"),
    },
    "names": _any({"type": "string"}, {"type": "array", "items": {"type": "string"}}),
    "input": _any(
        ref("type"),
        closed(
            {
                "type": ref("type"),
                "default": {},
                "description": {"type": "string"},
                "required": _TRUTH,
            }
        ),
    ),
    "output": _any(
        ref("type"),
        closed({"type": ref("type"), "value": {}, "description": {"type": "string"}}),
    ),
    "step_inputs": _any(
        {"type": "object", "propertyNames": {"pattern": _NAME}},
        {"type": "array", "items": {"type": "object", "required": ["name"]}},
        description="What the step gets: name to value.",
    ),
    "step_outputs": _any(
        {
            "type": "object",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": ref("type"),
        },
        {
            "type": "array",
            "items": _any({"type": "string"}, {"type": "object", "required": ["name"]}),
        },
        description="What the step gives: name to type.",
    ),
    "steps": {"type": "array", "minItems": 1, "items": ref("step")},
    "hook": _any(ref("step"), ref("steps")),
    "retry": _any(
        _number(0),
        closed(
            {
                "max": _number(0),
                "interval": ref("duration"),
                "backoff": _number(1, kind="number"),
                "max_interval": ref("duration"),
                "jitter": _number(0, 1, kind="number"),
                "on": ref("names"),
                "total": ref("duration"),
                "then": _words("fail", "suspend", "terminate", "continue", "compensate"),
            }
        ),
        description="How often a failed attempt is made again; `max` counts the retries.",
    ),
    "error_behavior": closed(
        {
            "type": _words("retry", "fail", "suspend", "terminate", "continue", "compensate"),
            "interval": ref("duration"),
            "max_retries": _number(0),
        },
        "type",
    ),
    "concurrency": _any(
        _number(1),
        closed(
            {
                "key": ref("scalar"),
                "limit": _number(1),
                "on_conflict": _words("queue", "cancel_running", "skip"),
            }
        ),
        description="How many run at a time.",
    ),
    "service": {
        "type": "object",
        "properties": {
            "image": {"type": "string"},
            "ports": {"type": "array"},
            "env": ref("env"),
            "readiness": {"type": "object"},
            "command": {},
            "args": {},
            "memory": ref("scalar"),
            "cpu": ref("scalar"),
        },
        "required": ["image"],
        "additionalProperties": False,
    },
    "trigger": {
        "type": "object",
        "oneOf": [{"required": [kind]} for kind in ("cron", "webhook", "event")],
    },
}
"""What the other parts refer to; ``step`` is put together with the step types."""

_MODIFIERS: Final[Mapping[str, Schema]] = {
    "name": text("What logs and `--resume` show; unique in the workflow."),
    "id": {"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_-]*$|\(\("},
    "when": _said("condition", "The step runs only when this holds."),
    "timeout": _said("duration", "Of one attempt."),
    "retry": ref("retry"),
    "error_behavior": ref("error_behavior"),
    "continue_on_error": {**_TRUTH, "description": "Go on when the step has failed."},
    "env": _said("env", "Environment variables."),
    "env_from_host": _said("names", "Variables of the host that the step gets."),
    "working_dir": text("Where it runs; below the directory of the main file."),
    "needs": _said("names", "Steps of the same list that must be done before."),
    "needs_any": _said("names", "Steps of which one must be done before."),
    "on_success": _said("hook", "Runs when the step was successful."),
    "on_failure": _said("hook", "Runs when the step has failed, after its retries."),
    "on_error": _said("hook", "Runs when the step could not be run: engine, store, network."),
    "on_abort": _said("hook", "Runs when the step was aborted."),
    "ensure": _said("hook", "Runs in any case, after the other hooks."),
    "compensate": _said("hook", "Undoes the step when its saga fails."),
    "cache": {"description": "Keep the result: `key`, `inputs`, `files`, `ttl`."},
    "secrets": _any(ref("names"), {"type": "object"}, description="Secrets that become variables."),
    "concurrency": ref("concurrency"),
    "runs_on": _said("names", "Labels that a host must have."),
    "artifacts": {"type": "object", "description": "Files: `upload`, `download`."},
    "commands": {**_TRUTH, "description": "Whether stdout is read for ##wfe[...] lines."},
    "untrusted": {**_TRUTH, "description": "Its output is never read for state."},
    "extends": _said("names", "Templates whose keys it takes."),
}
_LEAF: Final[Mapping[str, Schema]] = {
    "config": {"type": "object", "description": "What the step type takes."},
    "run": text("A shell command: the short form of `config: {run: ...}`."),
    "inputs": ref("step_inputs"),
    "outputs": ref("step_outputs"),
}
_CONTROLS: Final[Mapping[str, Schema]] = {
    "parallel": _said("steps", "Steps that run at the same time."),
    "limit": _any(
        {"type": "integer", "minimum": 1}, ref("computed"), description="How many at a time."
    ),
    "fail_fast": {**_TRUTH, "description": "Stop the others when one has failed."},
    "join": _any({"enum": ["all", "any"]}, {"type": "integer", "minimum": 1}, ref("variable")),
    "do": _STEPS,
    "try": _said("steps", "Steps whose failure is recorded and passed over."),
    "if": ref("expression"),
    "then": {"description": "Steps of the branch; or what follows a saga that has failed."},
    "else": _STEPS,
    "switch": ref("expression"),
    "cases": {"type": "object", "description": "Value to steps."},
    "default": {"description": "Steps when no case fits."},
    "while": ref("expression"),
    "max_iterations": {"description": "More rounds are a failure."},
    "for_each": {"description": "A list, or an expression that gives one."},
    "as": {"type": "string", "description": "What expressions call the item."},
    "sequential": {**_TRUTH, "description": "One round after the other."},
    "matrix": {"type": ["object", "string"], "description": "Axes: name to values."},
    "include": {"type": "array", "description": "Further combinations of a matrix."},
    "exclude": {"type": "array", "description": "Combinations that a matrix leaves out."},
    "wait_for": {"type": "object", "description": "`event`, `key`, `timeout`, `output`."},
    "delay": _any(ref("duration"), ref("computed")),
    "until": {"description": "A time to wait for."},
    "approval": {"description": "`prompt`, `options`, `timeout`."},
    "saga": {"description": "Steps that are undone by their `compensate`."},
}
STEP: Final[Mapping[str, Schema]] = {**_MODIFIERS, **_LEAF, **_CONTROLS}
"""Every key of a step but ``type``."""

WORKFLOW: Final[Mapping[str, Schema]] = {
    "id": {"type": "string", "minLength": 1},
    "version": _number(0),
    "name": {"type": "string"},
    "description": {"type": "string"},
    "inputs": {
        "type": "object",
        "propertyNames": {"pattern": _NAME},
        "additionalProperties": ref("input"),
    },
    "outputs": {
        "type": "object",
        "propertyNames": {"pattern": _NAME},
        "additionalProperties": ref("output"),
    },
    "steps": _STEPS,
    "error_behavior": ref("error_behavior"),
    "timeout": _said("duration", "Of a whole run."),
    "env": ref("env"),
    "env_from_host": ref("names"),
    "working_dir": {"type": "string"},
    "defaults": {"type": "object", "description": "Keys that every step inherits."},
    "concurrency": ref("concurrency"),
    "services": {"type": "object", "additionalProperties": ref("service")},
    "shared_volume": {"type": "object"},
    "triggers": {"type": "array", "items": ref("trigger")},
    "retention": {"description": "How long finished runs are kept: 30d, forever, or by status."},
    "runs_on": ref("names"),
    "extends": ref("names"),
    "override": _TRUTH,
    "secrets": _any(ref("names"), {"type": "object"}),
}
"""Every key of a workflow."""

FILE: Final[Mapping[str, Schema]] = {
    "workflow": ref("workflow"),
    "workflows": {"type": "array", "minItems": 1, "items": ref("workflow")},
    "include": {"type": "array", "minItems": 1, "items": {"type": "string"}},
    "types": {
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": ref("type")},
    },
}
"""Every key of a file but those that begin with ``_``."""
