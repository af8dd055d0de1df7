"""The commands that look on: list, show, logs, history, graph, plugins, validate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Wfe: TypeAlias = Callable[..., Any]


# -- reading


def test_list_shows_the_newest_first(wfe: Wfe) -> None:
    first, second = wfe("run", "hello.yaml").run, wfe("run", "failing.yaml").run

    assert [line.split()[0] for line in wfe("list").out.splitlines()] == [second, first]
    assert [line.split()[0] for line in wfe("list", "--limit", "1").out.splitlines()] == [second]
    assert wfe("list", "--status", "complete").out.split()[0] == first
    assert json.loads(wfe("list", "--definition", "hello", "--json").out)[0]["id"] == first
    assert wfe("list", "--status", "suspended").out == "no runs\n"


def test_list_leaves_sub_workflow_runs_out(wfe: Wfe) -> None:
    wfe("run", "parent.yaml")

    assert len(wfe("list").out.splitlines()) == 1
    assert len(wfe("list", "--all").out.splitlines()) == 2


def test_show_draws_the_tree(wfe: Wfe) -> None:
    run = wfe("run", "parent.yaml").run

    shown = re.sub(r"\d+\.\ds", "T", wfe("show", run).out).splitlines()

    assert shown[:4] == [
        f"run       {run}",
        "name      parent-1",
        "workflow  parent v1",
        "status    ✔ complete",
    ]
    assert shown[-3:] == ["  ├─ ✔ first  T", "  └─ ✔ kid  T", "     └─ ✔ inner  T"]


def test_show_of_a_failed_run_says_why(wfe: Wfe) -> None:
    wfe("run", "failing.yaml")

    shown = wfe("show", "last").out

    assert "error     broken: the command exited with code 3: it broke\n" in shown
    assert "  └─ ○ never\n" in shown


def test_show_as_json(wfe: Wfe) -> None:
    run = wfe("run", "hello.yaml").run

    shown = json.loads(wfe("show", run, "--json").out)

    assert shown["status"] == "complete"
    assert shown["outputs"] == {"greeting": "hello world"}
    assert shown["data"]["inputs"] == {"who": "world", "times": 1}


def test_logs_are_filtered(wfe: Wfe) -> None:
    wfe("run", "parent.yaml")

    assert wfe("logs", "last").out == "first | in parent\ninner | in child\n"
    assert wfe("logs", "last", "--step", "inner").out == "inner | in child\n"
    assert wfe("logs", "last", "--grep", "par.nt$").out == "first | in parent\n"
    assert wfe("logs", "last", "-f").out == "first | in parent\ninner | in child\n"
    (row,) = wfe("logs", "last", "--json", "--step", "first").rows
    assert (row["step"], row["stream"], row["line"]) == ("first", "stdout", "in parent")


def test_logs_of_a_step_that_wrote_nothing_say_so(wfe: Wfe) -> None:
    wfe("run", "parent.yaml")

    said = wfe("logs", "last", "--step", "inver")

    assert (said.code, said.out) == (0, "")
    assert said.err == "nothing to show of a step 'inver'; the steps are in: wfe show last\n"


def test_history_is_in_order(wfe: Wfe) -> None:
    wfe("run", "failing.yaml")

    rows = json.loads(wfe("history", "last", "--json").out)
    text = wfe("history", "last").out.splitlines()

    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert [row["kind"] for row in rows] == [
        "workflow_started",
        "step_completed",
        "step_failed",
        "workflow_failed",
    ]
    assert "by wfe run" in text[0]
    assert "the command exited with code 3: it broke" in text[2]


def test_a_run_is_found_by_name_and_by_the_beginning_of_its_id(wfe: Wfe) -> None:
    run = wfe("run", "hello.yaml", "--name", "nightly").run

    assert wfe("show", "nightly").out.startswith(f"run       {run}\nname      nightly\n")
    assert wfe("show", run[:30]).code == 0


def test_graph_of_a_file_and_of_a_run(wfe: Wfe) -> None:
    wfe("run", "hello.yaml")

    assert wfe("graph", "hello.yaml").out == wfe("graph", "last").out
    assert wfe("graph", "parent.yaml", "--workflow", "child").out.count("subgraph") == 0
    assert wfe("graph", "parent.yaml").out.count("subgraph") == 2


def test_plugins(wfe: Wfe) -> None:
    rows = json.loads(wfe("plugins", "--json").out)

    assert ("wfe.persistence", "sqlite") in {(row["group"], row["name"]) for row in rows}
    assert "wfe.loaders" in wfe("plugins").out


# -- validate


def test_validate_of_good_files(wfe: Wfe) -> None:
    ended = wfe("validate", "hello.yaml", "parent.yaml", "cli_orders.py")

    assert ended == (0, "✔ 3 files checked: no errors\n", "")


def test_validate_tells_everything_at_once(wfe: Wfe, folder: Path) -> None:
    (folder / "one.yaml").write_text("workflow: {id: x, version: 1, steps: [{nme: a}]}\n")
    (folder / "two.yaml").write_text("x: 1\n")

    ended = wfe("validate", "one.yaml", "two.yaml", "three.yaml")

    assert ended.code == 2
    assert "one.yaml:1:" in ended.err
    assert "two.yaml:1:1: error[WFE012]" in ended.err
    assert "error: there is no file 'three.yaml'" in ended.err
    assert re.search(
        r"^3 files checked: \d+ errors; more about one: wfe explain WFE\d{3}$",
        ended.err,
        re.MULTILINE,
    )


def test_validate_for_machines(wfe: Wfe, folder: Path) -> None:
    (folder / "bad.yaml").write_text("x: 1\n")

    rows = json.loads(wfe("validate", "bad.yaml", "gone.py", "--format", "json").out)
    github = wfe("validate", "bad.yaml", "gone.py", "--format", "github").out.splitlines()

    assert all(
        row.keys() == {"file", "line", "column", "code", "severity", "message", "hint"}
        for row in rows
    )
    assert github[0].startswith("::error file=bad.yaml,line=1,col=1,title=WFE012::")
    assert github[-1].startswith("::error file=gone.py,line=1,col=1,title=WFE000::there is no file")


def test_variables_reach_the_file(wfe: Wfe, folder: Path) -> None:
    (folder / "v.yaml").write_text(
        (folder / "hello.yaml").read_text().replace("echo bye", "echo ((word))")
    )
    (folder / "vars.yaml").write_text("word: from-file\n")

    assert wfe("validate", "v.yaml").code == 2
    assert "bye | given\n" in wfe("run", "v.yaml", "-v", "word=given").out
    assert "bye | from-file\n" in wfe("run", "v.yaml", "--vars-file", "vars.yaml").out
