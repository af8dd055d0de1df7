"""What the suite tells the processes that it starts."""

from __future__ import annotations

import json
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Settings", "append", "end_with_parent"]


@attrs.frozen(kw_only=True)
class Settings:
    """Where everything is.

    Attributes:
        db: URL of the store as seen by hosts.
        rate: Cases that a client begins in a second.
        together: Cases of a client that may be under way at a time.
    """

    folder: str
    seed: int
    db: str
    queue: str | None = None
    lock: str | None = None
    lifecycle: str | None = None
    search: str | None = None
    lease: float = 2.5
    rate: float = 4.0
    together: int = 150

    @property
    def long_enough(self) -> timedelta:
        """The hosts' lease."""
        return timedelta(seconds=self.lease)

    def write(self, path: Path) -> None:
        """Keep them in a file."""
        path.write_text(json.dumps(attrs.asdict(self)), encoding="utf-8")

    @staticmethod
    def read(path: str) -> Settings:
        """Return what :meth:`write` kept."""
        return Settings(**json.loads(Path(path).read_text(encoding="utf-8")))


def append(path: Path, fact: dict[str, Any]) -> None:
    """Add a line of JSON in one write: a process that dies leaves whole lines."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, json.dumps(fact).encode() + b"\n")
    finally:
        os.close(descriptor)


def end_with_parent() -> None:
    """Die when the suite does, however it died: it holds the other end of the standard input."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(3)

    threading.Thread(target=wait, daemon=True).start()
