"""What the command must know of a run beyond the host's public methods."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import orjson

from wfe.core.definition import Kind, WorkflowDefinition
from wfe.core.engine.views import state_of
from wfe.core.lean import frozen
from wfe.core.models import LogLine, WorkflowStatus, from_micros, to_micros
from wfe.host.cli.errors import CommandError
from wfe.host.cli.sources import need_yaml
from wfe.host.host import WorkflowHost

if TYPE_CHECKING:
    from wfe.core.engine import Engine
    from wfe.core.providers import DefinitionRow, StoredInstance
    from wfe.core.rules.state import Pointer, State

__all__ = [
    "Stuck",
    "answered",
    "asked_again",
    "cleaning_up",
    "definition_of",
    "engine_of",
    "family",
    "last_entry",
    "logs_after",
    "runnable",
    "stored_definitions",
    "stuck",
    "unfinished",
]

_NONE: Final = timedelta(0)
_LOOK: Final = 0.2  # seconds between looks at a run that another process drives


def engine_of(host: WorkflowHost) -> Engine:
    """Return the engine of *host*."""
    # The command is part of the host's distribution: nobody else may look inside.
    return host._engine  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


async def definition_of(host: WorkflowHost, id: str) -> WorkflowDefinition:
    """Return the stored definition that the run *id* follows, without its code."""
    engine = engine_of(host)
    header = await engine.reads.header(id)
    rows = await engine.store.definitions(header.definition)
    row = next(row for row in rows if row.d == header.d)
    return WorkflowDefinition.from_json(orjson.loads(row.body))


async def family(host: WorkflowHost, main: WorkflowDefinition) -> dict[str, WorkflowDefinition]:
    """Return *main* and the stored definitions of its sub-workflows, by id."""
    found = {main.id: main}
    waiting = [main]
    while waiting:
        for node in waiting.pop().walk():
            if node.kind is Kind.SUB_WORKFLOW and node.config["definition"] not in found:
                rows = await engine_of(host).store.definitions(node.config["definition"])
                row = _newest(rows, node.config.get("version"))
                if row is not None:
                    child = WorkflowDefinition.from_json(orjson.loads(row.body))
                    found[child.id] = child
                    waiting.append(child)
    return found


async def stored_definitions(host: WorkflowHost, id: str | None = None) -> list[DefinitionRow]:
    """Return the stored definitions, all or those of one id."""
    return list(await engine_of(host).store.definitions(id))


async def unfinished(
    host: WorkflowHost, id: str
) -> AsyncIterator[tuple[StoredInstance, State, WorkflowDefinition]]:
    """Yield each run of a definition that is not final, with its state and its definition."""
    inventory = engine_of(host).inventory
    bodies = await inventory.bodies(id)
    async for header, state in inventory.places(id):
        yield header, state, bodies[header.d]


async def last_entry(host: WorkflowHost, id: str) -> int:
    """Return the number of the last entry in a run's history."""
    engine = engine_of(host)
    (loaded,) = await engine.store.load([(await engine.reads.header(id)).n])
    return loaded.tail[-1].seq if loaded.tail else loaded.snapshot.seq if loaded.snapshot else -1


async def answered(host: WorkflowHost, id: str, seen: int) -> None:
    """Return when a run's history has an entry after *seen*: whoever drives it took a message."""
    engine = engine_of(host)
    n = (await engine.reads.header(id)).n
    while not await engine.store.history(n, seen, 1):  # noqa: ASYNC110 - in another process
        await asyncio.sleep(_LOOK)


async def asked_again(host: WorkflowHost, id: str) -> bool:
    """Whether a final run was asked to try again, and nobody has looked at that yet."""
    header = await engine_of(host).reads.header(id)
    return header.wake is not None or header.owner is not None


def _newest(rows: Iterable[DefinitionRow], version: int | None) -> DefinitionRow | None:
    fitting = [row for row in rows if row.current and version in {None, row.version}]
    return max(fitting, key=lambda row: row.version, default=None)


def runnable(
    stored: WorkflowDefinition, source: WorkflowDefinition | None, name: str | None
) -> WorkflowDefinition:
    """Return a stored definition with code: of its *source* today, and of the step types it names.

    Raises:
        CommandError: Code is missing: it came from a module that was not named.
    """
    code: dict[str, Any] = dict(source.code) if source is not None else {}
    workspace = Path(name).resolve().parent if name is not None else Path.cwd()
    if any(node.kind is Kind.STEP and "type" in node.config for node in stored.walk()):
        code = {**_bodies(stored, workspace), **code}
    ready = attrs.evolve(stored, code=code, data_type=source.data_type if source else None)
    missing = ready.missing()
    if missing:
        problem = f"the code of workflow {stored.id!r} is missing here: {', '.join(missing)}"
        hint = "name the file or module it came from: wfe run package.module:NAME --resume RUN"
        raise CommandError(problem, hint)
    return ready


def _bodies(stored: WorkflowDefinition, workspace: Path) -> dict[str, Any]:
    """Return the code of a definition that came from a workflow file."""
    need_yaml()
    from wfe.yaml.step_body import step_bodies  # noqa: PLC0415 - the plugin

    return step_bodies(stored, workspace)


async def logs_after(host: WorkflowHost, id: str, after: int) -> tuple[list[LogLine], int]:
    """Return the stored lines of one run after a position, and the last position."""
    return await engine_of(host).reads.logs(id, after)


@frozen(kw_only=True)
class Stuck:
    """Why a run cannot go on by itself.

    Attributes:
        suspended: Whether it, or a sub-workflow run of it, is suspended: then which, else ``None``.
        events: (name, key) that branches wait for.
        asks: What else they wait for, with the command that answers it, ``""``: there is none.
        until: When the first of these waits times out, ``None``: none does.
    """

    suspended: str | None
    events: tuple[tuple[str, str], ...]
    asks: tuple[tuple[str, str], ...] = ()
    until: datetime | None = None


async def stuck(host: WorkflowHost, id: str, patience: timedelta | None = None) -> Stuck | None:
    """Return why only an event or a ``resume`` can move the run; ``None``: it moves by itself.

    Args:
        host: It has the store.
        id: The run.
        patience: A wait that times out later than this from now does not move by itself; ``None``:
            every one that times out does.
    """
    engine = engine_of(host)
    live = engine.runs.driven(id)
    header = await engine.reads.header(id)
    if live is not None:
        if not live.idle:
            return None
        state: State = live.state
    elif header.owner is not None or (
        header.wake is not None and header.wake <= engine.clock.now()
    ):
        return None
    else:
        loaded = await engine.store.load([header.n])
        state = state_of(loaded[0])[0]
    if state.status == WorkflowStatus.SUSPENDED:
        return Stuck(suspended=id, events=())
    if state.status != WorkflowStatus.RUNNABLE:
        return None
    return await _waiting(host, id, state, patience)


async def cleaning_up(host: WorkflowHost, id: str) -> bool:
    """Whether sub-workflow runs of a run that is over still end: their hooks run, or an undo."""
    engine = engine_of(host)
    inside = [run for run in engine.live.values() if run.ref.root_id == id and run.parent]
    if any(not run.idle for run in inside):
        return True
    due = await engine.store.waiting((id,))
    return any(wake <= engine.clock.now() for wake, _, _ in due)


_OUTSIDE: Final = frozenset({"wait", "approval", "signal", "activity", "child_id", "live"})
"""What a pointer has that waits for others, so that its time is a time-out."""


def _moves(pointer: Pointer, now: int, patience: timedelta | None) -> bool:
    """Whether a pointer goes on by itself before long."""
    if pointer.wake is None:
        return False
    timed_out = patience is not None and not _OUTSIDE.isdisjoint(pointer.extra)
    return not timed_out or pointer.wake - now <= to_micros(patience or _NONE)


async def _waiting(
    host: WorkflowHost, id: str, state: State, patience: timedelta | None
) -> Stuck | None:
    suspended: str | None = None
    events: list[tuple[str, str]] = []
    asks: list[tuple[str, str]] = []
    ends: list[datetime] = []
    now = engine_of(host).clock.now()
    for pointer in state.pointers.values():
        extra: Mapping[str, Any] = pointer.extra
        if _moves(pointer, now, patience):
            return None
        if pointer.wake is not None:
            ends.append(from_micros(pointer.wake))
        if "child_id" in extra:
            inner = await stuck(host, extra["child_id"], patience)
            if inner is None:
                return None
            suspended = suspended or inner.suspended
            events.extend(inner.events)
            asks.extend(inner.asks)
            ends.extend([] if inner.until is None else [inner.until])
        elif "wait" in extra:
            events.append((extra["wait"][0], extra["wait"][1]))
        elif (asked := _asked(id, pointer)) is not None:
            asks.append(asked)
        elif "live" not in extra:
            return None
    if not events and not asks and suspended is None:
        return None
    unique = tuple(dict.fromkeys(events))
    until = min(ends, default=None)
    return Stuck(suspended=suspended, events=unique, asks=tuple(dict.fromkeys(asks)), until=until)


def _asked(id: str, pointer: Pointer) -> tuple[str, str] | None:
    """Return what a branch asks of the outside, and the command that answers it."""
    extra = pointer.extra
    if "signal" in extra:
        return f"signal {extra['signal']}", f"wfe signal {id} {shlex.quote(extra['signal'])}"
    if "approval" in extra:
        options = "|".join(extra["approval"]["options"])
        step = f" --step {shlex.quote(pointer.step)}"
        return f"an answer to {extra['approval']['prompt']!r}", f"wfe approve {id} {options}{step}"
    return (f"activity {extra['activity']}", "") if "activity" in extra else None
