"""Limits whose places are taken, and which failures are tried again."""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from rules_run import Run, block, step

from wfe.core.definition import Kind, Limit
from wfe.core.errors import StepTimeoutError
from wfe.core.policies import Retry
from wfe.core.rules.inputs import AsksPlaces, Failed
from wfe.core.rules.plan import WHOLE

TAKEN = {"attempt": 0, "at": 0, "taken": True}


def _ask(run: Run, name: str, *keys: str, conflict: str = "skip") -> tuple[Any, ...]:
    places = tuple((key, 1, None) for key in keys)
    conflicts = dict.fromkeys(keys[:1], conflict)
    return run.feed(AsksPlaces(**run.place(name), places=places, conflicts=conflicts)).hold


def test_a_place_is_asked_for_with_what_to_do_when_there_is_none() -> None:
    run = Run(step("a"))

    holds = _ask(run, "a", "x", "y", conflict="cancel_running")

    assert [(hold.key, hold.on_conflict) for hold in holds] == [
        ("x", "cancel_running"),
        ("y", "queue"),
    ]


def test_a_step_whose_place_is_taken_is_skipped() -> None:
    run = Run(step("a"), step("b"))
    _ask(run, "a", "x")

    decision = run.message("granted", {"pointer": run.at("a").id, "key": "x", **TAKEN})

    assert run.info("step_skipped") == {"why": "the limit 'x' (1 at a time) is taken"}
    assert list(run.live) == ["b"]
    assert len(decision.unhold) == 1


def test_a_place_that_it_has_is_freed_when_another_is_taken() -> None:
    run = Run(step("a"))
    _ask(run, "a", "x", "y")
    run.grant("a", "y")

    decision = run.message("granted", {"pointer": run.at("a").id, "key": "x", **TAKEN})

    assert (run.status, len(decision.unhold)) == ("complete", 1)


def test_a_container_whose_place_is_taken_is_skipped_whole() -> None:
    run = Run(step("s", Kind.SEQUENCE, blocks=(block(step("a")),), limits=(Limit(None, 1),)))
    _ask(run, "s", "x")

    run.message("granted", {"pointer": run.at("s").id, "key": "x", **TAKEN})

    assert (run.status, run.kinds[0]) == ("complete", "step_skipped")


def test_a_run_whose_place_is_taken_is_not_started() -> None:
    run = Run(step("a"), limits=(Limit(None, 1),))
    _ask(run, WHOLE, "x")

    run.message("granted", {"pointer": run.at(WHOLE).id, "key": "x", **TAKEN})

    assert run.status == "terminated"
    error = run.info("workflow_terminated")["error"]
    assert error["type"] == "LimitTakenError"
    assert error["message"] == "not started: the limit 'x' (1 at a time) is taken"


# -- labels of failures


class _ExitError(Exception):
    retry_labels: ClassVar[tuple[str, ...]] = ("exit:3", "error")


@pytest.mark.parametrize(
    ("labels", "error", "wanted"),
    [
        (("exit:3",), _ExitError(), True),
        (("exit:4",), _ExitError(), False),
        (("error",), _ExitError(), True),
        (("timeout",), _ExitError(), False),
        (("error",), ValueError(), True),
        (("timeout",), ValueError(), False),
        (("timeout",), StepTimeoutError("s", "StepTimeoutError", "late"), True),
        (("error",), StepTimeoutError("s", "StepTimeoutError", "late"), False),
        (("ValueError",), ValueError(), True),
        (("ValueError",), ValueError, True),
        (("error",), ValueError, True),
        ((), ValueError(), True),
    ],
)
def test_a_label_names_failures(labels: tuple[str, ...], error: Any, wanted: bool) -> None:
    assert Retry(retry_on=labels).wants(error) is wanted


@pytest.mark.parametrize("named", [zlib.error, "zlib.error"])
def test_a_class_that_is_called_as_a_label_is_means_itself(named: Any) -> None:
    assert Retry(retry_on=named).wants(zlib.error())
    assert not Retry(retry_on=named).wants(ValueError())
    assert Retry(never_retry_on=named).wants(ValueError())
    assert not Retry(never_retry_on=named).wants(zlib.error())


def test_a_label_may_be_what_is_never_tried_again() -> None:
    assert not Retry(never_retry_on=("exit:3",)).wants(_ExitError())


@pytest.mark.parametrize(
    ("labels", "kind", "again"),
    [
        (("timeout",), "StepTimeoutError", True),
        (("timeout",), "ValueError", False),
        (("error",), "ValueError", True),
        (("error", "timeout"), "StepTimeoutError", True),
        (("exit:3",), "ValueError", False),
        (("exit:3", "ValueError"), "ValueError", True),
        (("exit:3",), "ExitError", True),
        (("exit:4",), "ExitError", False),
        (("exit:4", "error"), "ExitError", True),
        (("timeout",), "ExitError", False),
        (("KeyError",), "ValueError", True),
        ((), "ValueError", True),
    ],
)
def test_a_container_is_tried_again_after_what_the_labels_name(
    labels: tuple[str, ...], kind: str, again: bool
) -> None:
    policy = Retry(1, timedelta(0), retry_on=labels)
    run = Run(step("s", Kind.SEQUENCE, blocks=(block(step("a")),), on_error=policy))
    run.branch("s", 0)

    own = _ExitError.retry_labels if kind == "ExitError" else ()
    run.feed(Failed(**run.place("a"), type=kind, message="no", labels=own))

    assert (run.status == "failed") is not again
