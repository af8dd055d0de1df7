"""What ``wfe run`` is asked to drive: a new run, or one to go on with; checked before it begins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from wfe.core.definition import Kind, WorkflowDefinition
from wfe.core.errors import WfeError
from wfe.core.lean import frozen
from wfe.core.models import WorkflowInstance, WorkflowStatus
from wfe.host.cli import store
from wfe.host.cli.errors import CommandError, warn
from wfe.host.cli.inputs import start_data
from wfe.host.cli.references import found
from wfe.host.cli.sources import Given, Loaded, chosen, load_source
from wfe.host.cli.stored import asked_again, definition_of, family, runnable
from wfe.host.host import WorkflowHost

__all__ = ["Request", "Start", "reachable", "to_resume", "to_start"]

_RETRIABLE: Final = frozenset({WorkflowStatus.FAILED, WorkflowStatus.TERMINATED})


@frozen(kw_only=True)
class Request:
    """What is to be driven.

    Attributes:
        definitions: All that the host must know.
        main: The one whose run is started or resumed.
        resumed: The run to go on with, ``None``: start one with *data*.
        source: As the user named it, ``None``: not named.
        over: Whether *resumed* is final and stays so.
        rerun: Whether *resumed* is asked to try again where it failed.
        wait: Whether to stay while only something from outside can move the run.
    """

    definitions: tuple[WorkflowDefinition, ...]
    main: WorkflowDefinition
    url: str
    data: Any = None
    name: str | None = None
    resumed: WorkflowInstance[Any] | None = None
    source: str | None = None
    again: str | None = None
    over: bool = False
    rerun: bool = False
    wait: bool = False


@frozen(kw_only=True)
class Start:
    """What a new run gets: texts of ``-i``, the path of ``--input-file``, ``--name``."""

    workflow: str | None = None
    inputs: Sequence[str] = ()
    input_file: str | None = None
    name: str | None = None

    def refuse(self) -> None:
        """Refuse what a run that is resumed has already.

        Raises:
            CommandError: Something was given.
        """
        if self.inputs or self.input_file is not None or self.name is not None:
            problem = "a run keeps the inputs and the name that it began with"
            raise CommandError(problem, "leave out -i, --input-file and --name with --resume")


def to_start(loaded: Loaded, start: Start, db: str) -> Request:
    """Return the request for a new run.

    Raises:
        CommandError: The workflow or an input is not one of the file's.
    """
    main = chosen(loaded, start.workflow)
    data = start_data(main, start.inputs, start.input_file)
    return Request(
        definitions=loaded.definitions,
        main=main,
        url=store.made(db),
        data=data,
        name=start.name,
        source=loaded.name,
    )


def reachable(
    main: WorkflowDefinition, definitions: Iterable[WorkflowDefinition]
) -> list[WorkflowDefinition]:
    """Return *main* and those of the definitions that it may run as sub-workflows."""
    by_id: dict[str, list[WorkflowDefinition]] = {}
    for each in definitions:
        by_id.setdefault(each.id, []).append(each)
    seen = {main.id}
    ordered, waiting = [main], [main]
    while waiting:
        for node in waiting.pop().walk():
            id_ = node.config.get("definition") if node.kind is Kind.SUB_WORKFLOW else None
            if id_ is not None and id_ not in seen:
                seen.add(id_)
                ordered += by_id.get(id_, [])
                waiting += by_id.get(id_, [])
    return ordered


async def to_resume(
    host: WorkflowHost,
    reference: str,
    loaded: Loaded | None,
    given: Given,
    db: str,
    *,
    rerun: bool,
) -> Request:
    """Return the request to go on with the run that *reference* means.

    Raises:
        CommandError: There is no such run, or its code is missing.
    """
    instance = await found(host, reference)
    main = await definition_of(host, instance.id)
    asked = instance.status.final and await asked_again(host, instance.id)
    again = instance.status in _RETRIABLE and rerun and not asked
    if instance.status.final and not asked and not again:
        return Request(definitions=(), main=main, url=db, resumed=instance, over=True)
    stored = await family(host, main)
    today = loaded or _source_again(main, given)
    by_id = {each.id: each for each in today.definitions} if today is not None else {}
    if loaded is not None:
        _compare(loaded, stored, by_id, instance)
    origin = today.name if today is not None else None
    ready = {id: runnable(each, by_id.get(id), origin) for id, each in stored.items()}
    return Request(
        definitions=tuple(ready.values()),
        main=ready[main.id],
        url=db,
        resumed=instance,
        source=loaded.name if loaded is not None else None,
        rerun=again,
    )


def _source_again(main: WorkflowDefinition, given: Given) -> Loaded | None:
    """Load the file that a run came from, if it is there and still right."""
    source = main.meta.get("source")
    if not isinstance(source, str) or not Path(source).is_file():
        return None
    # A file that is wrong today must not keep a run from ending: its definition is stored.
    with contextlib.suppress(WfeError):
        return load_source(source, given)
    return None


def _compare(
    loaded: Loaded,
    stored: dict[str, WorkflowDefinition],
    today: dict[str, WorkflowDefinition],
    instance: WorkflowInstance[Any],
) -> None:
    if instance.definition not in today:
        ids = ", ".join(today) or "none"
        what = f"{instance.definition!r}, which run {instance.id} follows"
        problem = f"{loaded.name!r} has no workflow {what}"
        raise CommandError(problem, f"its workflows: {ids}; leave FILE out, or name the right one")
    changed = [id for id, each in stored.items() if id in today and today[id].hash != each.hash]
    if changed:
        warn(
            f"{loaded.name} has changed since run {instance.id} began ({', '.join(changed)});"
            " the run keeps its own definition"
        )
