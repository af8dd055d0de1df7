"""What goes wrong in a Deno step."""

from __future__ import annotations

import signal
from typing import ClassVar

from wfe.core.errors import WfeError
from wfe.core.lean import define

__all__ = [
    "DenoCpuTimeError",
    "DenoGrantError",
    "DenoMemoryError",
    "DenoScriptError",
    "DenoStartError",
    "ended_by",
]


@define(eq=False)
class DenoScriptError(WfeError):
    """A script failed: it threw, or it ended the process.

    Attributes:
        kind: Class of what was thrown, ``None`` when nothing was.
        problem: Its message, or how the process ended.
        exit_code: Of the process; minus the signal's number if one ended it.
        trace: Where it was thrown, innermost first, as ``function (file:line:column)``.
    """

    kind: str | None
    problem: str
    exit_code: int = 1
    trace: tuple[str, ...] = ()

    retryable: ClassVar[bool] = True

    @property
    def retry_labels(self) -> tuple[str, ...]:
        """What ``retry.on`` may name: ``exit:3``; a signal counts as in shells, from 128."""
        code = self.exit_code if self.exit_code >= 0 else 128 - self.exit_code
        return (f"exit:{code}", "error")

    def __str__(self) -> str:
        what = f"{self.kind}: {self.problem}" if self.kind else self.problem
        if not self.trace:
            return what
        # `function (place)`, or the place alone.
        return f"{what} ({self.trace[0].rpartition('(')[2].rstrip(')')})"


@define(eq=False)
class DenoMemoryError(WfeError):
    """A script wanted more memory than it may have.

    Attributes:
        limit: In bytes.
        worker: Whether it was a web worker that did not get what it needs.
    """

    limit: int
    worker: bool = False

    retryable: ClassVar[bool] = True

    def __str__(self) -> str:
        size = f"{self.limit // (1024 * 1024):,} MiB"
        text = f"the script ran out of memory (the limit is {size}; `memory` sets another)"
        return text + ("; each web worker needs 512 MiB" if self.worker else "")


@define(eq=False)
class DenoCpuTimeError(WfeError):
    """A script used up the processor time that the host's limits leave it."""

    retryable: ClassVar[bool] = True
    retry_labels: ClassVar[tuple[str, ...]] = ("timeout",)

    def __str__(self) -> str:
        return "the script used up its processor time (a limit of the host, RLIMIT_CPU)"


@define(eq=False)
class DenoGrantError(WfeError):
    """A permission cannot be given as it is written.

    Attributes:
        permission: ``read``, ``write`` ...
    """

    permission: str
    problem: str

    def __str__(self) -> str:
        return f"the permission `{self.permission}` cannot be given: {self.problem}"


@define(eq=False)
class DenoStartError(WfeError):
    """A script cannot be started: Deno, the script's file or a module is not to be had."""

    problem: str
    hint: str | None = None

    errored: ClassVar[bool] = True

    def __str__(self) -> str:
        return self.problem + (f"; {self.hint}" if self.hint else "")


def ended_by(code: int) -> str:
    """Return how a process with the exit code *code* ended."""
    if code >= 0:
        return f"the script ended its process with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"the script's process was ended by signal {name}"
