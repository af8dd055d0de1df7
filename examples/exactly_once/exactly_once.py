"""A transfer between accounts whose host is killed around every commit: the money moves once.

Run it with ``python examples/exactly_once/exactly_once.py FOLDER``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.host import WorkflowHost
from wfe.sqlite import SqliteStore

TABLES = """
CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, balance INT);
INSERT OR IGNORE INTO accounts VALUES ('ada', 100), ('bob', 0);
"""
MOVE = "UPDATE accounts SET balance = balance + ? WHERE name = ?"


async def withdraw(ctx: StepExecutionContext[Any]) -> None:
    """Take the money from one account, in the transaction that completes this step."""
    async with ctx.transaction() as tx:
        tx.connection.execute(MOVE, (-30, "ada"))


def deposit(ctx: StepExecutionContext[Any]) -> None:
    """Give it to the other; a sync body, so the block is a plain ``with``."""
    with ctx.transaction() as tx:
        tx.connection.execute(MOVE, (30, "bob"))


transfer = WorkflowBuilder().start_with(withdraw).then(deposit).build("transfer")


def killer(point: int) -> Callable[[str], None]:
    """Return a hook that kills this process just before (or after) its commit number *point*."""
    seen = 0

    def on_commit(_: str) -> None:
        nonlocal seen
        seen += 1
        if seen == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return on_commit


async def live(file: Path, point: int) -> None:
    """Start the transfer, or go on with it, and die at *point*."""
    store = SqliteStore(file, on_commit=killer(point))
    # A run that kills its hosts again and again would be suspended: here that is the point.
    async with WorkflowHost(store, max_interruptions=1000) as host:
        host.register(transfer)
        run = await host.start_workflow("transfer", idempotency_key="transfer-1")
        await run.wait()


def balances(file: Path) -> dict[str, int]:
    """Return what is on the accounts."""
    with closing(sqlite3.connect(file)) as db:
        return dict(db.execute("SELECT name, balance FROM accounts"))


def main(folder: Path) -> None:
    """Let a process die at its first commit, the next at its second, until one gets through."""
    file = folder / "bank.db"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(TABLES)
    deaths = 0
    while True:
        deaths += 1
        command = [sys.executable, __file__, str(folder), str(deaths)]
        # A host says that it takes over from a dead one: not here.
        if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            break
    found = balances(file)
    print(f"after {deaths - 1} deaths: ada has {found['ada']}, bob has {found['bob']}")


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    if len(sys.argv) > 2:
        asyncio.run(live(where / "bank.db", int(sys.argv[2])))
    else:
        main(where)
