"""One run of a script in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import tempfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from wfe.core.lean import define
from wfe.core.steps import StepExecutionContext
from wfe.yaml.deno.binary import INSTALL, find_deno
from wfe.yaml.deno.channel import Channel, Report, feed, open_channel
from wfe.yaml.deno.errors import (
    DenoCpuTimeError,
    DenoMemoryError,
    DenoScriptError,
    DenoStartError,
    ended_by,
)
from wfe.yaml.deno.grants import Grants, environment, grants_of
from wfe.yaml.deno.launch import BOOTSTRAP, Launch
from wfe.yaml.deno.limits import parse_memory
from wfe.yaml.deno.modules import cached_modules, import_hosts, lend, registries
from wfe.yaml.deno.permissions import Permissions, module_problem
from wfe.yaml.deno.positions import Positions
from wfe.yaml.deno.step import Deno, file_problem
from wfe.yaml.output_log import OutputLog
from wfe.yaml.process import run_process
from wfe.yaml.shell_output import ShellOutput
from wfe.yaml.step_outputs import StepOutputError
from wfe.yaml.survivors import end_survivors
from wfe.yaml.variables import render_value

__all__ = ["run_script"]

_NO_MEMORY: Final = re.compile(r"out of memory|memory allocation of \d+ bytes failed")
_TAIL: Final = 20  # lines of output in which the cause is looked for
_ABORTED: Final = (-signal.SIGTRAP, -signal.SIGABRT)


async def run_script(step: Deno, ctx: StepExecutionContext[Any]) -> dict[str, Any]:
    """Run the script of *step*; see :meth:`Deno.run`."""
    for survivor in await end_survivors():
        ctx.log.warning("ended process %s, left of %s", survivor.pid, survivor.owner)
    program = find_deno()
    if program is None:
        raise DenoStartError("a deno step needs Deno, which is not installed", INSTALL)
    workspace = (step.workspace or Path.cwd()).absolute()
    permissions = Permissions.of(step.permissions)
    declared = {name: _variable(name, value) for name, value in step.env.items()}
    env = environment(permissions, declared, os.environ)
    grants = await asyncio.to_thread(
        grants_of,
        permissions,
        workspace,
        variables=[name for name in declared if name in env],
        search=env.get("PATH"),
        allow_symlinks=step.allow_symlinks,
    )
    with tempfile.TemporaryDirectory(prefix="wfe-", ignore_cleanup_errors=True) as temporary:
        private = Path(os.path.realpath(temporary))  # noqa: ASYNC240 - made a moment ago
        attempt = _Attempt(step, ctx, program, workspace, private, grants, env)
        return await attempt.run()


def _variable(name: str, value: object) -> str:
    text = render_value(value)
    if "\0" in text:
        raise DenoStartError(f"the value of {name} contains a NUL character")
    return text


@define
class _Attempt:
    """One run of a script, with a private directory that is gone afterwards."""

    step: Deno
    ctx: StepExecutionContext[Any]
    program: str
    workspace: Path
    private: Path
    grants: Grants
    env: Mapping[str, str]
    tail: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=_TAIL))
    fatal: str | None = None  # what V8 says when there is no memory

    async def run(self) -> dict[str, Any]:
        script = self._script()
        positions = Positions.of(
            script.as_uri(),
            self.step.origin if self.step.file is None else None,
            name=self.step.file or "script",
            hidden=(BOOTSTRAP.as_uri(),),
            workspace=self.workspace,
        )
        cache = await self._modules()
        with open_channel(self.step.output_limit) as channel:
            launch = Launch(
                program=self.program,
                grants=self.grants,
                script=script,
                channel=channel.path,
                memory=parse_memory(self.step.memory),
                modules=import_hosts(self.step.modules) if self.step.modules else None,
                packages=(self.private / "cache" / "npm").exists(),
                fetch=Permissions.of(self.step.permissions).dynamic_import,
            )
            code = await self._execute(launch, channel, positions, cache)
            return self._finished(code, channel.report(), positions)

    def _script(self) -> Path:
        """Return the script's path; one that stands in a workflow file gets a file of its own."""
        if self.step.file is None:
            path = self.private / "step.ts"
            path.write_text(self.step.script or "", encoding="utf-8", errors="replace")
            return path
        problem = file_problem(self.step.file)
        if problem is not None:
            raise DenoStartError(*problem)
        path = (self.workspace / self.step.file).resolve()
        if not path.is_relative_to(self.workspace.resolve()):
            raise DenoStartError(f"the script {self.step.file!r} is a link out of the workspace")
        if not path.is_file():
            raise DenoStartError(f"there is no file {self.step.file!r} in the workspace")
        return path

    async def _modules(self) -> Path:
        """Return the directory that Deno keeps things in: this attempt's own."""
        cache = self.private / "cache"
        cache.mkdir()
        if self.step.modules:
            for problem in filter(None, map(module_problem, self.step.modules)):
                raise DenoStartError(*problem)
            home = await asyncio.to_thread(cached_modules, self.program, self.step.modules)
            lend(home, cache)
        return cache

    async def _execute(
        self, launch: Launch, channel: Channel, positions: Positions, cache: Path
    ) -> int:
        log = OutputLog(self.ctx.log.line, self.step.log_bytes, self.step.log_lines)
        # What it prints is log: outputs have a way of their own.
        output = ShellOutput(log=log, outputs=None, tail=self.tail)

        def on_line(stream: str, line: str) -> None:
            if stream == "stderr" and self.fatal is None and _NO_MEMORY.search(line):
                self.fatal = line
            if stream == "stdout" or not positions.is_own(line):
                output.take(stream, positions.rewrite(line))

        places = registries() if self.step.modules else {}
        with feed(self._told(launch, channel)) as given:
            try:
                return await run_process(
                    launch.command(),
                    env={**self.env, **places, "DENO_DIR": str(cache), "NO_COLOR": "1"},
                    cwd=self._directory(),
                    on_line=on_line,
                    grace=self.step.grace,
                    masks=self.ctx.masks,
                    owner=f"step {self.ctx.pointer.step!r} of run {self.ctx.instance.id}",
                    stdin=given,
                    pass_fds=(channel.writing,),
                )
            except OSError as error:
                raise DenoStartError(f"Deno cannot start: {error.strerror or error}") from error
            finally:
                log.close()

    def _told(self, launch: Launch, channel: Channel) -> bytes:
        """Return what the bootstrap reads before anything of the script runs."""
        data: Mapping[str, Any] = self.ctx.data or {}
        started: Mapping[str, Any] = data.get("inputs") or {}
        flat = {name: value for name, value in data.items() if not name.startswith("steps.")}
        told: dict[str, Any] = {
            "nonce": channel.nonce,
            "channel": channel.path,
            "limit": channel.limit,
            "script": launch.script.as_uri(),
            "workspace": str(self.workspace.resolve()),
            "confined": not self.step.allow_symlinks,
            "inputs": dict(self.step.inputs),
            "data": {**started, **flat},
        }
        return json.dumps(told, default=str).encode()

    def _directory(self) -> Path:
        """Return where it runs: paths are relative to the workspace when some of it is granted."""
        touches = self.grants.read or self.grants.write or self.grants.run
        empty = self.private / "empty"
        empty.mkdir()
        return self.workspace if touches else empty

    def _finished(self, code: int, report: Report, positions: Positions) -> dict[str, Any]:
        if code in _ABORTED and self.fatal is not None:
            raise DenoMemoryError(parse_memory(self.step.memory), "CodeRange" in self.fatal)
        if code == -signal.SIGXCPU:
            raise DenoCpuTimeError
        if code and report.error is not None:
            raise self._thrown(code, report.error, positions)
        if code:
            raise DenoScriptError(None, ended_by(code) + self._last_words(), code)
        if not report.ended:
            raise StepOutputError("the script's process ended before the script did")
        return report.outputs

    def _last_words(self) -> str:
        written = [line.strip() for line in reversed(self.tail) if line.strip()]
        errors = [line.removeprefix("error: ") for line in written if line.startswith("error: ")]
        return f": {(errors or written)[0][:300]}" if written else ""

    def _thrown(self, code: int, error: Mapping[str, str], positions: Positions) -> DenoScriptError:
        message = positions.rewrite(error["message"])
        if "allocation failed" in message or "could not allocate memory" in message:
            message += f" (`memory` is {self.step.memory})"
        return DenoScriptError(error["error"], message, code, positions.trace(error["stack"]))
