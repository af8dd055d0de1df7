"""A workload of steps that write very much to the log."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.counting import CountingStore
from benchmarks.marks import Marks
from benchmarks.measuring import Measured, finished, measured, sequence
from benchmarks.memory import Peak
from wfe.core import StepExecutionContext, WorkflowBuilder

__all__ = ["logs"]

_LINE = "a line of a build's output, about as long as such lines are: src/module.c: 100 % done"
_AT_ONCE = 1000


async def logs(store: CountingStore, lines: int = 80_000) -> Measured:
    """One run that writes very many lines of 100 bytes: half from a thread, half from the loop."""
    steps = lines // 2 // _AT_ONCE
    marks = Marks(steps)

    def from_thread(ctx: StepExecutionContext[Any]) -> None:
        """Write as fast as Python can."""
        for n in range(lines // 2):
            ctx.log.info("%s %9d", _LINE, n)

    async def from_loop(ctx: StepExecutionContext[Any], n: int = 0) -> dict[str, int]:
        marks.hit()
        for k in range(_AT_ONCE):
            ctx.log.line("stdout", f"{_LINE} {n:9} {k}")
        return {"n": n + _AT_ONCE}

    def again(data: dict[str, Any]) -> bool:
        return int(data.get("n", 0)) < lines // 2

    flow = WorkflowBuilder().start_with(from_thread).while_do(again, lambda b: b.then(from_loop))
    async with store.host() as host:
        host.register(sequence("warm", 5), flow.build("logs"))
        await finished(host, "warm")
        peak = Peak()

        async def work() -> dict[str, float]:
            began = time.process_time()
            run = await host.start_workflow("logs")
            instance = await run.wait()
            if instance.status != "complete":
                raise RuntimeError(instance.error)
            await host.stop()
            return {
                "grown_mb": peak.grown(),
                "cpu_us_a_line": (time.process_time() - began) / lines * 1e6,
                "rows_a_step": store.rows / (steps + 1),
                "quarters": marks.last_to_first(),
            }

        return await measured(store, work, lines)
