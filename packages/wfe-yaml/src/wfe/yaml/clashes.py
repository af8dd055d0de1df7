"""Find outputs that two steps make which may run at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.yaml.context import Signature
from wfe.yaml.diagnostics import Problems, Span
from wfe.yaml.tree import MapNode, Scalar
from wfe.yaml.walking import walk

__all__ = ["warn_of_clashes"]


def warn_of_clashes(
    definition: WorkflowDefinition,
    spec: MapNode,
    children: Mapping[str, Signature],
    problems: Problems,
) -> None:
    """Warn of outputs in the flat data that may come from either of two steps.

    Args:
        definition: What *spec* became.
        spec: As it is written.
        children: The workflows that may be called, by id.
        problems: Take the warnings.
    """
    pairs = dict.fromkeys(_in_block(definition.root, children))
    if not pairs:
        return
    places = _places(spec)
    for output, first, second in pairs:
        at = places.get(second)
        if at is None:
            continue
        message = f"`{first}` and `{second}` may run at the same time, and both make `{output}`"
        hint = f"rename one; `data.{output}` is that of the step which ends last"
        problems.warning("WFE094", at, message, hint)


def _places(spec: MapNode) -> dict[str, Span]:
    found: dict[str, Span] = {}
    for written in walk(spec.get("steps")):
        for key in ("name", "id"):
            node = written.step.get(key)
            if isinstance(node, Scalar):
                found.setdefault(node.value, node.span)
    return found


def _in_block(block: Block, children: Mapping[str, Signature]) -> Iterator[tuple[str, str, str]]:
    for node in block.nodes:
        if node.kind is Kind.PARALLEL:
            yield from _among([_made_in(inner, children) for inner in node.blocks])
        if node.kind is Kind.DAG:
            for inner in node.blocks:
                yield from _in_graph(inner.nodes, children)
        for inner in node.blocks:
            yield from _in_block(inner, children)


def _made_in(block: Block, children: Mapping[str, Signature]) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in block.nodes:
        found.update(_made(node, children))
    return found


def _made(node: Node, children: Mapping[str, Signature]) -> dict[str, str]:
    """Return each output that *node*, or a step inside it, makes, and that step's name."""
    found: dict[str, str] = {}
    if node.kind is Kind.STEP:
        found = dict.fromkeys(node.config.get("outputs") or (), node.name)
    elif node.kind is Kind.SUB_WORKFLOW:
        child = children.get(str(node.config.get("definition")))
        found = dict.fromkeys(child.outputs if child else (), node.name)
    for block in node.blocks:
        found.update(_made_in(block, children))
    return found


def _among(branches: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, str, str]]:
    first: dict[str, str] = {}
    for branch in branches:
        for output, step in branch.items():
            if output in first:
                yield output, first[output], step
            else:
                first[output] = step


def _in_graph(
    nodes: Sequence[Node], children: Mapping[str, Signature]
) -> Iterator[tuple[str, str, str]]:
    """Yield what two nodes make of which neither needs the other, directly or not."""
    numbers = {node.name: i for i, node in enumerate(nodes)}
    makers: dict[str, list[tuple[int, str]]] = {}
    for i, node in enumerate(nodes):
        for output, step in _made(node, children).items():
            makers.setdefault(output, []).append((i, step))
    several = {output: found for output, found in makers.items() if len(found) > 1}
    if not several:
        return
    before = _before(nodes, numbers)
    for output, found in several.items():
        for (i, first), (j, second) in pairwise(found):
            if not (before[j] >> i & 1 or before[i] >> j & 1):
                yield output, first, second


def _before(nodes: Sequence[Node], numbers: Mapping[str, int]) -> list[int]:
    """Return for each node, as bits, those that have ended when it begins."""
    found = [0] * len(nodes)
    changed = True
    while changed:
        changed = False
        for i, node in enumerate(nodes):
            mine = found[i]
            for name in node.needs:
                j = numbers.get(name)
                if j is not None:
                    mine |= found[j] | 1 << j
            changed = changed or mine != found[i]
            found[i] = mine
    return found
