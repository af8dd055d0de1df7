"""Three workers on one database; one is killed in the middle, and no order is lost or sent twice.

``python examples/many_hosts/fleet.py postgresql://... [valkey://...]``; without the second URL the
database passes the hints, too.  Any store works, also ``sqlite:////tmp/orders.db``.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

from examples.many_hosts.shop import order
from wfe.host import WorkflowHost

ORDERS = 60
SHOP = Path(__file__).with_name("shop.py")


async def worker(name: str, options: list[str]) -> asyncio.subprocess.Process:
    """Start ``wfe worker`` as a process of its own."""
    command = [sys.executable, "-m", "wfe", "worker", str(SHOP), "--name", name, *options]
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


async def busy(workers: list[asyncio.subprocess.Process]) -> asyncio.subprocess.Process:
    """Return the first worker that has finished an order."""

    async def line(process: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
        assert process.stdout is not None
        await process.stdout.readline()
        return process

    waiting = [asyncio.create_task(line(each)) for each in workers]
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in rest:
        each.cancel()
    await asyncio.wait(rest)
    return done.pop().result()


async def main(db: str, valkey: str | None) -> None:
    """Start the workers, then the orders; kill a worker; wait for the last order."""
    options = ["--db", db] + (["--queue", valkey, "--lock", valkey] if valkey else [])
    lease = timedelta(seconds=2)
    async with WorkflowHost(db, queue=valkey, lock=valkey, lease=lease, max_live=0) as shop:
        shop.register(order)
        runs = [
            await shop.start_workflow("order", {"order": n}, idempotency_key=f"order-{n}")
            for n in range(ORDERS)
        ]
        workers = [await worker(f"worker-{n}", options) for n in (1, 2, 3)]
        (await busy(workers)).kill()  # no clean-up: its orders are taken over
        ended = [await run.wait(timedelta(seconds=60)) for run in runs]
        steps: Counter[str] = Counter()
        for run in runs:
            for row in await shop.history(run.id):
                steps[f"{row.kind} {row.step or ''}".strip()] += 1
        for each in workers:
            if each.returncode is None:
                each.terminate()
        await asyncio.gather(*(each.communicate() for each in workers))
    print(Counter(instance.status.value for instance in ended)["complete"], "orders complete")
    for step in ("reserve", "pack", "ship"):
        print(f"{step}: completed {steps[f'step_completed {step}']} times")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
