"""Check the documentation: links lead somewhere and Python snippets are Python."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from workspace import ROOT

__all__ = ["anchors", "markdown_files", "problems"]

_OTHER = re.compile(r"[a-z][a-z0-9+.-]*:|//")  # another scheme or host: not ours to check
_SKIPPED = {"build", "dist", "node_modules", "changelog.d"}


def markdown_files(root: Path = ROOT) -> Iterator[Path]:
    """Yield the repository's Markdown files."""
    for path in sorted(root.rglob("*.md")):
        parts = path.relative_to(root).parts
        if not any(part.startswith(".") or part in _SKIPPED for part in parts):
            yield path


def problems(path: Path) -> Iterator[str]:
    """Yield the broken links and the Python snippets that do not parse, of one file."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(path.read_text(encoding="utf-8"))
    for token in tokens:
        line = (token.map or [0])[0] + 1
        if token.type == "inline":
            for target in _targets(token):
                if reason := _broken(path, target):
                    yield f"{path}:{line}: {target}: {reason}"
        elif token.type == "fence" and token.info.strip() == "python":
            try:
                ast.parse(token.content)
            except SyntaxError as error:
                yield f"{path}:{line + (error.lineno or 1)}: {error.msg}"


def _targets(inline: Token) -> Iterator[str]:
    for child in inline.children or ():
        target = child.attrGet("href") or child.attrGet("src")
        if isinstance(target, str) and not _OTHER.match(target):
            yield unquote(target)


def _broken(path: Path, target: str) -> str | None:
    name, _, anchor = target.partition("#")
    file = path.parent / name if name else path
    if not file.exists():
        return "no such file"
    if anchor and file.suffix == ".md" and anchor not in anchors(file):
        return "no such heading"
    return None


def anchors(path: Path) -> set[str]:
    """Return the anchors that the headings of a Markdown file get."""
    tokens = MarkdownIt().parse(path.read_text(encoding="utf-8"))
    titles = [tokens[at + 1].content for at, each in enumerate(tokens) if each.tag[:1] == "h"]
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def main() -> int:
    files = list(markdown_files())
    found = [each for path in files for each in problems(path)]
    print("\n".join(found) or f"{len(files)} documents are sound")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
