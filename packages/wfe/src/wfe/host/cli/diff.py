"""``wfe diff``: how two definitions differ, and which running instances could go over."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import orjson

from wfe.core.definition import Json, WorkflowDefinition
from wfe.core.diff import DefinitionDiff, Moved, compare
from wfe.core.engine.ids import shown_name
from wfe.core.lean import frozen
from wfe.core.moving import obstacles
from wfe.host.cli import store
from wfe.host.cli.cleaning import safe
from wfe.host.cli.completing import completed_by
from wfe.host.cli.drawing import duration
from wfe.host.cli.errors import CommandError
from wfe.host.cli.result import short
from wfe.host.cli.sources import chosen, is_source, load_source
from wfe.host.cli.stored import stored_definitions, unfinished
from wfe.host.host import WorkflowHost

if TYPE_CHECKING:
    from wfe.core.rules.state import State

__all__ = ["diff"]

_REFERENCE: Final = re.compile(r"([^@#]+)(?:@(\d+))?(?:#([0-9a-f]+))?")
_MICROS: Final = frozenset({"timeout", "default_timeout", "retention", "config.timeout"})
_HASH: Final = 12  # characters that are shown


@frozen(kw_only=True)
class _Run:
    """A running instance and what keeps it from going over.

    Attributes:
        at: Steps that it stands at, innermost ones.
        same: Whether it follows the new definition already.
    """

    id: str
    name: str
    at: tuple[str, ...]
    same: bool
    obstacles: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """What to say of it."""
        if self.same:
            return "follows it already"
        return "could move" if not self.obstacles else "could not move"


@click.command(short_help="Compare two definitions.")
@click.argument("old")
@click.argument("new")
@click.option(
    "--workflow",
    metavar="ID",
    shell_complete=completed_by("workflows_of_file"),
    help="Which workflow of files that have several.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@store.DB
def diff(old: str, new: str, workflow: str | None, as_json: bool, db: str) -> None:
    """Say how the definition NEW differs from OLD, and which running instances could go over.

    Each is a workflow file, package.module:NAME, or a stored definition ID[@VERSION][#HASH] (see
    `wfe definitions`). Of Python code only the names of the steps are known, never what it does.
    """
    given = [_loaded(each, workflow) if _is_file(each) else None for each in (old, new)]

    async def work(host: WorkflowHost) -> tuple[DefinitionDiff, list[_Run]]:
        before = given[0] or await _stored(host, old)
        after = given[1] or await _stored(host, new)
        return compare(before, after), [run async for run in _runs(host, before.id, after)]

    if given[0] is not None and given[1] is not None and not store.exists(db):
        found, runs = compare(given[0], given[1]), list[_Run]()
    else:
        found, runs = store.on_store(db, work)
    if as_json:
        click.echo(json.dumps(_json(found, runs), ensure_ascii=False, indent=2))
        return
    for line in (*_header(found), *_lines(found), *_run_lines(runs)):
        click.echo(safe(line))


# -- finding


def _is_file(text: str) -> bool:
    return is_source(text) and not Path(text).is_dir()


def _loaded(text: str, workflow: str | None) -> WorkflowDefinition:
    return chosen(load_source(text), workflow)


async def _stored(host: WorkflowHost, text: str) -> WorkflowDefinition:
    """Return the stored definition that ``ID[@VERSION][#HASH]`` means.

    Raises:
        CommandError: There is none, or the beginning of a hash fits several.
    """
    matched = _REFERENCE.fullmatch(text)
    id_, version, beginning = matched.groups() if matched is not None else (text, None, None)
    rows = await stored_definitions(host, id_)
    fitting = [row for row in rows if version is None or row.version == int(version)]
    if beginning is not None:
        fitting = [row for row in fitting if row.hash.startswith(beginning)]
        if len(fitting) > 1:
            shown = ", ".join(f"#{row.hash[:_HASH]}" for row in fitting)
            raise CommandError(f"several definitions fit {text!r}: {shown}", "give more characters")
    else:
        fitting = [row for row in fitting if row.current]
    if not fitting:
        known = ", ".join(f"{row.id}@{row.version}#{row.hash[:_HASH]}" for row in rows)
        hint = f"stored: {known}" if rows else "list them with: wfe definitions"
        raise CommandError(f"there is no file and no stored definition {text!r}", hint)
    row = max(fitting, key=lambda row: row.version)
    return WorkflowDefinition.from_json(orjson.loads(row.body))


async def _runs(host: WorkflowHost, id: str, new: WorkflowDefinition) -> AsyncIterator[_Run]:
    async for header, state, old in unfinished(host, id):
        same = old.hash == new.hash
        steps = [pointer.step for pointer in state.pointers.values()]
        why = () if same else obstacles(old, new, steps, tuple(_to_undo(state)))
        yield _Run(
            id=header.id,
            name=shown_name(header.name, header.definition, header.n),
            at=_innermost(state),
            same=same,
            obstacles=why,
        )


def _to_undo(state: State) -> Iterator[str]:
    """Yield the names of completed steps that a failure would undo."""
    for log in state.logs.values():
        while log is not None:
            entry, log = log  # noqa: PLW2901 - the log is a chain
            yield entry.step


def _innermost(state: State) -> tuple[str, ...]:
    parents = {pointer.parent for pointer in state.pointers.values()}
    inner = (pointer.step for pointer in state.pointers.values() if pointer.id not in parents)
    return tuple(dict.fromkeys(inner))


# -- telling


def _named(definition: WorkflowDefinition) -> str:
    return f"{definition.id}@{definition.version}#{definition.hash[:_HASH]}"


def _header(found: DefinitionDiff) -> Iterable[str]:
    yield f"{_named(found.old)} → {_named(found.new)}"
    if found.same:
        yield "the same"


def _lines(found: DefinitionDiff) -> Iterable[str]:
    for change in found.settings:
        yield f"~ {change.what}: {_change(change.what, change.old, change.new)}"
    for name in found.added:
        yield f"+ step {name}"
    for name in found.removed:
        yield f"- step {name}"
    for moved in found.moved:
        yield f"> step {moved.name}: {_move(moved)}"
    for step in found.changed:
        for change in step.changes:
            what = _change(change.what, change.old, change.new)
            yield f"~ step {step.name}: {change.what}: {what}"


def _move(moved: Moved) -> str:
    if moved.old == moved.new:
        return "its order has changed"
    return f"from {_place(moved.old)} to {_place(moved.new)}"


def _place(containers: Sequence[str]) -> str:
    return " > ".join(containers) or "the top"


def _change(what: str, old: Json, new: Json) -> str:
    return f"{_value(what, old)} → {_value(what, new)}"


def _value(what: str, value: Json) -> str:
    if value is None:
        return "nothing"
    if what in _MICROS and isinstance(value, int):
        return duration(value / 1_000_000) if value >= 0 else "for ever"
    match value:
        case {"cel": text}:
            return short(text)
        case {"call": True}:
            return "Python code"
        case {"v": constant}:
            return short(json.dumps(constant, ensure_ascii=False))
        case _:
            return short(json.dumps(value, ensure_ascii=False))


def _run_lines(runs: Sequence[_Run]) -> Iterable[str]:
    if runs:
        yield ""
        yield f"{len(runs)} running"
    for run in runs:
        at = f" at {', '.join(run.at)}" if run.at else ""
        yield f"  {run.name} ({run.id}){at}: {run.verdict}"
        for reason in run.obstacles:
            yield f"    {reason}"


def _json(found: DefinitionDiff, runs: Sequence[_Run]) -> dict[str, Any]:
    return {
        "old": _definition_json(found.old),
        "new": _definition_json(found.new),
        "same": found.same,
        "settings": [attrs.asdict(change) for change in found.settings],
        "added": list(found.added),
        "removed": list(found.removed),
        "moved": [attrs.asdict(each) for each in found.moved],
        "changed": [attrs.asdict(each) for each in found.changed],
        "runs": [
            {
                "id": run.id,
                "name": run.name,
                "at": list(run.at),
                "same": run.same,
                "could_move": run.same or not run.obstacles,
                "obstacles": list(run.obstacles),
            }
            for run in runs
        ],
    }


def _definition_json(definition: WorkflowDefinition) -> dict[str, Any]:
    return {"id": definition.id, "version": definition.version, "hash": definition.hash}
