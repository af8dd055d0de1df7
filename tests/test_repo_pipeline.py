"""The project's own pipeline: right, and careful with what leaves the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wfe.yaml import check, load_workflows

ROOT = Path(__file__).parent.parent
FILE = ROOT / "workflows.yaml"


def rehearsed(tmp_path: Path, *arguments: str) -> str:
    """Run one workflow of the pipeline with a store of its own and return what it printed."""
    wfe = str(Path(sys.executable).with_name("wfe"))
    command = [wfe, "run", str(FILE), "--db", f"sqlite:///{tmp_path}/run.db", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_is_wrong_with_it() -> None:
    assert check([FILE]) == []


def test_a_release_is_a_rehearsal_unless_somebody_says_otherwise() -> None:
    found = {each.id: each.meta["inputs"] for each in load_workflows(FILE)}

    assert found["ci"]["release"]["default"] is False
    for name in ("ci", "tag", "publish", "release"):
        assert found[name]["dry_run"]["default"] is True


def test_the_tag_is_that_of_the_distributions(tmp_path: Path) -> None:
    version = (ROOT / "packages/wfe/pyproject.toml").read_text().partition('version = "')[2]

    told = rehearsed(tmp_path, "--workflow", "tag")

    assert f"v{version.partition(chr(34))[0]}" in told


@pytest.mark.parametrize("deno", ["true", "false"])
def test_release_notes_are_written_where_deno_is(tmp_path: Path, deno: str) -> None:
    told = rehearsed(tmp_path, "--workflow", "release", "-i", "tag=v9.9.9", "-i", f"deno={deno}")

    assert ("would release v9.9.9" in told) == (deno == "true")
    assert ("## wfe-core" in told) == (deno == "true")
