"""Run the commands of a shell step: their environment, their output, their end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from wfe.core.secret_names import PREFIX
from wfe.core.steps import ExecutionResult, StepExecutionContext
from wfe.yaml.output_log import OutputLog
from wfe.yaml.process import run_process
from wfe.yaml.shell import Shell, ShellCommandError, ShellStartError
from wfe.yaml.shell_output import ShellOutput
from wfe.yaml.shell_programs import SHELLS, command_of, find_program, shell_of_file
from wfe.yaml.step_outputs import StepOutputs
from wfe.yaml.summaries import summary_lines
from wfe.yaml.survivors import end_survivors
from wfe.yaml.value_types import ValueType
from wfe.yaml.variables import render_value

__all__ = ["run_shell"]

Context: TypeAlias = "StepExecutionContext[Any]"

_BASE: Final = ("PATH", "HOME", "LANG", "TMPDIR")
_LARGE: Final = 100_000  # characters of a variable that may keep a program from starting


async def run_shell(shell: Shell, ctx: Context) -> ExecutionResult:
    """Run the commands of *shell*; see :meth:`Shell.run`."""
    declared = {name: ValueType.from_json(kind) for name, kind in shell.outputs.items()}
    outputs = StepOutputs(declared)
    for survivor in await end_survivors():
        ctx.log.warning("ended process %s, left of %s", survivor.pid, survivor.owner)
    with _private_directory() as private:
        for name in ("output", "summary"):
            (private / name).touch(mode=0o600)
        try:
            await _execute(shell, ctx, private, outputs)
        finally:
            _summarize(shell, ctx, private / "summary")
        outputs.take_file(private / "output", shell.output_limit)
    shell.results = outputs.finish()
    return ExecutionResult.next()


async def _execute(shell: Shell, ctx: Context, private: Path, outputs: StepOutputs) -> None:
    log = OutputLog(ctx.log.line, shell.log_bytes, shell.log_lines)
    masks = ctx.masks
    read = outputs if shell.commands else None
    output = ShellOutput(log=log, outputs=read, masked=bool(masks))
    env = _environment(shell, ctx, private)
    try:
        code = await run_process(
            _command(shell, private) if shell.program is None else shell.program(private),
            env=env,
            cwd=_directory(shell),
            on_line=output.take,
            grace=shell.grace,
            masks=masks,
            owner=f"step {ctx.pointer.step!r} of run {ctx.instance.id}",
        )
    except OSError as error:
        raise ShellStartError(_start_problem(error, env)) from error
    finally:
        log.close()
    if code:
        raise ShellCommandError(code, tuple(output.tail))
    if output.wrong:
        raise output.wrong[0]


def _summarize(shell: Shell, ctx: Context, path: Path) -> None:
    lines, warning = summary_lines(path, shell.output_limit // 4, ctx.masks)
    for line in lines:
        ctx.log.line("summary", line)
    if warning:
        ctx.log.warning("%s", warning)


def _directory(shell: Shell) -> Path:
    base = _workspace(shell)
    directory = base / shell.working_dir if shell.working_dir else base
    if not directory.is_dir():
        raise ShellStartError(f"the working directory {str(directory)!r} does not exist")
    return directory


def _workspace(shell: Shell) -> Path:
    return shell.workspace or Path.cwd()


def _command(shell: Shell, private: Path) -> list[str]:
    script = _script(shell)
    of_file = shell_of_file(script) if isinstance(script, Path) else None
    name = shell.shell or of_file or ("bash" if find_program("bash") else "sh")
    program = find_program(name) if name in SHELLS else None
    if program is None:
        raise ShellStartError(f"the shell {name!r} is not installed (not found in PATH)")
    return command_of(name, program, script, private)


def _script(shell: Shell) -> str | Path:
    text = shell.run_text if shell.run_text is not None else shell.script
    if text is not None:
        if "\0" in text:
            raise ShellStartError("the commands contain a NUL character")
        return text
    if not shell.file:
        raise ShellStartError("there is nothing to run: give `run` or `file`")
    return _confined(shell, shell.file)


def _confined(shell: Shell, name: str) -> Path:
    """Return the script file *name*, which must be inside of the workspace."""
    base = _workspace(shell).resolve()
    try:
        path = (base / name).resolve()
    except (OSError, ValueError) as error:
        raise ShellStartError(f"the script file {name[:200]!r} cannot be found") from error
    if not path.is_relative_to(base):
        problem = f"the script file {name[:200]!r} is outside of the workspace {str(base)!r}"
        raise ShellStartError(problem)
    if not path.is_file():
        raise ShellStartError(f"the script file {name[:200]!r} does not exist in {str(base)!r}")
    return path


def _environment(shell: Shell, ctx: Context, private: Path) -> dict[str, str]:
    # A step gets the secrets that it declares, not those of the host.
    wanted = [name for name in shell.env_from_host if not name.startswith(PREFIX)]
    env = {name: os.environ[name] for name in (*_BASE, *wanted) if name in os.environ}
    for name, value in shell.env.items():
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
        "WFE_OUTPUT": str(private / "output"),
        "WFE_SUMMARY": str(private / "summary"),
    }


@contextmanager
def _private_directory() -> Generator[Path]:
    try:
        private = tempfile.TemporaryDirectory(prefix="wfe-", ignore_cleanup_errors=True)
    except OSError as error:
        problem = f"no directory for outputs can be made: {error.strerror}"
        raise ShellStartError(problem) from error
    with private as path:
        yield Path(path)


def _start_problem(error: OSError, env: Mapping[str, str]) -> str:
    reason = error.strerror or str(error)
    largest = max(env, key=lambda name: len(env[name]), default="")
    if largest and len(env[largest]) > _LARGE:
        size = len(env[largest])
        reason = f"{reason} (the value of {largest} has {size:,} characters)"
    return f"the command cannot start: {reason}"
