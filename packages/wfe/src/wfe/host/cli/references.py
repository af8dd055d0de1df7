"""Finds the run that a user means: by id, beginning of an id, name, or ``last``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import click

from wfe.core.errors import WorkflowNotFoundError
from wfe.core.models import WorkflowInstance, WorkflowStatus
from wfe.host.cli.completing import completed_by
from wfe.host.cli.errors import CommandError
from wfe.host.host import WorkflowHost

__all__ = ["every_run", "found", "run_argument"]

_SHORTEST: Final = 4  # characters of an id's beginning
_PAGE: Final = 200


run_argument: Final = click.argument("run", shell_complete=completed_by("runs"))
"""The argument RUN of every command."""


async def every_run(
    host: WorkflowHost,
    *,
    status: WorkflowStatus | None = None,
    definition: str | None = None,
    page: int = _PAGE,
) -> AsyncIterator[WorkflowInstance[Any]]:
    """Yield the runs of a store, newest first, sub-workflow runs among them."""
    cursor: str | None = None
    while True:
        found = await host.find(status=status, definition=definition, limit=page, cursor=cursor)
        for run in found.items:
            yield run
        if found.cursor is None:
            return
        cursor = found.cursor


async def found(host: WorkflowHost, reference: str) -> WorkflowInstance[Any]:
    """Return the run that *reference* means.

    Raises:
        CommandError: There is none, or there are several.
    """
    if reference == "last":
        async for run in every_run(host, page=20):
            if run.parent_id is None:
                return run
        raise CommandError("there are no runs in this store yet", "start one with: wfe run FILE")
    try:
        return await host.get(reference)
    except WorkflowNotFoundError:
        return await _by_beginning(host, reference)


async def _by_beginning(host: WorkflowHost, reference: str) -> WorkflowInstance[Any]:
    hint = "list the runs with: wfe list"
    if len(reference) < _SHORTEST:
        problem = f"no run has the id or name {reference!r} in this store"
        short = f"the beginning of an id must have at least {_SHORTEST} characters; {hint}"
        raise CommandError(problem, short)
    fitting = [run async for run in every_run(host) if run.id.startswith(reference)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        problem = f"no run has the id or name {reference!r} in this store, or an id that begins so"
        raise CommandError(problem, hint)
    shown = ", ".join(run.id for run in fitting[:3]) + (", …" if len(fitting) > 3 else "")
    problem = f"{len(fitting)} runs have an id that begins with {reference!r}: {shown}"
    raise CommandError(problem, "give more characters")
