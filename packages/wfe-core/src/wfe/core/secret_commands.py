"""Secrets that a program prints, such as a password manager."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Iterable
from contextlib import suppress
from subprocess import DEVNULL, PIPE
from typing import Final

import attrs

from wfe.core.errors import ProviderError
from wfe.core.lean import frozen
from wfe.core.secret_names import check_secret_name

__all__ = ["CommandSecrets", "open_command"]

_LARGEST: Final = 1024 * 1024  # bytes of a secret


def open_command(url: str) -> CommandSecrets:
    """Return the provider of ``command:PROGRAM ARGUMENT… {name}``, split as a shell would.

    Raises:
        ProviderError: There is no command, or it has no ``{name}``.
    """
    try:
        argv = shlex.split(url.removeprefix("command:"))
    except ValueError as error:
        problem = f"the command cannot be read: {error}"
        raise ProviderError("secrets", problem, transient=False) from error
    return CommandSecrets(argv)


def _checked(given: Iterable[str]) -> tuple[str, ...]:
    argv = tuple(given)
    if not argv or not any("{name}" in argument for argument in argv[1:]):
        problem = "a command needs an argument with {name}, for example: command:pass show {name}"
        raise ProviderError("secrets", problem, transient=False)
    return argv


@frozen
class CommandSecrets:
    """Runs a program, without a shell; what it prints is the secret.

    One line break at the end is not part of it.  Exit code 0 with no output at all: there is no
    such secret.  Any other exit code is an error.

    Attributes:
        argv: Program and arguments; ``{name}`` in an argument is the secret's name.
        timeout: Seconds after which its process group is ended.
    """

    argv: tuple[str, ...] = attrs.field(converter=_checked)
    timeout: float = 10.0

    async def get(self, name: str) -> str | None:
        """Run the program.

        Raises:
            ProviderError: It cannot be started, fails, takes too long or prints no UTF-8 text.
        """
        check_secret_name(name)
        argv = [argument.replace("{name}", name) for argument in self.argv]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
            )
        except OSError as error:
            raise self._problem(f"cannot be started: {error.strerror}", transient=False) from error
        try:
            async with asyncio.timeout(self.timeout):
                out, told, code = await _ended(process)
        except TimeoutError:
            raise self._problem(f"took longer than {self.timeout:g} s") from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        return self._secret(out, told, code)

    def describe(self) -> str:
        """Say where is looked."""
        return f"the command {self.argv[0]!r}"

    def _secret(self, out: bytes, told: bytes, code: int) -> str | None:
        if code:
            # Nothing of stdout is shown: it may be half of the secret.
            last = told.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
            raise self._problem(f"failed with exit code {code}: {last[0][:200]}".rstrip(": "))
        if len(out) > _LARGEST:
            raise self._problem(f"printed more than {_LARGEST:,} bytes", transient=False)
        if not out:
            return None
        try:
            return out.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise self._problem("printed no UTF-8 text", transient=False) from None

    def _problem(self, what: str, *, transient: bool = True) -> ProviderError:
        return ProviderError("secrets", f"{self.describe()} {what}", transient)


async def _ended(process: asyncio.subprocess.Process) -> tuple[bytes, bytes, int]:
    """Return what a process printed, of both streams a little more than may be used."""

    async def read(stream: asyncio.StreamReader | None) -> bytes:
        kept = bytearray()
        while stream is not None and (chunk := await stream.read(65_536)):
            kept += chunk[: _LARGEST + 1 - len(kept)]
        return bytes(kept)

    out, told, code = await asyncio.gather(
        read(process.stdout), read(process.stderr), process.wait()
    )
    return out, told, code
