"""``wfe steps`` and ``wfe schema``: which step types there are, and what files may hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import click

from wfe.host.cli.cleaning import safe
from wfe.host.cli.errors import CommandError
from wfe.host.cli.sources import need_yaml

__all__ = ["schema", "steps"]


@click.command(short_help="Print the JSON Schema of workflow files.")
@click.option("-o", "--output", metavar="FILE", help="Write it there instead.")
def schema(output: str | None) -> None:
    """Print the JSON Schema of workflow files, with the step types that are installed here.

    Editors complete and check files with it. For the YAML language server write as first line:
    `# yaml-language-server: $schema=workflow.schema.json`
    """
    need_yaml()
    from wfe.yaml.schema import json_schema  # noqa: PLC0415 - the plugin

    text = json.dumps(json_schema(), ensure_ascii=False, indent=2)
    if output is None:
        click.echo(text)
        return
    try:
        with open(output, "w", encoding="utf-8") as file:  # noqa: PTH123 - a text of the user
            file.write(f"{text}\n")
    except OSError as error:
        raise CommandError(f"{output!r} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {output}")


@click.command(short_help="List the step types that files can use.")
@click.argument("step_type", metavar="[TYPE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def steps(step_type: str | None, as_json: bool) -> None:
    """List the step types that workflow files can use here, or all that one TYPE takes."""
    need_yaml()
    from wfe.yaml.schema import step_types  # noqa: PLC0415 - the plugin

    rows: Sequence[Mapping[str, Any]] = [attrs.asdict(row) for row in step_types()]
    if step_type is not None:
        rows = [_named(rows, step_type)]
    if as_json:
        shown = rows[0] if step_type is not None else list(rows)
        click.echo(json.dumps(shown, ensure_ascii=False, indent=2, default=str))
    elif step_type is not None:
        _one(rows[0])
    else:
        _all(rows)


def _named(rows: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    found = next((row for row in rows if row["name"] == name), None)
    if found is not None:
        return found
    import difflib  # noqa: PLC0415 - only for a typing error

    names = [str(row["name"]) for row in rows]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"types: {', '.join(names)}"
    raise CommandError(f"there is no step type {name!r}", hint)


def _all(rows: Sequence[Mapping[str, Any]]) -> None:
    width = max(len(str(row["name"])) for row in rows)
    source = max(len(str(row["source"])) for row in rows)
    for row in rows:
        about = str(row.get("problem") or row.get("description") or "").replace("``", "`")
        line = f"{row['name']:<{width}}  {row['source']:<{source}}  {about}"
        click.echo(safe(line.rstrip()))
    click.echo(f"\nall that a type takes: wfe steps {rows[0]['name']}", err=True)


def _one(row: Mapping[str, Any]) -> None:
    click.echo(safe(f"{row['name']}  ({row['source']})"))
    for text in (row.get("description"), row.get("problem")):
        if text:
            click.echo(safe(f"  {str(text).replace('``', '`')}"))
    _section("config", [_key(each) for each in row.get("keys", ())])
    outputs: Mapping[str, Any] = row.get("outputs") or {}
    _section("outputs of every step", [(name, str(kind), "") for name, kind in outputs.items()])


def _key(each: Mapping[str, Any]) -> tuple[str, str, str]:
    kind = "|".join(map(str, each.get("choices") or ())) or str(each.get("type", "any"))
    if each.get("required"):
        kind += ", required"
    elif each.get("default") is not None:
        kind += f", default {json.dumps(each['default'], ensure_ascii=False, default=str)}"
    return str(each["name"]), kind, str(each.get("description") or "")


def _section(title: str, rows: Sequence[tuple[str, str, str]]) -> None:
    if not rows:
        return
    click.echo(f"{title}:")
    names, kinds = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, kind, about in rows:
        click.echo(safe(f"  {name:<{names}}  {kind:<{kinds}}  {about}".rstrip()))
