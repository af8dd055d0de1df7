"""``wfe run``: start or resume a run, drive it, show it."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import Any

import attrs
import click
from click.core import ParameterSource

from wfe.core.models import WorkflowInstance, WorkflowStatus
from wfe.host.cli import settings, store
from wfe.host.cli.completing import completed_by
from wfe.host.cli.driving import Feed, driven, interruptible, ticking
from wfe.host.cli.earlier import earlier_times, remember
from wfe.host.cli.errors import CommandError, Exit, complain, log_to_stderr, warn
from wfe.host.cli.model import Picture
from wfe.host.cli.preflight import Needs, preflight
from wfe.host.cli.requests import Request, Start, to_resume, to_start
from wfe.host.cli.result import Result, now_utc
from wfe.host.cli.sources import Given, load_source
from wfe.host.cli.views import View
from wfe.host.cli.views import chosen as chosen_view
from wfe.host.host import WorkflowHost
from wfe.host.runs import WorkflowRun

__all__ = ["run"]


@click.command(short_help="Run a workflow file and watch it.")
@click.argument("file", required=False)
@click.option(
    "--workflow",
    metavar="ID",
    shell_complete=completed_by("workflows_of_file"),
    help="Which workflow of the file.",
)
@click.option("-i", "inputs", multiple=True, metavar="KEY=VALUE", help="An input of the workflow.")
@click.option("--input-file", metavar="FILE", help="Inputs as a JSON or YAML file.")
@click.option("-v", "variables", multiple=True, metavar="NAME=VALUE", help="A value for ((NAME)).")
@click.option(
    "--vars-file", "vars_files", multiple=True, metavar="FILE", help="Values for ((NAME))s."
)
@click.option("--name", metavar="NAME", help="A name for the run, unique in the store.")
@click.option(
    "--resume",
    "reference",
    metavar="RUN",
    shell_complete=completed_by("runs"),
    help="Go on with an unfinished run.",
)
@click.option("--rerun-failed", "rerun", is_flag=True, help="With --resume: try what failed again.")
@settings.CONFIG
@click.option("--secrets-file", metavar="FILE", help="Secrets as NAME=VALUE lines, or a map.")
@click.option("--label", "labels", multiple=True, metavar="LABEL", help="What this machine can do.")
@click.option("--no-services", is_flag=True, help="Run without the services that the file names.")
@click.option(
    "--cache",
    "caching",
    type=click.Choice(["on", "refresh", "off"]),
    default="on",
    help="Take kept results (on), make them anew (refresh), or neither take nor keep (off).",
)
@click.option("--wait", is_flag=True, help="Stay while the run waits for events or answers.")
@click.option("--detach", is_flag=True, help="Start the run and leave; a `wfe worker` drives it.")
@click.option("--plain", is_flag=True, help="Lines instead of a tree, also on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines on stdout.")
@store.DB
@settings.providers
def run(  # noqa: PLR0913, PLR0917 - the options of the command
    file: str | None,
    workflow: str | None,
    inputs: tuple[str, ...],
    input_file: str | None,
    variables: tuple[str, ...],
    vars_files: tuple[str, ...],
    secrets_file: str | None,
    labels: tuple[str, ...],
    no_services: bool,
    caching: str,
    name: str | None,
    reference: str | None,
    rerun: bool,
    wait: bool,
    detach: bool,
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
    event or an answer (time-outs of a minute and less are waited for), 4 terminated, 130
    interrupted (the last line says how to go on).
    """
    view = chosen_view(plain=plain, json=as_json)
    told = settings.configuration()
    given = Given(assignments=variables, files=vars_files, config=told.variables)
    needs = Needs(
        secrets_file=secrets_file,
        secrets=told.secrets,
        labels=(*labels, *told.settings.get("labels", ())),
        services=not no_services,
        caching=caching,
    )
    start = Start(workflow=workflow, inputs=inputs, input_file=input_file, name=name)
    loaded = load_source(file, given) if file is not None else None
    if detach and (reference is not None or not store.kept(db)):
        problem = "--detach starts a new run in a store that is kept"
        raise CommandError(problem, "leave out --resume, and name a store with --db")
    if reference is not None:
        start.refuse()
        request = store.on_store(
            db, lambda host: to_resume(host, reference, loaded, given, db, rerun=rerun)
        )
        if request.resumed is not None and request.over:
            return _over(request.resumed, request, view)
    elif rerun:
        raise click.UsageError("--rerun-failed goes on with a run: name it with --resume RUN")
    elif loaded is None:
        raise click.UsageError("name a FILE to run, or a run to go on with: --resume RUN")
    else:
        request = to_start(loaded, start, db)
        request = attrs.evolve(request, again=_again(click.get_current_context()))
    request = attrs.evolve(request, wait=wait)
    log_to_stderr()
    if detach:
        return asyncio.run(_left(request, as_json=as_json))
    return asyncio.run(_perform(request, needs, view))


def _again(ctx: click.Context) -> str:
    """Return the command line that *ctx* was made from, without passwords.

    Without a name, too, which would be taken.
    """
    words = ["wfe", "run", str(ctx.params["file"])]
    for option in ctx.command.params:
        name = option.name or ""
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if isinstance(option, click.Option) and given and name != "name":
            value: Any = settings.given(ctx, name)
            for each in value if option.multiple else (value,):
                words += [option.opts[0]] if each is True else [option.opts[0], str(each)]
    return shlex.join(store.masked(word) for word in words)


def _over(instance: WorkflowInstance[Any], request: Request, view: View) -> int:
    """Answer ``--resume`` of a run that is final already."""
    from wfe.host.cli.view_json import JsonView  # noqa: PLC0415 - one of four

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


async def _left(request: Request, *, as_json: bool) -> int:
    """Start a run for others to drive."""
    from wfe.host.cli.taking import why_left  # noqa: PLC0415 - few runs are left to others

    async with await store.host_on(request.url, name="wfe-run", **store.GUEST) as host:
        host.register(*request.definitions)
        started = await host.start_workflow(
            request.main, request.data, name=request.name, actor="wfe run"
        )
        if as_json:
            click.echo(json.dumps({"id": started.id, "definition": request.main.id}))
        else:
            click.echo(started.id)
        left = await why_left(host, started.id)
    option = store.option(request.url)
    if left is not None:
        hint = f"start one that has it: wfe worker {shlex.quote(str(request.source))}{option}"
        warn(f"run {started.id} waits: {left}\n  {hint}")
    if not as_json:
        complain(f"started; follow it with: wfe logs -f {started.id}{option}")
    return Exit.COMPLETE


async def _perform(request: Request, needs: Needs, view: View) -> int:
    options = await preflight(request, needs)
    host = await store.host_on(request.url, name="wfe-run", own_runs_only=True, **options)
    host.register(*request.definitions)
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


async def _begin(host: WorkflowHost, request: Request, feed: Feed) -> WorkflowRun:
    """Start or find the run, and begin to show it."""
    if request.resumed is None:
        started = await host.start_workflow(
            request.main, request.data, name=request.name, actor="wfe run"
        )
    else:
        if request.rerun:
            await host.retry(request.resumed.id, actor="wfe run")
        started = await host.drive(request.resumed.id)
    times = await earlier_times(host, request.definitions) if feed.compares else None
    known = {each.id: each for each in (*request.definitions, request.main)}
    picture = Picture(started.id, known, request.main.id, times)
    if request.resumed is not None:
        await remember(host, picture)
    feed.show(picture)
    return started


async def _watched(
    host: WorkflowHost, run: WorkflowRun, request: Request, feed: Feed, stop: asyncio.Event
) -> Result:
    ticks = asyncio.create_task(ticking(feed.view))
    kept = store.kept(request.url)
    try:
        ended = await driven(host, run, stop, wait=request.wait, kept=kept)
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
        kept=kept,
        definition=request.main,
    )
