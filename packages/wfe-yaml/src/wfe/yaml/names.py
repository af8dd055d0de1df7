"""What a name in an expression stands for at its place, and what to say when it is nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wfe.core.cel_syntax import CelPath
from wfe.core.cel_types import CelType
from wfe.yaml.diagnostics import nearest
from wfe.yaml.flows import secrets_in, source_of
from wfe.yaml.resolved import NameProblem, Resolved, field_of, plain_name
from wfe.yaml.scope import Scope, cel_literal, cel_text_of
from wfe.yaml.step_names import data_name, hook_name, step_name
from wfe.yaml.value_types import ValueType, type_of_value
from wfe.yaml.variables import MISSING

__all__ = ["resolve_path"]

_RUN: Final[Mapping[str, CelType]] = {
    "id": CelType.STRING,
    "name": CelType.DYN,
    "definition": CelType.STRING,
    "version": CelType.INT,
    "started": CelType.TIMESTAMP,
}


def resolve_path(path: CelPath, text: str, scope: Scope) -> Resolved:
    """Return what *path* of the expression *text* stands for.

    Raises:
        NameProblem: It stands for nothing.
    """
    root = path.root
    if root in scope.local:
        return _local(path, scope)
    match root:
        case "inputs":
            return _input(path, scope)
        case "steps":
            return step_name(path, text, scope)
        case "data":
            return data_name(path, scope)
        case "env":
            return _env(path, scope)
        case "run":
            return _run(path)
        case "var":
            return _variable(path, scope)
        case "secrets":
            return _secret(path, scope)
        case "step" if scope.step is not None:
            return hook_name(path, scope.step, scope)
        case _:
            raise _unknown_root(path, scope)


_PLACES: Final[Mapping[str, tuple[str, str | None]]] = {
    "item": ("`for_each`", "put the step into the `do` of one"),
    "index": ("`for_each` or a `matrix`", "put the step into the `do` of one"),
    "matrix": ("a `matrix` step", "put the step into the `do` of one"),
    "step": ("the hooks of a step", "elsewhere read `steps.NAME`, a step that ran before"),
    "event": ("the `inputs` of a trigger", "a payload waited for is `data.OUTPUT`"),
}


def _unknown_root(path: CelPath, scope: Scope) -> NameProblem:
    root = path.root
    if root in scope.inputs:
        return NameProblem("WFE032", f"there is no `{root}`", f"did you mean `inputs.{root}`?")
    if root in scope.every:
        written = bool(path.segments) and path.segments[0].name in {"outputs", "status", "results"}
        below = "" if written else ".outputs"
        step = f"steps.{root}" if plain_name(root) else f"steps[{cel_literal(root)}]"
        advice = f"did you mean `{step}{below}`?"
        return NameProblem("WFE032", f"there is no `{root}`", advice)
    if root in _PLACES:
        place, belongs = _PLACES[root]
        if root == "item" and "matrix" in scope.local:
            belongs = "read `matrix.AXIS`; a `for_each` around it gives its item the name in `as`"
        return NameProblem("WFE032", f"`{root}` exists only inside {place}", belongs)
    near = nearest(root, scope.roots())
    known = ", ".join(f"`{name}`" for name in scope.roots())
    hint = f"did you mean `{near}`?" if near else f"expressions read {known}; texts stand in quotes"
    return NameProblem("WFE032", f"there is no `{root}`", hint)


def _local(path: CelPath, scope: Scope) -> Resolved:
    kind = scope.local[path.root]
    if path.root != "matrix" or scope.axes is None or not path.segments:
        return Resolved(path.root, kind, 0)
    name = field_of(path, "axis", scope.axes)
    axis, first = scope.axes[name], path.segments[0]
    if axis is None and not (first.optional and not first.tested):
        message = f"`{name}` is not in every run of the matrix"
        raise NameProblem("WFE033", message, f"write `matrix.?{name}.orValue(...)`", 1)
    if axis is None or path.segments[0].optional or path.segments[0].index or not plain_name(name):
        return Resolved(path.root, kind, 0)
    return Resolved(f"matrix.{name}", axis, 1)


_ALLOWED: Final = "give secrets to a step: in its `env`, `inputs` or `config`"


def _refuse_secret(what: str, scope: Scope, segment: int = 1) -> None:
    if scope.sink:
        message = f"{what} would flow into {scope.sink}"
        raise NameProblem("WFE090", message, _ALLOWED, segment)


def _secret(path: CelPath, scope: Scope) -> Resolved:
    if not path.segments:
        message = "`secrets` cannot be read as a whole, or by a computed name"
        raise NameProblem("WFE032", message, "read one: `secrets.NAME` or `secrets['my-name']`")
    first = path.segments[0]
    name = first.name
    _refuse_secret(f"the secret `{name}`", scope)
    if len(path.segments) > 1:
        message = f"the secret `{name}` is a text, it has no `{path.segments[1].name}`"
        hint = f"to take a part of JSON, write `fromJson(secrets.{name}).FIELD`"
        raise NameProblem("WFE032", message, hint, 2)
    if first.optional:
        message = "a secret is never optional: one that is missing ends the run before it begins"
        raise NameProblem("WFE032", message, f"write `secrets.{name}`", 1)
    return Resolved(f"secrets.{name}", CelType.STRING, 1)


def _typed(root: str, name: str, path: CelPath, kind: ValueType) -> Resolved:
    """Return the deepest declared variable that *path* reaches in a typed value."""
    variable, covered = f"{root}.{name}", 1
    for segment in path.segments[1:]:
        fields = {} if kind.optional or segment.optional else dict(kind.fields)
        if not fields or segment.index:
            break
        if segment.name not in fields:
            near = nearest(segment.name, fields)
            hint = f"did you mean `{near}`?" if near else f"it has {', '.join(fields)}"
            message = f"a {kind.name} has no field `{segment.name}`"
            raise NameProblem("WFE032", message, hint, covered + 1)
        kind = fields[segment.name]
        variable, covered = f"{variable}.{segment.name}", covered + 1
    return Resolved(variable, kind.cel, covered, choices=() if kind.optional else kind.choices)


def _input(path: CelPath, scope: Scope) -> Resolved:
    if not path.segments:
        scope.reads.inputs.add("*")
        return Resolved("inputs", CelType.map_of(CelType.DYN), 0)
    first = path.segments[0]
    scope.reads.inputs.add(first.name)
    if first.optional and first.name not in scope.inputs:
        return Resolved("inputs", CelType.DYN, 0)
    name = field_of(path, "input", scope.inputs)
    if scope.inputs[name].kind == "secret":
        return _secret_input(path, name, scope)
    if first.optional or first.index or not plain_name(name):
        return Resolved("inputs", CelType.DYN, 0)
    return _typed("inputs", name, path, scope.inputs[name])


def _secret_input(path: CelPath, name: str, scope: Scope) -> Resolved:
    """Return the value of the secret whose name the input holds."""
    _refuse_secret(f"the secret that the input `{name}` names", scope)
    if path.segments[0].optional or len(path.segments) > 1:
        message = f"the input `{name}` is a secret: it is a text, and never missing"
        raise NameProblem("WFE032", message, f"write `inputs.{name}`", 1)
    access = f"inputs.{name}" if plain_name(name) else f"inputs[{cel_literal(name)}]"
    if scope.inputs[name].optional:  # not given: there is no secret to be read
        value = f"({access} == null ? null : secrets[{access}])"
        return Resolved(f"inputs.{name}", CelType.DYN, 1, value)
    return Resolved(f"inputs.{name}", CelType.STRING, 1, f"secrets[{access}]")


def _env(path: CelPath, scope: Scope) -> Resolved:
    if not path.segments:
        raise NameProblem("WFE032", "`env` cannot be read as a whole", "read one: `env.NAME`")
    name = path.segments[0].name
    if name not in scope.env:
        near = nearest(name, scope.env)
        hint = f"did you mean `env.{near}`?" if near else None
        hint = hint or f"set it in `env`; a script reads its host's variables as `${name}`"
        raise NameProblem("WFE032", f"the step's `env` has no `{name}`", hint, 1)
    held = secrets_in(scope.env[name])
    if held:
        _refuse_secret(f"`env.{name}`, which holds {source_of(held[0])},", scope)
    return Resolved(f"env.{name}", CelType.STRING, 1, f"({cel_text_of(scope.env[name])})")


def _run(path: CelPath) -> Resolved:
    if not path.segments:
        return Resolved("run", CelType.DYN, 0)
    name = field_of(path, "property of a run", _RUN)
    if name == "started":
        # Times inside an untyped value are texts.
        return Resolved("run.started", _RUN[name], 1, "timestamp(run.started)")
    if path.segments[0].index:
        return Resolved("run", CelType.DYN, 0)
    return Resolved(f"run.{name}", _RUN[name], 1)


def _variable(path: CelPath, scope: Scope) -> Resolved:
    names = [segment.name for segment in path.segments]
    for covered in range(len(names), 0, -1):
        value = scope.variables.find(".".join(names[:covered]))
        if value is not MISSING:
            name = "var." + ".".join(names[:covered])
            return Resolved(name, type_of_value(value), covered, cel_literal(value))
    name = ".".join(names)
    if not name:
        raise NameProblem("WFE032", "`var` cannot be read as a whole", "read one: `var.name`")
    near = nearest(name, scope.variables.values)
    hint = f"did you mean `var.{near}`?" if near else f"set it with `-v {name}=...`"
    raise NameProblem("WFE021", f"the variable `{name}` has no value", hint, 1)
