"""What the tests of running files share: a file from some steps, its run, what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wfe.core.definition import WorkflowDefinition
from wfe.yaml import load_workflow, start_data

testing = pytest.importorskip("wfe.testing")

__all__ = ["finish", "load", "ran"]

TYPES = "types:\n  Push: {author: string, commits: integer}\n"


def load(tmp_path: Path, steps: str, head: str = "") -> WorkflowDefinition:
    text = f"{TYPES}workflow:\n  id: flow\n  version: 1\n{head}  steps:\n{steps}"
    path = tmp_path / "flow.yaml"
    path.write_text(text, encoding="utf-8")
    return load_workflow(path)


async def finish(tmp_path: Path, steps: str, head: str = "", **inputs: object) -> Any:
    definition = load(tmp_path, steps, head)
    async with testing.WorkflowTest(patience=5) as test:
        return await test.run(definition, start_data(definition, inputs))


def ran(tmp_path: Path) -> list[str]:
    """Return the lines that steps wrote into the file ``log``."""
    path = tmp_path / "log"
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
