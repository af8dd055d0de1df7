"""Check lists of steps and each step: its kind, its keys, and what it may read."""

from __future__ import annotations

from typing import Final

import attrs

from wfe.core.cel_types import CelType
from wfe.core.definition import Block, Node
from wfe.core.policies import ErrorPolicy, Fail, Retry
from wfe.yaml.context import Built, Context
from wfe.yaml.control import LIST_HINT, Control, ControlStep
from wfe.yaml.dags import after_failure, check_chain, check_dag, is_dag
from wfe.yaml.defaults import with_defaults
from wfe.yaml.diagnostics import nearest
from wfe.yaml.flows import secrets_in
from wfe.yaml.hooks import Hooked, check_hooks
from wfe.yaml.keys import (
    CONTROLS,
    HANDED_DOWN,
    KIND_KEYS,
    LEAF_KEYS,
    LEAF_MODIFIERS,
    MODIFIERS,
)
from wfe.yaml.leaves import check_leaf
from wfe.yaml.modifiers import Modifiers, read_modifiers, read_surroundings
from wfe.yaml.naming import collect_names, name_of
from wfe.yaml.scope import Scope, Visible
from wfe.yaml.secret_keys import read_secrets
from wfe.yaml.tree import MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode

__all__ = ["check_list", "check_step", "collect_names"]


def check_list(
    node: TreeNode,
    what: str,
    name: str,
    context: Context,
    scope: Scope,
    *,
    unnamed: str | None = None,
) -> tuple[Block, Scope]:
    """Check a list of steps.

    Args:
        node: The list.
        what: It is, for messages.
        name: Of its container, for a graph's node.
        context: Of the workflow.
        scope: What its first step may read.
        unnamed: What steps without a name are called, ``None``: they need one.

    Returns:
        The block, and the scope behind its last step.
    """
    listed = context.reader.sequence(node, what, LIST_HINT)
    if listed is None:
        return Block(), scope
    hint = "write `- name: ...` and, below it, `run: ...`"
    found = [context.reader.mapping(item, "a step", hint) for item in listed.items]
    steps = [step for step in found if step is not None]
    if is_dag(steps):
        return check_dag(steps, name, context, scope, check_step, unnamed)
    if any(after_failure(step) for step in steps[1:]):
        return check_chain(steps, name, context, scope, check_step, unnamed)
    nodes: list[Node] = []
    for step in steps:
        built = check_step(step, context, scope, unnamed=unnamed)
        scope = built.scope
        nodes += [built.node] if built.node else []
    return Block(tuple(nodes)), scope


def check_step(
    step: MapNode,
    context: Context,
    scope: Scope,
    *,
    behind: Scope | None = None,
    unnamed: str | None = None,
) -> Built:
    """Check one step and return its node and the scope behind it.

    Args:
        step: As it is written.
        context: Of the workflow.
        scope: What it may read.
        behind: What may be read behind it, but for itself; ``None``: the same.
        unnamed: What it is called when it has no name.
    """
    outer = scope if behind is None else behind
    kind = _kind(step, context)
    if kind is None:
        return Built(node=None, scope=outer)
    if kind == "leaf":
        step = with_defaults(step, context, _written_type(step))
    name, key = name_of(step, kind, context, unnamed)
    _check_keys(step, kind, context)
    inner = read_surroundings(step, context, scope)
    if kind in _CONDITIONAL or "when" in step.entries:
        inner = attrs.evolve(inner, conditional=True)
    modifiers = read_modifiers(step, context, attrs.evolve(inner, status=True))
    if kind == "leaf":
        node, visible = _leaf(step, name, key, context, inner, modifiers)
        after = outer.after(key, visible)
    else:
        inner = _with_secrets(step, context, inner)
        it = ControlStep(
            step=step,
            name=name,
            key=key,
            context=context,
            scope=inner,
            check_list=check_list,
            named="name" in step.entries or "id" in step.entries,
        )
        from wfe.yaml.controls import check_control  # noqa: PLC0415 - many files have none

        control = check_control(kind, it)
        node, visible = _with_policy(control, modifiers), _visible(control, kind, modifiers)
        after = _behind(control, modifiers, outer).after(key, visible)
    hooked = Hooked(
        step=step, node=node, name=name, key=key, before=scope, after=after, visible=visible
    )
    node, after = check_hooks(hooked, context, check_list)
    return Built(node=node, scope=after)


_CONDITIONAL: Final = frozenset({"if", "switch", "while", "for_each"})


def _written_type(step: MapNode) -> str | None:
    written = step.get("type")
    if isinstance(written, Scalar):
        return written.value
    config = step.get("config")
    short = "run" in step.entries or (isinstance(config, MapNode) and "run" in config.entries)
    return "shell" if short else None


def _leaf(
    step: MapNode, name: str, key: str, context: Context, scope: Scope, modifiers: Modifiers
) -> tuple[Node | None, Visible]:
    secrets = read_secrets(step, context, scope)
    if secrets.env:
        scope = attrs.evolve(scope, env={**scope.env, **secrets.env})
    leaf = check_leaf(step, name, key, context, scope)
    visible = Visible(
        outputs=leaf.outputs, sure=modifiers.doubt is None, doubt=modifiers.doubt or ""
    )
    if leaf.node is None:
        return None, visible
    node = modifiers.applied(leaf.node, leaf.timeout)
    read = secrets_in(*(expr for _, expr in (*node.inputs, *node.exprs)))
    names = tuple(dict.fromkeys((*secrets.names, *read)))
    return _with_files(attrs.evolve(node, secrets=names), step, context, scope), visible


def _with_secrets(step: MapNode, context: Context, scope: Scope) -> Scope:
    """Return the scope inside a container: what is in it gets the secrets that it asks for."""
    if "secrets" not in step.entries:
        return scope
    found = read_secrets(step, context, scope)
    return attrs.evolve(scope, env={**scope.env, **found.env})


def _with_files(node: Node, step: MapNode, context: Context, scope: Scope) -> Node:
    """Return the node with what it keeps and takes: cached results, artifacts."""
    if "cache" not in step.entries and "artifacts" not in step.entries:
        return node
    from wfe.yaml.caches import read_artifacts, read_cache  # noqa: PLC0415 - few steps have them

    cache, artifacts = read_cache(step, context, scope), read_artifacts(step, context, scope)
    return attrs.evolve(node, cache=cache, artifacts=artifacts)


def _with_policy(control: Control, modifiers: Modifiers) -> Node | None:
    """Return the node of a control step with its modifiers; its own policy comes behind theirs."""
    if control.node is None:
        return None
    node = modifiers.applied(control.node)
    own = control.policy
    if own is None:
        return node
    given = node.on_error
    policy: ErrorPolicy = own if given is None or isinstance(given, Fail) else given
    if isinstance(given, Retry) and isinstance(given.then, Fail):
        policy = given if isinstance(own, Retry) else attrs.evolve(given, then=own)
    return attrs.evolve(node, on_error=policy)


def _behind(control: Control, modifiers: Modifiers, outer: Scope) -> Scope:
    """Return what may be read behind a control step, but for itself."""
    doubt = control.doubt or modifiers.doubt
    if doubt:
        return outer.doubting(control.scope, doubt)
    joined = outer.joined([control.scope])
    return attrs.evolve(outer, steps=joined.steps, data=joined.data)


_NOUNS = {
    "wait_for": "a wait without `output`",
    "delay": "a delay",
    "until": "a wait for a time",
}


def _visible(control: Control, kind: str, modifiers: Modifiers) -> Visible:
    if control.outputs is None:
        return Visible(outputs={}, fixed=_NOUNS.get(kind, f"a `{kind}`"))
    results = CelType.list_of(CelType.map_of(CelType.DYN)) if control.results else None
    doubt = modifiers.doubt or ""
    return Visible(outputs=control.outputs, sure=not doubt, doubt=doubt, results=results)


def _kind(step: MapNode, context: Context) -> str | None:
    """Return ``leaf`` or the control of a step; ``None`` when it is of no kind, or of several."""
    present = [key for key in CONTROLS if key in step.entries]
    if "do" in present and any(key in present for key in ("for_each", "while", "matrix")):
        present.remove("do")
    leaf = next((key for key in ("type", "config", "run") if key in step.entries), None)
    kinds = [*present, *([leaf] if leaf else [])]
    if len(kinds) > 1:
        names = " and ".join(f"`{kind}`" for kind in kinds)
        at = step.entries[kinds[1]].key.span
        hint = "make each a step of its own"
        if leaf and present == ["if"]:
            hint = "write the condition of a step as `when`"
        context.problems.error("WFE019", at, f"the step is of several kinds: {names}", hint)
        return None
    if not kinds:
        _no_kind(step, context)
        return None
    return "leaf" if leaf else kinds[0]


def _no_kind(step: MapNode, context: Context) -> None:
    kinds = (*CONTROLS, "run", "type", "config")
    known = (*kinds, *MODIFIERS, *LEAF_MODIFIERS)
    for name, entry in step.entries.items():
        near = nearest(name, kinds)
        if name not in known and near:
            context.reader.unknown_key(entry.key, "a step", (*kinds, *MODIFIERS))
            return
    hint = "write `run:` with a shell command, `type:` and `config:`, or one of " + ", ".join(
        CONTROLS
    )
    context.problems.error("WFE019", step.span, "the step does nothing", hint)


def _check_keys(step: MapNode, kind: str, context: Context) -> None:
    if kind == "leaf":
        known = (*LEAF_KEYS, *MODIFIERS, *LEAF_MODIFIERS)
        for _ in context.reader.keys(step, "a step", known):
            pass
        return
    entries = dict(step.entries)
    waits = kind in _NOUNS or kind == "approval"
    hint = "remove it" if waits else "write it on the steps inside"
    for name in ("inputs", "outputs", *LEAF_MODIFIERS):
        if name in entries and (waits or name not in HANDED_DOWN):
            message = f"`{name}` stands on a `{kind}` step, which runs nothing itself"
            context.problems.error("WFE012", entries.pop(name).key.span, message, hint)
    rest = attrs.evolve(step, entries=entries)
    known = (*KIND_KEYS[kind], *MODIFIERS, *(() if waits else HANDED_DOWN))
    for _ in context.reader.keys(rest, f"a `{kind}` step", known, CONTROLS):
        pass
