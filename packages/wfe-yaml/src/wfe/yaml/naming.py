"""Names of steps: collected before anything is checked, unique in a workflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wfe.core.definition import HOOKS
from wfe.yaml.context import Context
from wfe.yaml.reading import NAME, OUTPUT_NAME
from wfe.yaml.tree import ListNode, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode

__all__ = ["collect_names", "label_of", "name_of"]

_LISTS: Final = ("parallel", "do", "try", "then", "else", "default", *HOOKS, "compensate")


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
    """Yield the steps of a list (or the one step), and those inside of them."""
    found = node.items if isinstance(node, ListNode) else [node]
    for step in found:
        if not isinstance(step, MapNode):
            continue
        yield step
        for key in _LISTS:
            if key in step.entries:
                yield from _every_step(step.entries[key].value)
        for held in _held(step):
            yield from _every_step(held)


def _held(step: MapNode) -> Iterator[TreeNode | None]:
    """Yield lists of steps that stand deeper: those of a ``saga`` and of ``cases``."""
    saga, cases = step.get("saga"), step.get("cases")
    yield saga.get("steps") if isinstance(saga, MapNode) else saga
    for entry in cases.entries.values() if isinstance(cases, MapNode) else ():
        yield entry.value


def label_of(step: MapNode) -> str:
    """Return what messages call a step."""
    for kind in ("name", "id"):
        node = step.get(kind)
        if isinstance(node, Scalar):
            return node.value
    return "?"


def name_of(step: MapNode, kind: str, context: Context, unnamed: str | None) -> tuple[str, str]:
    """Return the name of a step, and the key under which ``steps`` has it.

    Args:
        step: With its keys.
        kind: ``leaf``, or that of the control step.
        context: Of the workflow.
        unnamed: What it is called when it has no name, ``None``: that is an error for a leaf.
    """
    name_node, id_node = step.get("name"), step.get("id")
    name = key = None
    if name_node is not None:
        allowed = "a line of text of at most 120 characters"
        if context.reader.text(name_node, "`name`") is not None:
            name = context.reader.named(name_node, "`name`", NAME, allowed)
    if id_node is not None:
        key = context.reader.named(id_node, "`id`", OUTPUT_NAME, "letters, digits, `_` and `-`")
    if name is None and key is None:
        if unnamed is not None and name_node is None:
            name = _numbered(unnamed, context)
        elif kind == "leaf" and name_node is None and id_node is None:
            context.reader.missing(
                step, "a step", "name", "write `name:`; logs and `--resume` show it"
            )
        name = name or context.unnamed(kind)
    return name or key or kind, key or name or kind


def _numbered(name: str, context: Context) -> str:
    found, number = name, 1
    while found in context.keys:
        number += 1
        found = f"{name}-{number}"
    context.keys[found] = found
    return found
