"""Find retries around steps that cannot fail."""

from __future__ import annotations

from wfe.yaml.diagnostics import Problems
from wfe.yaml.tree import MapNode
from wfe.yaml.walking import walk

__all__ = ["warn_of_pointless"]


def warn_of_pointless(spec: MapNode, problems: Problems) -> None:
    """Warn of ``retry`` on steps of the workflow *spec* that only wait, or pass over failures."""
    for written in walk(spec.get("steps")):
        entry = written.step.entries.get("retry")
        why = None if entry is None else _never_fails(written.step)
        if entry is not None and why is not None:
            message = f"`retry` has no effect: {why}"
            problems.warning("WFE095", entry.key.span, message, "remove it")


def _never_fails(step: MapNode) -> str | None:
    if "delay" in step.entries or "until" in step.entries:
        return "waiting for a time cannot fail"
    if "try" in step.entries:
        return "a failure inside a `try` is passed over"
    wait = step.get("wait_for")
    if isinstance(wait, MapNode) and not {"timeout"} & {*wait.entries, *step.entries}:
        return "without a `timeout`, waiting for an event cannot fail"
    return None
