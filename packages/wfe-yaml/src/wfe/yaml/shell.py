"""The step that runs shell commands."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs

from wfe.core.errors import WfeError
from wfe.core.rounds import round_field
from wfe.core.steps import ExecutionResult, StepExecutionContext
from wfe.yaml.process import run_process
from wfe.yaml.step_outputs import StepOutputs, read_marker
from wfe.yaml.value_types import ValueType
from wfe.yaml.variables import render_value

__all__ = ["Shell", "ShellCommandError", "ShellStartError"]

_BASE: Final = ("PATH", "HOME", "LANG", "TMPDIR")
_LONGEST_ARGUMENT: Final = 100_000  # bytes; Linux takes 128 KiB
_TAIL: Final = 5  # lines of output in the error


@attrs.define(eq=False)
class ShellCommandError(WfeError):
    """The commands of a step ended with a non-zero exit code or by a signal.

    Attributes:
        exit_code: 1 to 255, or minus the signal's number.
        tail: The last lines that were written.
    """

    exit_code: int
    tail: tuple[str, ...] = ()

    retryable: ClassVar[bool] = True

    def __str__(self) -> str:
        if self.exit_code < 0:
            try:
                name = signal.Signals(-self.exit_code).name
            except ValueError:
                name = str(-self.exit_code)
            how = f"was ended by signal {name}"
        else:
            how = f"exited with code {self.exit_code}"
        last = next((line.strip() for line in reversed(self.tail) if line.strip()), "")
        return f"the command {how}" + (f": {last[:300]}" if last else "")


@attrs.define(eq=False)
class ShellStartError(WfeError):
    """The commands of a step could not be started."""

    problem: str

    def __str__(self) -> str:
        return self.problem


@attrs.define(kw_only=True)
class Shell:
    """Run commands in ``bash -eo pipefail``, or in ``sh -e`` where there is no bash.

    The commands get an explicit environment: PATH, HOME, LANG and TMPDIR of the host, what
    *env_from_host* names, *env*, and ``WFE_RUN_ID``, ``WFE_WORKFLOW``, ``WFE_STEP``,
    ``WFE_ATTEMPT`` (from 0) and ``WFE_OUTPUT``, a file that takes outputs as ``name=value`` or
    ``{"name": value}`` lines.  They run in a process group of their own, which is ended as a whole
    when the step is cancelled or times out.

    Attributes:
        script: The commands; the argument is called ``run``.
        shell: ``bash`` or ``sh``; ``None``: bash when there.
        env: Values that are not text become what they are in JSON; null is empty.
        env_from_host: Names of variables of the host.
        working_dir: Relative to *workspace*.
        outputs: Declared outputs, name to type; the only ones that stdout can set.
        key: Name under which ``steps`` has the outputs; ``None`` (in a builder): read *results*.
        workspace: ``None``: the current directory.
        grace: Seconds from SIGTERM to SIGKILL.
        output_limit: Bytes of the file of outputs.
        results: The outputs, after a run.
    """

    script: str = attrs.field(alias="run")
    shell: str | None = None
    env: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    env_from_host: Sequence[str] = ()
    working_dir: str | None = None
    outputs: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    key: str | None = None
    workspace: Path | None = None
    grace: float = 5.0
    output_limit: int = 1024 * 1024
    results: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)

    async def run(self, ctx: StepExecutionContext[Any]) -> ExecutionResult:
        """Run the commands and return their outputs.

        Raises:
            ShellCommandError: They failed; the exit code is in it.
            ShellStartError: They could not be started.
            StepOutputError: Their outputs cannot be taken.
        """
        declared = {name: ValueType.from_json(kind) for name, kind in self.outputs.items()}
        outputs = StepOutputs(declared)
        with tempfile.TemporaryDirectory(prefix="wfe-", ignore_cleanup_errors=True) as private:
            file = Path(private) / "output"
            file.touch(mode=0o600)
            await self._execute(ctx, Path(private), file, outputs)
            outputs.take_file(file, self.output_limit)
        self.results = outputs.finish()
        if self.key is None:
            return ExecutionResult.next()
        record = {"outputs": self.results, "status": "complete"}
        field = round_field(f"steps.{self.key}", ctx.path)
        return ExecutionResult.output(**{**self.results, field: record})

    async def _execute(
        self, ctx: StepExecutionContext[Any], private: Path, file: Path, outputs: StepOutputs
    ) -> None:
        tail: deque[str] = deque(maxlen=_TAIL)
        wrong: list[WfeError] = []

        def on_line(stream: str, line: str) -> None:
            ctx.log.line(stream, line)
            if stream == "warning":
                return
            tail.append(line)
            marker = read_marker(line) if stream == "stdout" else None
            if marker is None:
                return
            try:
                warning = outputs.take_marker(*marker)
            except WfeError as error:
                wrong.append(error)
                return
            if warning:
                ctx.log.warning("%s", warning)

        env = self._environment(ctx, file)
        try:
            code = await run_process(
                self._command(private),
                env=env,
                cwd=self._directory(),
                on_line=on_line,
                grace=self.grace,
            )
        except OSError as error:
            raise ShellStartError(self._start_problem(error, env)) from error
        if code:
            raise ShellCommandError(code, tuple(tail))
        if wrong:
            raise wrong[0]

    def _directory(self) -> Path:
        base = self.workspace or Path.cwd()
        directory = base / self.working_dir if self.working_dir else base
        if not directory.is_dir():
            raise ShellStartError(f"the working directory {str(directory)!r} does not exist")
        return directory

    def _command(self, private: Path) -> list[str]:
        shell = self.shell or ("bash" if _find("bash") else "sh")
        program = _find(shell)
        if program is None:
            raise ShellStartError(f"the shell {shell!r} is not installed (not found in PATH)")
        flags = ["--noprofile", "--norc", "-eo", "pipefail"] if shell == "bash" else ["-e"]
        if "\0" in self.script:
            raise ShellStartError("the commands contain a NUL character")
        if len(self.script.encode("utf-8", "surrogateescape")) <= _LONGEST_ARGUMENT:
            return [program, *flags, "-c", self.script]
        path = private / "script"
        path.write_text(self.script, encoding="utf-8", errors="surrogateescape")
        return [program, *flags, str(path)]

    def _environment(self, ctx: StepExecutionContext[Any], file: Path) -> dict[str, str]:
        env = {
            name: os.environ[name] for name in (*_BASE, *self.env_from_host) if name in os.environ
        }
        for name, value in self.env.items():
            text = render_value(value)
            if "\0" in text:
                raise ShellStartError(f"the value of {name} contains a NUL character")
            env[name] = text
        return {
            **env,
            "WFE_RUN_ID": ctx.instance.id,
            "WFE_WORKFLOW": ctx.instance.definition,
            "WFE_STEP": ctx.pointer.step,
            "WFE_ATTEMPT": str(ctx.attempt),
            "WFE_OUTPUT": str(file),
        }

    def _start_problem(self, error: OSError, env: Mapping[str, str]) -> str:
        reason = error.strerror or str(error)
        largest = max(env, key=lambda name: len(env[name]), default="")
        if largest and len(env[largest]) > _LONGEST_ARGUMENT:
            size = len(env[largest])
            reason = f"{reason} (the value of {largest} has {size:,} characters)"
        return f"the command cannot start: {reason}"


@cache
def _find(program: str) -> str | None:
    return shutil.which(program)
