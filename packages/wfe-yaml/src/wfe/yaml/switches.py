"""Check a ``switch``: its cases fit the type of its value."""

from __future__ import annotations

import re
from typing import Final

from wfe.core.cel_types import CelType
from wfe.core.definition import Block, Expr, Json, Kind, Node, Value
from wfe.yaml.control import Control, ControlStep
from wfe.yaml.diagnostics import nearest
from wfe.yaml.scalars import resolve
from wfe.yaml.scope import Scope
from wfe.yaml.tree import MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import ValueType, described

__all__ = ["check_switch"]

_PATH: Final = re.compile(
    r"\s*(?:\$\{\{\s*)?(?:inputs\.(?P<input>\w+)|steps\.(?P<step>\w+)\.outputs\.(?P<output>\w+))"
    r"\s*(?:\}\}\s*)?"
)
_NAMES: Final = {"int": "a whole number", "double": "a number", "bool": "true or false"}


def check_switch(it: ControlStep) -> Control:
    """Check a ``switch``."""
    node = it.step.get("switch")
    found = None if node is None else it.context.expressions.bare(node, it.scope, "switch")
    expr, kind = found or (Value(None), CelType.DYN)
    if not _comparable(kind):
        message = f"`switch` takes a text, a number or true/false, this gives {described(kind)}"
        hint = "switch over one of its fields"
        it.context.problems.error("WFE035", node.span if node else it.step.span, message, hint)
    blocks: list[Block] = []
    scopes: list[Scope] = []
    cases = it.step.get("cases")
    mapping = it.context.reader.mapping(cases, "`cases`") if cases is not None else None
    if cases is None:
        hint = "write `cases:` and, below it, a value and its steps"
        it.context.reader.missing(it.step, "`switch`", "cases", hint)
    elif mapping is not None and not mapping.entries:
        hint = "write a value and, below it, a list of steps"
        it.context.problems.error("WFE013", mapping.span, "`cases` is empty", hint)
    if mapping is not None:
        fits = _comparable(kind)
        labels = _labels(mapping, kind, _declared(node, it.scope), it) if fits else {}
        for name, entry in mapping.entries.items():
            block, scope = it.check_list(
                entry.value, f"the case `{name[:40]}`", f"{it.name}.{name}", it.context, it.scope
            )
            blocks.append(Block(block.nodes, label=labels.get(name, name)))
            scopes.append(scope)
    if it.step.get("default") is not None:
        block, scope = it.block("default")
        blocks.append(Block(block.nodes, default=True))
        scopes.append(scope)
    exprs: tuple[tuple[str, Expr], ...] = (("value", expr),)
    made = Node(name=it.name, kind=Kind.DECIDE, blocks=tuple(blocks), exprs=exprs)
    doubt = f"it stands in one case of `{it.name}`"
    return Control(node=made, scope=it.scope.joined(scopes), doubt=doubt)


def _comparable(kind: CelType) -> bool:
    return kind.signature in {"string", "int", "double", "bool", "dyn"}


def _declared(node: TreeNode | None, scope: Scope) -> ValueType | None:
    """Return the declared type of what a plain name reads, ``None``: it is something else."""
    found = _PATH.fullmatch(node.value) if isinstance(node, Scalar) else None
    if found is None:
        return None
    if found["input"]:
        return scope.inputs.get(found["input"])
    visible = scope.steps.get(found["step"])
    return None if visible is None else visible.outputs.get(found["output"])


def _labels(
    mapping: MapNode, kind: CelType, declared: ValueType | None, it: ControlStep
) -> dict[str, Json]:
    """Return the value of each case by its key as it is written."""
    choices = declared.choices if declared is not None and declared.kind == "enum" else ()
    found: dict[str, Json] = {}
    for name, entry in mapping.entries.items():
        label = _label(entry.key, kind, it)
        if label is None:
            continue
        if choices and label not in choices:
            near = nearest(name, choices)
            hint = f"did you mean `{near}`?" if near else f"it is one of {', '.join(choices)}"
            message = f"the value is never `{name[:40]}`"
            it.context.problems.error("WFE071", entry.key.span, message, hint)
        twin = next((other for other, value in found.items() if _same(value, label)), None)
        if twin is not None:
            message = f"the cases `{twin}` and `{name}` are the same value"
            it.context.problems.error("WFE071", entry.key.span, message, "keep one of them")
        found[name] = label
    return found


def _same(one: Json, other: Json) -> bool:
    return type(one) is type(other) and bool(one == other)


def _label(key: Scalar, kind: CelType, it: ControlStep) -> Json:
    """Return the value that a case stands for, ``None`` when it does not fit the type."""
    value = resolve(key.value) if key.style is None else key.value
    match kind.signature:
        case "string":
            return key.value
        case "double" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "dyn" if value is not None:
            return value
        case signature:
            wanted = _NAMES.get(signature, "a text, a number or true/false")
            message = f"`{key.value[:40]}` is not {wanted}, which `switch` compares with"
            it.context.problems.error("WFE071", key.span, message, "write a value of that type")
            return None
