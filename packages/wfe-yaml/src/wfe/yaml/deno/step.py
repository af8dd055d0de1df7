"""The step that runs a JavaScript or TypeScript program in Deno's sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wfe.core.lean import define
from wfe.core.step_types import COMPUTED, Role, setting
from wfe.yaml.deno.binary import INSTALL, find_deno
from wfe.yaml.deno.limits import parse_memory
from wfe.yaml.deno.literals import literal_outputs
from wfe.yaml.deno.permissions import Permissions, listed, module_problem, permission_problems

if TYPE_CHECKING:
    from wfe.core.steps import StepExecutionContext

__all__ = ["Deno", "file_problem"]

_SUFFIXES: Final = (".ts", ".mts", ".js", ".mjs")


def _memory(_body: object, _field: object, value: str) -> None:
    parse_memory(value)


@define(kw_only=True)
class Deno:
    """Run a script in a Deno process that may do nothing that is not granted.

    The script is a module: it may ``await`` at its top, import what is listed in *modules*, and
    be TypeScript.  It finds ``inputs()``, ``output(name, value)``, ``log(...)``, ``readFile(path)``
    and, for files written for WFE, ``Wfe.getData()`` and ``Wfe.setOutput(name, value)``.  Outputs
    come back on a channel of their own; what it prints is log.  Every attempt is a fresh process.

    Attributes:
        script: The program; either this or *file*.
        file: Its file, relative to *workspace*.
        permissions: What it may do.
        modules: ``https://``, ``npm:`` and ``jsr:`` modules that it may import; they are fetched
            once, then it runs offline.
        memory: Of its values, for example ``256MiB``.
        allow_symlinks: Whether links may lead out of directories that are granted.
        env: Environment variables; it may read them.
        inputs: What ``inputs()`` returns.
        outputs: Declared outputs, name to type.
        workspace: ``None``: the current directory.
        origin: Where the script stands in a workflow file.
        grace: Seconds from SIGTERM to SIGKILL when the step is cancelled.
        output_limit: Bytes of all outputs.
        log_bytes: Of output that is logged; of what is beyond, only the end is.
        log_lines: The same in lines.
    """

    script: str | None = setting(
        Role.CODE,
        default=None,
        language="javascript",
        description="The program, JavaScript or TypeScript; a module.",
    )
    file: str | None = setting(
        Role.CONSTANT, default=None, description="The program's file, relative to the workspace."
    )
    permissions: Permissions = setting(
        Role.CONSTANT,
        factory=Permissions,
        description="What the program may do; nothing that is not granted here.",
    )
    modules: Sequence[str] = setting(
        Role.CONSTANT, default=(), description="Modules from the network that it may import."
    )
    memory: str = setting(
        Role.CONSTANT,
        default="512MiB",
        validator=_memory,
        description="Memory for the program's values, such as 256MiB.",
    )
    allow_symlinks: bool = setting(
        Role.CONSTANT,
        default=False,
        description="Whether links may lead out of directories that are granted.",
    )
    env: Mapping[str, Any] = setting(Role.ENV, factory=dict[str, Any])
    inputs: Mapping[str, Any] = setting(Role.INPUTS, factory=dict[str, Any])
    outputs: Mapping[str, Any] = setting(Role.OUTPUTS, factory=dict[str, Any])
    workspace: Path | None = setting(Role.WORKSPACE, default=None)
    origin: Mapping[str, Any] | None = setting(Role.ORIGIN, default=None)
    grace: float = setting(Role.NONE, default=2.0)
    output_limit: int = setting(Role.NONE, default=1024 * 1024)
    log_bytes: int = setting(Role.NONE, default=16 * 1024 * 1024)
    log_lines: int = setting(Role.NONE, default=100_000)

    @classmethod
    def missing(cls) -> tuple[str, str] | None:
        """Return what must be installed first, and how."""
        return None if find_deno() else ("a deno step needs Deno, which is not installed", INSTALL)

    @classmethod
    def check_config(cls, config: Mapping[str, Any]) -> Iterable[tuple[str, str, str | None]]:
        """Yield what is wrong between the keys of ``config``."""
        given = [key for key in ("script", "file") if config.get(key) is not None]
        if len(given) != 1:
            message = "a deno step takes either `script` or `file`" if given else _NO_SCRIPT
            hint = "keep one of them" if given else "write the program under `script: |`"
            yield (given or ["script"])[-1], message, hint
        file = config.get("file")
        if isinstance(file, str) and (problem := file_problem(file)) is not None:
            yield "file", *problem
        permissions = config.get("permissions")
        if isinstance(permissions, Permissions):
            for message, hint in permission_problems(permissions):
                yield "permissions", message, hint
        modules = config.get("modules", ())
        for module in () if modules is COMPUTED else modules:
            if (problem := module_problem(module)) is not None:
                yield "modules", *problem

    @classmethod
    def notices(cls, config: Mapping[str, Any]) -> Iterable[tuple[str, str, str | None]]:
        """Yield what a reader of the file should know."""
        permissions = config.get("permissions")
        if isinstance(permissions, Permissions) and listed(permissions.run):
            programs = ", ".join(f"`{name}`" for name in listed(permissions.run))
            message = f"unsandboxed: {programs} can do all that this user can, whatever is granted"
            yield "permissions", message, "grant programs only to scripts that you trust"

    @classmethod
    def implied_outputs(cls, config: Mapping[str, Any]) -> Iterable[str]:
        """Return the outputs that the script names as literals."""
        script = config.get("script")
        return literal_outputs(script) if isinstance(script, str) else ()

    async def run(self, ctx: StepExecutionContext[Any]) -> dict[str, Any]:
        """Run the script and return its outputs.

        Raises:
            DenoScriptError: It threw, or ended its process with another code than 0.
            DenoMemoryError: It wanted too much memory.
            DenoGrantError: A permission cannot be given.
            DenoStartError: It cannot be started.
            StepOutputError: Its outputs cannot be taken.
        """
        from wfe.yaml.deno.attempt import run_script  # noqa: PLC0415 - asyncio, only to run

        return await run_script(self, ctx)


_NO_SCRIPT: Final = "a deno step needs `script` or `file`"


def file_problem(file: str) -> tuple[str, str] | None:
    if Path(file).is_absolute() or ".." in Path(file).parts:
        return f"`{file[:80]}` is not inside the workspace", "write a path relative to it"
    if not file.endswith(_SUFFIXES):
        return f"`{file[:80]}` is no script that Deno runs", f"it ends in {', '.join(_SUFFIXES)}"
    return None
