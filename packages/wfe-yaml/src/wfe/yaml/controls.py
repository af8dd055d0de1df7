"""Check steps that contain, repeat or wait: parallel, do, if, for_each, while, wait_for, delay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from wfe.core.cel import CelType
from wfe.core.definition import Block, Cel, Expr, Kind, Node, Value
from wfe.yaml.context import Context
from wfe.yaml.modifiers import env_value, read_timeout
from wfe.yaml.reading import OUTPUT_NAME
from wfe.yaml.scalars import parse_duration
from wfe.yaml.scope import Scope
from wfe.yaml.tree import ListNode, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode

__all__ = ["CheckList", "Control", "check_control"]


class CheckList(Protocol):
    """Checks a list of steps, see :func:`wfe.yaml.steps.check_list`."""

    def __call__(
        self, node: TreeNode, what: str, name: str, context: Context, scope: Scope
    ) -> tuple[Block, Scope]: ...


@attrs.frozen(kw_only=True)
class Control:
    """What became of a control step.

    Attributes:
        node: Without modifiers; ``None`` when it is wrong.
        scope: What may be read behind it.
        doubt: Why what is inside may not have run, ``None`` when it has.
    """

    node: Node | None
    scope: Scope
    doubt: str | None = None


@attrs.frozen(kw_only=True)
class _Step:
    step: MapNode
    name: str
    context: Context
    scope: Scope
    check_list: CheckList

    def block(self, key: str, scope: Scope | None = None, label: str = "") -> tuple[Block, Scope]:
        node = self.step.get(key)
        scope = self.scope if scope is None else scope
        if node is None:
            self.context.reader.missing(self.step, f"`{label or key}`", key)
            return Block(), scope
        return self.check_list(node, f"`{key}`", f"{self.name}.{key}", self.context, scope)

    def limit(self, config: dict[str, Any]) -> None:
        """Read ``limit`` and ``fail_fast``."""
        limit, fast = self.step.get("limit"), self.step.get("fail_fast")
        reader = self.context.reader
        config["limit"] = None if limit is None else reader.integer(limit, "`limit`", 1)
        flag = None if fast is None else reader.boolean(fast, "`fail_fast`")
        config["fail_fast"] = True if flag is None else flag


def check_control(
    kind: str,
    step: MapNode,
    name: str,
    context: Context,
    scope: Scope,
    check_list: CheckList,
) -> Control:
    """Check a control step of *kind*; *scope* is its own, with its environment."""
    checked = _Step(step=step, name=name, context=context, scope=scope, check_list=check_list)
    return _CHECKS[kind](checked)


def _do(it: _Step) -> Control:
    block, scope = it.block("do")
    return Control(node=Node(name=it.name, kind=Kind.SEQUENCE, blocks=(block,)), scope=scope)


def _parallel(it: _Step) -> Control:
    node = it.step.get("parallel")
    hint = "write a list of steps, each beginning with `- `"
    listed = it.context.reader.sequence(node, "`parallel`", hint) if node is not None else None
    config: dict[str, Any] = {"join": _join(it, len(listed.items) if listed else 0)}
    it.limit(config)
    blocks: list[Block] = []
    scopes: list[Scope] = []
    for item in listed.items if listed else []:
        if isinstance(item, MapNode) and item.get("needs") is not None:
            message = "`needs` stands in `parallel`, where steps start together"
            hint = "write the steps as a list under `do` or `steps`, which `needs` orders"
            it.context.problems.error("WFE040", item.entries["needs"].key.span, message, hint)
            item = _without(item, "needs")  # noqa: PLW2901 - checked further without it
        one = ListNode(items=[item], source=item.source, line=item.line, column=item.column)
        block, scope = it.check_list(one, "`parallel`", it.name, it.context, it.scope)
        blocks.append(block)
        scopes.append(scope)
    doubt = None if config["join"] == "all" else "its branches stop when enough of them are done"
    node_ = Node(name=it.name, kind=Kind.PARALLEL, blocks=tuple(blocks), config=config)
    return Control(node=node_, scope=it.scope.joined(scopes), doubt=doubt)


def _without(step: MapNode, key: str) -> MapNode:
    entries = {name: entry for name, entry in step.entries.items() if name != key}
    return attrs.evolve(step, entries=entries)


def _join(it: _Step, branches: int) -> str | int:
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


def _if(it: _Step) -> Control:
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


def _while(it: _Step) -> Control:
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


def _for_each(it: _Step) -> Control:
    node = it.step.get("for_each")
    found = None if node is None else _items(node, it)
    expr, item_type = found or (Value([]), CelType.DYN)
    name = _loop_name(it)
    local = {**it.scope.local, "item": item_type, name: item_type, "index": CelType.INT}
    sequential = it.step.get("sequential")
    flag = None if sequential is None else it.context.reader.boolean(sequential, "`sequential`")
    scope = attrs.evolve(it.scope, local=local)
    if not flag and scope.before_loop is None:
        scope = attrs.evolve(scope, before_loop=frozenset(scope.steps))
    block, inner = it.block("do", scope, label="for_each")
    config: dict[str, Any] = {"sequential": bool(flag), "as": name}
    it.limit(config)
    exprs: tuple[tuple[str, Expr], ...] = (("items", expr),)
    node_ = Node(name=it.name, kind=Kind.FOR_EACH, blocks=(block,), exprs=exprs, config=config)
    return Control(node=node_, scope=inner, doubt=f"the loop `{it.name}` may run no times")


_TAKEN = ("inputs", "steps", "data", "env", "run", "var", "secrets", "matrix", "event", "index")


def _loop_name(it: _Step) -> str:
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


def _items(node: TreeNode, it: _Step) -> tuple[Expr, CelType] | None:
    if isinstance(node, Scalar):
        found = it.context.expressions.bare(node, it.scope, "for_each")
    else:
        found = it.context.expressions.value(node, it.scope)
    if found is None:
        return None
    expr, kind = found
    signature = kind.signature
    if signature.startswith("list<"):
        return expr, CelType(signature[5:-1])
    if signature == "dyn":
        return expr, CelType.DYN
    message = f"`for_each` takes a list, this gives a {signature.partition('<')[0]}"
    it.context.problems.error(
        "WFE035", node.span, message, "write `[a, b]`, or an expression that gives a list"
    )
    return None


def _wait_for(it: _Step) -> Control:
    reader = it.context.reader
    node = it.step.get("wait_for")
    mapping = reader.mapping(node, "`wait_for`") if node is not None else None
    if mapping is None:
        return Control(node=None, scope=it.scope)
    keys = dict(reader.keys(mapping, "`wait_for`", ("event", "key", "timeout", "output")))
    config: dict[str, Any] = {}
    if "event" in keys:
        config["event"] = reader.source_text(keys["event"].value, "`event`") or ""
        if not config["event"]:
            it.context.problems.error("WFE013", keys["event"].value.span, "`event` is empty")
    else:
        reader.missing(mapping, "`wait_for`", "event", "write the name of the event")
    key = (
        env_value(keys["key"].value, it.context, it.scope, "`key`") if "key" in keys else Value("")
    )
    if "timeout" in keys:
        config["timeout"] = read_timeout(keys["timeout"].value, it.context)
    scope = it.scope
    if "output" in keys:
        output = reader.named(
            keys["output"].value, "`output`", OUTPUT_NAME, "letters, digits, `_` and `-`"
        )
        if output is not None:
            config["output"] = output
            scope = attrs.evolve(scope, data={**scope.data, output: CelType.DYN})
    exprs: tuple[tuple[str, Expr], ...] = (("key", key or Value("")),)
    return Control(
        node=Node(name=it.name, kind=Kind.WAIT_FOR, exprs=exprs, config=config), scope=scope
    )


def _delay(it: _Step) -> Control:
    node = it.step.get("delay")
    timeout = it.step.get("timeout")
    if timeout is not None:
        hint = "shorten the delay, or put it into a `do` with that `timeout`"
        it.context.problems.error("WFE015", timeout.span, "a `delay` has no time-out", hint)
    expr: Expr | None = None
    if isinstance(node, Scalar) and "${{" in node.value:
        found = it.context.expressions.value(node, it.scope)
        expr = _as_duration(found, node, it) if found else None
    elif node is not None:
        micros = it.context.reader.duration(node, "`delay`")
        expr = None if micros is None else Value(micros)
    exprs: tuple[tuple[str, Expr], ...] = (("duration", expr or Value(0)),)
    return Control(node=Node(name=it.name, kind=Kind.DELAY, exprs=exprs), scope=it.scope)


def _as_duration(found: tuple[Expr, CelType], node: TreeNode, it: _Step) -> Expr | None:
    expr, kind = found
    if kind == CelType.DURATION:
        return expr
    if isinstance(expr, Cel) and kind in {CelType.STRING, CelType.DYN}:
        return Cel(f"duration({expr.text})")
    if isinstance(expr, Value) and isinstance(expr.value, str):
        micros = parse_duration(expr.value)
        return None if micros is None else Value(micros)
    message = f"`delay` takes a duration, this gives {kind}"
    it.context.problems.error(
        "WFE035", node.span, message, "write `duration('30s')`, or an input of type duration"
    )
    return None


_CHECKS: Mapping[str, Callable[[_Step], Control]] = {
    "parallel": _parallel,
    "do": _do,
    "if": _if,
    "while": _while,
    "for_each": _for_each,
    "wait_for": _wait_for,
    "delay": _delay,
}
