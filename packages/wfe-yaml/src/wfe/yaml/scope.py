"""What an expression may read at its place, with types."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, cast

import attrs

from wfe.core.cel_types import CelType
from wfe.core.definition import Cel, Expr, ListOf, Record, Text, Value
from wfe.core.lean import define, frozen
from wfe.yaml.layers import Layers, layered
from wfe.yaml.value_types import ValueType
from wfe.yaml.variables import Variables, render_value

__all__ = ["Reads", "Scope", "Visible", "cel_literal", "cel_text_of"]


@define
class Reads:
    """What the expressions of a workflow read, gathered while they are checked.

    Attributes:
        inputs: Names; ``*`` when they are read as a whole.
        outputs: (step, output) pairs, the output ``*`` when all of a step's are read, the step
            ``*`` when the output is read as ``data.NAME``.
    """

    inputs: set[str] = attrs.field(factory=set[str])
    outputs: set[tuple[str, str]] = attrs.field(factory=set[tuple[str, str]])


@frozen(kw_only=True)
class Visible:
    """A step that an expression may read.

    Attributes:
        outputs: Declared, by name.
        sure: Whether it has run on every path that leads here.
        doubt: Why it may not have, for messages.
        fixed: Whether the step can have no outputs at all (a wait, a container), and what it is.
        results: Of a loop: the type of the list of what its rounds gave.
    """

    outputs: Mapping[str, ValueType]
    sure: bool = True
    doubt: str = ""
    fixed: str | None = None
    results: CelType | None = None


def _steps(entries: Mapping[str, Visible]) -> Layers[Visible]:
    return layered(entries)


def _data(entries: Mapping[str, CelType]) -> Layers[CelType]:
    return layered(entries)


@frozen(kw_only=True)
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
        step: In a hook: the step whose hook it is.
        axes: In a matrix: what its runs have; a type of ``None``: not in every run.
        in_saga: Whether a saga is around, which undoes what completed.
        commands: Whether what steps write to their log is read for markers.
        conditional: Whether steps here may be passed by: a condition, a loop or a hook is around.
        status: Whether ``success()``, ``failure()`` and ``always()`` may be called.
        sink: What becomes of a value, for messages; empty where secrets may go.
        reads: Where what is read is gathered, one object for a whole workflow.
    """

    inputs: Mapping[str, ValueType] = attrs.field(factory=dict[str, ValueType])
    steps: Layers[Visible] = attrs.field(factory=Layers[Visible], converter=_steps)
    every: Mapping[str, int] = attrs.field(factory=dict[str, int])
    local: Mapping[str, CelType] = attrs.field(factory=dict[str, CelType])
    env: Mapping[str, Expr] = attrs.field(factory=dict[str, Expr])
    variables: Variables = attrs.field(factory=Variables)
    data: Layers[CelType] = attrs.field(factory=Layers[CelType], converter=_data)
    host_env: tuple[str, ...] = ()
    working_dir: Expr | None = None
    before_loop: Collection[str] | None = None
    step: Visible | None = None
    axes: Mapping[str, CelType | None] | None = None
    in_saga: bool = False
    commands: bool = True
    conditional: bool = False
    status: bool = False
    sink: str = "a value that is stored"
    reads: Reads = attrs.field(factory=Reads)

    def shared(self, step: str) -> bool:
        """Whether the flat data fields of *step* may come from another round of a loop."""
        return self.before_loop is not None and step not in self.before_loop

    def for_secrets(self) -> Scope:
        """Return the scope of a place that may take secrets, because it is never stored."""
        return attrs.evolve(self, sink="")

    def into(self, sink: str) -> Scope:
        """Return the scope of a place that messages call *sink*, and that takes no secrets."""
        return attrs.evolve(self, sink=sink)

    def after(self, name: str, visible: Visible) -> Scope:
        """Return the scope behind a step."""
        return attrs.evolve(self, steps=self.steps.with_all({name: visible}))

    def doubting(self, inner: Scope, doubt: str) -> Scope:
        """Return this scope with what only *inner* saw, as steps that may not have run."""
        seen = {
            name: attrs.evolve(visible, sure=False, doubt=visible.doubt or doubt)
            for name, visible in inner.steps.beyond(self.steps)
        }
        data = dict(inner.data.beyond(self.data))
        return attrs.evolve(self, steps=self.steps.with_all(seen), data=self.data.with_all(data))

    def joined(self, inners: Iterable[Scope]) -> Scope:
        """Return this scope with what any of *inners*, which have all ended, saw."""
        steps, data = self.steps, self.data
        for inner in inners:
            steps, data = steps.joined(inner.steps), data.joined(inner.data)
        return attrs.evolve(self, steps=steps, data=data)

    def roots(self) -> tuple[str, ...]:
        """Names that an expression may begin with here."""
        found = ["inputs", "steps", "data", "env", "run", "var", *self.local]
        found += ["step"] if self.step is not None else []
        found += ["secrets"] if not self.sink else []
        return tuple(found)


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
            return f"text({text})"
        case Text(parts):
            return " + ".join(cel_text_of(part) for part in parts) or "''"
        case ListOf() | Record():
            return f"toJson({_written(expr)})"
        case _:
            raise TypeError(expr)


def _written(expr: Expr) -> str:
    match expr:
        case Value(value):
            return cel_literal(value)
        case Cel(text):
            return f"({text})"
        case ListOf(items):
            return f"[{', '.join(_written(item) for item in items)}]"
        case Record(fields):
            return f"{{{', '.join(f'{cel_literal(n)}: {_written(v)}' for n, v in fields)}}}"
        case _:
            return cel_text_of(expr)
