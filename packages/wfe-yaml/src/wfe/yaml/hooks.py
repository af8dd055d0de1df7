"""Check hooks and undo steps: what runs after a step, by what became of it."""

from __future__ import annotations

import attrs

from wfe.core.definition import HOOKS, Block, Node
from wfe.core.lean import frozen
from wfe.core.policies import Compensate, CompensateThenSuspend, ErrorPolicy, Retry
from wfe.yaml.context import Context
from wfe.yaml.control import CheckList
from wfe.yaml.scope import Scope, Visible
from wfe.yaml.tree import ListNode, MapNode

__all__ = ["Hooked", "check_hooks"]


@frozen(kw_only=True)
class Hooked:
    """A step that is checked, and around which its hooks are to be put.

    Attributes:
        node: ``None`` when it is wrong.
        name: Of its node.
        key: Under which ``steps`` has it.
        before: What may be read before it, with the environment around it.
        after: What may be read behind it.
        visible: The step itself.
    """

    step: MapNode
    node: Node | None
    name: str
    key: str
    before: Scope
    after: Scope
    visible: Visible


def check_hooks(it: Hooked, context: Context, check_list: CheckList) -> tuple[Node | None, Scope]:
    """Check the hooks and the undo of a step; return its node with them, and what follows."""
    found = [key for key in (*HOOKS, "compensate") if key in it.step.entries]
    if not found:
        return it.node, it.after
    behind, blocks = it.after, dict[str, Block]()
    for key in found:
        blocks[key], end = _check(key, it, context, check_list)
        behind = behind.doubting(end, f"it stands in `{key}` of `{it.name}`")
    undo = blocks.pop("compensate", None)
    if undo is not None:
        _warn_unused(it, context)
    if "on_failure" in blocks:
        # An error is no failure: the engine takes it for one where nothing is said of errors.
        blocks.setdefault("on_error", Block())
    hooks = tuple((key, blocks[key]) for key in HOOKS if key in blocks)
    node = None if it.node is None else attrs.evolve(it.node, hooks=hooks, undo=undo)
    return node, behind


def _check(key: str, it: Hooked, context: Context, check_list: CheckList) -> tuple[Block, Scope]:
    node = it.step.entries[key].value
    if isinstance(node, MapNode):
        node = ListNode(items=[node], source=node.source, line=node.line, column=node.column)
    elif not isinstance(node, ListNode):
        hint = "write a step, such as `{run: ...}`, or a list of steps"
        context.problems.error("WFE011", node.span, f"`{key}` takes a step or a list", hint)
        return Block(), it.before
    name = f"{it.name}.{key}"
    return check_list(node, f"`{key}`", name, context, _scope(key, it), unnamed=name)


def _scope(key: str, it: Hooked) -> Scope:
    if key == "on_success":
        own = attrs.evolve(it.visible, sure=True)
        scope = it.before.joined([it.after]).after(it.key, own)
        return attrs.evolve(scope, step=own)
    doubt = f"`{key}` runs also when `{it.name}` is not complete"
    if key in {"on_failure", "on_error"}:
        doubt = f"`{key}` runs when `{it.name}` is not complete"
    own = attrs.evolve(it.visible, sure=False, doubt=doubt)
    scope = it.before.doubting(it.after, doubt).after(it.key, own)
    conditional = scope.conditional or key != "ensure"
    step = None if key == "compensate" else own
    return attrs.evolve(scope, step=step, conditional=conditional)


def _warn_unused(it: Hooked, context: Context) -> None:
    """Say that nothing ever undoes a step: no saga is around it, and no policy of its own asks."""
    if it.before.in_saga or it.node is None or _undoes(it.node.on_error):
        return
    at = it.step.entries["compensate"].key.span
    message = f"nothing undoes `{it.name}`: it stands in no `saga`"
    hint = "put it into a `saga`, or write `retry: {then: compensate}`"
    context.problems.warning("WFE052", at, message, hint)


def _undoes(policy: ErrorPolicy | None) -> bool:
    if isinstance(policy, Retry):
        return policy.compensate or isinstance(policy.then, Compensate)
    return isinstance(policy, Compensate | CompensateThenSuspend)
