"""Tasks that run bodies: one after the other in one task, for as long as none of them waits."""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from wfe.core.engine.attempts import work

if TYPE_CHECKING:
    from wfe.core.engine.branches import Branch
    from wfe.core.engine.live import LiveRun

__all__ = ["Carriers"]

_MOST: Final = 256  # tasks that are begun at once for bodies that wait

_Waits: TypeAlias = "tuple[Branch, Coroutine[Any, Any, None], Any]"
"""A branch, its body's coroutine, and the future that this waits for."""


class Carriers:
    """The tasks in which bodies run.

    Waking a task costs more than most bodies that never wait for anything.  So one task runs the
    bodies that may begin, in their order; the first that waits keeps this task to its end, as its
    own, and others go on with the rest: twice as many each time, so that bodies which all wait
    begin in a few turns of the loop, or in one.  Each body runs in the context of its branch.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._ready: deque[tuple[Branch, LiveRun, int]] = deque()
        self._begun = 0  # how many tasks are about to run what is ready
        self._most = _MOST  # of them; bodies that do not wait need no more than one
        self._waiting: set[asyncio.Task[None]] = set()  # nobody else may refer to them

    @property
    def busy(self) -> bool:
        """Whether bodies are about to begin."""
        return bool(self._ready)

    def put(self, branch: Branch, run: LiveRun, key: int) -> None:
        """Have the body of the pointer *key* begin soon, unless *branch* is dropped before."""
        self._ready.append((branch, run, key))
        if self._begun < self._most:
            self._begin()

    def _begin(self) -> None:
        self._begun += 1
        asyncio.create_task(self._carry())  # noqa: RUF006 - the loop keeps it until it waits

    async def _carry(self) -> None:
        task, waits = asyncio.current_task(), None
        needed = bool(self._ready)
        try:
            waits = None if task is None else self._until_one_waits(task)
        finally:
            self._begun -= 1
            if needed:
                self._most = 1 if waits is None else min(2 * self._most, _MOST)
            for _ in range(min(len(self._ready), self._most) - self._begun):
                self._begin()
        if task is None or waits is None:
            return
        branch, job, awaited = waits
        self._waiting.add(task)
        try:
            await _rest(branch.context, job, awaited)
        finally:
            branch.task = None
            self._waiting.discard(task)

    def _until_one_waits(self, task: asyncio.Task[None]) -> _Waits | None:
        """Run in *task* what is ready; return the first that waits, ``None``: none did."""
        ready = self._ready
        while ready:
            branch, run, key = ready.popleft()
            if branch.dropped or run.closed:
                continue
            branch.task = task
            job = work(run, branch, key)
            try:
                awaited = branch.context.run(job.send, None)
            except StopIteration:
                branch.task = None
            else:
                return branch, job, awaited
            if task.cancelling():  # the body cancelled itself too late: it must not hit others
                break
        return None


@types.coroutine
def _rest(
    context: Context, job: Coroutine[Any, Any, None], awaited: Any
) -> Generator[Any, None, None]:
    """Run *job*, which waits for *awaited*, to its end in *context*, as a task does."""
    while True:
        error: BaseException | None = None
        try:
            yield awaited
        except BaseException as thrown:  # noqa: BLE001 - the job gets it
            error = thrown
        try:
            if error is None:
                awaited = context.run(job.send, None)
            else:
                awaited = context.run(job.throw, error)
        except StopIteration:
            return
