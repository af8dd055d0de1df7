"""The private ways to and from a script: what it is given, and its outputs."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

import attrs

from wfe.core.lean import define
from wfe.yaml.step_outputs import StepOutputError

__all__ = ["Channel", "Report", "feed", "open_channel"]

_CHUNK: Final = 64 * 1024
_ERRORS: Final = 64 * 1024  # bytes beyond the limit, for an error and the end


@define
class Report:
    """What a script said.

    Attributes:
        outputs: By name; of several with one name the last.
        error: ``error``, ``message`` and ``stack`` of what it threw.
        ended: Whether it came to its end.
    """

    outputs: dict[str, Any] = attrs.field(factory=dict[str, Any])
    error: dict[str, str] | None = None
    ended: bool = False


@define(eq=False)
class Channel:
    """A pipe whose lines begin with a word that only the bootstrap knows.

    So nothing that gets hold of the descriptor (a child process inherits it) can add an output.

    Attributes:
        writing: The descriptor that the process gets.
        limit: Bytes of all outputs.
        nonce: The word.
    """

    reading: int
    writing: int
    limit: int
    nonce: str = attrs.field(factory=lambda: secrets.token_hex(16))
    received: bytearray = attrs.field(factory=bytearray)

    @property
    def path(self) -> str:
        """Under which the process opens it."""
        return f"/dev/fd/{self.writing}"

    @property
    def _most(self) -> int:
        return self.limit + _ERRORS

    def receive(self) -> None:
        """Take what is there; returns at once."""
        if self.reading < 0:
            return
        with suppress(BlockingIOError):
            while len(self.received) <= self._most:
                self.received += os.read(self.reading, _CHUNK)
            # Who writes on gets an error instead of waiting for ever.
            self.close()

    def close(self) -> None:
        """Read no more; idempotent."""
        if self.reading >= 0:
            asyncio.get_running_loop().remove_reader(self.reading)
            os.close(self.reading)
            self.reading = -1

    def report(self) -> Report:
        """Return what was said, after the process has ended.

        Raises:
            StepOutputError: It is too much, or something else has written.
        """
        self.receive()
        if len(self.received) > self._most:
            raise StepOutputError(f"the outputs of the step have more than {self.limit:,} bytes")
        report = Report()
        *lines, rest = bytes(self.received).split(b"\n")
        for line in lines:
            self._take(line, report)
        if rest and report.ended:
            raise StepOutputError(_FOREIGN)
        return report

    def _take(self, line: bytes, report: Report) -> None:
        nonce, _, text = line.partition(b" ")
        if not secrets.compare_digest(nonce, self.nonce.encode()):
            raise StepOutputError(_FOREIGN)
        try:
            frame: dict[str, Any] = json.loads(text)
            # Half of a character cannot be stored.
            json.dumps(frame, ensure_ascii=False).encode()
        except RecursionError as error:
            raise StepOutputError("an output has too many values within values") from error
        except UnicodeEncodeError as error:
            raise StepOutputError(
                "an output holds half of a character (\\ud800-\\udfff)"
            ) from error
        match frame:
            case {"output": str(name), "value": value}:
                report.outputs[name] = value
            case {"error": str()}:
                # The first is the cause, others follow from it.
                report.error = report.error or frame
            case _:
                report.ended = True


_FOREIGN: Final = "something other than the script wrote to the channel of its outputs"


@contextmanager
def open_channel(limit: int) -> Generator[Channel]:
    """Open a channel that is read in the background, for *limit* bytes of outputs."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    channel = Channel(reading, writing, limit)
    loop = asyncio.get_running_loop()
    loop.add_reader(reading, channel.receive)
    try:
        yield channel
    finally:
        channel.close()
        os.close(writing)


@define(eq=False)
class _Feed:
    writing: int
    left: memoryview

    def write(self) -> None:
        """Write what fits; returns at once."""
        try:
            while self.left:
                self.left = self.left[os.write(self.writing, self.left[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            pass  # it has ended, and its exit code says how
        self.close()

    def close(self) -> None:
        if self.writing >= 0:
            asyncio.get_running_loop().remove_writer(self.writing)
            os.close(self.writing)
            self.writing = -1


@contextmanager
def feed(content: bytes) -> Generator[int]:
    """Give a descriptor from which *content* can be read once, to whoever is first: no file."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    waiting = _Feed(writing, memoryview(content))
    asyncio.get_running_loop().add_writer(writing, waiting.write)
    try:
        yield reading
    finally:
        waiting.close()
        os.close(reading)
