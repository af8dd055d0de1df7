"""Check steps that contain steps: parallel, do, try, if, switch, saga."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from wfe.core.definition import Expr, Kind, Node, Value
from wfe.core.policies import CompensateThenRetry, Continue, Exhausted, Fail, Retry
from wfe.yaml.control import LIST_HINT, Control, ControlStep
from wfe.yaml.loops import check_for_each, check_matrix, check_while
from wfe.yaml.scope import Scope
from wfe.yaml.switches import check_switch
from wfe.yaml.tree import ListNode, MapNode, Scalar
from wfe.yaml.waits import check_approval, check_delay, check_until, check_wait_for

__all__ = ["check_control"]


def check_control(kind: str, it: ControlStep) -> Control:
    """Check a control step of *kind*."""
    return _CHECKS[kind](it)


def _do(it: ControlStep) -> Control:
    block, scope = it.block("do")
    return Control(node=Node(name=it.name, kind=Kind.SEQUENCE, blocks=(block,)), scope=scope)


def _try(it: ControlStep) -> Control:
    block, scope = it.block("try")
    node = Node(name=it.name, kind=Kind.SEQUENCE, blocks=(block,), config=it.record())
    return Control(
        node=node,
        scope=scope,
        doubt=f"`{it.name}` goes on after a failure",
        outputs={},
        policy=Continue(),
    )


def _parallel(it: ControlStep) -> Control:
    node = it.step.get("parallel")
    listed = it.context.reader.sequence(node, "`parallel`", LIST_HINT) if node is not None else None
    config: dict[str, Any] = {"join": _join(it, len(listed.items) if listed else 0)}
    it.limit(config)
    checked = [_branch(item, it) for item in (listed.items if listed else [])]
    doubt = None if config["join"] == "all" else "its branches stop when enough of them are done"
    blocks = tuple(block for block, _ in checked)
    node_ = Node(name=it.name, kind=Kind.PARALLEL, blocks=blocks, config=config)
    return Control(node=node_, scope=it.scope.joined(s for _, s in checked), doubt=doubt)


def _branch(item: Any, it: ControlStep) -> tuple[Any, Scope]:
    for key in ("needs", "needs_any"):
        if isinstance(item, MapNode) and item.get(key) is not None:
            message = f"`{key}` stands in `parallel`, where steps start together"
            hint = f"write the steps as a list under `do` or `steps`, which `{key}` orders"
            it.context.problems.error("WFE040", item.entries[key].key.span, message, hint)
            item = _without(item, key)
    one = ListNode(items=[item], source=item.source, line=item.line, column=item.column)
    return it.check_list(one, "`parallel`", it.name, it.context, it.scope)


def _without(step: MapNode, key: str) -> MapNode:
    entries = {name: entry for name, entry in step.entries.items() if name != key}
    return attrs.evolve(step, entries=entries)


def _join(it: ControlStep, branches: int) -> str | int:
    node = it.step.get("join")
    if node is None:
        return "all"
    reader = it.context.reader
    if isinstance(node, Scalar) and node.value in {"all", "any"}:
        return node.value
    if isinstance(node, Scalar) and not node.value.lstrip("-").isdigit():
        reader.choice(node, "`join`", ("all", "any", "2"))
        return "all"
    count = reader.integer(node, "`join`", 1)
    if count is not None and count > branches > 0:
        message = f"`join` waits for {count} of {branches} branches"
        it.context.problems.error(
            "WFE015", node.span, message, f"write at most {branches}, or `all`"
        )
    return count or "all"


def _if(it: ControlStep) -> Control:
    node = it.step.get("if")
    condition = it.context.expressions.condition(node, it.scope, "if") if node is not None else None
    then, after_then = it.block("then", label="if")
    blocks, scopes = [then], [after_then]
    if it.step.get("else") is not None:
        other, after_else = it.block("else")
        blocks.append(other)
        scopes.append(after_else)
    exprs: tuple[tuple[str, Expr], ...] = (("condition", condition or Value(value=True)),)
    node_ = Node(name=it.name, kind=Kind.IF, blocks=tuple(blocks), exprs=exprs)
    doubt = f"it stands in one branch of `{it.name}`"
    return Control(node=node_, scope=it.scope.joined(scopes), doubt=doubt)


_THEN: Final[Mapping[str, Retry | Exhausted]] = {
    "fail": Fail(),
    "continue": Continue(),
    "retry": CompensateThenRetry(),
}


def _saga(it: ControlStep) -> Control:
    written = it.step.get("saga")
    policy: Retry | Exhausted | None = None
    listed = written
    if isinstance(written, MapNode):
        reader = it.context.reader
        keys = dict(reader.keys(written, "`saga`", ("steps", "then")))
        listed = keys["steps"].value if "steps" in keys else None
        if "then" in keys:
            word = reader.choice(keys["then"].value, "`then`", _THEN)
            policy = _THEN[word] if word else None
    if listed is None:
        if not isinstance(written, MapNode) or written.entries.keys() <= {"then"}:
            it.context.reader.missing(written or it.step, "`saga`", "steps", LIST_HINT)
        return Control(node=None, scope=it.scope)
    block, scope = it.listed(listed, "saga", attrs.evolve(it.scope, in_saga=True))
    doubt = None
    if isinstance(policy, Continue):
        doubt = f"`{it.name}` goes on after a failure, when its steps are undone"
    node = Node(name=it.name, kind=Kind.SAGA, blocks=(block,), config=it.record())
    return Control(node=node, scope=scope, doubt=doubt, outputs={}, policy=policy)


_CHECKS: Final[Mapping[str, Callable[[ControlStep], Control]]] = {
    "parallel": _parallel,
    "do": _do,
    "try": _try,
    "if": _if,
    "switch": check_switch,
    "saga": _saga,
    "for_each": check_for_each,
    "matrix": check_matrix,
    "while": check_while,
    "wait_for": check_wait_for,
    "approval": check_approval,
    "delay": check_delay,
    "until": check_until,
}
