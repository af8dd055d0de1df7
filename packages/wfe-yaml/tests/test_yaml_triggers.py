"""Triggers: their data, what an event starts, and ``when`` trees, which share no code with them."""

from __future__ import annotations

from typing import Any

import pytest

from wfe.core.definition import WorkflowDefinition
from wfe.core.errors import DataTypeError
from wfe.yaml import check, load_workflow
from wfe.yaml.triggers import cron_triggers, event_start


def load(triggers: str, inputs: str = "{n: {type: integer, default: 1}}") -> WorkflowDefinition:
    return load_workflow(
        f"workflow:\n  id: main\n  version: 1\n  inputs: {inputs}\n  triggers:\n{triggers}\n"
        "  steps: [{name: x, run: 'echo $N'}]\n"
    )


def test_triggers_are_plain_data_with_names() -> None:
    found = load(
        "    - cron: 0 3 * * *\n    - {cron: 0 4 * * *, name: late, catch_up: 0}\n"
        "    - cron: 0 5 * * *\n    - webhook: {source: github, event: push}\n    - event: built"
    )

    triggers = found.meta["triggers"]
    assert [(each["kind"], each["name"]) for each in triggers] == [
        ("cron", "cron"),
        ("cron", "late"),
        ("cron", "cron-2"),
        ("webhook", "webhook"),
        ("event", "event"),
    ]
    assert WorkflowDefinition.from_json(found.to_json()).hash == found.hash


def test_a_cron_trigger_has_what_its_runs_start_with() -> None:
    (trigger,) = cron_triggers(load("    - {cron: 0 3 * * *, inputs: {n: 7}, jitter: 1s}"))

    assert (trigger.id, trigger.cron, trigger.timezone) == ("main.cron", "0 3 * * *", "UTC")
    assert (trigger.overlap, trigger.catch_up, trigger.jitter) == ("skip", 10, 1_000_000)
    assert trigger.data == {"inputs": {"n": 7}}


HOOK = """\
    - webhook: {source: github, event: push, match: "event.ref.startsWith('refs/heads/')"}
      inputs:
        ref: "${{ event.ref }}"
        title: "by ${{ event.author.name }}: ${{ event.size }}"
        files: ["${{ event.files[0] }}", fixed]
"""
INPUTS = "{ref: string, title: string, files: list<string>}"


def _start(event: Any) -> Any:
    definition = load_workflow(
        f"workflow:\n  id: main\n  version: 1\n  inputs: {INPUTS}\n  triggers:\n{HOOK}"
        "  steps: [{name: x, run: 'echo $REF $TITLE $FILES'}]\n"
    )
    return event_start(definition, definition.meta["triggers"][0], event)


def test_an_event_becomes_inputs() -> None:
    event = {"ref": "refs/heads/a", "author": {"name": "Ann ${{ x }}"}, "size": 3, "files": ["a"]}

    assert _start(event) == {
        "inputs": {"ref": "refs/heads/a", "title": "by Ann ${{ x }}: 3", "files": ["a", "fixed"]}
    }


def test_an_event_that_does_not_match_starts_nothing() -> None:
    assert _start({"ref": "refs/tags/1", "author": {"name": ""}, "size": 0, "files": [""]}) is None


def test_an_event_whose_values_do_not_fit_is_refused() -> None:
    event = {"ref": "refs/heads/a", "author": {"name": "x"}, "size": 3, "files": [1]}

    with pytest.raises(DataTypeError, match="files"):
        _start(event)


def test_an_input_of_a_payload_is_checked_when_it_is_there() -> None:
    definition = load("    - {event: built, inputs: {n: '${{ event.n }}'}}")
    trigger = definition.meta["triggers"][0]

    assert event_start(definition, trigger, {"n": 4}) == {"inputs": {"n": 4}}
    with pytest.raises(DataTypeError):
        event_start(definition, trigger, {"n": "many"})


def test_cron_needs_no_library_to_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cronsim", None)
    path = tmp_path / "a.yaml"
    path.write_text(
        "workflow:\n  id: a\n  version: 1\n  triggers: [{cron: 0 3 * * *}]\n"
        "  steps: [{name: x, run: make}]\n"
    )

    (found,) = check([path])

    assert (found.code, found.severity) == ("WFE086", "warning")
