"""``defaults``: keys that every step of a workflow inherits."""

from __future__ import annotations

from typing import Final

import attrs

from wfe.yaml.context import Context
from wfe.yaml.keys import DEFAULTS
from wfe.yaml.tree import Entry, MapNode

__all__ = ["check_defaults", "with_defaults"]

_IN_CONFIG: Final = ("timeout", "working_dir", "env_from_host", "shell")
_ADDED: Final = ("env", "secrets")
_SHELL: Final = "shell"
_CHILD: Final = "workflow"


def check_defaults(context: Context) -> None:
    """Refuse keys in ``defaults`` that steps do not inherit."""
    if context.defaults is None:
        return
    for _ in context.reader.keys(context.defaults, "`defaults`", DEFAULTS):
        pass


def with_defaults(step: MapNode, context: Context, kind: str | None) -> MapNode:
    """Return a step that does something with the keys of ``defaults`` that it lacks.

    ``env`` and ``secrets`` are put together, own entries first; ``shell`` is for shell steps,
    ``secrets`` for all but those that run a workflow.

    Args:
        step: With its templates put in.
        context: Of the workflow.
        kind: The type of the step, ``None``: not known.
    """
    defaults = context.defaults
    if defaults is None:
        return step
    entries = dict(step.entries)
    config = step.get("config")
    for name, entry in defaults.entries.items():
        own = entries.get(name)
        in_config = isinstance(config, MapNode) and name in config.entries
        if name not in DEFAULTS or _replaced(name, entries):
            continue
        if name == "secrets" and kind == _CHILD:
            continue  # a child workflow says itself which secrets its steps get
        if name == "shell":
            if kind == _SHELL:
                entries["config"] = _in_config(step, entry)
        elif name in _ADDED and own is not None:
            entries[name] = _merged(entry, own)
        elif own is None and not (in_config and name in _IN_CONFIG):
            entries[name] = entry
    return attrs.evolve(step, entries=entries)


def _replaced(name: str, entries: dict[str, Entry]) -> bool:
    """Whether the step says the same in another way."""
    return (name == "retry" and "error_behavior" in entries) or (
        name == "error_behavior" and "retry" in entries
    )


def _in_config(step: MapNode, shell: Entry) -> Entry:
    own = step.entries.get("config")
    if own is None:
        made = attrs.evolve(step, entries={"shell": shell})
        return Entry(key=shell.key, value=made)
    if not isinstance(own.value, MapNode) or "shell" in own.value.entries:
        return own
    entries = {"shell": shell, **own.value.entries}
    return attrs.evolve(own, value=attrs.evolve(own.value, entries=entries))


def _merged(default: Entry, own: Entry) -> Entry:
    if not isinstance(default.value, MapNode) or not isinstance(own.value, MapNode):
        return own
    entries = {**default.value.entries, **own.value.entries}
    return attrs.evolve(own, value=attrs.evolve(own.value, entries=entries))
