"""``wfe search`` and ``wfe search reindex``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Wfe: TypeAlias = Callable[..., Any]


@pytest.fixture
def runs(wfe: Wfe) -> list[str]:
    """Ids of four runs: two of hello, one that failed, one with a sub-workflow."""
    return [
        wfe("run", "hello.yaml", "-i", "who=Ann Smith").run,
        wfe("run", "hello.yaml", "-i", "who=Bo", "-i", "times=7").run,
        wfe("run", "failing.yaml").run,
        wfe("run", "parent.yaml").run,
    ]


def _ids(ended: Any) -> list[str]:
    return [row["id"] for row in json.loads(ended.out)["items"]]


def test_words_find_runs(wfe: Wfe, runs: list[str]) -> None:
    ann, bo, failed, _ = runs

    assert _ids(wfe("search", "ann", "--json")) == [ann]
    assert _ids(wfe("search", "HELLO", "--json")) == [bo, ann]
    assert _ids(wfe("search", "hello", "smith", "--json")) == [ann]
    assert _ids(wfe("search", "ann smith", "--json")) == [ann]
    assert _ids(wfe("search", "smith ann", "--json")) == []
    assert _ids(wfe("search", "--json", "--", "hello", "-smith")) == [bo]
    assert _ids(wfe("search", "--json", "--", "hello", "-ann smith")) == [bo]
    assert _ids(wfe("search", "smi*", "--json")) == [ann]
    assert _ids(wfe("search", "3", "--status", "failed", "--json")) == [failed]


def test_options_find_runs(wfe: Wfe, runs: list[str]) -> None:
    ann, bo, failed, parent = runs

    assert _ids(wfe("search", "--status", "failed", "--json")) == [failed]
    assert _ids(wfe("search", "--definition", "hello", "--order", "oldest", "--json")) == [ann, bo]
    assert len(_ids(wfe("search", "--since", "1h", "--json"))) == 5  # the child of parent too
    assert _ids(wfe("search", "--until", "2020-01-31", "--json")) == []
    assert _ids(wfe("search", "--definition", "parent", "--json")) == [parent]
    (row,) = json.loads(wfe("search", "ann", "--json").out)["items"]
    assert (row["definition"], row["status"], row["score"]) == ("hello", "complete", None)


def test_a_field_finds_runs(wfe: Wfe, runs: list[str]) -> None:
    ann, bo, *_ = runs

    assert _ids(wfe("search", "--field", "inputs.who=Ann Smith", "--json")) == [ann]
    assert _ids(wfe("search", "--field", "inputs.times=7", "--json")) == [bo]
    assert _ids(wfe("search", "--field", "inputs.times=07", "--json")) == []
    both = ("--field", "inputs.times=7", "--field", "inputs.who=Bo")
    assert _ids(wfe("search", *both, "--json")) == [bo]


def test_a_table_for_people(wfe: Wfe, runs: list[str]) -> None:
    (line,) = wfe("search", "smith").out.splitlines()

    assert line.startswith(runs[0])
    assert "complete" in line
    assert wfe("search", "nobody").out == "nothing found\n"


def test_pages(wfe: Wfe, runs: list[str]) -> None:
    first = wfe("search", "hello", "--limit", "1", "--json")
    cursor = json.loads(first.out)["cursor"]
    rest = wfe("search", "hello", "--limit", "1", "--cursor", cursor, "--json")

    assert [*_ids(first), *_ids(rest)] == runs[1::-1]
    assert json.loads(rest.out)["cursor"] is None
    assert f"there is more: --cursor {cursor}\n" in wfe("search", "hello", "--limit", "1").err
    ended = wfe("search", "hello", "--cursor", "nonsense")
    assert ended.code != 0
    assert "nonsense" in ended.err


def test_lines_are_found(wfe: Wfe, runs: list[str]) -> None:
    ann, bo, *_ = runs

    found = wfe("search", "--logs", "ann").out.splitlines()
    assert len(found) == 1
    assert found[0].startswith(ann)
    assert found[0].endswith("greet | hello Ann Smith")
    rows = json.loads(wfe("search", "hello", "--logs", "--run", bo, "--json").out)["items"]
    assert [(row["run"], row["step"], row["line"]) for row in rows] == [(bo, "greet", "hello Bo")]


def test_reindexing(wfe: Wfe, runs: list[str]) -> None:
    assert len(runs) == 4
    count = json.loads(wfe("search", "reindex", "--json").out)["indexed"]

    assert count >= 5 + 5
    assert wfe("search", "reindex").out == f"{count} runs and lines indexed\n"
    assert _ids(wfe("search", '"reindex"', "--json")) == []
    assert len(_ids(wfe("search", "hello", "--json"))) == 2


def test_an_index_in_another_place(wfe: Wfe, runs: list[str], folder: Path) -> None:
    ended = wfe("search", "reindex", "--search", "nosuch://host")
    assert ended.code != 0
    assert "nosuch" in ended.err
    (folder / "wfe.config.yaml").write_text("search: nosuch://host\n")
    ended = wfe("search", "ann")
    assert ended.code != 0
    assert "nosuch" in ended.err
    assert runs


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (("x", "--logs", "--status", "failed"), "--status is for runs, not for lines"),
        (("x", "--logs", "--field", "a=b"), "--field is for runs, not for lines"),
        (("x", "--run", "last"), "--run is for lines"),
        (("--field", "city"), "--field 'city' is not PATH=VALUE"),
        (("--since", "yesterday"), "--since 'yesterday' is no time"),
        (("--since", "2026-13-01"), "or a date, with or without a time: 2026-01-31"),
        (("--order", "best"), "'best' is not one of"),
    ],
)
def test_what_is_not_clear_is_refused(wfe: Wfe, args: tuple[str, ...], problem: str) -> None:
    ended = wfe("search", *args)

    assert ended.code == 2
    assert problem in ended.err


def test_without_a_store(wfe: Wfe) -> None:
    ended = wfe("search", "x")

    assert ended.code != 0
    assert "there is no store" in ended.err
