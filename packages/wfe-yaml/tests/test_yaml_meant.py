"""What was meant by words of other systems, by durations in words, and by keys one blank away."""

from __future__ import annotations

import pytest

from wfe.yaml.diagnostics import nearest
from wfe.yaml.keys import LEAF_KEYS, LEAF_MODIFIERS, MODIFIERS, WORKFLOW, reserved_env
from wfe.yaml.loader import check_text
from wfe.yaml.scalars import meant_duration

STEP = (*LEAF_KEYS, *MODIFIERS, *LEAF_MODIFIERS)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("30 days", "30d"),
        ("5 minutes", "5m"),
        ("1 hour", "1h"),
        ("90 sec", "1m30s"),
        ("1.5h", "1h30m"),
        ("2 weeks", "14d"),
        ("250 milliseconds", "250ms"),
        ("1h 30m", "1h30m"),
        ("10 MS", "10ms"),
        ("0.5 s", "500ms"),
        ("0 s", "0s"),
        ("soon", None),
        ("0.0001s", None),
        ("-5m", None),
        ("5 parsecs", None),
        ("", None),
    ],
)
def test_a_duration_in_words(written: str, meant: str | None) -> None:
    assert meant_duration(written) == meant


@pytest.mark.parametrize(
    ("written", "known", "meant"),
    [
        ("depends_on", STEP, "needs"),
        ("dependsOn", STEP, "needs"),
        ("continue-on-error", STEP, "continue_on_error"),
        ("allow_failure", STEP, "continue_on_error"),
        ("working-directory", STEP, "working_dir"),
        ("timeout-minutes", STEP, "timeout"),
        ("uses", STEP, "type"),
        ("with", STEP, "config"),
        ("environment", STEP, "env"),
        ("finally", STEP, "ensure"),
        ("on", WORKFLOW, "triggers"),
        ("jobs", WORKFLOW, "steps"),
        ("Timeout", STEP, "timeout"),
        ("uses", ("a", "b"), None),
        ("xyz", STEP, None),
    ],
)
def test_a_word_of_another_system(written: str, known: tuple[str, ...], meant: str | None) -> None:
    assert nearest(written, known) == meant


def codes(steps: str) -> list[str]:
    found = check_text(f"workflow:\n  id: a\n  version: 1\n  steps:\n{steps}")
    return [f"{each.code} {each.hint}" for each in found]


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ("    - {name: a, uses: http, config: {url: c}}\n", ["WFE012 did you mean `type`?"]),
        ("    - {for_each: [1], steps: [{name: a, run: b}]}\n", ["WFE012 did you mean `do`?"]),
        (
            "    - {while: run.version > 1, doo: [{name: a, run: b}]}\n",
            ["WFE012 did you mean `do`?"],
        ),
        (
            "    - {name: a, type: http, config: {ulr: 'https://a'}}\n",
            ["WFE012 did you mean `url`?"],
        ),
        (
            "    - {name: a, if: run.version > 1, run: b}\n",
            ["WFE019 write the condition of a step as `when`"],
        ),
        ("    - {id: a b, run: c}\n", ["WFE020 use letters, digits, `_` and `-`"]),
    ],
)
def test_one_slip_is_told_once(steps: str, found: list[str]) -> None:
    assert codes(steps) == found


def test_names_that_pipelines_call_their_own_are_not_reserved() -> None:
    assert not reserved_env("GIT_COMMIT")
    assert not reserved_env("GIT_AUTHOR_NAME")
    assert reserved_env("GIT_SSH_COMMAND")
    assert reserved_env("PATH")


def test_secrets_among_the_defaults_are_not_for_steps_that_run_workflows() -> None:
    text = (
        "workflows:\n  - {id: b, version: 1, steps: [{name: x, run: make}]}\n"
        "  - id: a\n    version: 1\n    defaults: {secrets: [npm]}\n    steps:\n"
        "      - {name: go, type: workflow, config: {workflow: b}}\n      - {name: y, run: make}\n"
    )

    assert check_text(text) == []


@pytest.mark.parametrize(
    ("pattern", "right"), [("[a-z]+", True), ("[a-", False), ("(?=a)b", False)]
)
def test_constant_patterns_are_tried(pattern: str, right: bool) -> None:
    found = codes(f"    - {{name: a, when: \"run.id.matches('{pattern}')\", run: b}}\n")

    assert (found == []) is right
