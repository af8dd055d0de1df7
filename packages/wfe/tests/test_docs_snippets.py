"""Runs the Python snippets of the documents that say they can be run."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import attrs
import pytest

DOCS = Path(__file__).parents[3] / "docs"
PAGES = (DOCS / "reference" / "builder.md", *sorted((DOCS / "how-to").glob("*.md")))
_FENCE = re.compile(
    r"^```python\n(# runnable\n.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL
)


@attrs.frozen(kw_only=True)
class Snippet:
    """A block that can be run.

    Attributes:
        name: Page and number, for messages.
        printed: What it prints, from the text block right after it; ``None`` without one.
    """

    name: str
    code: str
    printed: str | None


def snippets(name: str, page: str) -> Iterator[Snippet]:
    """Yield the blocks of *page* that begin with ``# runnable``."""
    for number, found in enumerate(_FENCE.finditer(page), 1):
        yield Snippet(name=f"{name}-{number}", code=found[1], printed=found[2])


ALL = [s for path in PAGES for s in snippets(path.stem, path.read_text(encoding="utf-8"))]
PROGRAMS = [snippet for snippet in ALL if "def test_" not in snippet.code]
TESTS = [snippet for snippet in ALL if "def test_" in snippet.code]


async def _run(snippet: Snippet, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(f"snippet_{snippet.name.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where annotations are looked up
    exec(compile(snippet.code, snippet.name, "exec", dont_inherit=True), module.__dict__)
    main = getattr(module, "main", None)
    done = main() if main is not None else None
    if inspect.isawaitable(done):
        await done


@pytest.mark.parametrize("snippet", PROGRAMS, ids=lambda snippet: snippet.name)
async def test_snippet_runs_and_prints_what_the_page_says(
    snippet: Snippet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    await _run(snippet, monkeypatch)

    printed = capsys.readouterr().out
    assert snippet.printed is None or printed == snippet.printed


@pytest.mark.parametrize("snippet", TESTS, ids=lambda snippet: snippet.name)
def test_snippet_that_is_a_test_passes(snippet: Snippet, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(snippet.code)
    count = len(re.findall(r"^(?:async )?def test_", snippet.code, re.MULTILINE))

    result = pytester.runpytest_subprocess("-o", "asyncio_mode=auto", "-p", "no:cacheprovider")

    result.assert_outcomes(passed=count)


def test_the_first_snippet_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None

    exec(compile(found[1], "README.md", "exec", dont_inherit=True), {})

    assert capsys.readouterr().out == "Hello, world!\ncomplete\n"


def test_the_pages_have_snippets() -> None:
    pages = {snippet.name.rpartition("-")[0] for snippet in ALL}

    assert pages == {path.stem for path in PAGES if "```python\n" in path.read_text("utf-8")}
    assert len(PAGES) >= 4


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("```python\n# runnable\nx = 1\n```\n", ["page-1"]),
        ("```python\nx = 1\n```\n", []),
        ("```sh\n# runnable\n```\n", []),
    ],
)
def test_only_marked_blocks_are_taken(text: str, names: list[str]) -> None:
    assert [snippet.name for snippet in snippets("page", text)] == names


async def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "```python\n# runnable\nasync def main():\n    assert 1 == 2\n```\n"
    (snippet,) = snippets("planted", page)

    with pytest.raises(AssertionError):
        await _run(snippet, monkeypatch)
