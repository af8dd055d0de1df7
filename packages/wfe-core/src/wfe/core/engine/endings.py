"""What a run that ends leaves behind: in its header, and to the run that waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from wfe.core.engine.json_text import dumps
from wfe.core.providers import HeaderChange, Message

if TYPE_CHECKING:
    from wfe.core.engine.live import LiveRun
    from wfe.core.rules.inputs import Decision

__all__ = ["header_of", "to_parent"]


def header_of(run: LiveRun, decision: Decision) -> HeaderChange:
    """Return what *decision* makes of the header of *run*."""
    error = None if decision.error is None else dumps(decision.error)
    until = run.owner.retain_until(run, decision.status) if decision.final else None
    return HeaderChange(
        status=decision.status, error=error, final=decision.final, retain_until=until
    )


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
