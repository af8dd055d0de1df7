"""``wfe retry``, ``skip``, ``patch``, ``fork``, ``rewind``, ``signal``, ``approve``.

Each stores what is wanted; whoever drives the run does it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import click

from wfe.core.models import WorkflowInstance
from wfe.host.cli import store
from wfe.host.cli.cleaning import safe
from wfe.host.cli.completing import completed_by
from wfe.host.cli.control import REASON, actor, parsed
from wfe.host.cli.errors import CommandError
from wfe.host.cli.references import found, run_argument
from wfe.host.cli.result import code_of
from wfe.host.cli.stored import answered, last_entry
from wfe.host.host import WorkflowHost

__all__ = ["approve", "fork", "patch", "retry", "rewind", "signal", "skip"]

_F = TypeVar("_F", bound=Callable[..., Any])

_WAIT: Final = click.option(
    "--wait", is_flag=True, help="Wait until whoever drives the run has ended or suspended it."
)
_DATA: Final = click.option(
    "-d", "--data", "data", multiple=True, metavar="FIELD=JSON", help="A data field that differs."
)


def _from(*, required: bool, help_: str) -> Callable[[_F], _F]:
    """Return the option ``--from``: a step of the run."""
    return click.option(
        "--from",
        "from_step",
        metavar="STEP",
        shell_complete=completed_by("steps_of_run"),
        required=required,
        help=help_,
    )


def _ask(
    db: str,
    run: str,
    say: str,
    ask: Callable[[WorkflowHost, WorkflowInstance[Any]], Awaitable[Any]],
    *,
    wait: bool = False,
) -> int:
    """Store an intent for the run that *run* means, tell of it, and wait for the end if wanted."""

    async def work(host: WorkflowHost) -> int:
        instance = await found(host, run)
        seen = await last_entry(host, instance.id)
        await ask(host, instance)
        click.echo(f"{say} is recorded for run {instance.id}")
        if not wait:
            return 0
        await answered(host, instance.id, seen)
        return _told(await (await host.run(instance.id)).wait(suspended=True))

    return store.on_store(db, work)


def _told(instance: WorkflowInstance[Any]) -> int:
    error = f": {instance.error.message}" if instance.error is not None else ""
    click.echo(safe(f"run {instance.id} is {instance.status}{error}"))
    return code_of(instance.status)


def _drive(db: str, run: str) -> None:
    click.echo(f"where no host drives it: wfe run --resume {run}{store.option(db)}")


def _fields(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Return ``field=json`` texts as values; what is not JSON is a text.

    Raises:
        CommandError: One has no ``=`` or no field.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise CommandError(f"{assignment!r} has no value", "write it as field=value")
        try:
            values[name.strip()] = json.loads(text)
        except ValueError:
            values[name.strip()] = text
    return values


@click.command(short_help="Try a failed or terminated run again.")
@run_argument
@_from(required=False, help_="Begin again there.")
@REASON
@_WAIT
@store.DB
def retry(run: str, from_step: str | None, reason: str | None, wait: bool, db: str) -> int:
    """Try RUN again where it failed; what is complete stays complete."""
    code = _ask(
        db,
        run,
        "retry",
        lambda host, it: host.retry(it.id, from_step, actor=actor(), reason=reason),
        wait=wait,
    )
    if not wait:
        _drive(db, run)
    return code


@click.command(short_help="Go on after a step without doing it.")
@run_argument
@click.argument("pointer")
@REASON
@_WAIT
@store.DB
def skip(run: str, pointer: str, reason: str | None, wait: bool, db: str) -> int:
    """Let RUN go on after a step without doing it; a suspended run is resumed.

    POINTER is the number that `wfe show RUN --json` lists, or the step's name where it stands once.
    """
    return _ask(
        db,
        run,
        "skip",
        lambda host, it: host.skip(it.id, _pointer(it, pointer), actor=actor(), reason=reason),
        wait=wait,
    )


def _pointer(instance: WorkflowInstance[Any], text: str) -> int:
    """Return the live pointer that *text* means: its number, or the name of its step."""
    if text.isascii() and text.isdigit():
        return int(text)
    fitting = [pointer.id for pointer in instance.pointers if pointer.step == text]
    if len(fitting) == 1:
        return fitting[0]
    stands = ", ".join(f"{each.id} ({each.step})" for each in instance.pointers) or "nowhere"
    times = "several times" if fitting else "not"
    problem = f"run {instance.id} stands {times} at {text!r}"
    raise CommandError(problem, f"it stands at: {stands}")


@click.command(short_help="Set data fields of a run.")
@run_argument
@click.argument("fields", nargs=-1, required=True, metavar="FIELD=JSON...")
@REASON
@store.DB
def patch(run: str, fields: tuple[str, ...], reason: str | None, db: str) -> int:
    """Set data fields of RUN; steps that begin from now on see them.

    What is not JSON is taken as a text: amount=12 paid=true name=Ada items='[1, 2]'.
    """
    values = _fields(fields)
    return _ask(
        db,
        run,
        "patch",
        lambda host, it: host.patch_data(it.id, values, actor=actor(), reason=reason),
    )


@click.command(short_help="Start a new run from where another was.")
@run_argument
@_from(required=True, help_="Where it begins.")
@_DATA
@_WAIT
@store.DB
def fork(run: str, from_step: str, data: tuple[str, ...], wait: bool, db: str) -> int:
    """Start a new run from the state that RUN had when STEP began; RUN stays as it is."""
    fields = _fields(data)

    async def work(host: WorkflowHost) -> int:
        instance = await found(host, run)
        made = await host.fork(instance.id, from_step, fields or None, actor=actor())
        click.echo(f"run {made.id} begins at {from_step}")
        if wait:
            return _told(await made.wait(suspended=True))
        _drive(db, made.id)
        return 0

    return store.on_store(db, work)


@click.command(short_help="Put a run back to an earlier step.")
@run_argument
@click.option(
    "--to",
    "to_step",
    metavar="STEP",
    shell_complete=completed_by("steps_of_run"),
    required=True,
    help="It is done again.",
)
@_DATA
@REASON
@_WAIT
@store.DB
def rewind(
    run: str, to_step: str, data: tuple[str, ...], reason: str | None, wait: bool, db: str
) -> int:
    """Put the suspended or failed RUN back to where STEP began, and go on from there."""
    fields = _fields(data) or None
    code = _ask(
        db,
        run,
        "rewind",
        lambda host, it: host.rewind(it.id, to_step, fields, actor=actor(), reason=reason),
        wait=wait,
    )
    if not wait:
        _drive(db, run)
    return code


@click.command(short_help="Send a signal to one run.")
@run_argument
@click.argument("name")
@click.option("--data", "text", metavar="JSON", help="What the waiting step gets.")
@_WAIT
@store.DB
def signal(run: str, name: str, text: str | None, wait: bool, db: str) -> int:
    """Send the signal NAME to RUN, for its step that waits for it now or later."""
    data = parsed(text)
    return _ask(
        db,
        run,
        f"signal {name}",
        lambda host, it: host.signal(it.id, name, data, actor=actor()),
        wait=wait,
    )


@click.command(short_help="Answer the question of an approval step.")
@run_argument
@click.argument("answer", required=False)
@click.option("--option", "option", metavar="ANSWER", help="The answer, in another way to say it.")
@click.option(
    "--step",
    metavar="STEP",
    shell_complete=completed_by("steps_of_run"),
    help="Which one, when several wait.",
)
@click.option("--comment", metavar="TEXT", help="Kept in the run's history.")
@_WAIT
@store.DB
def approve(
    run: str,
    answer: str | None,
    option: str | None,
    step: str | None,
    comment: str | None,
    wait: bool,
    db: str,
) -> int:
    """Answer the question that RUN asks with one of its options; see `wfe approvals`."""
    if (answer is None) == (option is None):
        raise click.UsageError("give one answer: ANSWER or `--option ANSWER`")
    said = answer or option or ""
    return _ask(
        db,
        run,
        f"answer {said!r}",
        lambda host, it: host.approve(it.id, said, step=step, comment=comment, actor=actor()),
        wait=wait,
    )
