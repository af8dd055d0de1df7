"""Run a process in a group of its own, stream what it writes, and end all of it when asked."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Final

import attrs

from wfe.core.lean import define
from wfe.yaml.output_lines import LineCutter
from wfe.yaml.survivors import noted
from wfe.yaml.watchdog import guarded

if TYPE_CHECKING:
    from wfe.core.masking import Masker, MaskStream

__all__ = ["OnLine", "run_process"]

OnLine = Callable[[str, str], None]
"""Takes a stream (``stdout``, ``stderr``, ``warning``) and a line."""

_DRAIN: Final = 0.25  # seconds for output that is still in the pipe when the process has ended
_POLL: Final = 0.02  # seconds between looks at whether a group is gone
_STREAMS: Final = {1: "stdout", 2: "stderr"}


async def run_process(  # noqa: PLR0913 - all that a process is given
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    on_line: OnLine,
    grace: float,
    masks: Masker | None = None,
    owner: str | None = None,
    stdin: int = DEVNULL,
    pass_fds: Sequence[int] = (),
) -> int:
    """Run *command* to its end and return its exit code (negative: the signal that ended it).

    Args:
        command: Program and arguments.
        env: All of its environment.
        cwd: Where it runs.
        on_line: Gets each line as it is written.
        grace: Seconds between the request to end (SIGTERM to the group) and SIGKILL, when the
            caller is cancelled.
        masks: Takes secrets out of the output, before it is cut into lines.
        owner: Who needs the process, for the note by which it is found if its host dies.
        stdin: A descriptor; nothing can be read from it unless it is given.
        pass_fds: Further descriptors that it gets.

    Raises:
        OSError: It cannot be started.
    """
    loop = asyncio.get_running_loop()
    # asyncio.Process.wait() also waits for the pipes, which a process in the background may hold
    # open for ever; the protocol underneath tells the two apart.
    transport, running = await loop.subprocess_exec(
        lambda: _Running(on_line, masks),
        *command,
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE,
        cwd=cwd,
        env=env,
        start_new_session=True,
        pass_fds=tuple(pass_fds),
    )
    group = transport.get_pid()
    with guarded(group), noted(group, owner):
        try:
            code = await running.exited(transport)
            if code:
                running.kill(transport)
            await running.drain()
        except asyncio.CancelledError:
            await running.end(transport, grace)
            raise
        finally:
            running.flush()
            transport.close()
    return code


@define(eq=False)
class _Running(asyncio.SubprocessProtocol):
    on_line: OnLine
    masks: Masker | None = None
    cutters: dict[int, LineCutter] = attrs.field(factory=lambda: {1: LineCutter(), 2: LineCutter()})
    masked: dict[int, MaskStream] = attrs.field(
        default=attrs.Factory(lambda self: _streams(self.masks), takes_self=True), init=False
    )
    ended: asyncio.Event = attrs.field(factory=asyncio.Event)
    closed: asyncio.Event = attrs.field(factory=asyncio.Event)
    finished: bool = False

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.finished:
            return
        if fd in self.masked:
            data = self.masked[fd].feed(data)
        for line in self.cutters[fd].feed(data):
            self.on_line(_STREAMS[fd], line)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - as asyncio calls it
        self._close(fd)
        if not self.cutters:
            self.closed.set()

    def process_exited(self) -> None:
        self.ended.set()

    def _close(self, fd: int) -> None:
        cutter = self.cutters.pop(fd, None)
        if cutter is None or self.finished:
            return
        rest = self.masked[fd].close() if fd in self.masked else b""
        for line in (*cutter.feed(rest), *cutter.close()):
            self.on_line(_STREAMS[fd], line)

    def flush(self) -> None:
        """Hand out unfinished lines, and none after them."""
        for fd in list(self.cutters):
            self._close(fd)
        self.finished = True

    async def exited(self, transport: asyncio.SubprocessTransport) -> int:
        """Wait for the process itself and return its exit code."""
        await self.ended.wait()
        code = transport.get_returncode()
        return 0 if code is None else code

    async def drain(self) -> None:
        """Read what is left; a process in the background that keeps the pipes is not waited for."""
        try:
            async with asyncio.timeout(_DRAIN):
                await self.closed.wait()
        except TimeoutError:
            message = "a process in the background keeps the output open; it is not read any more"
            self.on_line("warning", message)

    def kill(self, transport: asyncio.SubprocessTransport) -> None:
        """End what is left of the group at once."""
        _signal(transport.get_pid(), signal.SIGKILL)

    async def end(self, transport: asyncio.SubprocessTransport, grace: float) -> None:
        """End the group: SIGTERM, *grace* seconds, SIGKILL; a second cancel cuts the grace."""
        group = transport.get_pid()
        if _signal(group, signal.SIGTERM):
            # What is stopped does not see SIGTERM before it goes on.
            _signal(group, signal.SIGCONT)
            with suppress(asyncio.CancelledError, TimeoutError):
                async with asyncio.timeout(grace):
                    while _alive(group):  # noqa: ASYNC110 - the kernel sets no event
                        await asyncio.sleep(_POLL)
        _signal(group, signal.SIGKILL)
        with suppress(asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(5):
                await self.ended.wait()


def _streams(masks: Masker | None) -> dict[int, MaskStream]:
    return {fd: masks.stream() for fd in _STREAMS} if masks else {}


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _alive(group: int) -> bool:
    """Whether a process of the group runs; those that ended and wait to be reaped do not count."""
    if not _signal(group, 0):
        return False
    try:
        processes = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - 5x faster
    except OSError:
        return True
    for process in processes:
        try:
            text = Path("/proc", process, "stat").read_text(errors="replace")
        except OSError:
            continue
        state, _, its_group = text.rpartition(")")[2].split()[:3]
        if its_group == str(group) and state not in {"Z", "X"}:
            return True
    return not processes
