"""The stored form of a definition's nodes, blocks and limits: plain JSON, without callables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfe.core.expr_forms import Expr, Json, expr_from_json, expr_to_json
from wfe.core.nodes import Block, Kind, Limit, Node
from wfe.core.policies import policy_from_json, policy_to_json

__all__ = ["block_from_json", "block_to_json", "limit_from_json", "limit_to_json"]


def _node_to_json(node: Node) -> Json:
    stored: dict[str, Json] = {"name": node.name, "kind": str(node.kind)}
    if node.blocks:
        stored["blocks"] = [block_to_json(block) for block in node.blocks]
    if node.needs:
        stored["needs"] = list(node.needs)
    if node.needs_any:
        stored["needs_any"] = list(node.needs_any)
    if node.run_if is not None:
        stored["run_if"] = expr_to_json(node.run_if)
    for key, pairs in (("inputs", node.inputs), ("outputs", node.outputs), ("exprs", node.exprs)):
        if pairs:
            stored[key] = [[name, expr_to_json(expr)] for name, expr in pairs]
    if node.config:
        stored["config"] = dict(node.config)
    if node.on_error is not None:
        stored["on_error"] = policy_to_json(node.on_error)
    if node.timeout is not None:
        stored["timeout"] = node.timeout
    stored.update(_around_to_json(node))
    return stored


def _around_to_json(node: Node) -> dict[str, Json]:
    """Return the stored form of what stands around a node: undo, hooks, limits, conditions."""
    stored: dict[str, Json] = {}
    if node.undo is not None:
        stored["undo"] = block_to_json(node.undo)
    if node.hooks:
        stored["hooks"] = [[name, block_to_json(block)] for name, block in node.hooks]
    if node.limits:
        stored["limits"] = [limit_to_json(limit) for limit in node.limits]
    if node.cancel_when is not None:
        stored["cancel_when"] = expr_to_json(node.cancel_when)
    if node.trigger != "all":
        stored["trigger"] = node.trigger
    if node.secrets:
        stored["secrets"] = [expr_to_json(expr) for expr in node.secrets]
    if node.cache is not None or node.artifacts is not None:
        stored.update(_kept_to_json(node))
    return stored


def _kept_to_json(node: Node) -> dict[str, Json]:
    from wfe.core.artifacts import artifact_use_to_json  # noqa: PLC0415 - few steps keep anything
    from wfe.core.caching import caching_to_json  # noqa: PLC0415 - as above

    stored: dict[str, Json] = {}
    if node.cache is not None:
        stored["cache"] = caching_to_json(node.cache, expr_to_json)
    if node.artifacts is not None:
        stored["artifacts"] = artifact_use_to_json(node.artifacts, expr_to_json)
    return stored


def _kept_from_json(stored: Mapping[str, Json]) -> dict[str, Any]:
    """Return what a stored node says of its cache and artifacts, for :class:`Node`."""
    if "cache" not in stored and "artifacts" not in stored:
        return {}
    from wfe.core.artifacts import artifact_use_from_json  # noqa: PLC0415 - as above
    from wfe.core.caching import caching_from_json  # noqa: PLC0415 - as above

    found: dict[str, Any] = {}
    if "cache" in stored:
        found["cache"] = caching_from_json(stored["cache"], expr_from_json)
    if "artifacts" in stored:
        found["artifacts"] = artifact_use_from_json(stored["artifacts"], expr_from_json)
    return found


def limit_to_json(limit: Limit) -> Json:
    """Return the stored form of *limit*."""
    key = None if limit.key is None else expr_to_json(limit.key)
    stored = [key, limit.limit, limit.per]
    return stored if limit.on_conflict == "queue" else [*stored, limit.on_conflict]


def limit_from_json(stored: Json) -> Limit:
    """Return the limit that :func:`limit_to_json` stored."""
    key, limit, per, *more = stored
    return Limit(None if key is None else expr_from_json(key), limit, per, *more)


def block_to_json(block: Block) -> Json:
    """Return the stored form of *block* and of all that is in it."""
    stored: dict[str, Json] = {"nodes": [_node_to_json(node) for node in block.nodes]}
    if block.label is not None:
        stored["label"] = block.label
    if block.default:
        stored["default"] = True
    return stored


def _pairs(stored: Json) -> tuple[tuple[str, Expr], ...]:
    return tuple((name, expr_from_json(expr)) for name, expr in stored)


def _node_from_json(stored: Mapping[str, Json]) -> Node:
    return Node(
        name=stored["name"],
        kind=Kind(stored["kind"]),
        blocks=tuple(block_from_json(block) for block in stored.get("blocks", ())),
        needs=tuple(stored.get("needs", ())),
        needs_any=tuple(stored.get("needs_any", ())),
        run_if=expr_from_json(stored["run_if"]) if "run_if" in stored else None,
        inputs=_pairs(stored.get("inputs", ())),
        outputs=_pairs(stored.get("outputs", ())),
        exprs=_pairs(stored.get("exprs", ())),
        config=stored.get("config", {}),
        on_error=policy_from_json(stored["on_error"]) if "on_error" in stored else None,
        timeout=stored.get("timeout"),
        undo=block_from_json(stored["undo"]) if "undo" in stored else None,
        hooks=tuple((name, block_from_json(block)) for name, block in stored.get("hooks", ())),
        limits=tuple(limit_from_json(limit) for limit in stored.get("limits", ())),
        cancel_when=expr_from_json(stored["cancel_when"]) if "cancel_when" in stored else None,
        trigger=stored.get("trigger", "all"),
        secrets=tuple(expr_from_json(expr) for expr in stored.get("secrets", ())),
        **_kept_from_json(stored),
    )


def block_from_json(stored: Mapping[str, Json]) -> Block:
    """Return the block that :func:`block_to_json` stored."""
    return Block(
        nodes=tuple(_node_from_json(node) for node in stored["nodes"]),
        label=stored.get("label"),
        default=stored.get("default", False),
    )
