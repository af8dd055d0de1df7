"""The programs that run the commands of a step, and how each is called."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["SHELLS", "command_of", "find_program", "shell_of_file"]

SHELLS: Final = ("bash", "sh", "python", "pwsh")

_LONGEST_ARGUMENT: Final = 100_000  # bytes; Linux takes 128 KiB
_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "bash": ("--noprofile", "--norc", "-eo", "pipefail"),
    "sh": ("-e",),
    "python": ("-u",),  # what it prints is seen at once
    "pwsh": ("-NoLogo", "-NoProfile", "-NonInteractive"),
}
_BY_SUFFIX: Final[Mapping[str, str]] = {
    ".bash": "bash",
    ".ps1": "pwsh",
    ".py": "python",
}
_POWERSHELL: Final = """$ErrorActionPreference = 'Stop'
{}
if (Test-Path variable:LASTEXITCODE) {{ exit $LASTEXITCODE }}
"""


def shell_of_file(path: Path) -> str | None:
    """Return what runs a script file, by its suffix; ``None``: the default."""
    return _BY_SUFFIX.get(path.suffix.lower())


@cache
def find_program(shell: str) -> str | None:
    """Return the path of the program behind *shell*, ``None`` when it is not installed."""
    if shell == "python":
        return shutil.which("python3") or shutil.which("python") or sys.executable or None
    return shutil.which(shell)


def command_of(shell: str, program: str, script: str | Path, private: Path) -> list[str]:
    """Return program and arguments.

    Args:
        shell: One of :data:`SHELLS`.
        program: Its path.
        script: The commands, or the file that has them.
        private: A directory for a file that is needed on the way.
    """
    flags = _FLAGS[shell]
    if isinstance(script, Path):
        return [program, *flags, *(("-File",) if shell == "pwsh" else ()), str(script)]
    if shell == "pwsh":
        path = private / "script.ps1"
        _write(path, _POWERSHELL.format(script))
        return [program, *flags, "-File", str(path)]
    if len(script.encode("utf-8", "surrogateescape")) <= _LONGEST_ARGUMENT:
        return [program, *flags, "-c", script]
    path = private / "script"
    _write(path, script)
    return [program, *flags, str(path)]


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
