"""The step that runs shell commands, or a script in another language."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs

from wfe.core.errors import WfeError
from wfe.core.lean import define
from wfe.core.step_types import Role, setting

if TYPE_CHECKING:
    from wfe.core.steps import ExecutionResult, StepExecutionContext

__all__ = ["Shell", "ShellCommandError", "ShellStartError"]

_SHELLS: Final = ("bash", "sh", "python", "pwsh")
_WAYS: Final = ("run", "script", "file")


@define(eq=False)
class ShellCommandError(WfeError):
    """The commands of a step ended with a non-zero exit code or by a signal.

    Attributes:
        exit_code: 1 to 255, or minus the signal's number.
        tail: The last lines that were written.
    """

    exit_code: int
    tail: tuple[str, ...] = ()

    retryable: ClassVar[bool] = True

    @property
    def retry_labels(self) -> tuple[str, ...]:
        """What ``retry.on`` may name: ``exit:3``; a signal counts as in shells, from 128."""
        code = self.exit_code if self.exit_code >= 0 else 128 - self.exit_code
        return (f"exit:{code}", "error")

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


@define(eq=False)
class ShellStartError(WfeError):
    """The commands of a step could not be started."""

    errored: ClassVar[bool] = True

    problem: str

    def __str__(self) -> str:
        return self.problem


@define(kw_only=True)
class Shell:
    """Run commands in ``bash -eo pipefail``, or in ``sh -e`` where there is no bash.

    The commands get an explicit environment: PATH, HOME, LANG and TMPDIR of the host, what
    *env_from_host* names, *env*, and ``WFE_RUN_ID``, ``WFE_WORKFLOW``, ``WFE_STEP``,
    ``WFE_ATTEMPT`` (from 0), ``WFE_OUTPUT``, a file that takes outputs as ``name=value`` or
    ``{"name": value}`` lines, and ``WFE_SUMMARY``, a file that takes Markdown.  They run in a
    process group of their own, which is ended as a whole when the step is cancelled or times out.

    Attributes:
        commands: Whether ``##wfe[output name=value]`` lines on stdout set declared outputs.
        program: Returns program and arguments instead of a shell's, for step types that run
            processes as this one does; it gets a directory for its files.
        grace: Seconds from SIGTERM to SIGKILL.
        output_limit: Bytes of the file of outputs; of a summary a quarter of it is read.
        log_bytes: Of output that is logged; of what is beyond, only the end is.
        log_lines: The same in lines.
        results: The outputs, after a run.
    """

    run_text: str | None = attrs.field(  # not setting(): type checkers would not see the alias
        default=None,
        alias="run",
        metadata=setting(
            Role.CODE,
            language="bash",
            language_key="shell",
            description="The commands; they end at the first that fails.",
        ).metadata,
    )
    script: str | None = setting(
        Role.CODE,
        default=None,
        language="bash",
        language_key="shell",
        description="Another word for `run`.",
    )
    file: str | None = setting(
        Role.VALUE,
        default=None,
        description="A script file in the workspace, instead of `run`.",
    )
    shell: str | None = setting(
        Role.CONSTANT,
        default=None,
        choices=_SHELLS,
        description="What runs them: bash where there is one, else sh; of a file, by its suffix.",
    )
    env: Mapping[str, Any] = setting(Role.ENV, factory=dict[str, Any])
    env_from_host: Sequence[str] = setting(Role.HOST_ENV, default=())
    working_dir: str | None = setting(Role.DIRECTORY, default=None)
    outputs: Mapping[str, Any] = setting(Role.OUTPUTS, factory=dict[str, Any])
    workspace: Path | None = setting(Role.WORKSPACE, default=None)
    commands: bool = setting(Role.COMMANDS, default=True)
    program: Callable[[Path], Sequence[str]] | None = setting(Role.NONE, default=None)
    grace: float = setting(Role.NONE, default=5.0)
    output_limit: int = setting(Role.NONE, default=1024 * 1024)
    log_bytes: int = setting(Role.NONE, default=16 * 1024 * 1024)
    log_lines: int = setting(Role.NONE, default=100_000)
    results: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)

    @classmethod
    def check_config(cls, config: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
        """Yield what is wrong with the keys together."""
        given = [key for key in _WAYS if config.get(key) is not None]
        if not given:
            message = "a shell step needs `run`"
            yield "run", message, "write the command under `config.run`"
        file = config.get("file")
        if isinstance(file, str) and (file.startswith("/") or ".." in file.split("/")):
            message = f"the script file {file[:80]!r} is not inside of the workspace"
            yield "file", message, "write its path relative to the folder of this file"
        for key in given[1:]:
            message = f"`{given[0]}` and `{key}` both say what runs"
            yield key, message, "keep one of them"

    async def run(self, ctx: StepExecutionContext[Any]) -> ExecutionResult:
        """Run the commands; their outputs are in *results*.

        Raises:
            ShellCommandError: They failed; the exit code is in it.
            ShellStartError: They could not be started.
            StepOutputError: Their outputs cannot be taken.
        """
        from wfe.yaml.shell_run import run_shell  # noqa: PLC0415 - files are checked without it

        return await run_shell(self, ctx)
