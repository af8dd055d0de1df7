"""``wfe logs``: what the steps of a run wrote."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from wfe.core.lean import define
from wfe.core.models import LogLine
from wfe.host.cli import store
from wfe.host.cli.cleaning import safe
from wfe.host.cli.completing import completed_by
from wfe.host.cli.errors import CommandError, complain
from wfe.host.cli.output import Output
from wfe.host.cli.references import found, run_argument
from wfe.host.cli.result import notice_line
from wfe.host.cli.stored import logs_after
from wfe.host.cli.tails import notice_of, progress_of
from wfe.host.host import WorkflowHost

__all__ = ["logs"]

_LOOK: Final = 0.2  # seconds between looks for new lines


@click.command(short_help="Print what the steps of a run wrote.")
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is final.")
@click.option(
    "--step",
    metavar="STEP",
    shell_complete=completed_by("steps_of_run"),
    help="Only the lines of this step.",
)
@click.option(
    "--grep", metavar="PATTERN", help="Only lines in which this regular expression is found."
)
@click.option("--json", "as_json", is_flag=True, help="JSON Lines.")
@store.DB
def logs(
    run: str, follow: bool, step: str | None, grep: str | None, as_json: bool, db: str
) -> None:
    """Print what the steps of RUN and of its sub-workflow runs wrote, in order."""
    pattern = _pattern(grep)

    def wanted(line: LogLine) -> bool:
        return (step is None or line.step == step) and (
            pattern is None or bool(pattern.search(line.line))
        )

    out = Output(sys.stdout)
    fitting = 0

    def show(line: LogLine) -> None:
        nonlocal fitting
        if wanted(line):
            fitting += 1
            text = _json(line) if as_json else _text(line)
            if text is not None:
                out.line(text if as_json else safe(text))

    async def work(host: WorkflowHost) -> None:
        instance = await found(host, run)
        await _Reader(host, show, {instance.id: 0}).read(follow=follow)
        if step is not None and not fitting:
            complain(f"nothing to show of a step {step!r}; the steps are in: wfe show {run}")

    store.on_store(db, work)


def _pattern(grep: str | None) -> re.Pattern[str] | None:
    if grep is None:
        return None
    try:
        return re.compile(grep)
    except re.error as error:
        problem = f"--grep {grep!r} is not a regular expression: {error}"
        raise CommandError(problem, "escape characters such as ( [ * with a backslash") from error


def _text(line: LogLine) -> str | None:
    """Return a line for people, ``None``: it only ends a group."""
    step = line.step or "-"
    match line.stream:
        case "annotation":
            return notice_line(notice_of(step, line.line))
        case "progress":
            return f"{step} | {progress_of(line.line)}"
        case "group":
            return f"{step} | ▾ {line.line}"
        case "endgroup":
            return None
        case _:
            return f"{step} | {line.line}"


def _json(line: LogLine) -> str:
    row: dict[str, Any] = {
        "run": line.instance_id,
        "step": line.step,
        "time": line.at.isoformat(),
        "stream": line.stream,
        "line": line.line,
    }
    return json.dumps(row, ensure_ascii=False)


@define
class _Reader:
    """Reads the lines of a run and of its sub-workflow runs; *seen* is the position in each."""

    host: WorkflowHost
    show: Callable[[LogLine], None]
    seen: dict[str, int]

    async def read(self, *, follow: bool) -> None:
        root = next(iter(self.seen))
        while True:
            final = (await self.host.get(root)).status.final
            await self._family()
            await self._more()
            if final or not follow:
                return
            await asyncio.sleep(_LOOK)

    async def _family(self) -> None:
        """Find the runs that the known ones started."""
        waiting = list(self.seen)
        while waiting:
            for entry in await self.host.history(waiting.pop()):
                child = (entry.data or {}).get("child")
                if isinstance(child, str) and child not in self.seen:
                    self.seen[child] = 0
                    waiting.append(child)

    async def _more(self) -> None:
        lines: list[LogLine] = []
        for id_, after in self.seen.items():
            new, self.seen[id_] = await logs_after(self.host, id_, after)
            lines.extend(new)
        for line in sorted(lines, key=lambda each: each.at):
            self.show(line)
