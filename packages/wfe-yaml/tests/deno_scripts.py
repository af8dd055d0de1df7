"""Runs scripts as a step would, for the tests of the Deno step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import pytest

from wfe.core.steps import StepExecutionContext, StepLog
from wfe.yaml.deno import Deno

__all__ = ["Lines", "context", "needs_deno", "run"]

Lines: TypeAlias = list[tuple[str, str]]

needs_deno = pytest.mark.skipif(Deno.missing() is not None, reason="needs the extra wfe-yaml[deno]")


def context(lines: Lines, data: dict[str, Any] | None = None) -> StepExecutionContext[Any]:
    """Return the context of a step that logs to *lines*."""
    fake = SimpleNamespace(
        log=StepLog(lambda stream, line: lines.append((stream, line))),
        instance=SimpleNamespace(id="run-1", definition="wf"),
        pointer=SimpleNamespace(step="the step"),
        attempt=0,
        path=(),
        masks=None,
        data=data or {},
    )
    return cast("StepExecutionContext[Any]", fake)


async def run(
    script: str | None, data: dict[str, Any] | None = None, **fields: Any
) -> tuple[dict[str, Any], Lines]:
    """Run *script* and return its outputs and what it wrote."""
    lines: Lines = []
    made = await Deno(script=script, **fields).run(context(lines, data))
    return made, lines
