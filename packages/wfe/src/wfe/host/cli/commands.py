"""The command group: finds sub-commands by name and imports only the one that runs."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from wfe.host.cli.cleaning import plain_symbols

__all__ = ["main", "wfe"]

_COMMANDS: Final = {
    "run": ("wfe.host.cli.run:run", "Run a workflow file and watch it."),
    "init": ("wfe.host.cli.init:init", "Write a first workflow, service or plugin."),
    "validate": ("wfe.host.cli.validate:validate", "Check workflow files without running them."),
    "fmt": ("wfe.host.cli.fmt:fmt", "Lay workflow files out anew."),
    "schema": ("wfe.host.cli.step_listing:schema", "Print the JSON Schema of workflow files."),
    "steps": ("wfe.host.cli.step_listing:steps", "List the step types that files can use."),
    "graph": ("wfe.host.cli.draw:graph", "Draw a workflow as a Mermaid diagram."),
    "list": ("wfe.host.cli.reading:list_runs", "List runs, newest first."),
    "show": ("wfe.host.cli.reading:show", "Show one run: its steps, its error, its outputs."),
    "logs": ("wfe.host.cli.logs:logs", "Print what the steps of a run wrote."),
    "search": ("wfe.host.cli.search:search", "Find runs, or lines of their logs, by words."),
    "history": ("wfe.host.cli.reading:history", "Print everything that happened in a run."),
    "explain": ("wfe.host.cli.explain:explain", "Tell why a step ran, was skipped, or waits."),
    "approvals": ("wfe.host.cli.waiting:approvals", "List the questions that wait for an answer."),
    "activities": ("wfe.host.cli.waiting:activities", "List the activities that are not done."),
    "definitions": ("wfe.host.cli.waiting:definitions", "List the stored definitions."),
    "diff": ("wfe.host.cli.diff:diff", "Compare two definitions."),
    "suspend": ("wfe.host.cli.control:suspend", "Let no further step of a run begin."),
    "resume": ("wfe.host.cli.control:resume", "Lift the suspension of a run."),
    "terminate": ("wfe.host.cli.control:terminate", "End a run."),
    "retry": ("wfe.host.cli.intents:retry", "Try a failed or terminated run again."),
    "skip": ("wfe.host.cli.intents:skip", "Go on after a step without doing it."),
    "patch": ("wfe.host.cli.intents:patch", "Set data fields of a run."),
    "fork": ("wfe.host.cli.intents:fork", "Start a new run from where another was."),
    "rewind": ("wfe.host.cli.intents:rewind", "Put a run back to an earlier step."),
    "signal": ("wfe.host.cli.intents:signal", "Send a signal to one run."),
    "update": ("wfe.host.cli.asking:update", "Have a handler of a run change it."),
    "query": ("wfe.host.cli.asking:query", "Ask a query handler of a run."),
    "approve": ("wfe.host.cli.intents:approve", "Answer the question of an approval step."),
    "pause": ("wfe.host.cli.waiting:pause", "Begin no step of any run of a workflow."),
    "unpause": ("wfe.host.cli.waiting:unpause", "Lift the pause of a workflow."),
    "publish": ("wfe.host.cli.control:publish", "Publish an event that runs wait for."),
    "schedule": ("wfe.host.cli.schedule:schedule", "Let workflows start by themselves."),
    "cache": ("wfe.host.cli.cache:cache", "Look at the results that steps keep."),
    "artifacts": ("wfe.host.cli.cache:artifacts", "List and get the files that steps keep."),
    "worker": ("wfe.host.cli.worker:worker", "Drive the runs of a store, until told to stop."),
    "doctor": ("wfe.host.cli.doctor:doctor", "Tell what is wrong with a store and its workers."),
    "purge": ("wfe.host.cli.purge:purge", "Delete finished runs."),
    "plugins": ("wfe.host.cli.plugins:plugins", "List what installed distributions offer."),
    "completion": ("wfe.host.cli.completion:completion", "Print the completion of a shell."),
}
"""Name -> where the command stands and what the help says, so that the help imports nothing."""

_PLUGINS: Final = "wfe.cli"

_ELSEWHERE: Final = {"contract": "wfe-testing"}
"""Commands of other distributions of ours -> which to install."""

_YOUNG: Final = 150_000  # new objects between looks for garbage; starting a run makes 90,000


class _Group(click.Group):
    """Sub-commands by name: our own, then those of other distributions (group ``wfe.cli``)."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        from wfe.core.plugins import installed  # noqa: PLC0415 - walks sys.path, only for the help

        return [*_COMMANDS, *(name for name in installed(_PLUGINS) if name not in _COMMANDS)]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name in _COMMANDS:
            module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        return _plugin(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None:
            raise click.UsageError(_unknown(name, self.list_commands(ctx)), ctx)
        return name, command, args[1:]

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        rows = [(name, about) for name, (_, about) in _COMMANDS.items()]
        rows += [(name, f"(from {source})") for name, source in _foreign()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _unknown(name: str, known: Sequence[str]) -> str:
    if name in _ELSEWHERE:
        return f"the command {name!r} comes with {_ELSEWHERE[name]}: pip install {_ELSEWHERE[name]}"
    import difflib  # noqa: PLC0415 - only for a typing error

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"commands: {', '.join(known)}"
    return f"no such command {name!r}; {hint}"


def _foreign() -> list[tuple[str, str]]:
    """Return (name, distribution) of sub-commands from elsewhere; imports none of them."""
    from wfe.core.plugins import described  # noqa: PLC0415 - as above

    return [(name, source) for name, source, _ in described(_PLUGINS) if name not in _COMMANDS]


def _plugin(name: str) -> click.Command | None:
    from wfe.core.plugins import installed, load  # noqa: PLC0415 - as above

    if name not in installed(_PLUGINS):
        return None
    found: Any = load(_PLUGINS, name)
    if isinstance(found, click.Command):
        return found
    from wfe.host.cli.errors import CommandError  # noqa: PLC0415 - only when a plugin is wrong

    problem = f"the plugin {name!r} (group {_PLUGINS!r}) is {found!r}, not a click command"
    raise CommandError(problem, "update or remove the distribution that brings it")


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - only for --version

    return f"wfe {version('wfe')}"


def _show_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(_version())
        ctx.exit()


@click.group(
    cls=_Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def wfe(ctx: click.Context) -> None:
    """Run durable workflows, and look after their runs.

    Runs are kept in a store, by default in .wfe/wfe.db under the working directory; --db (or the
    environment variable WFE_DB) names another. RUN is a run's id, the beginning of its id, its
    name, or `last`.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line *args* (``None``: the process's) and return the exit code."""
    # What starting makes stays: to look through all of it again and again is 10 % of the time,
    if args is None:  # and so is a last look at what goes with the process anyway.
        atexit.register(gc.freeze)
    gc.set_threshold(_YOUNG)
    plain_symbols(sys.stdout, sys.stderr)
    code = _main(args)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader left with lines still in the buffer
        _leave_pipe()
    return code


def _main(args: Sequence[str] | None) -> int:
    try:
        code = wfe.main(args=args, prog_name="wfe", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _leave_pipe()
        return 1
    except Exception as error:  # noqa: BLE001 - the last place that can turn it into a message
        from wfe.host.cli.errors import report  # noqa: PLC0415 - only for errors

        return report(error)
    return code if isinstance(code, int) else 0


def _leave_pipe() -> None:
    """Point stdout to nowhere, so that the interpreter's last flush does not fail as well."""
    import os  # noqa: PLC0415 - only here

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
