"""Threads and processes for bodies that would block the loop."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

__all__ = ["WorkerPools"]


class WorkerPools:
    """Pools made at first use."""

    def __init__(self, threads: int) -> None:
        """Use at most *threads* threads."""
        self._size = threads
        self._threads: ThreadPoolExecutor | None = None
        self._processes: ProcessPoolExecutor | None = None

    def threads(self) -> Executor:
        """Return the pool for sync bodies."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="wfe-step")
        return self._threads

    def processes(self) -> Executor:
        """Return the pool for CPU-bound functions, one process a core."""
        if self._processes is None:
            import multiprocessing  # noqa: PLC0415 - few hosts have such functions
            from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 - likewise

            # spawn: a fork would copy locks that other threads hold at that moment
            context = multiprocessing.get_context("spawn")
            self._processes = ProcessPoolExecutor(mp_context=context)
        return self._processes

    def close(self) -> None:
        """Let idle workers go; bodies that still run are not waited for."""
        for pool in (self._threads, self._processes):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)
        self._threads = self._processes = None
