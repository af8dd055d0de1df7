"""Processes of a measurement: told what to do line by line, answering in lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from benchmarks.scaling.places import Place

__all__ = ["Child"]

_ROOT = Path(__file__).parent.parent.parent
_PATIENCE = 600.0  # seconds for an answer


class Child:
    """A process that plays a role of ``benchmarks.scaling.worker``; killed when it is left."""

    def __init__(
        self, role: str, place: Place, *, machine: Path | None = None, **options: Any
    ) -> None:
        """Prepare one; it is started by ``async with``.

        Args:
            role: What it does.
            place: Where its store is.
            machine: Its folder for temporary files: who has another one takes it for a process of
                another machine; ``None``: as all others.
            options: Of the role.
        """
        self._environment = {} if machine is None else {"TMPDIR": str(machine)}
        self._spec = json.dumps({"place": attrs.asdict(place), **options})
        self._role = role
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start it and wait until it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.scaling.worker", self._role, self._spec),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            env={**os.environ, **self._environment},
            limit=1 << 24,
        )
        await self.hear("ready")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, whatever it does."""
        self.kill()
        assert self._process is not None
        await self._process.wait()

    def say(self, word: str) -> None:
        """Tell it something."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def hear(self, key: str) -> Any:
        """Return the next answer under *key*; others are passed over."""
        assert self._process is not None
        assert self._process.stdout is not None
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE)
            if not line:
                message = f"the process that should {self._role} ended before it said {key!r}"
                raise RuntimeError(message)
            said = json.loads(line)
            if key in said:
                return said[key]

    async def ask(self, word: str) -> Any:
        """Tell it *word* and return its answer to it."""
        self.say(word)
        return await self.hear(word)

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
