"""``wfe contract``: whether what a URL names keeps the contracts of its seams."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence

import click

from wfe.core.errors import ProviderError
from wfe.host.cli.errors import CommandError, Exit
from wfe.testing.contract_runs import ContractError, Law, Seam, run_contracts

__all__ = ["contract"]

_COLUMNS = ("seam", "passed", "failed", "skipped")


@click.command(short_help="Check a provider against the contracts of its seams.")
@click.argument("url")
@click.option("--seam", "seams", multiple=True, help="Only this seam; may be repeated.")
@click.option(
    "--without", multiple=True, metavar="CAPABILITY", help="Do not claim it; may be repeated."
)
@click.option("-k", "keyword", metavar="EXPRESSION", help="Only laws that fit, as pytest's -k.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list.")
@click.option("--verbose", is_flag=True, help="Show what pytest prints, on stderr.")
def contract(
    url: str,
    seams: tuple[str, ...],
    without: tuple[str, ...],
    keyword: str | None,
    as_json: bool,
    verbose: bool,
) -> int:
    """Check what URL names against the contract of each seam that its plugins claim.

    Each law gets an empty store: `{n}` in the URL becomes a number, another one for each. For
    sqlite, file, postgresql, valkey and opensearch it is inserted, and what was made is removed at
    the end. A store in which there is something is refused. Exits with 1 when a law is not kept,
    with 2 when none could be tried, for example because nobody answers.
    """
    if sys.stderr.isatty():
        click.echo("trying the laws, which can take minutes …", err=True)
    try:
        found = run_contracts(url, seams=seams, without=without, keyword=keyword, loud=verbose)
    except ContractError as error:
        raise CommandError(str(error)) from error
    except ProviderError as error:
        hint = "no law was tried: see that it runs and lets you in, or name another URL"
        raise CommandError(str(error), hint) from error
    if as_json:
        click.echo(json.dumps([_row(seam) for seam in found], ensure_ascii=False, indent=2))
    else:
        _show(found)
    kept = not any(seam.ended("failed") for seam in found)
    tried = any(seam.ended("passed") for seam in found)
    return Exit.COMPLETE if kept and tried else Exit.FAILED


def _row(seam: Seam) -> dict[str, object]:
    return {
        "seam": seam.name,
        "capabilities": list(seam.capabilities),
        "passed": len(seam.ended("passed")),
        "failed": [_told(law) for law in seam.ended("failed")],
        "skipped": [_told(law) for law in seam.ended("skipped")],
    }


def _told(law: Law) -> dict[str, str]:
    return {"law": law.name, "text": law.text}


def _show(found: Sequence[Seam]) -> None:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for seam in found:
        passed, failed = (str(len(seam.ended(outcome))) for outcome in ("passed", "failed"))
        rows.append((seam.name, passed, failed, _skipped(seam)))
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    for name, passed, failed, skipped in rows:
        click.echo(
            f"{name:<{widths[0]}}  {passed:>{widths[1]}}  {failed:>{widths[2]}}  {skipped}".rstrip()
        )
    for law in (law for seam in found for law in seam.ended("failed")):
        click.echo(f"{click.style('✗', fg='red')} {law.seam}: {law.name}")
        click.echo(f"    {law.text}")


def _skipped(seam: Seam) -> str:
    reasons = Counter(law.text for law in seam.ended("skipped"))
    told = ", ".join(f"{count} {text}" for text, count in reasons.most_common())
    return told or "0"
