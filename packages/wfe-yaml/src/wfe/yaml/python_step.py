"""The step that calls a Python function, or runs a Python script in a process of its own."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from wfe.core.errors import WfeError
from wfe.core.lean import define
from wfe.core.step_types import Role, setting
from wfe.yaml.shell import Shell

if TYPE_CHECKING:
    from wfe.core.steps import StepExecutionContext

__all__ = ["Python", "PythonCallError"]

_REFERENCE: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
# What runs a script: it gives it `inputs` and `output`, and shows its own lines in a traceback.
_RUNNER: Final = """\
import json, os, sys

def output(name, value):
    with open(os.environ["WFE_OUTPUT"], "a", encoding="utf-8") as file:
        file.write(json.dumps({name: value}) + "\\n")

path = sys.argv.pop(1)
os.environ["WFE_INPUTS"] = os.path.join(os.path.dirname(path), "inputs.json")
with open(os.environ["WFE_INPUTS"], encoding="utf-8") as file:
    inputs = json.load(file)
with open(path, "rb") as file:
    code = compile(file.read(), path, "exec")
sys.argv[0] = path
exec(code, {"__name__": "__main__", "__file__": path, "inputs": inputs, "output": output})
"""


@define(eq=False)
class PythonCallError(WfeError):
    """The function of a ``python`` step cannot be found, or does not take what it is given."""

    reference: str
    problem: str

    retryable: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"{self.reference}: {self.problem}"


@define(kw_only=True)
class Python:
    """Call a Python function, or run a script in a process of its own.

    A function (sync or async) runs in the process of the host.  It gets the inputs that its
    parameters name, then ``args``; a parameter ``ctx`` gets the context.  The map that it returns
    are the outputs; any other value is the only declared output, or the one called ``result``.

    A script runs with the host's Python, or the one that ``python`` names.  It has ``inputs``, a
    dict, and ``output(name, value)``; ``$WFE_INPUTS`` and ``$WFE_OUTPUT`` are the files behind.
    """

    call: str | None = setting(
        Role.CONSTANT, default=None, description="A function: package.module:function."
    )
    script: str | None = setting(
        Role.CODE, default=None, language="python", description="Code that runs in a process."
    )
    args: Mapping[str, Any] | Sequence[str] | None = setting(
        default=None,
        description="Of a function a map, by name; of a script a list of texts, its sys.argv[1:].",
    )
    python: str | None = setting(
        default=None, description="The interpreter of a script: a name in PATH, or a path."
    )
    inputs: Mapping[str, Any] = setting(Role.INPUTS, factory=dict[str, Any])
    outputs: Mapping[str, Any] = setting(Role.OUTPUTS, factory=dict[str, Any])
    env: Mapping[str, Any] = setting(Role.ENV, factory=dict[str, Any])
    env_from_host: Sequence[str] = setting(Role.HOST_ENV, default=())
    working_dir: str | None = setting(Role.DIRECTORY, default=None)
    workspace: Path | None = setting(Role.WORKSPACE, default=None)
    commands: bool = setting(Role.COMMANDS, default=True)

    @classmethod
    def check_config(cls, config: Mapping[str, Any]) -> list[tuple[str, str, str | None]]:
        """Return what does not fit together."""
        found: list[tuple[str, str, str | None]] = []
        call, script = config.get("call"), config.get("script")
        if (call is None) == (script is None):
            problem = "`call` and `script` exclude each other"
            if call is None:
                problem = "a python step needs `call` or `script`"
            hint = "write `call: package.module:function` or `script: |`"
            found.append(("script", problem, hint if call is None else "keep one of them"))
        if isinstance(call, str) and not _REFERENCE.fullmatch(call):
            problem = f"{call[:80]!r} names no function"
            found.append(("call", problem, "write `package.module:function`"))
        if call is not None and config.get("python") is not None:
            problem = "`python` is for scripts: a function runs in the process of the host"
            found.append(("python", problem, "remove it"))
        args: object = config.get("args")
        if script is not None and isinstance(args, Mapping):
            problem = "the `args` of a script are a list"
            found.append(("args", problem, "give named values in `inputs`"))
        if call is not None and isinstance(args, list):
            problem = "the `args` of a function are a map"
            found.append(("args", problem, "name them: `args: {name: value}`"))
        return found

    async def run(self, ctx: StepExecutionContext[Any]) -> Any:
        """Call the function or run the script.

        Raises:
            PythonCallError: There is no such function, or its parameters do not fit.
            ShellCommandError: The script failed.
            ShellStartError: It could not be started.
            StepOutputError: Its outputs cannot be taken.
        """
        if self.call is not None:
            return await self._called(ctx, self.call)
        return await self._scripted(ctx)

    def cache_identity(self) -> str | None:
        """Return what of the function decides what it gives: its source, when that is known."""
        if self.call is None:
            return None
        try:
            return inspect.getsource(self._function(self.call))
        except (OSError, TypeError, PythonCallError):
            return None

    async def _called(self, ctx: StepExecutionContext[Any], reference: str) -> Any:
        function = self._function(reference)
        import asyncio  # noqa: PLC0415 - only who runs it pays for it

        from wfe.core.steps import ExecutionResult  # noqa: PLC0415

        given = self._arguments(function, ctx, reference)
        if inspect.iscoroutinefunction(function):
            result = await function(**given)
        else:
            result = await asyncio.to_thread(function, **given)
            if inspect.isawaitable(result):
                result = await result
        if result is None or isinstance(result, Mapping | ExecutionResult):
            return cast("Any", result)
        name = next(iter(self.outputs)) if len(self.outputs) == 1 else "result"
        return {name: result}

    def _function(self, reference: str) -> Callable[..., Any]:
        module, _, path = reference.partition(":")
        workspace = str(self.workspace or Path.cwd())
        # Last, so that a file of the workspace never stands in for an installed module.
        if workspace not in sys.path:
            sys.path.append(workspace)
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            problem = f"there is no module {error.name!r} (looked in sys.path and the workspace)"
            raise PythonCallError(reference, problem) from error
        for name in path.split("."):
            found = getattr(found, name, None)
        if not callable(found):
            raise PythonCallError(reference, f"the module {module!r} has no function {path!r}")
        function: Callable[..., Any] = found
        return function

    def _arguments(
        self, function: Callable[..., Any], ctx: StepExecutionContext[Any], reference: str
    ) -> dict[str, Any]:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # some builtins have none
            signature = None
        names = () if signature is None else signature.parameters
        found = {name: value for name, value in self.inputs.items() if name in names}
        if "ctx" in names:
            found.setdefault("ctx", ctx)
        if isinstance(self.args, Mapping):
            found.update(self.args)
        elif self.args is not None:
            raise PythonCallError(reference, "the `args` of a function are a map")
        if signature is not None:
            try:
                signature.bind(**found)
            except TypeError as error:
                raise PythonCallError(reference, f"{error}; it takes {signature}") from None
        return found

    async def _scripted(self, ctx: StepExecutionContext[Any]) -> Any:
        shell = Shell(
            run=self.script or "",
            env=self.env,
            env_from_host=self.env_from_host,
            working_dir=self.working_dir,
            outputs=self.outputs,
            workspace=self.workspace,
            commands=self.commands,
            program=self._program,
        )
        await shell.run(ctx)
        return shell.results

    def _program(self, private: Path) -> list[str]:
        inputs, script = private / "inputs.json", private / "script.py"
        inputs.write_text(json.dumps(self.inputs, default=str), encoding="utf-8")
        inputs.chmod(0o600)
        script.write_text(self.script or "", encoding="utf-8")
        interpreter = sys.executable if self.python is None else self._interpreter(self.python)
        arguments = self.args if isinstance(self.args, Sequence) else ()
        return [interpreter, "-u", "-c", _RUNNER, str(script), *arguments]

    def _interpreter(self, name: str) -> str:
        base = (self.workspace or Path.cwd()) / (self.working_dir or ".")
        found = str(base / name) if "/" in name else shutil.which(name)
        if found is None or name.startswith("-"):
            problem = f"there is no interpreter {name!r} in PATH"
            raise PythonCallError("python", problem)
        return found
