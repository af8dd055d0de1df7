"""What a job of GitHub Actions gets: groups, annotations, and nothing that a step could forge."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from cli_events import event

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.models import LifecycleEvent
from wfe.host.cli.driving import Feed
from wfe.host.cli.model import Picture
from wfe.host.cli.view_github import GithubView

Wfe: TypeAlias = Callable[..., Any]
TOKEN = "t0k3n"
DEFINITION = WorkflowDefinition(
    id="main", root=Block((Node(name="a", kind=Kind.STEP), Node(name="b", kind=Kind.STEP)))
)


def out(step: str, line: str, stream: str = "stdout") -> LifecycleEvent:
    return event("log", step, {"a": 1, "b": 2}[step], stream=stream, line=line)


def lines(*events: LifecycleEvent) -> list[str]:
    stream = io.StringIO()
    view = GithubView(stream, None, TOKEN)
    feed = Feed(view)
    feed.show(Picture("r1", {"main": DEFINITION}, "main"))
    for each in events:
        feed.take(each)
    view.close()
    return stream.getvalue().splitlines()[1:]


def test_a_step_that_runs_alone_is_shown_at_once() -> None:
    assert lines(
        event("step_started", "a", 1),
        out("a", "hi"),
        out("a", "inner", "group"),
        out("a", "", "endgroup"),
        out("a", "there"),
        event("step_completed", "a", 1),
    ) == [
        "▶ a",
        "::group::a",
        f"::stop-commands::{TOKEN}",
        "hi",
        "▾ inner",
        "there",
        f"::{TOKEN}::",
        "::endgroup::",
        "✔ a 0.0s",
    ]


def test_steps_that_run_at_the_same_time_are_shown_when_they_end() -> None:
    shown = lines(
        event("step_started", "a", 1),
        event("step_started", "b", 2),
        out("a", "from a"),
        out("b", "from b"),
        event("step_completed", "b", 2),
        event("step_completed", "a", 1),
    )

    stop, go = f"::stop-commands::{TOKEN}", f"::{TOKEN}::"
    assert shown == [
        "▶ a",
        "▶ b",
        *["::group::b", stop, "from b", go, "::endgroup::", "✔ b 0.0s"],
        *["::group::a", stop, "from a", go, "::endgroup::", "✔ a 0.0s"],
    ]


def test_what_is_held_back_is_written_when_the_run_is_left() -> None:
    shown = lines(event("step_started", "a", 1), event("step_started", "b", 2), out("a", "x"))

    assert shown[-5:] == [
        "::group::a",
        f"::stop-commands::{TOKEN}",
        "x",
        f"::{TOKEN}::",
        "::endgroup::",
    ]


def test_annotations_stand_outside_of_the_group() -> None:
    warning = json.dumps({"level": "warning", "message": "w", "file": "a.py", "line": 3})

    assert lines(
        event("step_started", "a", 1), out("a", "x"), out("a", warning, "annotation"), out("a", "y")
    ) == [
        "▶ a",
        *["::group::a", f"::stop-commands::{TOKEN}", "x", f"::{TOKEN}::", "::endgroup::"],
        "::warning file=a.py,line=3,title=a::w",
        *["::group::a", f"::stop-commands::{TOKEN}", "y", f"::{TOKEN}::", "::endgroup::"],
    ]


def test_a_failure_is_an_annotation() -> None:
    error = {"type": "ValueError", "message": "no\n::warning::x", "step": "a"}
    shown = lines(event("step_started", "a", 1), event("step_failed", "a", 1, error=error))

    assert shown == [
        "▶ a",
        "✖ a 0.0s: ValueError: no ::warning::x",
        "::error title=a::ValueError: no ::warning::x",
    ]


@pytest.mark.parametrize(
    "line", ["::set-output name=x::y", "##[add-path]/evil", "::add-mask::x", "::endgroup::"]
)
def test_no_line_of_a_step_stands_where_commands_are_read(line: str) -> None:
    shown = lines(event("step_started", "a", 1), out("a", line))
    at = shown.index(line)

    assert f"::stop-commands::{TOKEN}" in shown[:at]
    assert f"::{TOKEN}::" not in shown[:at]


def test_a_name_cannot_hide_a_command() -> None:
    definition = WorkflowDefinition(
        id="##[error]x", root=Block((Node(name="##[add-path]x", kind=Kind.STEP),))
    )
    stream = io.StringIO()
    feed = Feed(GithubView(stream, None, TOKEN))
    feed.show(Picture("r1", {"main": definition}, "main"))
    feed.take(event("step_started", "##[add-path]x", 1))

    assert "##[" not in stream.getvalue()


def test_a_job_gets_this_view_and_the_summaries(
    wfe: Wfe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "s.yaml").write_text(
        "workflow: {id: s, version: 1, steps: [{name: a, run: "
        "\"printf '### done\\\\n' >> $WFE_SUMMARY; echo hi\"}]}\n"
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))

    shown = wfe("run", "s.yaml").out

    assert "::group::a\n::stop-commands::" in shown
    assert "✔ s (run " in shown
    assert (folder / "summary.md").read_text() == "## a\n\n### done\n\n"
    assert "::group::" not in wfe("run", "s.yaml", "--plain").out


def test_a_summary_that_cannot_be_written_is_a_warning(
    wfe: Wfe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "s.yaml").write_text(
        'workflow: {id: s, version: 1, steps: [{name: a, run: "echo x >> $WFE_SUMMARY"}]}\n'
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder))

    ended = wfe("run", "s.yaml")

    assert ended.code == 0
    assert "warning: the summary of the job cannot be written" in ended.err
