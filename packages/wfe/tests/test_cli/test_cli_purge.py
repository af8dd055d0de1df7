"""``wfe purge``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

Wfe: TypeAlias = Callable[..., Any]


def _ids(wfe: Wfe) -> list[str]:
    return [row["id"] for row in json.loads(wfe("list", "--all", "--json").out)]


def test_purge_deletes_what_fits_and_counts_it(wfe: Wfe) -> None:
    kept = wfe("run", "hello.yaml").run
    wfe("run", "failing.yaml")
    wfe("run", "parent.yaml")

    assert wfe("purge", "--status", "failed").out == "1 run deleted\n"
    assert wfe("purge", "--definition", "parent").out == "2 runs deleted\n"
    assert wfe("purge", "--all", "--older-than", "1h").out == "0 runs deleted\n"
    assert _ids(wfe) == [kept]
    assert json.loads(wfe("purge", "--all", "--json").out) == {"deleted": 1}
    assert _ids(wfe) == []


def test_a_dry_run_deletes_nothing(wfe: Wfe) -> None:
    first, second = wfe("run", "hello.yaml").run, wfe("run", "parent.yaml").run

    lines = wfe("purge", "--all", "--dry-run").out.splitlines()
    assert [line.split()[1:3] for line in lines[:2]] == [
        ["hello", "complete"],
        ["parent", "complete"],
    ]
    assert [line.split()[0] for line in lines[:2]] == [first, second]
    assert lines[-1] == "3 runs would be deleted"
    found = json.loads(wfe("purge", "--definition", "hello", "--dry-run", "--json").out)
    (row,) = found["would_delete"]
    assert (row["id"], row["definition"], row["status"]) == (first, "hello", "complete")
    assert row["completed_at"].endswith("+00:00")
    assert len(_ids(wfe)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "which runs? nothing was said, so nothing was deleted"),
        (("--older-than", "soon"), "--older-than 'soon' is no time"),
        (("--older-than", "30"), "write a number and a unit: 90m, 12h, 30d, 4w"),
        (("--status", "runnable"), "'runnable' is not one of"),
    ],
)
def test_what_is_not_clear_is_refused(wfe: Wfe, options: tuple[str, ...], message: str) -> None:
    wfe("run", "hello.yaml")

    ended = wfe("purge", *options)

    assert ended.code == 2
    assert message in ended.err
    assert len(_ids(wfe)) == 1
