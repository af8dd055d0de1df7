"""What happened in a simulation, line by line, and a hash of all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager

from wfe.core.providers import Item, Outcome
from wfe.testing.simulator.laws import Broken, Law

__all__ = ["Trace"]


class Trace:
    """Takes lines; the first broken law is kept and ends the simulation.

    Attributes:
        found: The first law that did not hold.
        lines: All lines, when they are wanted.
    """

    def __init__(self, micros: Callable[[], int], *, keep: bool) -> None:
        """Stamp lines with *micros*; without *keep* only their hash remains."""
        self.found: Broken | None = None
        self.lines: list[str] = []
        self._micros = micros
        self._keep = keep
        self._hash = hashlib.blake2b(digest_size=16)

    @property
    def digest(self) -> str:
        """The hash of all lines so far."""
        return self._hash.hexdigest()

    def add(self, kind: str, *what: object) -> None:
        """Add a line."""
        line = f"{self._micros() / 1e6:12.6f} {kind} {' '.join(map(str, what))}"
        self._hash.update(line.encode())
        if self._keep:
            self.lines.append(line)

    def commit(self, epoch: int | None, item: Item, outcome: Outcome) -> None:
        """Add the lines of an item: what was asked and how it was answered."""
        name = type(outcome).__name__
        header = item.header
        shown = "" if header is None else f" -> {header.status}{' released' * header.release}"
        new = "" if item.new is None else f" new {item.new.definition} owner {item.new.owner}"
        self.add("commit", epoch, item.n, f"{name}{new}{shown}")
        for text in item.rows:
            self.add("  row", item.n, text)
        for message in item.messages:
            self.add("  message", message.target, message.kind, message.actor or "")
        for child in item.starts:
            self.add("  start", child.n)
        if item.consumed:
            self.add("  consumed", *item.consumed)
        for event in item.publish:
            self.add("  publish", event.name, event.key, event.id)

    def broken(self, law: Law, detail: str) -> None:
        """Take note that *law* does not hold."""
        if self.found is None:
            self.found = Broken(law, detail)
            self.add("BROKEN", law, detail)

    @contextmanager
    def watched(self) -> Generator[None]:
        """Keep a law that is broken inside, instead of raising it into the engine."""
        try:
            yield
        except Broken as broken:
            self.broken(broken.law, broken.detail)
