"""Contexts of attempts without an engine, for the tests of the step types."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

from wfe.core.masking import Masker
from wfe.core.steps import StepExecutionContext, StepLog

__all__ = ["Lines", "step_context"]

Lines: TypeAlias = list[tuple[str, str]]


def step_context(
    lines: Lines | None = None,
    *,
    attempt: int = 0,
    secrets: Mapping[str, str] | None = None,
    data: dict[str, Any] | None = None,
) -> StepExecutionContext[Any]:
    """Return the context of a step that logs to *lines*; *secrets* are masked."""
    kept: Lines = [] if lines is None else lines
    fake = SimpleNamespace(
        log=StepLog(lambda stream, line: kept.append((stream, line))),
        instance=SimpleNamespace(id="run-1", definition="wf"),
        pointer=SimpleNamespace(step="the step"),
        attempt=attempt,
        path=(),
        masks=Masker(secrets.items()) if secrets else None,
        secrets=secrets or {},
        data=data or {},
    )
    return cast("StepExecutionContext[Any]", fake)
