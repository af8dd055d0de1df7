"""Read the axes of a matrix, and what is excluded and included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from wfe.core.cel_types import CelType
from wfe.core.definition import Expr, ListOf, Record, Value
from wfe.core.errors import DefinitionError
from wfe.core.lean import frozen
from wfe.core.matrices import combinations, fits
from wfe.yaml.control import ControlStep
from wfe.yaml.diagnostics import nearest
from wfe.yaml.reading import OUTPUT_NAME
from wfe.yaml.tree import ListNode, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import type_of_value

__all__ = ["Matrix", "read_matrix"]

_ALLOWED: Final = "letters, digits, `_` and `-`"


@frozen(kw_only=True)
class Matrix:
    """The runs of a matrix.

    Attributes:
        items: The runs; or, when it is *computed*, a map of its axes and what else there is.
        axes: What runs have, by name, with types; ``None``: some runs do not have it.
    """

    items: Expr
    axes: Mapping[str, CelType | None]
    computed: bool = False


@frozen(kw_only=True)
class _Entry:
    """An item of ``exclude`` or ``include``."""

    node: MapNode
    expr: Expr
    fields: Mapping[str, Expr]

    @property
    def constant(self) -> bool:
        return isinstance(self.expr, Value)


def read_matrix(it: ControlStep) -> Matrix:
    """Read the matrix of a step; what is wrong is recorded."""
    node = it.step.get("matrix")
    mapping = it.context.reader.mapping(node, "`matrix`") if node is not None else None
    exprs: dict[str, Expr] = {}
    kinds: dict[str, CelType] = {}
    wrong = mapping is None
    for name, entry in (mapping.entries if mapping else {}).items():
        found = _axis(name, entry.key, entry.value, it)
        kinds[name] = CelType.DYN if found is None else found[1]
        if found is None:
            wrong = True
        else:
            exprs[name] = found[0]
    if mapping is not None and not mapping.entries:
        hint = "write `matrix: {os: [linux, macos]}`"
        it.context.problems.error("WFE013", mapping.span, "`matrix` is empty", hint)
        wrong = True
    exclude, include = _entries("exclude", it, kinds), _entries("include", it, None)
    if wrong or exclude is None or include is None:
        return Matrix(items=Value([]), axes=kinds)
    constant = all(isinstance(expr, Value) for expr in exprs.values())
    if constant and all(each.constant for each in (*exclude, *include)):
        return _constant(exprs, kinds, exclude, include, it)
    parts: tuple[tuple[str, Expr], ...] = (
        ("axes", Record(tuple(exprs.items()))),
        ("exclude", ListOf(tuple(each.expr for each in exclude))),
        ("include", ListOf(tuple(each.expr for each in include))),
    )
    axes: dict[str, CelType | None] = {**kinds}
    if include:  # to which runs they add is known when it runs
        axes = dict.fromkeys(axes, CelType.DYN)
        axes |= {name: None for each in include for name in each.fields if name not in kinds}
    return Matrix(items=Record(parts), axes=axes, computed=True)


def _axis(name: str, key: Scalar, node: TreeNode, it: ControlStep) -> tuple[Expr, CelType] | None:
    problems = it.context.problems
    if name in {"exclude", "include"}:
        hint = f"move `{name}` out of `matrix`, to the keys of the step"
        problems.error("WFE012", key.span, f"`{name}` stands beside `matrix`, not in it", hint)
        return None
    if it.context.reader.named(key, "an axis", OUTPUT_NAME, _ALLOWED) is None:
        return None
    if isinstance(node, ListNode) and not node.items:
        message = f"the axis `{name}` has no values, so the matrix has no runs"
        problems.error("WFE070", node.span, message, "list its values, or remove the axis")
        return None
    found = it.context.expressions.value(node, it.scope)
    hint = "write `[a, b]`, or `${{ ... }}` that gives a list"
    return it.items(found, node, f"the axis `{name}`", hint)


def _entries(key: str, it: ControlStep, axes: Mapping[str, CelType] | None) -> list[_Entry] | None:
    node = it.step.get(key)
    if node is None:
        return []
    reader = it.context.reader
    listed = reader.sequence(node, f"`{key}`", "write a list of maps: `- {os: linux}`")
    found: list[_Entry] = []
    for item in listed.items if listed else []:
        mapping = reader.mapping(item, f"an item of `{key}`", "write `{os: linux}`")
        entry = None if mapping is None else _entry(key, mapping, it, axes)
        if entry is not None:
            found.append(entry)
    return found if listed is not None and len(found) == len(listed.items) else None


def _entry(
    key: str, node: MapNode, it: ControlStep, axes: Mapping[str, CelType] | None
) -> _Entry | None:
    problems = it.context.problems
    if not node.entries:
        problems.error("WFE013", node.span, f"an item of `{key}` is empty", "name a value")
        return None
    fields: dict[str, Expr] = {}
    for name, entry in node.entries.items():
        if axes is not None and name not in axes:
            near = nearest(name, axes)
            hint = f"did you mean `{near}`?" if near else f"its axes are {', '.join(axes)}"
            problems.error("WFE070", entry.key.span, f"the matrix has no axis `{name}`", hint)
            continue
        if it.context.reader.named(entry.key, "a key", OUTPUT_NAME, _ALLOWED) is None:
            continue
        found = it.context.expressions.value(entry.value, it.scope)
        if found is not None:
            fields[name] = found[0]
    if len(fields) < len(node.entries):
        return None
    if all(isinstance(field, Value) for field in fields.values()):
        constant = {n: field.value for n, field in fields.items() if isinstance(field, Value)}
        return _Entry(node=node, expr=Value(constant), fields=fields)
    return _Entry(node=node, expr=Record(tuple(fields.items())), fields=fields)


def _plain(expr: Expr) -> Any:
    return expr.value if isinstance(expr, Value) else None


def _constant(
    exprs: Mapping[str, Expr],
    kinds: Mapping[str, CelType],
    exclude: Sequence[_Entry],
    include: Sequence[_Entry],
    it: ControlStep,
) -> Matrix:
    axes: dict[str, list[Any]] = {name: _plain(expr) for name, expr in exprs.items()}
    out, more = [_plain(each.expr) for each in exclude], [_plain(each.expr) for each in include]
    problems = it.context.problems
    at = it.step.entries["matrix"].key.span
    try:
        everything = combinations(axes)
        runs = combinations(axes, out, more)
    except DefinitionError as error:
        excluded = "excluded" in error.problem
        hint = "remove an item of `exclude`" if excluded else "use fewer values"
        problems.error("WFE070", at, error.problem, hint)
        return Matrix(items=Value([]), axes=kinds)
    for entry, wanted in zip(exclude, out, strict=True):
        if not any(fits(wanted, run) for run in everything):
            message = "no combination of the matrix has these values"
            hint = "write the values as they stand in the axes, with or without quotes"
            problems.error("WFE070", entry.node.span, message, hint)
    kept = [run for run in everything if not any(fits(wanted, run) for wanted in out)]
    for entry, values in zip(include, more, strict=True):
        lacks = [name for name in axes if name not in values]
        wanted = {name: value for name, value in values.items() if name in axes}
        if lacks and not any(fits(wanted, run) for run in kept):
            message = f"this run has no `{lacks[0]}`: no combination has its values"
            hint = f"add `{lacks[0]}`, or use values of the axes"
            problems.error("WFE070", entry.node.span, message, hint)
    return Matrix(items=Value(runs), axes=_types(kinds, runs))


def _types(
    kinds: Mapping[str, CelType], runs: Sequence[Mapping[str, Any]]
) -> Mapping[str, CelType | None]:
    """Return what runs have, with a type if it is the same in all of them."""
    found: dict[str, CelType | None] = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        types = {type_of_value(run[name]) for run in runs if name in run}
        kind = types.pop() if len(types) == 1 else CelType.DYN
        found[name] = kind if all(name in run for run in runs) else None
    return found or kinds
