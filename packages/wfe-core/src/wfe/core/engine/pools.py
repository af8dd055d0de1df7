"""Threads and processes for bodies that would block the loop."""

from __future__ import annotations

import os
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wfe.core.engine.processes import ProcessPool

__all__ = ["WorkerPools"]


class WorkerPools:
    """Pools made at first use."""

    def __init__(self, threads: int, processes: int | None = None) -> None:
        """Use at most *threads* threads and *processes* processes; ``None``: one a core."""
        self._size = threads
        self._most = processes
        self._threads: ThreadPoolExecutor | None = None
        self._processes: ProcessPool | None = None

    def threads(self) -> Executor:
        """Return the pool for sync bodies."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="wfe-step")
        return self._threads

    def processes(self) -> Executor:
        """Return the pool for CPU-bound functions; cancelling a call kills its process."""
        if self._processes is None:
            from wfe.core.engine.processes import ProcessPool  # noqa: PLC0415 - few hosts need it

            self._processes = ProcessPool(self._most or _cores())
        return self._processes

    def close(self) -> None:
        """Let idle threads go, and all processes; bodies in threads are not waited for."""
        for pool in (self._threads, self._processes):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)
        self._threads = self._processes = None


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
