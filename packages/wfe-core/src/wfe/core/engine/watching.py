"""Looks which nodes of a run are not wanted any more, as their ``cancel_when`` says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from wfe.core.engine.contexts import make_context
from wfe.core.models import PointerStatus
from wfe.core.rules.inputs import Unwanted

if TYPE_CHECKING:
    from wfe.core.engine.live import LiveRun

__all__ = ["unwanted"]

_LOG: Final = logging.getLogger("wfe.engine")
_CANCELLED: Final = PointerStatus.CANCELLED.value


def unwanted(run: LiveRun) -> list[Unwanted]:
    """Return the live nodes of *run* whose ``cancel_when`` holds now."""
    found: list[Unwanted] = []
    for pointer in run.state.pointers.values():
        if pointer.step not in run.ready.plan.cancellable or pointer.status == _CANCELLED:
            continue
        holds = run.ready.runners[pointer.step].exprs["cancel_when"]
        try:
            if holds(make_context(run, pointer)):
                found.append(Unwanted(pointer.id))
        except Exception as error:  # noqa: BLE001 - user code: it does not hold then
            _LOG.warning("cancel_when of %s failed: %s", pointer.step, error)
    return found
