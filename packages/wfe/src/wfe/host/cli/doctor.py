"""``wfe doctor``: what is wrong with a store, its workers and runs, and what to do about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Final

import attrs
import click

from wfe.core.errors import ProviderError
from wfe.core.examining import Finding
from wfe.host.cli import settings, store
from wfe.host.cli.cleaning import safe
from wfe.host.cli.errors import Exit, log_to_stderr

__all__ = ["doctor"]

_GLYPHS: Final = {"ok": "✔", "note": "·", "warning": "!", "problem": "✗"}
_COLOURS: Final = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "red"}


@click.command(short_help="Tell what is wrong with a store and its workers.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list.")
@settings.CONFIG
@store.DB
@settings.providers
def doctor(as_json: bool, db: str) -> int:
    """Look over the store and all that stands around it, and tell what is wrong.

    Connections and versions, migrations, clocks, dead workers that still own runs, definitions
    that nobody can run, late schedules, suspended and troubled runs, and what each provider finds
    out about itself. Exits with 1 when there is a problem; warnings alone do not count.
    """
    log_to_stderr()
    found = asyncio.run(_examined(db))
    if as_json:
        click.echo(json.dumps([attrs.asdict(each) for each in found], ensure_ascii=False, indent=2))
    else:
        _show(found)
    return Exit.FAILED if any(each.level == "problem" for each in found) else Exit.COMPLETE


async def _examined(db: str) -> Sequence[Finding]:
    # The host is not started: it would take over from the dead before they are seen.
    host = await store.host_on(store.existing(db), name="wfe-doctor")
    try:
        return await host.examine()
    except ProviderError as error:  # whoever watches wants to be told as of everything else
        return [Finding(level="problem", topic="store", text=str(error))]


def _show(found: Sequence[Finding]) -> None:
    width = max(len(each.topic) for each in found)
    for each in found:
        glyph = click.style(_GLYPHS[each.level], fg=_COLOURS[each.level])
        click.echo(f"{glyph} {each.topic:<{width}}  {safe(each.text)}")
        if each.hint is not None and each.level in {"warning", "problem"}:
            click.echo(f"  {'':<{width}}  → {safe(each.hint)}")
    counted = {level: sum(each.level == level for each in found) for level in _GLYPHS}
    if not counted["problem"] and not counted["warning"]:
        click.echo("all is well")
        return
    click.echo(f"{counted['problem']} problem(s), {counted['warning']} warning(s)")
