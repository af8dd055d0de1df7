"""Check lists of steps: their order, names and needs, and what each may read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from wfe.core.definition import Block, Kind, Node
from wfe.yaml.context import Built, Context
from wfe.yaml.controls import Control, check_control
from wfe.yaml.diagnostics import nearest
from wfe.yaml.keys import (
    CONTROLS,
    DEFAULTS,
    KIND_KEYS,
    LATER_KINDS,
    LEAF_KEYS,
    MODIFIERS,
    MODIFIERS_LATER,
)
from wfe.yaml.leaf import Leaf
from wfe.yaml.leaves import check_leaf
from wfe.yaml.modifiers import Modifiers, read_modifiers, read_surroundings
from wfe.yaml.reading import NAME, OUTPUT_NAME
from wfe.yaml.scope import Scope, Visible
from wfe.yaml.tree import Entry, ListNode, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode

__all__ = ["check_list", "collect_names"]


def collect_names(steps: TreeNode, context: Context) -> dict[str, int]:
    """Return name or id -> line of all steps in *steps*, at any depth; repeats are errors."""
    lines: dict[str, int] = {}
    for step in _every_step(steps):
        seen: set[str] = set()
        for kind in ("name", "id"):
            node = step.get(kind)
            if not isinstance(node, Scalar) or node.value in seen:
                continue
            seen.add(node.value)
            if node.value in lines:
                message = (
                    f"the {kind} `{node.value}` stands twice, first in line {lines[node.value]}"
                )
                hint = "names and ids of steps are unique in a workflow"
                context.problems.error("WFE018", node.span, message, hint)
            else:
                lines[node.value] = node.line
                name = step.get("name")
                context.keys[node.value] = name.value if isinstance(name, Scalar) else node.value
    return lines


def _every_step(node: TreeNode | None) -> Iterator[MapNode]:
    for step in node.items if isinstance(node, ListNode) else []:
        if isinstance(step, MapNode):
            yield step
            for key in ("parallel", "do", "then", "else"):
                yield from _every_step(step.get(key))


def check_list(
    node: TreeNode, what: str, name: str, context: Context, scope: Scope
) -> tuple[Block, Scope]:
    """Check a list of steps; *name* is that of the container, for a DAG's node.

    Returns:
        The block, and the scope behind its last step.
    """
    hint = "write a list of steps, each beginning with `- `"
    listed = context.reader.sequence(node, what, hint)
    if listed is None:
        return Block(), scope
    hint = "write `- name: ...` and, below it, `run: ...`"
    found = [context.reader.mapping(item, "a step", hint) for item in listed.items]
    steps = [step for step in found if step is not None]
    if any(step.get("needs") is not None for step in steps):
        return _check_dag(steps, name, context, scope)
    nodes: list[Node] = []
    for step in steps:
        built = check_step(step, context, scope)
        scope = built.scope
        nodes += [built.node] if built.node else []
    return Block(tuple(nodes)), scope


def _check_dag(
    steps: Sequence[MapNode], name: str, context: Context, scope: Scope
) -> tuple[Block, Scope]:
    positions = {
        node.value: i
        for i, step in enumerate(steps)
        for kind in ("name", "id")
        if isinstance(node := step.get(kind), Scalar)
    }
    needs = [_needs(step, positions, context) for step in steps]
    order = _in_order(steps, needs, context)
    built: dict[int, Built] = {}
    for i in order:
        before = scope.joined(built[j].scope for j in needs[i] if j in built)
        built[i] = check_step(steps[i], context, before)
    nodes: list[Node] = []
    names = {i: found.node.name for i, found in built.items() if found.node}
    for i, found in sorted(built.items()):
        if found.node is not None:
            needed = tuple(names[j] for j in needs[i] if j in names)
            nodes.append(attrs.evolve(found.node, needs=needed))
    dag = Node(
        name=context.free(f"{name}.dag"),
        kind=Kind.DAG,
        blocks=(Block(tuple(nodes)),),
        config={"fail_fast": True},
    )
    return Block((dag,)), scope.joined(found.scope for found in built.values())


def _needs(step: MapNode, positions: Mapping[str, int], context: Context) -> list[int]:
    node = step.get("needs")
    found: list[int] = []
    if node is None or (isinstance(node, ListNode) and not node.items):
        return found
    for needed in context.reader.names(node, "`needs`"):
        if needed.value in positions:
            found.append(positions[needed.value])
            continue
        near = nearest(needed.value, positions)
        hint = f"did you mean `{near}`?" if near else f"steps beside it: {', '.join(positions)}"
        elsewhere = needed.value in context.keys
        message = f"there is no step `{needed.value}` beside this one"
        if elsewhere:
            message = f"the step `{needed.value}` does not stand in the same list"
        context.problems.error("WFE040", needed.span, message, hint)
    return list(dict.fromkeys(found))


def _in_order(
    steps: Sequence[MapNode], needs: Sequence[Sequence[int]], context: Context
) -> list[int]:
    """Return the steps so that each stands behind what it needs; a circle is an error."""
    order: list[int] = []
    waiting = {i: set(needed) for i, needed in enumerate(needs)}
    ready = [i for i, needed in waiting.items() if not needed]
    users: dict[int, list[int]] = {}
    for i, needed in waiting.items():
        for j in needed:
            users.setdefault(j, []).append(i)
    while ready:
        i = ready.pop(0)
        order.append(i)
        for user in users.get(i, []):
            waiting[user].discard(i)
            if not waiting[user]:
                ready.append(user)
    left = [i for i in range(len(steps)) if waiting[i]]
    if left:
        circle = _circle(left[0], waiting)
        path = " -> ".join(f"`{_label(steps[i])}`" for i in circle)
        at = steps[circle[0]].entries["needs"].key.span
        context.problems.error(
            "WFE041", at, f"these steps wait for each other: {path}", "remove one `needs`"
        )
    return order + left


def _circle(start: int, waiting: Mapping[int, set[int]]) -> list[int]:
    path = [start]
    while True:
        following = min(waiting[path[-1]])
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def _label(step: MapNode) -> str:
    for kind in ("name", "id"):
        node = step.get(kind)
        if isinstance(node, Scalar):
            return node.value
    return "?"


def check_step(step: MapNode, context: Context, scope: Scope) -> Built:
    """Check one step and return its node and the scope behind it."""
    kind = _kind(step, context)
    if kind is None:
        return Built(node=None, scope=scope)
    step = _with_defaults(step, context) if kind == "leaf" else step
    name, key = _names(step, kind, context)
    _check_keys(step, kind, context)
    inner = read_surroundings(step, context, scope)
    modifiers = read_modifiers(step, context, inner)
    if kind == "leaf":
        leaf = check_leaf(step, name, key, context, inner)
        return _leaf_built(leaf, key, modifiers, scope)
    control = check_control(kind, step, name, context, inner, check_list)
    return _control_built(control, key, kind, modifiers, scope)


def _finished(node: Node | None, modifiers: Modifiers, timeout: int | None = None) -> Node | None:
    if node is None:
        return None
    return attrs.evolve(
        node,
        run_if=modifiers.when,
        on_error=modifiers.policy,
        timeout=modifiers.timeout if timeout is None else timeout,
    )


def _leaf_built(leaf: Leaf, key: str, modifiers: Modifiers, scope: Scope) -> Built:
    visible = Visible(
        outputs=leaf.outputs, sure=modifiers.doubt is None, doubt=modifiers.doubt or ""
    )
    node = _finished(leaf.node, modifiers, leaf.timeout)
    return Built(node=node, scope=scope.after(key, visible))


def _control_built(
    control: Control, key: str, kind: str, modifiers: Modifiers, scope: Scope
) -> Built:
    doubt = control.doubt or modifiers.doubt
    joined = scope.joined([control.scope])
    after = (
        scope.doubting(joined, doubt)
        if doubt
        else attrs.evolve(scope, steps=joined.steps, data=joined.data)
    )
    noun = {"wait_for": "a wait (its payload is `data.OUTPUT`)", "delay": "a delay"}
    visible = Visible(outputs={}, fixed=noun.get(kind, f"a `{kind}`"))
    return Built(node=_finished(control.node, modifiers), scope=after.after(key, visible))


def _kind(step: MapNode, context: Context) -> str | None:
    """Return ``leaf`` or the control of a step; ``None`` when it is of no kind, or of several."""
    present = [key for key in (*CONTROLS, *LATER_KINDS) if key in step.entries]
    if "do" in present and any(key in present for key in ("for_each", "while", "matrix")):
        present.remove("do")
    leaf = next((key for key in ("type", "config", "run") if key in step.entries), None)
    kinds = [*present, *([leaf] if leaf else [])]
    if len(kinds) > 1:
        names = " and ".join(f"`{kind}`" for kind in kinds)
        at = step.entries[kinds[1]].key.span
        hint = "make each a step of its own"
        context.problems.error("WFE019", at, f"the step is of several kinds: {names}", hint)
        return None
    if not kinds:
        _no_kind(step, context)
        return None
    if kinds[0] in LATER_KINDS:
        key = step.entries[kinds[0]].key
        message = f"`{kinds[0]}` is not supported by this version"
        context.problems.error("WFE014", key.span, message, "remove it, or use a newer wfe-yaml")
        return None
    return "leaf" if leaf else kinds[0]


def _no_kind(step: MapNode, context: Context) -> None:
    kinds = (*CONTROLS, "run", "type", "config")
    known = (*kinds, *MODIFIERS, *MODIFIERS_LATER)
    for name, entry in step.entries.items():
        near = nearest(name, kinds)
        if name not in known and near:
            context.reader.unknown_key(entry.key, "a step", (*kinds, *MODIFIERS))
            return
    hint = "write `run:` with a shell command, `type:` and `config:`, or one of " + ", ".join(
        CONTROLS
    )
    context.problems.error("WFE019", step.span, "the step does nothing", hint)


def _names(step: MapNode, kind: str, context: Context) -> tuple[str, str]:
    """Return the name and the key under which ``steps`` has the step."""
    name_node, id_node = step.get("name"), step.get("id")
    name = key = None
    if name_node is not None:
        allowed = "a line of text of at most 120 characters"
        name = context.reader.named(name_node, "`name`", NAME, allowed)
    if id_node is not None:
        key = context.reader.named(id_node, "`id`", OUTPUT_NAME, "letters, digits, `_` and `-`")
    if name is None and key is None:
        if kind == "leaf" and name_node is None:
            context.reader.missing(
                step, "a step", "name", "write `name:`; logs and `--resume` show it"
            )
        name = context.unnamed(kind)
    return name or key or kind, key or name or kind


def _check_keys(step: MapNode, kind: str, context: Context) -> None:
    what, own, later = "a step", tuple[str, ...](LEAF_KEYS), tuple[str, ...](MODIFIERS_LATER)
    if kind != "leaf":
        what, own, later = f"a `{kind}` step", KIND_KEYS[kind], (*later, "inputs", "outputs")
    for _ in context.reader.keys(step, what, (*own, *MODIFIERS), later):
        pass


def _with_defaults(step: MapNode, context: Context) -> MapNode:
    """Return the step with the keys of ``defaults`` that it lacks; ``env`` is put together."""
    defaults = context.defaults
    if defaults is None:
        return step
    entries = dict(step.entries)
    config = step.get("config")
    for name, entry in defaults.entries.items():
        if name not in DEFAULTS:
            continue
        own = entries.get(name)
        in_config = isinstance(config, MapNode) and name in config.entries
        if name == "env" and own is not None:
            entries[name] = _merged(entry, own)
        elif own is None and not (in_config and name in {"timeout", "working_dir"}):
            entries[name] = entry
    return attrs.evolve(step, entries=entries)


def _merged(default: Entry, own: Entry) -> Entry:
    if not isinstance(default.value, MapNode) or not isinstance(own.value, MapNode):
        return own
    entries = {**default.value.entries, **own.value.entries}
    return attrs.evolve(own, value=attrs.evolve(own.value, entries=entries))
