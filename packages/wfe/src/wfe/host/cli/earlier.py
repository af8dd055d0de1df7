"""Looks up what happened before: earlier in a run, and how long things took the last time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wfe.core.definition import WorkflowDefinition
from wfe.core.models import WorkflowStatus
from wfe.host.cli.model import Picture, Times, past
from wfe.host.cli.visits import State
from wfe.host.host import WorkflowHost

__all__ = ["earlier_times", "remember"]

_DEFINITIONS: Final = 10  # of a file, that are looked up
_ENTRIES: Final = 2000  # of a history: a longer run teaches what its beginning teaches


async def earlier_times(host: WorkflowHost, definitions: Iterable[WorkflowDefinition]) -> Times:
    """Return the durations of the newest complete run of each definition."""
    runs: dict[str, float] = {}
    steps: dict[tuple[str, str], float] = {}
    for definition in list(definitions)[:_DEFINITIONS]:
        page = await host.find(definition=definition.id, status=WorkflowStatus.COMPLETE, limit=1)
        for run in page.items:
            if run.completed_at is not None:
                runs[definition.id] = (run.completed_at - run.created_at).total_seconds()
            picture = Picture(run.id, {definition.id: definition}, definition.id)
            entries = await host.history(run.id, limit=_ENTRIES)
            for event in past(run.id, definition.id, entries):
                picture.apply(event)
            steps.update(_averages(picture, definition.id))
    return Times(runs, steps)


async def remember(host: WorkflowHost, picture: Picture) -> None:
    """Fold the histories of a run and of its sub-workflow runs into the picture."""
    done: set[str] = set()
    while waiting := [run for run in picture.runs.values() if run.id not in done]:
        for run in waiting:
            done.add(run.id)
            definition = run.definition.id if run.definition is not None else ""
            for event in past(run.id, definition, await host.history(run.id)):
                picture.apply(event)


def _averages(picture: Picture, definition: str) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for name, step in picture.root.steps.items():
        taken = [
            visit.seconds
            for visit in step.visits.values()
            if visit.state is State.COMPLETE and not visit.cached and visit.seconds is not None
        ]
        if taken:
            found[definition, name] = sum(taken) / len(taken)
    return found
