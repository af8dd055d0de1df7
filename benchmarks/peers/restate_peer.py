"""Restate: a service in a process of its own beside a restate-server, and a client of both."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import restate
from hypercorn.asyncio import serve as hypercorn
from hypercorn.config import Config

from benchmarks.peers.harness import (
    FIVE,
    RECOVER_SECONDS,
    RECOVER_STEPS,
    Job,
    Report,
    idle,
    job,
    note,
    one_by_one,
    repeated,
)

ASKED = job()
CLIENTS = 64
SETTINGS = (
    "restate-server (one node, as it comes: its log is synced to disk), service under hypercorn "
    f"in a process of its own, client of {CLIENTS} threads over kept connections"
)
_local = threading.local()


# -- the service ----------------------------------------------------------------------------------


def _service() -> Any:
    bench = restate.Service("bench")

    async def noop() -> int:
        return 1

    async def slow(workflow: int, i: int) -> int:
        note(ASKED.log, "begin", workflow, i)
        await asyncio.sleep(RECOVER_SECONDS)
        note(ASKED.log, "end", workflow, i)
        return i

    @bench.handler()
    async def sequence(ctx: restate.Context, n: int) -> int:
        for i in range(n):
            await ctx.run_typed(f"s{i}", noop)
        return n

    @bench.handler()
    async def fan(ctx: restate.Context, n: int) -> int:
        await restate.gather(*[ctx.run_typed(f"s{i}", noop) for i in range(n)])
        return n

    @bench.handler()
    async def sleeper(ctx: restate.Context, n: int) -> int:
        await ctx.sleep(timedelta(days=1))
        return n

    @bench.handler()
    async def crashing(ctx: restate.Context, workflow: int) -> int:
        for i in range(RECOVER_STEPS):
            await ctx.run_typed(f"s{i}", slow, workflow=workflow, i=i)
        return workflow

    return restate.app([bench, _waiting()])


def _waiting() -> Any:
    waiter = restate.Workflow("waiter")

    @waiter.main()
    async def run(ctx: restate.WorkflowContext, _: int) -> str:
        value: str = await ctx.promise("go", type_hint=str).value()
        return value

    @waiter.handler()
    async def go(ctx: restate.WorkflowSharedContext, value: str) -> None:
        await ctx.promise("go", type_hint=str).resolve(value)

    return waiter


def serve() -> None:
    """Be the service until killed."""
    config = Config()
    config.bind = [f"127.0.0.1:{ASKED.port}"]
    config.accesslog = None
    asyncio.run(hypercorn(_service(), config))


# -- the client -----------------------------------------------------------------------------------


def _request(door: str, path: str, body: Any, method: str = "POST") -> Any:
    """Ask over this thread's connection to *door*, which is opened again when it broke."""
    for attempt in range(2):
        connections: dict[str, http.client.HTTPConnection] = vars(_local)
        if door not in connections:
            host = urlsplit(door)
            assert host.hostname is not None
            connections[door] = http.client.HTTPConnection(host.hostname, host.port, timeout=300)
        connection = connections[door]
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {"content-type": "application/json"},
            )
            answer = connection.getresponse()
            data = answer.read()
        except (http.client.HTTPException, OSError):
            del connections[door]
            if attempt:
                raise
            continue
        if answer.status >= 300:
            raise RuntimeError(f"{path}: {answer.status} {data[:200]!r}")
        return json.loads(data) if data else None
    return None


def call(path: str, body: Any) -> Any:
    return _request(ASKED.url, path, body)


def started() -> None:
    """Start the service; a server that does not know it yet is told."""
    mine = [sys.executable, "-m", "benchmarks.peers.restate_peer", "SERVE"]
    service = subprocess.Popen([*mine, "--port", str(ASKED.port), "--log", ASKED.log])
    while not _listening():
        if service.poll() is not None:
            raise RuntimeError(f"the service ended with {service.returncode}")
        time.sleep(0.01)  # noqa: TID251 - nobody else waits in this process
    if not ASKED.again:
        _request(ASKED.admin, "/deployments", {"uri": f"http://127.0.0.1:{ASKED.port}"})


def _listening() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", ASKED.port)) == 0


async def each(pool: ThreadPoolExecutor, work: Callable[[int], Any], n: int) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.run_in_executor(pool, work, i) for i in range(n)))


async def event(report: Report, n: int) -> None:
    for i in range(n):
        call(f"/waiter/w{i}/run/send", 1)
    await asyncio.sleep(1)  # until all of them wait

    async def wake(i: int) -> None:
        call(f"/waiter/w{i}/go", "x")
        _request(ASKED.url, f"/restate/workflow/waiter/w{i}/attach", None, "GET")

    await one_by_one(report, range(n), wake)


async def recover(pool: ThreadPoolExecutor, asked: Job) -> None:
    def start(i: int) -> None:
        call("/bench/crashing/send", i)
        note(asked.log, "accepted", i)

    if not asked.again:
        await each(pool, start, asked.n)
    await asyncio.Event().wait()  # to be killed, with the service


async def run(pool: ThreadPoolExecutor, asked: Job, report: Report) -> None:
    n = asked.n

    async def finished(path: str, n: int) -> None:
        call(path, n)

    match asked.workload:
        case "SEQ":
            await repeated(asked, report, n, lambda: finished("/bench/sequence", n))
        case "MANY":
            await repeated(
                asked,
                report,
                n * FIVE,
                lambda: each(pool, lambda _: call("/bench/sequence", FIVE), n),
            )
        case "FANOUT":
            await repeated(asked, report, n, lambda: finished("/bench/fan", n))
        case "LATENCY":
            await one_by_one(report, range(n), lambda _: finished("/bench/sequence", 1))
        case "EVENT":
            await event(report, n)
        case "IDLE":
            await each(pool, lambda _: call("/bench/sleeper/send", 1), n)
            await asyncio.sleep(3)
            await idle(asked, report, asyncio.sleep)
        case _:
            await recover(pool, asked)


async def main() -> None:
    report = Report(packages=("restate_sdk", "hypercorn"), settings=SETTINGS)
    started()
    if ASKED.workload != "RECOVER":
        call("/bench/sequence", 2)
    with ThreadPoolExecutor(CLIENTS) as pool:
        await run(pool, ASKED, report)
        report.print()


if __name__ == "__main__":
    if ASKED.workload == "SERVE":
        serve()
    else:
        asyncio.run(main())
