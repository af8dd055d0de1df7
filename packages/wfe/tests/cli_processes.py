"""The command as a process of its own, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["Running", "command", "environment", "finished"]


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "wfe", *args]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WFE_")}


def finished(folder: Path, *args: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Running:
    """A process whose output is read up to a word."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.process = subprocess.Popen(
            command(*args),
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.seen: list[str] = []

    def until(self, word: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(line.rstrip("\n"))
            if word in line:
                return
        pytest.fail(f"{word!r} was never printed: {self.seen}")

    def until_complaint(self, word: str) -> None:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert word in line

    def end(self) -> tuple[int, list[str]]:
        out, _ = self.process.communicate(timeout=30)
        return self.process.returncode, [*self.seen, *out.splitlines()]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
