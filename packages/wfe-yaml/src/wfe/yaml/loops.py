"""Check steps that repeat what they contain: for_each, matrix and while."""

from __future__ import annotations

from typing import Any

import attrs

from wfe.core.cel_types import CelType
from wfe.core.definition import Expr, Kind, Node, Value
from wfe.yaml.control import Control, ControlStep
from wfe.yaml.matrix import read_matrix
from wfe.yaml.scope import Scope
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.tree import Scalar

__all__ = ["check_for_each", "check_matrix", "check_while"]


def check_while(it: ControlStep) -> Control:
    """Check a ``while``: its condition may read what the last turn made."""
    block, inner = it.block("do", label="while")
    doubt = f"the loop `{it.name}` may run no times"
    node = it.step.get("while")
    seen = it.scope.doubting(inner, doubt)
    condition = it.context.expressions.condition(node, seen, "while") if node is not None else None
    config: dict[str, Any] = {}
    most = it.step.get("max_iterations")
    if most is not None:
        config["max_iterations"] = it.context.reader.integer(most, "`max_iterations`", 1)
    exprs: tuple[tuple[str, Expr], ...] = (("condition", condition or Value(value=False)),)
    node_ = Node(name=it.name, kind=Kind.WHILE, blocks=(block,), exprs=exprs, config=config)
    return Control(node=node_, scope=inner, doubt=doubt)


def check_for_each(it: ControlStep) -> Control:
    """Check a ``for_each``."""
    node = it.step.get("for_each")
    found = None if node is None else _items(node, it)
    expr, item_type = found or (Value([]), CelType.DYN)
    name = _loop_name(it)
    local = {**it.scope.local, "item": item_type, name: item_type, "index": CelType.INT}
    config: dict[str, Any] = {"as": name}
    doubt = f"the loop `{it.name}` may run no times"
    return _loop(it, attrs.evolve(it.scope, local=local), expr, config, doubt)


def check_matrix(it: ControlStep) -> Control:
    """Check a ``matrix``: a ``for_each`` over the combinations of its axes."""
    matrix = read_matrix(it)
    local = {name: kind for name, kind in it.scope.local.items() if name != "item"}
    local |= {"matrix": CelType.map_of(CelType.DYN), "index": CelType.INT}
    scope = attrs.evolve(it.scope, local=local, axes=matrix.axes)
    config: dict[str, Any] = {"as": "matrix"}
    if matrix.computed:
        config["matrix"] = True
    return _loop(it, scope, matrix.items, config, None)


def _loop(
    it: ControlStep, scope: Scope, items: Expr, config: dict[str, Any], doubt: str | None
) -> Control:
    sequential = it.step.get("sequential")
    flag = None if sequential is None else it.context.reader.boolean(sequential, "`sequential`")
    if flag and it.step.get("limit") is not None:
        message = "`limit` has no effect with `sequential: true`, which runs one at a time"
        at = it.step.entries["limit"].key.span
        it.context.problems.error("WFE015", at, message, "remove one of them")
    if not flag and scope.before_loop is None:
        scope = attrs.evolve(scope, before_loop=scope.steps)
    label = "matrix" if config["as"] == "matrix" else "for_each"
    block, inner = it.block("do", scope, label=label)
    config = {"sequential": bool(flag), **config, **it.record(results=True)}
    it.limit(config)
    exprs: tuple[tuple[str, Expr], ...] = (("items", items),)
    node = Node(name=it.name, kind=Kind.FOR_EACH, blocks=(block,), exprs=exprs, config=config)
    return Control(node=node, scope=inner, doubt=doubt, outputs={}, results=True)


_TAKEN = (
    "inputs",
    "steps",
    "data",
    "env",
    "run",
    "var",
    "secrets",
    "matrix",
    "event",
    "index",
    "step",
)


def _loop_name(it: ControlStep) -> str:
    node = it.step.get("as")
    if node is None:
        return "item"
    name = it.context.reader.source_text(node, "`as`")
    if name is None:
        return "item"
    if not (name.isascii() and name.isidentifier()) or name in _TAKEN:
        message = f"`as` cannot be `{name[:60]}`"
        hint = "use letters, digits and `_`, and no name that expressions have already"
        it.context.problems.error("WFE020", node.span, message, hint)
        return "item"
    return name


def _items(node: TreeNode, it: ControlStep) -> tuple[Expr, CelType] | None:
    if isinstance(node, Scalar):
        found = it.context.expressions.bare(node, it.scope, "for_each")
    else:
        found = it.context.expressions.value(node, it.scope)
    return it.items(found, node, "`for_each`", "write `[a, b]`, or an expression that gives a list")
