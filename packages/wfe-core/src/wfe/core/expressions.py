"""Turns the expressions of a definition into functions of a step's context."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from wfe.core.codec import decode
from wfe.core.definition import Call, Cel, Expr, ListOf, Record, Text, Value
from wfe.core.rounds import recorded

if TYPE_CHECKING:
    from wfe.core.steps import StepExecutionContext

__all__ = ["CEL_NAMES", "Evaluate", "compile_expr", "render", "with_context"]

Evaluate: TypeAlias = "Callable[[StepExecutionContext[Any]], Any]"
"""Computes a value from a context."""

_WHOLE: Final = 2**53  # up to which a float is an integer without doubt
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

CEL_NAMES: Final = (
    "data",
    "inputs",
    "steps",
    "step",
    "item",
    "index",
    "event",
    "run",
    "env",
    "secrets",
)
"""What every CEL expression of a definition may read, besides the ``as`` names around it."""


def compile_expr(expr: Expr, function: Any, names: Iterable[str] = ()) -> Evaluate:
    """Return *expr* as a function of the context.

    Args:
        expr: What to compile.
        function: The callable behind a :class:`~wfe.core.definition.Call`, else unused.
        names: ``as`` names of the for-each steps around it, outermost first.

    Raises:
        DefinitionError: A CEL text is wrong, or the extra is missing.
    """
    match expr:
        case Value(value):
            return _constant(value)
        case Cel(text):
            return _cel(text, tuple(names))
        case Call():
            return with_context(function)
        case Text(parts):
            compiled = [compile_expr(part, function, names) for part in parts]
            return lambda ctx: "".join(render(part(ctx)) for part in compiled)
        case Record(fields):
            pairs = [(key, compile_expr(field, function, names)) for key, field in fields]
            return lambda ctx: {key: field(ctx) for key, field in pairs}
        case ListOf(items):
            listed = [compile_expr(item, function, names) for item in items]
            return lambda ctx: [item(ctx) for item in listed]


def _constant(value: Any) -> Evaluate:
    if type(value) in {list, dict}:
        return lambda _ctx: deepcopy(value)  # a body may change what it is given
    return lambda _ctx: value


def render(value: Any) -> str:
    """Return *value* inside a text: strings as they are, nothing for null, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE:
        return str(int(value))
    return orjson.dumps(value, default=str).decode()


def with_context(function: Callable[..., Any]) -> Evaluate:
    """Return a mapping or condition, which takes ``(data)`` or ``(data, ctx)``, over a context."""
    if _positional(function) >= 2:
        return lambda ctx: function(ctx.data, ctx)
    return lambda ctx: function(ctx.data)


def _positional(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature: they take the data
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in kinds and p.default is p.empty]
    return len(required)


def _cel(text: str, names: tuple[str, ...]) -> Evaluate:
    from wfe.core.cel import CelType, compile_cel  # noqa: PLC0415 - the extra is optional

    variables = dict.fromkeys((*CEL_NAMES, *names), CelType.DYN)
    program = compile_cel(text, variables)
    wanted = frozenset(program.references)
    levels: dict[str, int] = {}
    for level, name in enumerate(reversed(names)):  # the innermost of a name wins
        if name in wanted and name not in CEL_NAMES:
            levels.setdefault(name, level)

    def evaluate(ctx: StepExecutionContext[Any]) -> Any:
        values = _roots(ctx, wanted)
        for name, level in levels.items():
            values[name] = ctx.enclosing_item(level)
        return program.evaluate(values)

    return evaluate


def _roots(ctx: StepExecutionContext[Any], wanted: frozenset[str]) -> dict[str, Any]:
    return {name: root(ctx) for name, root in _ROOTS.items() if name in wanted}


def _steps(ctx: StepExecutionContext[Any]) -> dict[str, Any]:
    found = recorded(ctx.before, ctx.path)
    return {name: decode(value) for name, value in found.items()}


def _run(ctx: StepExecutionContext[Any]) -> dict[str, Any]:
    ref = ctx.instance
    return {
        "id": ref.id,
        "name": ref.name or "",
        "definition": ref.definition,
        "version": ref.version,
        "started": _EPOCH + timedelta(microseconds=ctx.created_at),
    }


_ROOTS: Final[Mapping[str, Evaluate]] = {
    "data": lambda ctx: {key: decode(value) for key, value in ctx.before.items()},
    "inputs": lambda ctx: decode(ctx.before.get("inputs") or {}),
    "steps": _steps,
    "item": lambda ctx: ctx.item,
    "index": lambda ctx: ctx.index,
    "event": lambda ctx: ctx.event or {},
    "run": _run,
    "env": lambda ctx: dict(ctx.environment),
    "step": lambda ctx: ctx.hooked or {},
    "secrets": lambda ctx: ctx.secrets,
    # What `success()`, `failure()` and `always()` are compiled to.
    "_success_": lambda ctx: not ctx.failed,
    "_failure_": lambda ctx: ctx.failed,
    "_always_": lambda _ctx: True,
}
