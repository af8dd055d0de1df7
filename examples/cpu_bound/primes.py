"""CPU-bound steps: each in a worker process, one of which takes too long and is killed.

Run it with ``python examples/cpu_bound/primes.py``.
"""

from __future__ import annotations

from datetime import timedelta

from wfe.core import Continue, WorkflowContext, step, workflow
from wfe.host import run


@step(process=True)
def primes(begin: int, end: int) -> int:
    """Count the primes from *begin* to *end*; nothing else on the host waits for it."""
    return sum(all(n % k for k in range(2, int(n**0.5) + 1)) for n in range(max(begin, 2), end))


@step(process=True)
def search(number: int) -> int:
    """Look for what does not exist, for ever."""
    while True:
        number += 2


@workflow("primes")
async def count(ctx: WorkflowContext, end: int, parts: int) -> dict[str, int | None]:
    """Count in several processes, and search no longer than a second."""
    size = end // parts
    counted = await ctx.gather(
        *(ctx.step(primes, begin, begin + size) for begin in range(0, end, size))
    )
    patient = ctx.options(timeout=timedelta(seconds=1), retry=Continue())
    return {"primes": sum(counted), "found": await patient.step(search, 1)}


if __name__ == "__main__":  # the worker processes import this file, too
    instance = run(count, {"end": 20_000, "parts": 4})
    print(instance.status, instance.data["result"])
