"""The world outside of the runs in the crash tests, and the processes that die in it.

A server forks a process for each request, which it reads as a line of JSON: the imports are paid
once, yet each life is a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs

from wfe.core import StepExecutionContext
from wfe.host import WorkflowHost

__all__ = ["Effects", "Outside", "kill_switch", "serve"]

_TOLD = """
SELECT (SELECT count(*) FROM wfe_inbox b JOIN wfe_instances i ON i.n = b.instance
        WHERE i.id = :run AND b.kind = :kind)
     + (SELECT count(DISTINCT json_extract(j.event, '$[5].actor')) FROM wfe_journal j
        JOIN wfe_instances i ON i.n = j.instance
        WHERE i.id = :run AND json_extract(j.event, '$[1]') IN (SELECT value FROM json_each(:rows))
        AND json_extract(j.event, '$[5].actor') IS NOT NULL)"""
_ROWS = {
    "signal": ["signal_received", "step_completed"],
    "approve": ["step_completed"],
    "retry": ["workflow_retried"],
    "rewind": ["workflow_rewound"],
    "terminate": ["workflow_stopping", "workflow_terminated"],
}


@attrs.frozen
class Effects:
    """Counts effects outside of the store: one line each, appended in one write."""

    path: str

    def note(self, ctx: StepExecutionContext[Any]) -> None:
        """Write down that a body ran."""
        self.write(ctx.idempotency_key, ctx.attempt, ctx.pointer.step)

    def write(self, key: str, attempt: int, step: str) -> None:
        """Write one line."""
        line = f"{key}\t{attempt}\t{step}\t{os.getpid()}\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    @property
    def repaired(self) -> bool:
        """Whether somebody mended what was broken."""
        return Path(f"{self.path}.repaired").exists()

    def repair(self) -> None:
        """Mend it."""
        Path(f"{self.path}.repaired").touch()


@attrs.frozen(kw_only=True)
class Outside:
    """What a process has besides its host."""

    host: WorkflowHost
    db: str
    effects: Effects
    on_commit: Callable[[str], None]

    async def until(self, question: Callable[[], Awaitable[Any]]) -> None:
        """Ask until the answer is yes."""
        while True:
            if await question():
                return
            await asyncio.sleep(0.002)

    def told(self, run: str, kind: str) -> int:
        """Return how many messages of *kind* were accepted for *run*, read or not."""
        args = {"run": run, "kind": kind, "rows": json.dumps(_ROWS[kind])}
        with contextlib.closing(sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)) as db:
            return int(db.execute(_TOLD, args).fetchone()[0])

    async def is_now(self, run: str, status: str) -> bool:
        """Return whether the run has *status*."""
        return (await self.host.get(run)).status == status

    async def ended(self, definition: str, count: int, status: str = "complete") -> bool:
        """Return whether *count* runs of *definition* have *status*."""
        page = await self.host.find(definition=definition, status=status)
        return len(page.items) == count

    async def did(self, step: str) -> bool:
        """Return whether a step was completed."""
        sql = "SELECT 1 FROM wfe_journal WHERE json_extract(event, '$[1]') = 'step_completed'"
        sql += " AND json_extract(event, '$[3]') = ?"
        with contextlib.closing(sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)) as db:
            return db.execute(sql, (step,)).fetchone() is not None


def kill_switch(kill_at: int, phase: str, marker: str) -> Callable[[str], None]:
    """Return a hook that kills this process at commit number *kill_at*, before or after it."""
    seen = {"before": 0, "after": 0}

    def on_commit(now: str) -> None:
        seen[now] += 1
        if now == phase and seen[now] == kill_at:
            Path(marker).write_text(f"{phase} {kill_at}", encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)

    return on_commit


def _fork(drive: Callable[[dict[str, Any]], Any], request: dict[str, Any]) -> int:
    """Run *request* in a process of its own; return its exit code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(drive(request))
            code = 0
        except BaseException:  # noqa: BLE001 - a forked child must not run its parent's code
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def serve(drive: Callable[[dict[str, Any]], Any]) -> None:
    """Answer requests until the input ends."""
    for line in sys.stdin:
        sys.stdout.write(f"{_fork(drive, json.loads(line))}\n")
        sys.stdout.flush()
