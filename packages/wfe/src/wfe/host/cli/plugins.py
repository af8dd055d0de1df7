"""``wfe plugins``: what installed distributions offer."""

from __future__ import annotations

import json

import click

from wfe.core.plugins import GROUPS, described

__all__ = ["plugins"]


@click.command(short_help="List what installed distributions offer.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list.")
def plugins(as_json: bool) -> None:
    """List what installed distributions offer, by entry-point group; nothing is imported."""
    rows = [(group, *row) for group in GROUPS for row in described(group)]
    if as_json:
        keys = ("group", "name", "distribution", "object")
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for group, name, source, value in rows:
        click.echo(f"{group:<{widths[0]}}  {name:<{widths[1]}}  {source:<{widths[2]}}  {value}")
