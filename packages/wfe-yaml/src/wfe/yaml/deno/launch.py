"""The command line of a script's process, and the limits that hold in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from wfe.core.lean import frozen
from wfe.yaml.deno.grants import Grants
from wfe.yaml.deno.limits import most_processes

__all__ = ["BOOTSTRAP", "Launch"]

BOOTSTRAP: Final = Path(__file__).with_name("bootstrap.js")

_MIB: Final = 1024 * 1024
_OVERHEAD: Final = 512 * _MIB  # data segment of Deno itself, without a script's
_BOOT: Final = 640 * _MIB  # Deno does not start below 576
_FILE: Final = 1024 * _MIB  # largest file that it can write


@frozen(kw_only=True)
class Launch:
    """How a script is started.

    Attributes:
        program: Deno.
        script: Path of what the bootstrap imports; it may be read.
        channel: Path of the channel; it may be written.
        memory: In bytes.
        modules: Hosts of the modules that are in the cache; ``None``: there are none.
        packages: Whether there are npm packages in the cache.
        fetch: Whether code may be fetched at run time from the granted hosts.
    """

    program: str
    grants: Grants
    script: Path
    channel: str
    memory: int
    modules: tuple[str, ...] | None = None
    packages: bool = False
    fetch: bool = False

    def command(self) -> list[str]:
        """Return program and arguments: a shell that sets the limits and becomes Deno."""
        return ["/bin/sh", "-c", f'{self._limits()} exec "$@"', "deno", *self._deno()]

    def _limits(self) -> str:
        data = max(_BOOT, self.memory + _OVERHEAD) // 1024
        # Where a limit cannot be set, a lower one holds already.
        limits = ["-c 0", f"-d {data}", f"-f {_FILE // 512}"]
        text = " ".join(f"ulimit {limit} 2>/dev/null;" for limit in limits)
        processes = most_processes() if self.grants.run else None
        if processes is None:
            return text
        # One of the two is the option, by the kind of shell.
        return f"{text} ulimit -u {processes} 2>/dev/null || ulimit -p {processes} 2>/dev/null;"

    def _deno(self) -> Iterator[str]:
        yield from (self.program, "run", "--no-prompt", "--no-config", "--no-lock", "--quiet")
        if not self.fetch:
            yield "--cached-only"
        if self.modules is None and not self.fetch:
            yield "--no-remote"
        if not self.packages:
            yield "--no-npm"
        hosts = (*(self.modules or ()), *(self.grants.net if self.fetch else ()))
        if hosts:
            yield f"--allow-import={','.join(dict.fromkeys(hosts))}"
        yield f"--v8-flags=--max-old-space-size={self.memory // _MIB}"
        own = attrs.evolve(
            self.grants,
            read=(*self.grants.read, str(self.script)),
            write=(*self.grants.write, self.channel),
        )
        yield from own.flags()
        yield str(BOOTSTRAP)
