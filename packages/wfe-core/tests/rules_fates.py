"""When the nodes of a DAG begin, as the reference of the builder has it, in the plainest words."""

from __future__ import annotations

from collections.abc import Sequence

from wfe.core.definition import Node

__all__ = ["handled", "settled"]


def handled(nodes: Sequence[Node]) -> set[str]:
    """Return whose failure somebody waits for, so that it does not cancel the others."""
    needs = {n.name: {*n.needs, *n.needs_any} for n in nodes}
    found = {name for n in nodes if n.trigger in ("all_done", "any_failed") for name in n.needs}
    while True:
        more = found.union(*(needs[name] for name in found))
        if more == found:
            return found
        found = more


def settled(nodes: Sequence[Node], states: dict[str, str]) -> list[Node]:
    """Note what can never begin; return what can begin now."""
    while True:
        fates = {n.name: _fate(n, states) for n in nodes if n.name not in states}
        never = {name: fate for name, fate in fates.items() if fate in ("s", "x")}
        if not never:
            return [n for n in nodes if fates.get(n.name) == "run"]
        name = next(iter(never))
        states[name] = never[name]


def _fate(node: Node, states: dict[str, str]) -> str:
    """``run``, ``wait``, ``s``: skipped, ``x``: never because of a failure."""
    propagates = node.config.get("propagates", ())

    def seen(names: Sequence[str]) -> list[str]:
        found = [states.get(name, "r") for name in names]
        return [
            "p" if state == "s" and name in propagates else state
            for name, state in zip(names, found, strict=True)
        ]

    fates = [_one_fate(node.trigger, seen(node.needs))] if node.needs else []
    if node.needs_any:
        fates.append(_one_fate("any", seen(node.needs_any)))
    return next((fate for fate in ("x", "wait", "s") if fate in fates), "run")


def _one_fate(trigger: str, seen: Sequence[str]) -> str:
    ended = "r" not in seen
    failed = any(state in ("c", "f", "x") for state in seen)
    lost = any(state in ("f", "x") for state in seen)
    if trigger == "any":
        done = any(state in ("d", "c", "s") for state in seen)
        return "run" if done else "wait" if not ended else "x" if lost else "s"
    if trigger == "all_done":
        return "run" if ended else "wait"
    if trigger == "any_failed":
        return "run" if failed else "s" if ended else "wait"
    if failed if trigger == "none_failed" else lost:
        return "x"
    return "wait" if not ended else "s" if "p" in seen else "run"
