"""Stores on files of their own, and hosts in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from wfe.sqlite import SqliteStore

SCRIPT = Path(__file__).with_name("sqlite_process.py")


class Process:
    """A running ``sqlite_process.py``: lines in, JSON lines out."""

    def __init__(self, *args: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, str(SCRIPT), *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def hear(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, f"the process ended with {self.popen.wait()}"
        said: dict[str, Any] = orjson.loads(line)
        return said

    def rest(self) -> list[dict[str, Any]]:
        assert self.popen.stdout is not None
        return [orjson.loads(line) for line in self.popen.stdout]

    def tell(self, line: str = "") -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(line.encode() + b"\n")
        self.popen.stdin.flush()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wfe.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def process(path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(command: str, *rest: str) -> Process:
        started.append(Process(command, str(path), *rest))
        return started[-1]

    yield start
    for one in started:
        one.kill()
