"""Names of steps in expressions: what ran before, what it gave, and what a hook knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wfe.core.cel_syntax import CelPath
from wfe.core.cel_types import CelType
from wfe.yaml.diagnostics import nearest
from wfe.yaml.resolved import NameProblem, Resolved, field_of, plain_name
from wfe.yaml.scope import Scope, Visible, cel_literal
from wfe.yaml.value_types import ValueType

__all__ = ["data_name", "hook_name", "step_name"]

_STEP: Final = ("name", "status", "error", "outputs")


def step_name(path: CelPath, text: str, scope: Scope) -> Resolved:
    """Return what a path below ``steps`` stands for."""
    if not path.segments:
        scope.reads.outputs.add(("*", "*"))
        return Resolved("steps", CelType.map_of(CelType.DYN), 0)
    name = path.segments[0].name
    visible = _visible(path, name, text, scope)
    _note_read(path, name, scope)
    if visible.results is not None and len(path.segments) > 1:
        return _loop(path, name, visible)
    if visible.fixed is not None:
        raise NameProblem(
            "WFE034", f"the step `{name}` is {visible.fixed} and has no outputs", None, 1
        )
    if len(path.segments) > 1 and path.segments[1].name not in {"outputs", "status"}:
        wrong = path.segments[1].name
        hint = f"write `steps.{name}.outputs.{wrong}`" if wrong in visible.outputs else None
        hint = hint or "a step has `outputs` and `status`"
        raise NameProblem("WFE032", f"a step has no `{wrong}`", hint, 2)
    kind = _output(path, name, visible)
    if not visible.sure:
        _need_optional(path, name, visible)
        return Resolved("steps", CelType.DYN, 1, _maybe(path, name))
    if kind is None or any(s.optional for s in path.segments[:3]):
        return Resolved("steps", CelType.DYN, 0)
    choices = () if kind.optional else kind.choices
    return Resolved(f"steps.{name}.outputs", kind.cel, 3, choices=choices)


def _note_read(path: CelPath, name: str, scope: Scope) -> None:
    names = [segment.name for segment in path.segments[1:3]]
    match names:
        case ["outputs", output]:
            scope.reads.outputs.add((name, output))
        case ["status"] | ["status", _]:
            pass
        case _:
            scope.reads.outputs.add((name, "*"))


def _loop(path: CelPath, name: str, visible: Visible) -> Resolved:
    wanted = path.segments[1].name
    if wanted not in {"results", "status"}:
        near = nearest(wanted, ("results", "status"))
        hint = f"did you mean `{near}`?" if near else "it has `results`, in the order of its items"
        raise NameProblem("WFE032", f"the loop `{name}` has no `{wanted}`", hint, 2)
    if not visible.sure:
        _need_optional(path, name, visible)
        return Resolved("steps", CelType.DYN, 1, _maybe(path, name))
    if wanted == "status" or any(segment.optional for segment in path.segments[:2]):
        return Resolved("steps", CelType.DYN, 0)
    return Resolved(f"steps.{name}.results", visible.results or CelType.DYN, 2)


def _maybe(path: CelPath, name: str) -> str:
    """Return the text that reads a step which may be missing in the map of steps."""
    return f"steps[?{cel_literal(name)}]" if path.segments[0].index else f"steps.?{name}"


def _visible(path: CelPath, name: str, text: str, scope: Scope) -> Visible:
    if name in scope.steps:
        return scope.steps[name]
    if name in scope.every:
        line = scope.every[name]
        message = f"the step `{name}` (line {line}) has not run when this is evaluated"
        hint = "read only steps that come before on every path, or list it in `needs`"
        raise NameProblem("WFE033", message, hint, 1)
    written = text[path.segments[0].offset + 1 :]
    dashed = [step for step in scope.every if "-" in step and written.startswith(step)]
    if dashed and not path.segments[0].index:
        best = max(dashed, key=len)
        message = f"`-` is minus here, so this reads a step `{name}`"
        advice = f"write `steps['{best}']`, or give the step an `id`"
        raise NameProblem("WFE032", message, advice, 1)
    near = nearest(name, scope.every)
    known = f"did you mean `{near}`?" if near else _listed(scope.every)
    raise NameProblem("WFE032", f"there is no step `{name}`", known, 1)


def _listed(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"steps are {listed}" if listed else "there are no steps"


def _output(path: CelPath, name: str, visible: Visible) -> ValueType | None:
    if len(path.segments) < 3 or path.segments[1].name != "outputs":
        return None
    output = path.segments[2].name
    if output in visible.outputs:
        return visible.outputs[output]
    raise _undeclared(output, f"the step `{name}`", visible, 3)


def _undeclared(output: str, what: str, visible: Visible, segment: int) -> NameProblem:
    near = nearest(output, visible.outputs)
    if near:
        hint = f"did you mean `{near}`?"
    elif visible.outputs:
        hint = "it declares " + ", ".join(f"`{known}`" for known in visible.outputs)
    else:
        hint = f"declare it: `outputs: {{{output}: string}}` on that step"
    return NameProblem("WFE034", f"{what} declares no output `{output}`", hint, segment)


def _need_optional(path: CelPath, name: str, visible: Visible) -> None:
    if any(s.optional and not s.tested for s in path.segments[:2]):
        return
    kept = path.segments[1].name if len(path.segments) > 1 else "outputs"
    output = path.segments[2].name if len(path.segments) > 2 else "NAME"
    message = f"the step `{name}` may not have run: {visible.doubt}"
    step = f"steps.{name}" if plain_name(name) else f"steps[{cel_literal(name)}]"
    below = f".{output}" if kept == "outputs" else ""
    hint = f"write `{step}.?{kept}{below}.orValue(...)`"
    raise NameProblem("WFE033", message, hint, 1)


def data_name(path: CelPath, scope: Scope) -> Resolved:
    """Return what a path below ``data`` stands for."""
    if not path.segments:
        scope.reads.outputs.add(("*", "*"))
        scope.reads.inputs.add("*")
        return Resolved("data", CelType.DYN, 0)
    first = path.segments[0]
    scope.reads.outputs.add(("*", first.name))
    if first.name == "inputs":
        scope.reads.inputs.add(path.segments[1].name if len(path.segments) > 1 else "*")
        return Resolved("data", CelType.DYN, 0)
    found = _flat(first.name, scope)
    if first.optional:
        return Resolved("data", CelType.DYN, 0)
    if found is None:
        raise _no_field(path, scope)
    if isinstance(found, str):
        hint = f"write `data.?{first.name}.orValue(...)`"
        raise NameProblem("WFE033", found, hint, 1)
    if first.index or not plain_name(first.name):
        return Resolved("data", CelType.DYN, 0)
    return Resolved(f"data.{first.name}", found, 1)


def _flat(name: str, scope: Scope) -> CelType | str | None:
    """Return the type of the data field *name*, or why it may not be there; ``None``: never."""
    found: CelType | str | None = scope.data.get(name)
    for step, visible in scope.steps.items():
        if name not in visible.outputs:
            continue
        if scope.shared(step):
            message = f"`data.{name}` is shared by all rounds of the loop, which run together"
            hint = f"write `steps.{step}.outputs.{name}`, which is that of the same round"
            raise NameProblem("WFE033", message, hint, 1)
        if visible.sure:
            found = visible.outputs[name].cel
        elif not isinstance(found, CelType):
            found = f"the step `{step}` may not have run: {visible.doubt}"
    return found


def _no_field(path: CelPath, scope: Scope) -> NameProblem:
    name = path.segments[0].name
    if name in scope.inputs:
        message = f"no step makes `data.{name}`"
        return NameProblem("WFE032", message, f"did you mean `inputs.{name}`?", 1)
    known = dict.fromkeys(["inputs", *scope.data])
    for visible in scope.steps.values():
        known.update(dict.fromkeys(visible.outputs))
    near = nearest(name, known)
    hint = f"did you mean `data.{near}`?" if near else f"there is {', '.join(known)}"
    return NameProblem("WFE032", f"there is no output `{name}`", hint, 1)


def hook_name(path: CelPath, step: Visible, scope: Scope) -> Resolved:
    """Return what a hook reads of the step that it belongs to."""
    if not path.segments:
        return Resolved("step", CelType.map_of(CelType.DYN), 0)
    first = path.segments[0]
    name = field_of(path, "property of a step", _STEP)
    if len(path.segments) > 1 and name == "outputs":
        output = path.segments[1]
        scope.reads.outputs.add(("*", output.name))
        if output.name not in step.outputs:
            raise _undeclared(output.name, "the step of this hook", step, 2)
        if not step.sure and not (output.optional and not output.tested):
            message = "the step of this hook may have failed, then it has no outputs"
            hint = f"write `step.outputs.?{output.name}.orValue(...)`"
            raise NameProblem("WFE033", message, hint, 2)
    if first.index or name not in {"name", "status"}:
        return Resolved("step", CelType.DYN, 0)
    return Resolved(f"step.{name}", CelType.STRING, 1)
