"""Find steps that can never run."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from wfe.yaml.diagnostics import Problems
from wfe.yaml.tree import ListNode, MapNode, Node, Scalar
from wfe.yaml.walking import lists_of, walk

__all__ = ["warn_of_unreachable"]

_TRUTHS: Final = {"true": True, "false": False}


def warn_of_unreachable(spec: MapNode, problems: Problems) -> None:
    """Warn of steps of the workflow *spec* that are switched off, or behind what never ends."""
    steps = spec.get("steps")
    for written in walk(steps):
        _check(written.step, problems)
    for listed in lists_of(steps):
        _behind_endless(listed, problems)


def _check(step: MapNode, problems: Problems) -> None:
    when = step.get("when")
    if _truth(when) is False and when is not None:
        message = "this step never runs: its `when` is false"
        problems.warning("WFE091", when.span, message, "remove the step, or the `when`")
    condition = _truth(step.get("if"))
    dead = {True: "else", False: "then"}.get(condition) if condition is not None else None
    if dead in step.entries:
        at = step.entries[dead].key.span
        message = f"these steps never run: the `if` is {str(condition).lower()}"
        problems.warning("WFE091", at, message, "remove them, or write a condition")
    loop = step.get("while")
    if _truth(loop) is False and loop is not None:
        message = "these steps never run: the `while` is false"
        problems.warning("WFE091", loop.span, message, "remove the loop, or write a condition")
    items = step.get("for_each")
    if isinstance(items, ListNode) and not items.items:
        message = "these steps never run: the list is empty"
        problems.warning("WFE091", items.span, message, "remove the loop, or write its items")


def _behind_endless(listed: tuple[MapNode, ...], problems: Problems) -> None:
    if any("needs" in step.entries or "needs_any" in step.entries for step in listed):
        return
    for step, following in pairwise(listed):
        endless = _truth(step.get("while")) is True and "max_iterations" not in step.entries
        if endless and "timeout" not in step.entries and "when" not in step.entries:
            when = following.get("when")
            if isinstance(when, Scalar) and "(" in when.value:
                continue  # it may ask for a failure, which does end the loop
            message = "this step never runs: the `while` before it ends only by failing"
            hint = "give the loop a condition, or `max_iterations`"
            problems.warning("WFE091", following.span, message, hint)


def _truth(node: Node | None) -> bool | None:
    """Return what a condition says that is written as true or false."""
    if not isinstance(node, Scalar) or node.original is not None:
        return None  # load-time variables switch steps on and off
    text = node.value.strip().removeprefix("${{").removesuffix("}}").strip()
    return _TRUTHS.get(text.lower() if node.style is None else text)
