"""``wfe schedule apply``: the schedules of a file's triggers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Wfe: TypeAlias = Callable[..., Any]

FILE = """\
workflow:
  id: deploy
  version: 1
  inputs: {{target: {{type: string, default: staging}}}}
  triggers:
{triggers}
  steps:
    - {{name: x, run: 'echo "$TARGET"'}}
"""
NIGHTLY = "    - {cron: 0 3 * * *, name: nightly, timezone: Europe/Berlin, jitter: 5m}"
NOON = "    - {cron: 0 12 * * *, inputs: {target: ((where|production))}, overlap: queue}"
HOOK = "    - {webhook: {source: github}}"


def _put(folder: Path, *triggers: str) -> None:
    text = FILE.format(triggers="\n".join(triggers))
    (folder / "deploy.yaml").write_text(text, encoding="utf-8")


def _applied(wfe: Wfe, *more: str) -> dict[str, str]:
    ended = wfe("schedule", "apply", "deploy.yaml", "--json", *more)
    assert ended.code == 0, ended.err
    return {row["schedule"]: row["change"] for row in json.loads(ended.out)}


def test_apply_makes_the_schedules_of_a_file(wfe: Wfe, folder: Path) -> None:
    _put(folder, NIGHTLY, NOON, HOOK)

    assert _applied(wfe) == {"deploy.nightly": "created", "deploy.cron": "created"}

    shown = json.loads(wfe("schedule", "show", "deploy.nightly", "--json").out)
    assert (shown["cron"], shown["timezone"], shown["jitter"]) == (
        *("0 3 * * *", "Europe/Berlin"),
        300.0,
    )
    shown = json.loads(wfe("schedule", "show", "deploy.cron", "--json").out)
    assert (shown["data"], shown["overlap"]) == ({"inputs": {"target": "production"}}, "queue")


def test_apply_again_changes_only_what_the_file_changed(wfe: Wfe, folder: Path) -> None:
    _put(folder, NIGHTLY, NOON)
    _applied(wfe)

    assert set(_applied(wfe).values()) == {"unchanged"}
    assert _applied(wfe, "-v", "where=test") == {
        "deploy.nightly": "unchanged",
        "deploy.cron": "changed",
    }


def test_what_the_file_no_longer_has_is_deleted_only_when_asked(wfe: Wfe, folder: Path) -> None:
    _put(folder, NIGHTLY, NOON)
    _applied(wfe)
    assert wfe("schedule", "create", "mine", "deploy.yaml", "--every", "1h").code == 0
    _put(folder, NOON)

    assert _applied(wfe) == {"deploy.cron": "unchanged", "deploy.nightly": "left"}
    assert _applied(wfe, "--prune") == {"deploy.cron": "unchanged", "deploy.nightly": "deleted"}
    listed = json.loads(wfe("schedule", "list", "--json").out)
    assert [each["id"] for each in listed] == ["deploy.cron", "mine"]


def test_apply_tells_in_words(wfe: Wfe, folder: Path) -> None:
    _put(folder, NIGHTLY)

    assert wfe("schedule", "apply", "deploy.yaml").out == "schedule deploy.nightly created\n"
    assert wfe("schedule", "apply", "hello.yaml").out == "hello.yaml has no cron triggers\n"
