"""Make processes die with their host, also when it is killed and can do nothing any more.

One small shell reads process groups from a pipe whose other end only this process has.  When the
pipe ends, this process is gone, and the shell ends the groups that are left.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

import attrs

from wfe.core.lean import define

__all__ = ["guarded"]

_SCRIPT: Final = """
trap '' INT TERM HUP QUIT
groups=' '
while read -r sign group; do
    case $sign in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -TERM "-$group"; done
[ "$groups" = "${groups# *[0-9]}" ] || sleep 1
for group in $groups; do kill -KILL "-$group"; done
"""


@define
class _Watchdog:
    lock: threading.Lock = attrs.field(factory=threading.Lock)
    owner: int = 0  # the process that started it; a fork needs its own
    pipe: int = -1

    def send(self, line: str) -> None:
        with self.lock:
            if self.owner != os.getpid():
                self._start()
            with suppress(OSError):
                # Shorter than PIPE_BUF, so it arrives whole.  A step does not fail for want of it.
                os.write(self.pipe, line.encode())

    def _start(self) -> None:
        reading, writing = os.pipe()
        try:
            os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", _SCRIPT],
                {"PATH": os.defpath},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, reading, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
            )
        finally:
            os.close(reading)
        self.owner, self.pipe = os.getpid(), writing


_watchdog: Final = _Watchdog()


@contextmanager
def guarded(group: int) -> Generator[None]:
    """End the process *group* if this process dies before the block ends."""
    _watchdog.send(f"+ {group}\n")
    try:
        yield
    finally:
        _watchdog.send(f"- {group}\n")
