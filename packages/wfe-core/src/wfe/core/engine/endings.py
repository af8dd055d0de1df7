"""What the end of a run tells the run that waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from wfe.core.providers import Message

if TYPE_CHECKING:
    from wfe.core.engine.live import LiveRun
    from wfe.core.rules.inputs import Decision

__all__ = ["to_parent"]


def to_parent(run: LiveRun, decision: Decision, data: Mapping[str, Any]) -> Message:
    """Return what the parent of *run* is told when it ends with *data*."""
    payload = {
        "pointer": run.parent_pointer,
        "n": run.n,
        "id": run.ref.id,
        "definition": run.ref.definition,
        "status": decision.status,
        "error": decision.error,
        "data": data,
    }
    text = orjson.dumps(payload).decode()
    return Message(target=run.parent, kind="child_done", payload=text, dedupe=f"child:{run.n}")
