"""``runs_on``: what a machine must be able to do for a step, as labels."""

from __future__ import annotations

import platform
import re
import sys
from typing import Final

from wfe.yaml.context import Context
from wfe.yaml.tree import Node

__all__ = ["own_labels", "read_labels"]

_LABEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}")


def read_labels(node: Node | None, context: Context) -> None:
    """Add the labels of a ``runs_on`` to those that the workflow needs.

    A run is driven by one host, so its definition requires the labels of all its steps.
    """
    if node is None:
        return
    for name in context.reader.names(node, "`runs_on`"):
        if _LABEL.fullmatch(name.value):
            context.labels.setdefault(name.value, name.span)
            continue
        message = f"a label cannot be `{name.value[:60]}`"
        hint = "use letters, digits and `_ . : / -`"
        context.problems.error("WFE020", name.span, message, hint)


def own_labels() -> frozenset[str]:
    """Return what this machine is: its system and processor, and ``local``."""
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    other = {"x86_64": "amd64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "aarch64"}
    names = {"local", system, machine, other.get(machine, machine)}
    return frozenset(name for name in names if name)
