"""The step type ``checksum``: one digest over files, which may be expected."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
from attrs import validators as v

from wfe.core import StepExecutionContext, WfeError
from wfe.core.step_types import Role, setting

__all__ = ["Checksum", "ChecksumError"]

_DIGEST = re.compile(r"[0-9a-f]{64}")


@attrs.define(eq=False)
class ChecksumError(WfeError):
    """The files are not what was expected; to try again makes no sense."""

    problem: str

    retryable: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.problem


@attrs.define(kw_only=True)
class Checksum:
    """Compute one SHA-256 over names and contents of files, and compare it.

    A sync ``run`` is called in a thread, so that reading large files holds nobody up.
    """

    step_outputs: ClassVar[Mapping[str, str]] = {"digest": "string", "count": "integer"}

    files: Sequence[str] = setting(
        validator=v.min_len(1), description="Glob patterns, relative to the working directory."
    )
    expected: str | None = setting(default=None, description="Fail when the digest is another.")
    working_dir: str | None = setting(Role.DIRECTORY, default=None)
    workspace: Path | None = setting(Role.WORKSPACE, default=None)

    @classmethod
    def check_config(cls, config: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
        """Say what is wrong before anything runs; computed values are ``COMPUTED`` here."""
        expected = config.get("expected")
        if isinstance(expected, str) and not _DIGEST.fullmatch(expected):
            yield "expected", "`expected` is no SHA-256", "write 64 hexadecimal digits"

    def run(self, ctx: StepExecutionContext[Any]) -> dict[str, Any]:
        """Read the files; what is returned are the outputs."""
        base = (self.workspace or Path.cwd()) / (self.working_dir or ".")
        found = sorted({path for glob in self.files for path in base.glob(glob) if path.is_file()})
        if not found:
            raise ChecksumError(f"no file is called {' or '.join(self.files)} in {base}")
        digest = hashlib.sha256()
        for path in found:
            ctx.raise_if_cancelled()
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(base).as_posix()}\0{content}\n".encode())
            ctx.log.info("%s  %s", content[:12], path.name)
        if self.expected is not None and digest.hexdigest() != self.expected:
            raise ChecksumError(f"the digest is {digest.hexdigest()}, not {self.expected}")
        return {"digest": digest.hexdigest(), "count": len(found)}
