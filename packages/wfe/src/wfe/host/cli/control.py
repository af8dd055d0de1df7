"""``wfe suspend``, ``resume``, ``terminate``, ``publish``: record what is wanted, drive nothing."""

from __future__ import annotations

import json
from typing import Any

import click

from wfe.host.cli import store
from wfe.host.cli.errors import CommandError
from wfe.host.cli.references import found, run_argument
from wfe.host.host import WorkflowHost

__all__ = ["REASON", "actor", "parsed", "publish", "resume", "suspend", "terminate"]

REASON = click.option("--reason", metavar="TEXT", help="Kept in the run's history.")
"""The option ``--reason`` of what changes a run."""


def actor() -> str:
    """Return who is at the keyboard, for the history."""
    import getpass  # noqa: PLC0415 - only for a change

    try:
        return f"{getpass.getuser()} (wfe)"
    except (KeyError, OSError, ImportError):
        return "wfe"


@click.command(short_help="Let no further step of a run begin.")
@run_argument
@REASON
@store.DB
def suspend(run: str, reason: str | None, db: str) -> None:
    """Let no further step of RUN begin; what runs now ends and is recorded."""

    async def work(host: WorkflowHost) -> str:
        id_ = (await found(host, run)).id
        await host.suspend(id_, reason, actor=actor())
        return id_

    id_ = store.on_store(db, work)
    click.echo(f"suspend is recorded for run {id_}; whoever drives it stops before the next step")


@click.command(short_help="Lift the suspension of a run.")
@run_argument
@store.DB
def resume(run: str, db: str) -> None:
    """Lift the suspension of RUN; a step that suspended it is tried again.

    The run goes on where a host drives it: in an application, or with `wfe run --resume RUN`.
    """

    async def work(host: WorkflowHost) -> str:
        id_ = (await found(host, run)).id
        await host.resume(id_, actor=actor())
        return id_

    id_ = store.on_store(db, work)
    click.echo(f"resume is recorded for run {id_}")
    click.echo(f"drive it with: wfe run --resume {id_}{store.option(db)}")


@click.command(short_help="End a run.")
@run_argument
@REASON
@store.DB
def terminate(run: str, reason: str | None, db: str) -> None:
    """End RUN; its running steps and its sub-workflow runs are ended too.

    A run that nobody drives ends when somebody does: `wfe run --resume RUN`.
    """

    async def work(host: WorkflowHost) -> str:
        id_ = (await found(host, run)).id
        await host.terminate(id_, reason, actor=actor())
        return id_

    id_ = store.on_store(db, work)
    click.echo(f"terminate is recorded for run {id_}; whoever drives it ends it")


@click.command(short_help="Publish an event that runs wait for.")
@click.argument("name")
@click.argument("key", default="")
@click.option("--data", "text", metavar="JSON", help="What the waiting steps get.")
@click.option("--id", "event_id", metavar="ID", help="A second event with the same id is dropped.")
@store.DB
def publish(name: str, key: str, text: str | None, event_id: str | None, db: str) -> None:
    """Publish the event NAME, for whoever waits for this KEY, or will.

    A run that nobody drives takes it when somebody does: `wfe run --resume RUN`.
    """
    data = parsed(text)

    async def work(host: WorkflowHost) -> str:
        return await host.publish_event(name, key, data, id=event_id)

    published = store.on_store(db, work)
    what = f"{name} (key {key})" if key else name
    click.echo(f"event {what} is published, id {published}")


def parsed(text: str | None) -> Any:
    """Return the value of ``--data``, ``None`` without one.

    Raises:
        CommandError: It is not JSON.
    """
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        problem = f"--data is not JSON: {error}"
        raise CommandError(
            problem, """quote texts, for example --data '"yes"' or '{"by": "me"}'"""
        ) from error
