"""Documents link to what exists, and their Python snippets are Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import links

__all__: list[str] = []


def found(tmp_path: Path, text: str) -> list[str]:
    document = tmp_path / "document.md"
    document.write_text(f"# First title\n\n{text}\n")
    return [each.removeprefix(f"{document}:") for each in links.problems(document)]


def test_documents_are_sound() -> None:
    documents = list(links.markdown_files())

    assert len(documents) > 5
    assert [each for path in documents for each in links.problems(path)] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("see [there](missing.md)", "3: missing.md: no such file"),
        ("![picture](missing.svg)", "3: missing.svg: no such file"),
        ("see [below](#second-title)", "3: #second-title: no such heading"),
        ("```python\nx = 1\ny = = 2\n```", "5: invalid syntax"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, text: str, problem: str) -> None:
    assert found(tmp_path, text) == [problem]


@pytest.mark.parametrize(
    "text",
    [
        "[above](#first-title)",
        "[itself](document.md#first-title)",
        "[mail](mailto:somebody)",
        "```sh\nx = = 1\n```",
    ],
)
def test_other_text_passes(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []
