"""The processes of hosts and clients, and what is known of how they fare."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import attrs

__all__ = ["Happened", "Member", "Shape"]


@attrs.frozen(kw_only=True)
class Shape:
    """What is run.

    Attributes:
        setup: Of which servers, one of ``SETUPS``.
        namespaces: Whether this is the first process in namespaces of its own.
        rate: Workflows that a client starts in a second.
        search: Whether there is an OpenSearch as well.
        version: Of PostgreSQL; ``None``: the first there is.
    """

    setup: str
    seed: int
    hosts: int
    clients: int
    namespaces: bool
    rate: float
    search: bool = False
    version: str | None = None


@attrs.define
class Happened:
    """What was done, and what was seen on the way."""

    faults: Counter[str] = attrs.field(factory=Counter[str])
    log: list[str] = attrs.field(factory=list[str])
    wrong: list[str] = attrs.field(factory=list[str])
    missing: dict[str, str] = attrs.field(factory=dict[str, str])
    """Faults that cannot be made here, and why."""
    stopped: list[int] = attrs.field(factory=list[int])
    """Processes of hosts that were stopped politely."""
    paused: int = 0
    """When the schedule was paused, µs."""
    samples: int = 0
    most_places: int = 0
    settled: float | None = None
    """Seconds from the last fault to rest; ``None``: it never came."""


@attrs.define
class Member:
    """A process of ours that may die and come back."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    wanted: bool = True
    """Whether it should be there now."""
    starts: int = 0

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        self.wanted = True
        self.starts += 1

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def ended(self, seconds: float) -> bool:
        """Wait for its end; return whether it came."""
        until = time.monotonic() + seconds
        while self.process is not None and self.process.poll() is None:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.02)
        return True

    async def kill(self) -> None:
        """Kill -9 it."""
        self.wanted = False
        self.signal(signal.SIGKILL)
        await self.ended(10)
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
