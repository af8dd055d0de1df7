"""``concurrency``: how many runs, or steps, go on at a time, and what a further one does."""

from __future__ import annotations

from typing import Final

from wfe.core.definition import Expr, Limit, Value
from wfe.yaml.context import Context
from wfe.yaml.scope import Scope
from wfe.yaml.tree import MapNode, Node, Scalar

__all__ = ["read_concurrency"]

_CONFLICTS: Final = ("queue", "cancel_running", "skip")


def read_concurrency(node: Node | None, context: Context, scope: Scope) -> tuple[Limit, ...]:
    """Return the limits that ``concurrency`` sets: a map, or the short form ``2``.

    Args:
        node: What is written.
        context: Of the workflow.
        scope: What the key may read.
    """
    if node is None:
        return ()
    reader = context.reader
    if isinstance(node, Scalar):
        count = reader.integer(node, "`concurrency`", 1)
        return () if count is None else (Limit(None, count),)
    mapping = reader.mapping(node, "`concurrency`")
    if mapping is None:
        return ()
    keys = dict(reader.keys(mapping, "`concurrency`", ("key", "limit", "on_conflict")))
    limit = reader.integer(keys["limit"].value, "`limit`", 1) if "limit" in keys else 1
    word = (
        reader.choice(keys["on_conflict"].value, "`on_conflict`", _CONFLICTS)
        if "on_conflict" in keys
        else None
    )
    if not keys and not mapping.entries:
        reader.missing(mapping, "`concurrency`", "limit", "write `concurrency: {limit: 1}`")
    key = _key(mapping, context, scope)
    return (Limit(key, limit or 1, on_conflict=word or "queue"),)


def _key(mapping: MapNode, context: Context, scope: Scope) -> Expr | None:
    node = mapping.get("key")
    if node is None:
        return None
    if not isinstance(node, Scalar):
        hint = "write a text such as `deploy-${{ inputs.target }}`"
        context.problems.error("WFE011", node.span, "`key` is a text", hint)
        return None
    found = context.expressions.value(node, scope.into("the key of a limit"))
    if found is None:
        return None
    expr = found[0]
    # A constant is the text that is written: `key: 1` and `key: "1"` count together.
    return Value(node.value) if isinstance(expr, Value) else expr
