"""``wfe explain``: reasons, schedules, waits, and the pages of codes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from wfe.core.definition import Call, Cel, Expr, Kind, ListOf, Node, Record, Text, Value
from wfe.core.policies import Continue, Fail, Retry, RetryForever, exponential
from wfe.host.cli.attempts import policy_text, upcoming
from wfe.host.cli.reasons import condition, expression, readings, skip_reason

Wfe: TypeAlias = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)

STORY = """\
workflow:
  id: story
  version: 1
  inputs:
    deploy: {type: bool, default: false}
  steps:
    - {name: build, run: echo hi}
    - {name: flaky, run: exit 3, retry: {max: 1, interval: 1ms}, continue_on_error: true}
    - {name: ship, when: inputs.deploy, run: echo ship}
    - name: choose
      if: inputs.deploy
      then:
        - {name: yes-branch, run: echo yes}
      else:
        - {name: no-branch, run: echo no}
    - {name: gate, wait_for: {event: go, key: "7"}}
    - {name: last, run: echo last, ensure: {name: tidy, run: echo tidy}}
"""


@pytest.fixture
def story(wfe: Wfe, folder: Path) -> str:
    """The id of a run that waits."""
    (folder / "story.yaml").write_text(STORY)
    return str(wfe("run", "story.yaml").run)


def test_a_run_is_explained_line_by_line(wfe: Wfe, story: str) -> None:
    assert wfe("explain", "last").out.splitlines() == [
        f"▶ story v1, run {story}, runnable",
        "  ✔ build  complete",
        "  ✖ flaky  failed: the command exited with code 3",
        "  ⊘ ship  skipped: when was false: inputs.deploy (inputs.deploy = false)",
        "  ✔ choose  if: inputs.deploy",
        (
            "    ○ yes-branch  not taken: if inputs.deploy of choose chose otherwise"
            " (inputs.deploy = false)"
        ),
        "    ✔ no-branch  complete",
        "  ⏸ gate  waits for event go 7: wfe publish go 7",
        "  ○ last  not begun: gate comes before it and is waiting",
        "    ○ tidy  not run: ensure of last, which is pending",
        f"more about one: wfe explain {story} STEP",
    ]


def times(text: str) -> list[str]:
    return re.sub(r"\d\d:\d\d:\d\d|\d+\.\ds", "T", text).splitlines()


def test_a_step_that_was_tried_again(wfe: Wfe, story: str) -> None:
    assert times(wfe("explain", story, "flaky").out) == [
        "✖ flaky  (shell, failed)",
        "  place: after build",
        "  attempt 1: T, T, failed: the command exited with code 3",
        "  attempt 2: T, T, failed: the command exited with code 3",
        "  failure policy: attempts: at most 2; pauses T; then: continue",
    ]


def test_a_step_that_was_skipped(wfe: Wfe, story: str) -> None:
    assert wfe("explain", story, "ship").out.splitlines() == [
        "⊘ ship  (shell, skipped)",
        "  place: after flaky",
        "  when: inputs.deploy",
        "    inputs.deploy = false",
        "  skipped: when was false: inputs.deploy (inputs.deploy = false)",
        "  failure policy: none: the first failure counts",
    ]


def test_a_tree_is_shown_as_it_was_written(wfe: Wfe, folder: Path) -> None:
    (folder / "tree.yaml").write_text(
        """\
workflow:
  id: tree
  version: 1
  inputs: {env: string}
  steps:
    - name: ship
      when: {all: [{field: .inputs.env, equals: prod}, {field: inputs.env, not_equals: "1"}]}
      run: echo ship
"""
    )
    written = 'all: [{field: .inputs.env, equals: prod}, {field: inputs.env, not_equals: "1"}]'
    ran = wfe("run", "tree.yaml", "-i", "env=test").out

    assert f"when {written} is false" in ran
    assert f"when {written} is false" in wfe("show", "last").out
    assert f"  when: {written}" in wfe("explain", "last", "ship").out.splitlines()
    assert f"skipped: when was false: {written} (inputs.env" in wfe("explain", "last").out
    drawn = wfe("graph", "tree.yaml").out
    assert "only if all: [{field: .inputs.env, equals: prod}" in drawn
    assert "dyn(" not in drawn


def test_a_step_that_waits_and_one_that_has_not_begun(wfe: Wfe, story: str) -> None:
    assert "  waits for event go 7: wfe publish go 7" in wfe("explain", story, "gate").out
    assert wfe("explain", story, "yes-branch").out.splitlines()[:3] == [
        "○ yes-branch  (shell, pending)",
        "  place: inside choose",
        "  not taken: if inputs.deploy of choose chose otherwise (inputs.deploy = false)",
    ]
    assert "  place: ensure of last" in wfe("explain", story, "tidy").out


def test_a_step_that_nothing_holds_up(wfe: Wfe) -> None:
    wfe("run", "hello.yaml", "--detach")

    lines = wfe("explain", "last").out.splitlines()

    assert lines[1:3] == [
        "  ○ greet  due: it runs now, or as soon as a host takes the run",
        "  ○ bye  not begun: comes after greet",
    ]


def test_a_needed_step(wfe: Wfe, folder: Path) -> None:
    (folder / "dag.yaml").write_text(
        """\
workflow:
  id: dag
  version: 1
  steps:
    - {name: a, run: exit 1}
    - {name: b, needs: [a], run: echo b}
    - {name: c, run: echo c}
"""
    )
    wfe("run", "dag.yaml")

    shown = wfe("explain", "last", "b").out

    assert "  needs: a (failed)" in shown
    assert "✖ dag v1" in wfe("explain", "last").out


def test_a_delay_and_a_failed_run(wfe: Wfe, folder: Path) -> None:
    wfe("run", "failing.yaml")
    shown = wfe("explain", "last").out.splitlines()

    assert shown[1] == "  because broken: the command exited with code 3: it broke"
    assert shown[-2] == "  ○ never  not begun: broken comes before it and is failed"


def test_a_child_has_a_story_of_its_own(wfe: Wfe) -> None:
    wfe("run", "parent.yaml")

    assert re.search(r"  runs as run \S+: wfe explain \S+", wfe("explain", "last", "kid").out)


def test_a_loop_explains_each_round(wfe: Wfe, folder: Path) -> None:
    (folder / "m.yaml").write_text(
        """\
workflow:
  id: m
  version: 1
  steps:
    - name: all
      matrix: {os: [linux, macos]}
      do: [{name: one, run: 'echo ${{ matrix.os }}'}]
"""
    )
    wfe("run", "m.yaml")

    shown = wfe("explain", "last", "one").out

    assert "  execution [os=linux]: complete" in shown
    assert "  execution [os=macos]: complete" in shown
    assert "✔ one  complete, 2 times" in wfe("explain", "last").out


def test_an_unknown_step_and_code(wfe: Wfe, story: str) -> None:
    assert wfe("explain", story, "gat").err == (
        "error: workflow 'story' has no step 'gat'\n  did you mean 'gate'?\n"
    )
    assert wfe("explain", "WFE999").err.startswith("error: there is no diagnostic WFE999\n")


def test_a_code_has_a_page(wfe: Wfe) -> None:
    assert wfe("explain", "wfe034").out.startswith("# WFE034: ")


# -- the schedule of attempts


def test_attempts_to_come_follow_the_policy() -> None:
    policy = Retry(max_retries=3, interval=timedelta(seconds=2), backoff=2, jitter=0.5)

    assert list(upcoming(policy, 2, NOW, NOW)) == [
        (2, NOW, timedelta(0)),
        (3, NOW + timedelta(seconds=4), timedelta(seconds=2)),
        (4, NOW + timedelta(seconds=12), timedelta(seconds=6)),
    ]


def test_attempts_to_come_end_with_the_whole_time() -> None:
    policy = RetryForever(interval=timedelta(seconds=10), max_time=timedelta(seconds=25))

    assert [number for number, *_ in upcoming(policy, 2, NOW, NOW)] == [2, 3, 4]


def test_attempts_without_an_end_are_cut() -> None:
    assert len(list(upcoming(RetryForever(), 2, NOW, None))) == 6
    assert list(upcoming(None, 2, NOW, None)) == [(2, NOW, timedelta(0))]


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (None, "none: the first failure counts"),
        (Fail(), "on failure: fail"),
        (Retry(max_retries=0), "attempts: at most 1; then: fail"),
        (
            Retry(max_retries=2, backoff=exponential, jitter=0.1, then=Continue()),
            "attempts: at most 3; pauses 1.0s, 2.0s; each ±10%; then: continue",
        ),
        (
            RetryForever(retry_on=ValueError, max_time=timedelta(minutes=1)),
            (
                "attempts: without end; pauses 1.0s, 1.0s, 1.0s, 1.0s, …; none later than 1m 00s"
                " after the first; only after ValueError; then: fail"
            ),
        ),
    ],
)
def test_policies_in_words(policy: Any, text: str) -> None:
    assert policy_text(policy) == text


# -- conditions in words


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (None, ""),
        (Cel("a &&\n   b"), "a && b"),
        (Value({"a": 1}), '{"a": 1}'),
        (Call(), "a Python function"),
        (Text((Value("v"), Cel("x"))), "v${{ x }}"),
        (Record((("k", Value(1)),)), "{k: 1}"),
        (ListOf((Value(1), Cel("x"))), "[1, x]"),
    ],
)
def test_expressions_in_words(expr: Expr | None, text: str) -> None:
    assert expression(expr) == text


def test_conditions_come_with_what_they_read() -> None:
    data = {
        "inputs": {"env": "prod", "deep": {"x": [1]}},
        "steps.build": {"outputs": {"ok": True}},
        "steps.fmt-check": {"outputs": {"n": 3}},
    }
    text = (
        "inputs.env == 'prod' && steps.build.outputs.ok && steps['fmt-check'].outputs.n > 2"
        " && inputs.deep.x.size() == 1 && steps.?none.outputs.y.orValue(1) == 1"
        " && data.other == item.z"
    )

    assert readings(Cel(text), data) == [
        'inputs.env = "prod"',
        "steps.build.outputs.ok = true",
        "steps['fmt-check'].outputs.n = 3",
        "inputs.deep.x = [1]",
        "steps.?none.outputs.y = nothing",
        "data.other = nothing",
    ]
    assert readings(Value(1), data) == []
    assert readings(Cel("inputs.env"), {"inputs": {"env": "x" * 500}})[0].endswith("…")


def test_what_a_control_decides_by() -> None:
    node = Node(name="n", kind=Kind.IF, exprs=(("condition", Cel("x")),))

    assert condition(node) == ("if", Cel("x"))
    assert condition(Node(name="n", kind=Kind.STEP)) is None
    assert skip_reason(Node(name="n", kind=Kind.STEP, run_if=Cel("x" * 99))).endswith("… is false")
    assert skip_reason(None) == ""
