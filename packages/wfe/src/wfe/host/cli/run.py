"""``wfe run``: start or resume a run, drive it, show it."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from pathlib import Path
from typing import Any, Final

import attrs
import click
from click.core import ParameterSource

from wfe.core.definition import WorkflowDefinition
from wfe.core.errors import WfeError
from wfe.core.models import WorkflowInstance, WorkflowStatus
from wfe.host.cli import store
from wfe.host.cli.driving import Feed, driven, interruptible, ticking
from wfe.host.cli.errors import CommandError, Exit, complain, log_to_stderr, warn
from wfe.host.cli.inputs import start_data
from wfe.host.cli.model import Picture
from wfe.host.cli.reading import remember
from wfe.host.cli.references import found
from wfe.host.cli.result import Result, now_utc
from wfe.host.cli.sources import Given, Loaded, chosen, load_source
from wfe.host.cli.stored import asked_again, definition_of, family, runnable
from wfe.host.cli.view_json import JsonView
from wfe.host.cli.views import View
from wfe.host.cli.views import chosen as chosen_view
from wfe.host.host import WorkflowHost
from wfe.host.runs import WorkflowRun

__all__ = ["run"]

_RETRIABLE: Final = frozenset({WorkflowStatus.FAILED, WorkflowStatus.TERMINATED})


@attrs.frozen(kw_only=True)
class _Request:
    """What is to be driven.

    Attributes:
        definitions: By id: all that the host must know.
        main: The one whose run is started or resumed.
        resumed: The run to go on with, ``None``: start one with *data*.
        source: As the user named it, ``None``: not named.
        over: Whether *resumed* is final and stays so.
        rerun: Whether *resumed* is asked to try again where it failed.
    """

    definitions: dict[str, WorkflowDefinition]
    main: WorkflowDefinition
    url: str
    data: Any = None
    name: str | None = None
    resumed: WorkflowInstance[Any] | None = None
    source: str | None = None
    again: str | None = None
    over: bool = False
    rerun: bool = False


@click.command(short_help="Run a workflow file and watch it.")
@click.argument("file", required=False)
@click.option("--workflow", metavar="ID", help="Which workflow of the file.")
@click.option("-i", "inputs", multiple=True, metavar="KEY=VALUE", help="An input of the workflow.")
@click.option("--input-file", metavar="FILE", help="Inputs as a JSON or YAML file.")
@click.option("-v", "variables", multiple=True, metavar="NAME=VALUE", help="A value for ((NAME)).")
@click.option(
    "--vars-file", "vars_files", multiple=True, metavar="FILE", help="Values for ((NAME))s."
)
@click.option("--name", metavar="NAME", help="A name for the run, unique in the store.")
@click.option("--resume", "reference", metavar="RUN", help="Go on with an unfinished run.")
@click.option("--rerun-failed", "rerun", is_flag=True, help="With --resume: try what failed again.")
@click.option("--plain", is_flag=True, help="Lines instead of a tree, also on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines on stdout.")
@store.DB
def run(  # noqa: PLR0913, PLR0917 - the options of the command
    file: str | None,
    workflow: str | None,
    inputs: tuple[str, ...],
    input_file: str | None,
    variables: tuple[str, ...],
    vars_files: tuple[str, ...],
    name: str | None,
    reference: str | None,
    rerun: bool,
    plain: bool,
    as_json: bool,
    db: str,
) -> int:
    """Run a workflow and watch it.

    FILE is a workflow file (.yaml), a saved definition (.json), a Python file or
    package.module:NAME.  Everything is checked before anything runs.

    With --resume RUN an unfinished run goes on, with the definition that it began with; FILE may
    be left out when the run came from a workflow file. With --rerun-failed a failed or terminated
    run begins again where it failed; what is complete stays complete.

    Exit codes: 0 complete, 1 failed, 2 usage or invalid file, 3 suspended or waiting for an
    event, 4 terminated, 130 interrupted (the last line says how to go on).
    """
    view = chosen_view(plain=plain, json=as_json)
    given = Given(assignments=variables, files=vars_files)
    loaded = load_source(file, given) if file is not None else None
    if reference is not None:
        _refuse(inputs, input_file, name)
        request = store.on_store(
            db, lambda host: _to_resume(host, reference, loaded, given, db, rerun=rerun)
        )
        if request.resumed is not None and request.over:
            return _over(request.resumed, request, view)
    elif rerun:
        raise click.UsageError("--rerun-failed goes on with a run: name it with --resume RUN")
    elif loaded is None:
        raise click.UsageError("name a FILE to run, or a run to go on with: --resume RUN")
    else:
        request = _to_start(loaded, workflow, inputs, input_file, name, db)
        request = attrs.evolve(request, again=_again(click.get_current_context()))
    log_to_stderr()
    return asyncio.run(_perform(request, view))


def _again(ctx: click.Context) -> str:
    """Return the command line that *ctx* was made from, without a name, which would be taken."""
    words = ["wfe", "run", str(ctx.params["file"])]
    for option in ctx.command.params:
        name = option.name or ""
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if isinstance(option, click.Option) and given and name != "name":
            value: Any = ctx.params[name]
            for each in value if option.multiple else (value,):
                words += [option.opts[0]] if each is True else [option.opts[0], str(each)]
    return shlex.join(words)


def _refuse(inputs: tuple[str, ...], input_file: str | None, name: str | None) -> None:
    if inputs or input_file is not None or name is not None:
        problem = "a run keeps the inputs and the name that it began with"
        raise CommandError(problem, "leave out -i, --input-file and --name with --resume")


def _to_start(
    loaded: Loaded,
    workflow: str | None,
    inputs: tuple[str, ...],
    input_file: str | None,
    name: str | None,
    db: str,
) -> _Request:
    main = chosen(loaded, workflow)
    data = start_data(main, inputs, input_file)
    return _Request(
        definitions={each.id: each for each in loaded.definitions},
        main=main,
        url=store.made(db),
        data=data,
        name=name,
        source=loaded.name,
    )


async def _to_resume(
    host: WorkflowHost,
    reference: str,
    loaded: Loaded | None,
    given: Given,
    db: str,
    *,
    rerun: bool,
) -> _Request:
    instance = await found(host, reference)
    main = await definition_of(host, instance.id)
    asked = instance.status.final and await asked_again(host, instance.id)
    again = instance.status in _RETRIABLE and rerun and not asked
    if instance.status.final and not asked and not again:
        return _Request(definitions={}, main=main, url=db, resumed=instance, over=True)
    stored = await family(host, main)
    today = loaded or _source_again(main, given)
    by_id = {each.id: each for each in today.definitions} if today is not None else {}
    if loaded is not None:
        _compare(loaded, stored, by_id, instance)
    origin = today.name if today is not None else None
    ready = {id: runnable(each, by_id.get(id), origin) for id, each in stored.items()}
    return _Request(
        definitions=ready,
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


def _over(instance: WorkflowInstance[Any], request: _Request, view: View) -> int:
    """Answer ``--resume`` of a run that is final already."""
    result = Result(
        instance=instance,
        picture=Picture(instance.id, {}, instance.definition),
        now=now_utc(),
        definition=request.main,
    )
    if isinstance(view, JsonView):
        view.finish(result)
    elif instance.status is WorkflowStatus.COMPLETE:
        who = f"{instance.definition} (run {instance.id})"
        click.echo(f"✔ {who} is complete already: nothing to do")
    if instance.status is not WorkflowStatus.COMPLETE:
        _lament(instance, store.option(request.url))
    return result.code


def _lament(instance: WorkflowInstance[Any], db: str) -> None:
    failed = instance.status is WorkflowStatus.FAILED
    what = "has failed" if failed else "was terminated"
    reason = f": {instance.error.message}" if instance.error is not None else ""
    lines = [f"error: run {instance.id} {what}{reason}"]
    lines.append(f"  try it again with: wfe run --resume {instance.id} --rerun-failed{db}")
    complain("\n".join([*lines, f"  see what happened with: wfe show {instance.id}{db}"]))


async def _perform(request: _Request, view: View) -> int:
    host = WorkflowHost(request.url, name="wfe-run", own_runs_only=True)
    host.register(*request.definitions.values())
    feed = Feed(view)
    forget = host.subscribe(feed.take)
    known: list[str] = []

    def last_word() -> None:
        view.close()
        if known and store.kept(request.url):
            complain(f"resume with: wfe run --resume {known[0]}{store.option(request.url)}")

    with interruptible(last_word) as stop:
        await host.start()
        try:
            started = await _begin(host, request, feed)
            known.append(started.id)
            result = await _watched(host, started, request, feed, stop)
        finally:
            view.close()
            forget()
            if stop.is_set():
                complain("stopping what runs; press Ctrl-C again to leave at once")
            await host.stop(grace=0)
    view.finish(result)
    return result.code


async def _begin(host: WorkflowHost, request: _Request, feed: Feed) -> WorkflowRun:
    """Start or find the run, and begin to show it."""
    if request.resumed is None:
        started = await host.start_workflow(
            request.main, request.data, name=request.name, actor="wfe run"
        )
    else:
        if request.rerun:
            await host.retry(request.resumed.id, actor="wfe run")
        started = await host.drive(request.resumed.id)
    picture = Picture(started.id, request.definitions, request.main.id)
    if request.resumed is not None:
        await remember(host, picture)
    feed.show(picture)
    return started


async def _watched(
    host: WorkflowHost, run: WorkflowRun, request: _Request, feed: Feed, stop: asyncio.Event
) -> Result:
    ticks = asyncio.create_task(ticking(feed.view))
    try:
        ended = await driven(host, run, stop)
    finally:
        ticks.cancel()
    instance = ended.instance or await host.get(run.id)
    picture = feed.picture
    if picture is None:
        raise CommandError("the run was not shown", None, Exit.FAILED)
    now = now_utc()
    if ended.interrupted:
        picture.interrupt(now)
    return Result(
        instance=instance,
        picture=picture,
        now=now,
        stuck=ended.stuck,
        interrupted=ended.interrupted,
        source=request.source,
        db=store.option(request.url),
        again=request.again,
        kept=store.kept(request.url),
        definition=request.main,
    )
