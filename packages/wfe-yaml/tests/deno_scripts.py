"""Runs scripts as a step would, for the tests of the Deno step."""

from __future__ import annotations

from typing import Any

import pytest
from step_contexts import Lines, step_context

from wfe.yaml.deno import Deno

__all__ = ["needs_deno", "run"]

needs_deno = pytest.mark.skipif(Deno.missing() is not None, reason="needs the extra wfe-yaml[deno]")


async def run(
    script: str | None, data: dict[str, Any] | None = None, **fields: Any
) -> tuple[dict[str, Any], Lines]:
    """Run *script* and return its outputs and what it wrote."""
    lines: Lines = []
    made = await Deno(script=script, **fields).run(step_context(lines, data=data))
    return made, lines
