"""Find what no file of this repository may hold: registry hosts and people's home folders."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from workspace import ROOT

__all__ = ["problems", "text_files"]

_SKIPPED = {"__pycache__", "build", "dist", "node_modules"}
_SHOWN = {".ci", ".gitignore"}  # hidden, and ours
_LARGEST = 4_000_000  # bytes; above it is data, not text
# Written in two halves so that this file passes its own check.
_HOSTS = (
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("crates", "io"),
    ("proxy.golang", "org"),
    ("repo1.maven", "org"),
    ("deb.debian", "org"),
)
_HOST = re.compile("|".join(rf"\b{re.escape(name)}\.{top}\b" for name, top in _HOSTS))
_HOME = re.compile(r"(?<![\w.~$}-])/(?:root|home/[a-z]\w*|Users/\w+)/")


def text_files(root: Path = ROOT) -> Iterator[Path]:
    """Yield the files that could be committed and hold text."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if any(_generated(part) for part in parts) or not path.is_file():
            continue
        if path.stat().st_size <= _LARGEST and b"\0" not in path.read_bytes():
            yield path


def _generated(part: str) -> bool:
    hidden = part.startswith(".") and part not in _SHOWN
    return hidden or part in _SKIPPED or part.endswith(".egg-info")


def problems(path: Path) -> Iterator[str]:
    """Yield the lines of one file that name a registry's host or a home folder."""
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if _HOST.search(line):
            yield f"{path}:{number}: names a registry's host; name the package only"
        if _HOME.search(line):
            yield f"{path}:{number}: names a home folder; use a relative path"


def main() -> int:
    found = [each for path in text_files() for each in problems(path)]
    print("\n".join(found) or "no registry hosts, no home folders")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
