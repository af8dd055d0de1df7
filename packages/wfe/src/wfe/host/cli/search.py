"""``wfe search``: find runs, or lines of their logs, by words; and make the index anew."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

import click

from wfe.core.found import FoundLine, FoundRun
from wfe.core.lean import frozen
from wfe.core.models import Page, WorkflowStatus
from wfe.host.cli import store
from wfe.host.cli.cleaning import safe
from wfe.host.cli.completing import completed_by
from wfe.host.cli.errors import CommandError, complain
from wfe.host.cli.reading import summary_json, table
from wfe.host.cli.settings import CONFIG, SEARCH
from wfe.host.cli.spans import read_span
from wfe.host.host import WorkflowHost

__all__ = ["search"]

_REINDEX = ("reindex",)


@frozen(kw_only=True)
class _Wanted:
    """What was asked for, as the options of ``WorkflowHost.search``."""

    terms: str
    logs: bool
    options: dict[str, Any]


@click.command(short_help="Find runs, or lines of their logs, by words.")
@click.argument("terms", nargs=-1)
@click.option("--logs", is_flag=True, help="Find lines that steps wrote.")
@click.option(
    "--definition",
    metavar="ID",
    shell_complete=completed_by("definitions"),
    help="Only of this workflow.",
)
@click.option(
    "--status", type=click.Choice([status.value for status in WorkflowStatus]), help="Only these."
)
@click.option("--reference", metavar="TEXT", help="Only runs that were started with it.")
@click.option("--run", metavar="RUN", help="Only lines of this run.")
@click.option(
    "--field",
    "fields",
    metavar="PATH=VALUE",
    multiple=True,
    help="Only runs whose data has it: customer.city=Aarhus. Can be repeated.",
)
@click.option("--since", metavar="TIME", help="Not older: 12h, 30d, 2026-01-31.")
@click.option("--until", metavar="TIME", help="Older: as --since.")
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest", "relevance"]),
    default="newest",
    show_default=True,
    help="What comes first.",
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most."
)
@click.option("--cursor", metavar="TEXT", help="Go on after the page that named it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@SEARCH
@CONFIG
@store.DB
def search(terms: tuple[str, ...], as_json: bool, db: str, **options: Any) -> None:
    """Find runs whose name, reference, error or data has all TERMS.

    A term is a word, "some words" that stand next to each other, the beginning of a word with a
    star (pay*), or what must not occur with a minus (-- -word). Without terms the options decide.

    `wfe search reindex` makes the search index anew from the store; to find the word, write
    `wfe search '"reindex"'`.
    """
    if terms == _REINDEX:
        _reindex(db, as_json=as_json)
        return
    wanted = _wanted(" ".join(map(_term, terms)), options)

    async def work(host: WorkflowHost) -> tuple[Page[Any], int]:
        found: Page[Any] = await host.search(
            wanted.terms, logs=cast("Literal[True]", wanted.logs), **wanted.options
        )
        feed: dict[str, Any] = (await host.health())["search"] or {}
        return found, feed.get("pending") or 0

    page, pending = store.on_store(db, work, aside=())
    if pending:
        complain(f"{pending} changes are not in the index yet")
    if as_json:
        show = _line_json if wanted.logs else _run_json
        found = {"items": [show(each) for each in page.items], "cursor": page.cursor}
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    _show(page, logs=wanted.logs)


def _term(given: str) -> str:
    """Return an argument as a term: several words are meant to stand next to each other."""
    minus = "-" if given.startswith("-") else ""
    words = given.removeprefix("-")
    return f'{minus}"{words}"' if " " in words and '"' not in words else given


def _wanted(terms: str, given: dict[str, Any]) -> _Wanted:
    logs, fields = given.pop("logs"), given.pop("fields")
    data = dict(map(_field, fields)) or None
    since, until = _time(given.pop("since"), "--since"), _time(given.pop("until"), "--until")
    options = {**given, "data": data, "since": since, "until": until}
    wrong = ("status", "reference", "data") if logs else ("run",)
    for name in wrong:
        if options.pop(name) is not None:
            option = "--field" if name == "data" else f"--{name}"
            kind = "runs, not for lines" if logs else "lines"
            hint = "leave one of the two out" if logs else "say --logs too"
            raise CommandError(f"{option} is for {kind}", hint)
    return _Wanted(terms=terms, logs=logs, options=options)


def _field(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not path or not equals:
        problem = f"--field {text!r} is not PATH=VALUE"
        raise CommandError(problem, "for example --field customer.city=Aarhus")
    return path, value


def _time(text: str | None, option: str) -> datetime | None:
    """Return a time: a date, or so long ago."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        dated = "or a date, with or without a time: 2026-01-31"
        return datetime.now(UTC) - read_span(text, option, or_else=dated)


def _show(page: Page[Any], *, logs: bool) -> None:
    if not page.items:
        click.echo("nothing found")
    elif logs:
        _lines(page.items)
    else:
        table([each.instance for each in page.items])
    if page.cursor is not None:
        click.echo(f"there is more: --cursor {page.cursor}", err=True)


def _lines(found: Sequence[FoundLine]) -> None:
    for each in found:
        line = each.line
        when = f"{line.at.astimezone():%Y-%m-%d %H:%M:%S}"
        click.echo(safe(f"{line.instance_id}  {when}  {line.step or '-'} | {line.line}"))


def _run_json(found: FoundRun) -> dict[str, Any]:
    return {**summary_json(found.instance), "score": found.score}


def _line_json(found: FoundLine) -> dict[str, Any]:
    line = found.line
    return {
        "run": line.instance_id,
        "definition": found.definition,
        "step": line.step,
        "time": line.at.isoformat(),
        "stream": line.stream,
        "line": line.line,
        "score": found.score,
    }


def _reindex(db: str, *, as_json: bool) -> None:
    live = sys.stderr.isatty()

    def told(count: int) -> None:
        click.echo(f"\r{count} runs and lines", err=True, nl=False)

    async def work(host: WorkflowHost) -> int:
        return await host.reindex(told if live else None)

    count = store.on_store(db, work, aside=())
    if live:
        click.echo("\r\033[K", err=True, nl=False)
    click.echo(json.dumps({"indexed": count}) if as_json else f"{count} runs and lines indexed")
