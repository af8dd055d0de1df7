"""Runs the workflow files of the documents whose first line says how, and what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

DOCS = Path(__file__).parents[3] / "docs"
_FENCE = re.compile(
    r"^```yaml\n# wfe run (\S+)([^\n]*)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen(kw_only=True)
class Example:
    """A workflow file of a page.

    Attributes:
        name: Page and number, for messages.
        file: What the page calls the file.
        arguments: The further arguments of ``wfe run``.
        text: The file.
        printed: Lines that its steps print, from the text block right after it.
    """

    name: str
    file: str
    arguments: tuple[str, ...]
    text: str
    printed: tuple[str, ...]


def examples(name: str, page: str) -> Iterator[Example]:
    """Yield the workflow files of *page* that begin with ``# wfe run``."""
    for number, found in enumerate(_FENCE.finditer(page), 1):
        yield Example(
            name=f"{name}-{number}",
            file=found[1],
            arguments=tuple(shlex.split(found[2].partition("#")[0])),
            text=found[3],
            printed=tuple((found[4] or "").splitlines()),
        )


ALL = [
    each
    for path in sorted(DOCS.rglob("*.md"))
    for each in examples(path.stem, path.read_text(encoding="utf-8"))
]


def _run(example: Example, cwd: Path) -> subprocess.CompletedProcess[str]:
    (cwd / example.file).write_text(example.text, encoding="utf-8")
    command = [sys.executable, "-m", "wfe", "run", example.file, *example.arguments, "--plain"]
    env = {key: text for key, text in os.environ.items() if key != "GITHUB_ACTIONS"}
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_pipeline_runs_and_prints_what_the_page_says(example: Example, tmp_path: Path) -> None:
    done = _run(example, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    said = [line.partition(" | ")[2] for line in done.stdout.splitlines()]
    assert [line for line in example.printed if line not in said] == []


def test_the_pages_for_newcomers_have_pipelines_that_run() -> None:
    pages = {each.name.rpartition("-")[0] for each in ALL}

    assert pages >= {"ci-pipelines", "from-wfe", "first-pipeline"}


def test_a_planted_fault_is_found(tmp_path: Path) -> None:
    page = (
        "```yaml\n# wfe run a.yaml -i n=1\nworkflow:\n  id: a\n  version: 1\n"
        "  inputs: {n: integer}\n  steps:\n    - {name: s, run: 'echo $N; exit 1'}\n```\n"
        "\n```text\n2\n```\n"
    )
    (example,) = examples("page", page)

    done = _run(example, tmp_path)

    assert done.returncode == 1
    assert "s | 1" in done.stdout
    assert example.printed == ("2",)
