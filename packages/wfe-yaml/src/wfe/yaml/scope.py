"""What an expression may read at its place, with types."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import attrs

from wfe.core.cel import CelPath, CelType
from wfe.core.definition import Cel, Expr, Text, Value
from wfe.yaml.diagnostics import nearest
from wfe.yaml.value_types import ValueType, type_of_value
from wfe.yaml.variables import MISSING, Variables, render_value

__all__ = [
    "NameProblem",
    "Resolved",
    "Scope",
    "Visible",
    "cel_literal",
    "cel_text_of",
    "resolve_path",
]

LATER_ROOTS: Final = ("secrets", "matrix", "step")
_RUN: Final[Mapping[str, CelType]] = {
    "id": CelType.STRING,
    "name": CelType.DYN,
    "definition": CelType.STRING,
    "version": CelType.INT,
}


@attrs.frozen(kw_only=True)
class Visible:
    """A step that an expression may read.

    Attributes:
        outputs: Declared, by name.
        sure: Whether it has run on every path that leads here.
        doubt: Why it may not have, for messages.
        fixed: Whether the step can have no outputs at all (a wait, a container), and what it is.
    """

    outputs: Mapping[str, ValueType]
    sure: bool = True
    doubt: str = ""
    fixed: str | None = None


@attrs.frozen(kw_only=True)
class Scope:
    """The names at one place.

    Attributes:
        inputs: Of the workflow.
        steps: Those that may have run before, by name or id.
        every: All steps of the workflow: name or id -> line, for messages.
        local: ``item``, ``index`` and the names of loops around.
        env: Environment of the step, or of what is around it.
        variables: Load-time variables.
        data: Further data fields, such as the payloads of events.
        host_env: Variables of the host that steps get.
        working_dir: Where steps run, ``None``: in the workspace.
        before_loop: Inside a loop whose rounds run together: the steps that ran before it.  The
            flat data fields that a step of the loop makes are shared by all rounds.
    """

    inputs: Mapping[str, ValueType] = attrs.field(factory=dict[str, ValueType])
    steps: Mapping[str, Visible] = attrs.field(factory=dict[str, Visible])
    every: Mapping[str, int] = attrs.field(factory=dict[str, int])
    local: Mapping[str, CelType] = attrs.field(factory=dict[str, CelType])
    env: Mapping[str, Expr] = attrs.field(factory=dict[str, Expr])
    variables: Variables = attrs.field(factory=Variables)
    data: Mapping[str, CelType] = attrs.field(factory=dict[str, CelType])
    host_env: tuple[str, ...] = ()
    working_dir: Expr | None = None
    before_loop: frozenset[str] | None = None

    def shared(self, step: str) -> bool:
        """Whether the flat data fields of *step* may come from another round of a loop."""
        return self.before_loop is not None and step not in self.before_loop

    def after(self, name: str, visible: Visible) -> Scope:
        """Return the scope behind a step."""
        return attrs.evolve(self, steps={**self.steps, name: visible})

    def doubting(self, inner: Scope, doubt: str) -> Scope:
        """Return this scope with what only *inner* saw, as steps that may not have run."""
        seen = {
            name: attrs.evolve(visible, sure=False, doubt=visible.doubt or doubt)
            for name, visible in inner.steps.items()
            if name not in self.steps
        }
        data = {name: kind for name, kind in inner.data.items() if name not in self.data}
        return attrs.evolve(self, steps={**self.steps, **seen}, data={**self.data, **data})

    def joined(self, inners: Iterable[Scope]) -> Scope:
        """Return this scope with what any of *inners*, which have all ended, saw."""
        steps, data = dict(self.steps), dict(self.data)
        for inner in inners:
            steps.update(inner.steps)
            data.update(inner.data)
        return attrs.evolve(self, steps=steps, data=data)

    def roots(self) -> tuple[str, ...]:
        """Names that an expression may begin with here."""
        fixed = ("inputs", "steps", "data", "env", "run", "var")
        return (*fixed, *self.local)


@attrs.frozen
class NameProblem(Exception):  # noqa: N818 - raised and caught within this part only
    """A path of an expression names nothing; *segment* says which part (0: the root)."""

    code: str
    message: str
    hint: str | None = None
    segment: int = 0


@attrs.frozen
class Resolved:
    """What a path stands for.

    Attributes:
        variable: Name to declare, and its type.
        replace: Text that stands for *covered* segments in the stored expression.
        covered: How many segments below the root *variable* (and *replace*) cover.
    """

    variable: str
    kind: CelType
    covered: int
    replace: str | None = None


def resolve_path(path: CelPath, text: str, scope: Scope) -> Resolved:
    """Return what *path* of the expression *text* stands for.

    Raises:
        NameProblem: It stands for nothing.
    """
    match path.root:
        case "inputs":
            return _input(path, scope)
        case "steps":
            return _step(path, text, scope)
        case "data":
            return _data(path, scope)
        case "env":
            return _env(path, scope)
        case "run":
            return _run(path)
        case "var":
            return _variable(path, scope)
        case root if root in scope.local:
            return Resolved(root, scope.local[root], 0)
        case root:
            raise _unknown_root(root, scope)


def _unknown_root(root: str, scope: Scope) -> NameProblem:
    if root in LATER_ROOTS:
        return NameProblem("WFE014", f"`{root}` is not supported by this version")
    if root in {"item", "index"}:
        return NameProblem("WFE032", f"`{root}` exists only inside `for_each`")
    if root in scope.inputs:
        return NameProblem("WFE032", f"there is no `{root}`", f"did you mean `inputs.{root}`?")
    if root in scope.every:
        return NameProblem(
            "WFE032", f"there is no `{root}`", f"did you mean `steps.{root}.outputs`?"
        )
    near = nearest(root, scope.roots())
    known = ", ".join(f"`{name}`" for name in scope.roots())
    hint = f"did you mean `{near}`?" if near else f"expressions read {known}; texts stand in quotes"
    return NameProblem("WFE032", f"there is no `{root}`", hint)


def _field(path: CelPath, what: str, known: Iterable[str]) -> str:
    """Return the first name below the root of *path*, which must be one of *known*."""
    name = path.segments[0].name
    names = list(known)
    if name not in names:
        near = nearest(name, names)
        listed = ", ".join(names)
        hint = f"did you mean `{path.root}.{near}`?" if near else None
        hint = hint or (f"there is {listed}" if names else f"there is no {what} at all here")
        raise NameProblem("WFE032", f"there is no {what} `{name}`", hint, 1)
    return name


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
    return Resolved(variable, kind.cel, covered)


def _plain_name(name: str) -> bool:
    return name.isascii() and name.isidentifier()


def _input(path: CelPath, scope: Scope) -> Resolved:
    if not path.segments:
        return Resolved("inputs", CelType.map_of(CelType.DYN), 0)
    if path.segments[0].optional and path.segments[0].name not in scope.inputs:
        return Resolved("inputs", CelType.DYN, 0)
    name = _field(path, "input", scope.inputs)
    if path.segments[0].optional or path.segments[0].index or not _plain_name(name):
        return Resolved("inputs", CelType.DYN, 0)
    return _typed("inputs", name, path, scope.inputs[name])


def _step(path: CelPath, text: str, scope: Scope) -> Resolved:
    if not path.segments:
        return Resolved("steps", CelType.map_of(CelType.DYN), 0)
    name = path.segments[0].name
    visible = _visible(path, name, text, scope)
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
    return Resolved(f"steps.{name}.outputs", kind.cel, 3)


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


_SHARED: Final = "reading `{}` inside a loop that runs its rounds together is not supported"
_OWN_ROUND: Final = "write `steps.{}.outputs.{}`, which is that of the same round"


def _listed(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"steps are {listed}" if listed else "there are no steps"


def _output(path: CelPath, name: str, visible: Visible) -> ValueType | None:
    if len(path.segments) < 3 or path.segments[1].name != "outputs":
        return None
    output = path.segments[2].name
    if output in visible.outputs:
        return visible.outputs[output]
    near = nearest(output, visible.outputs)
    if near:
        hint = f"did you mean `{near}`?"
    elif visible.outputs:
        hint = f"it declares {', '.join(visible.outputs)}"
    else:
        hint = f"declare it: `outputs: {{{output}: string}}` on that step"
    raise NameProblem("WFE034", f"the step `{name}` declares no output `{output}`", hint, 3)


def _need_optional(path: CelPath, name: str, visible: Visible) -> None:
    if any(s.optional and not s.tested for s in path.segments[:2]):
        return
    output = path.segments[2].name if len(path.segments) > 2 else "NAME"
    message = f"the step `{name}` may not have run: {visible.doubt}"
    step = f"steps.{name}" if _plain_name(name) else f"steps[{cel_literal(name)}]"
    hint = f"write `{step}.?outputs.{output}.orValue(...)`"
    raise NameProblem("WFE033", message, hint, 1)


def _data(path: CelPath, scope: Scope) -> Resolved:
    if not path.segments:
        return Resolved("data", CelType.DYN, 0)
    first = path.segments[0]
    _refuse_other_rounds(first.name, scope)
    known, doubts = _fields(scope)
    if first.optional:
        return Resolved("data", CelType.DYN, 0)
    if first.name in doubts:
        hint = f"write `data.?{first.name}.orValue(...)`"
        raise NameProblem("WFE033", doubts[first.name], hint, 1)
    if first.name in scope.inputs and first.name not in known:
        message = f"no step makes `data.{first.name}`"
        raise NameProblem("WFE032", message, f"did you mean `inputs.{first.name}`?", 1)
    name = _field(path, "output", known)
    if first.index or not _plain_name(name):
        return Resolved("data", CelType.DYN, 0)
    return Resolved(f"data.{name}", known[name], 1)


def _refuse_other_rounds(output: str, scope: Scope) -> None:
    for step, visible in scope.steps.items():
        if output in visible.outputs and scope.shared(step):
            hint = _OWN_ROUND.format(step, output)
            raise NameProblem("WFE014", _SHARED.format(f"data.{output}"), hint, 1)


def _fields(scope: Scope) -> tuple[dict[str, CelType], dict[str, str]]:
    """Return the data fields that are there, and why others may not be."""
    known: dict[str, CelType] = {"inputs": CelType.DYN, **scope.data}
    doubts: dict[str, str] = {}
    for step, visible in scope.steps.items():
        for output, kind in visible.outputs.items():
            if visible.sure:
                known[output] = kind.cel
                doubts.pop(output, None)
            elif output not in known:
                doubts[output] = f"the step `{step}` may not have run: {visible.doubt}"
    return known, doubts


def _env(path: CelPath, scope: Scope) -> Resolved:
    if not path.segments:
        raise NameProblem("WFE032", "`env` cannot be read as a whole", "read one: `env.NAME`")
    name = path.segments[0].name
    if name not in scope.env:
        near = nearest(name, scope.env)
        hint = f"did you mean `env.{near}`?" if near else None
        hint = hint or f"set it in `env`; a script reads its host's variables as `${name}`"
        raise NameProblem("WFE032", f"the step's `env` has no `{name}`", hint, 1)
    variable = f"env.{name}"
    return Resolved(variable, CelType.STRING, 1, f"({cel_text_of(scope.env[name])})")


def _run(path: CelPath) -> Resolved:
    if not path.segments:
        return Resolved("run", CelType.DYN, 0)
    name = _field(path, "property of a run", _RUN)
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


def cel_literal(value: Any) -> str:
    """Return *value* (plain JSON) as CEL writes it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value) if math.isfinite(value) else f"double('{value}')"
        case str():
            return _quoted(value)
        case Mapping():
            content = cast("Mapping[str, Any]", value)
            items = ", ".join(f"{cel_literal(k)}: {cel_literal(v)}" for k, v in content.items())
            return f"{{{items}}}"
        case list() | tuple():
            listed = cast("list[Any]", value)
            return f"[{', '.join(cel_literal(item) for item in listed)}]"
        case _:
            return str(value)


_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _quoted(value: str) -> str:
    return '"' + "".join(_ESCAPES.get(char) or _printed(char) for char in value) + '"'


def _printed(char: str) -> str:
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def cel_text_of(expr: Expr) -> str:
    """Return an expression that gives *expr* as text."""
    match expr:
        case Value(value):
            return cel_literal(render_value(value))
        case Cel(text):
            return f"string({text})"
        case Text(parts):
            return " + ".join(cel_text_of(part) for part in parts) or "''"
        case _:
            raise TypeError(expr)
