"""Strands side by side: begun together, awaited together, cancelled when one of them fails."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from wfe.core.engine.strands import STRAND, Cut, Strand, call_key
from wfe.core.rules.called import CallsCancelled
from wfe.core.rules.positions import later

if TYPE_CHECKING:
    from wfe.core.engine.calls import Calls

__all__ = ["gather"]


async def gather(calls: Calls, awaitables: Sequence[Awaitable[Any]], site: str) -> list[Any]:
    """Await *awaitables*, each as a strand of its own; return their results in order.

    When one fails, the others are cancelled and awaited before its error is raised.
    """
    try:
        number = await _begun(calls, site)
    except BaseException:
        for each in awaitables:
            if inspect.iscoroutine(each):
                each.close()
        raise
    parent = STRAND.get()
    parent.gathers += 1
    name = f"g{parent.gathers}"
    key = call_key("gather", parent.gathers, parent.path)
    group = _Group(calls, parent, key, number, site)
    cancelled = parent.cancelled
    try:
        results = await group.run(name, awaitables)
    finally:
        parent.inside = False
    if parent.cancelled and not cancelled:
        raise asyncio.CancelledError
    if parent.cut == (number + 1, True):
        await calls.block()  # it never returned from here
    parent.returned += 1
    if group.error is not None:
        raise group.error
    return results


async def _begun(calls: Calls, site: str) -> int:
    """Count a gather as a call of its strand; return its number."""
    calls.check()
    strand = STRAND.get()
    name = f"g{strand.gathers + 1}."
    if strand.barred():
        prefix = f"{strand.path}/{name}" if strand.path else name
        cut = strand.cut is not None and strand.calls >= strand.cut[0]
        if cut or not calls.journal.has(prefix):
            await calls.block()
    number = strand.calls
    record = strand.records.get(number)
    if record is not None:
        raise calls.mismatch(record, "gather", "gather", site)
    strand.calls = number + 1
    return number


class _Group:
    """The strands of one gather."""

    def __init__(self, calls: Calls, parent: Strand, key: str, number: int, site: str) -> None:
        self.calls = calls
        self.parent = parent
        self.key = key
        self.number = number
        self.site = site
        self.error: BaseException | None = None
        self.failed: list[int] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.strands: list[Strand] = []
        self.gone: set[asyncio.Task[Any]] = set()

    async def run(self, name: str, awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
        calls, parent = self.calls, self.parent
        cut = calls.journal.cuts.pop(self.key, None)
        parent.inside = True
        calls.leaves += len(awaitables) - 1
        for i, each in enumerate(awaitables):
            self._start(i, each, f"{parent.path}/{name}.{i}" if parent.path else f"{name}.{i}")
        try:
            await self._joined(cut)
        except asyncio.CancelledError:
            if not parent.cancelled or calls.over:  # else it was cancelled together with these
                self._cancel_all()
            await self._ended()
            raise
        finally:
            calls.leaves += 1
        if self.error is None:
            for strand in self.strands:
                parent.now = max(parent.now, strand.now)
                parent.seq = max(parent.seq, strand.seq)
                for topic, position in strand.cursors.items():
                    parent.cursors[topic] = later(parent.cursors.get(topic, position), position)
            return [task.result() for task in self.tasks]
        winner = self.strands[self.failed[0] if cut is None else cut.first]
        parent.now, parent.seq = max(parent.now, winner.now), max(parent.seq, winner.seq)
        return []

    def _start(self, i: int, awaitable: Awaitable[Any], path: str) -> None:
        parent = self.parent
        strand = self.calls.journal.strand(path, parent.now, parent.seq, parent)
        context = contextvars.copy_context()
        context.run(STRAND.set, strand)

        async def branch() -> Any:
            try:
                return await awaitable
            except BaseException:
                self.failed.append(i)
                raise

        def ended(task: asyncio.Task[Any]) -> None:
            if not task.cancelled():
                task.exception()  # looked at, so that nobody complains that nobody does
            parent.children.remove(strand)
            if inspect.iscoroutine(awaitable):
                awaitable.close()  # cancelled before it began: nobody awaits it any more
            self.calls.moved()

        strand.task = asyncio.create_task(branch(), context=context)
        strand.task.add_done_callback(ended)
        parent.children.append(strand)
        self.strands.append(strand)
        self.tasks.append(strand.task)

    async def _joined(self, cut: Cut | None) -> None:
        pending = set(self.tasks)
        while pending and not self._over(cut):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            self._count()
        if not self.failed:
            return
        if cut is not None:
            while not self._all_there(cut):
                await self.calls.movement()
            self._cut(set(cut.at))
            first = cut.first
        else:
            first = self.failed[0]
            if len(self.failed) > 1 or pending:
                await self._still()
                self._record(first)
        await self._ended()
        failed = self.tasks[first]
        self.error = asyncio.CancelledError() if failed.cancelled() else failed.exception()

    def _over(self, cut: Cut | None) -> bool:
        return bool(self.failed) if cut is None else cut.first in self.failed

    def _all_there(self, cut: Cut) -> bool:
        """Whether every strand came to where it was cancelled before, or has ended."""
        paths = [p for p in cut.at if not any(o.startswith(p + "/") for o in cut.at)]
        return not any(self._comes(path) for path in paths)

    def _comes(self, path: str) -> bool:
        """Whether the strand *path*, or the one that will begin it, is under way."""
        begun = self.calls.journal.begun
        while path and path not in begun:
            path = path.rpartition("/")[0]
        return any(strand.path == path and not strand.blocked for strand in self._live())

    async def _still(self) -> None:
        """Let nothing new begin, and wait for what is in the journal or on its way there.

        A step that is done is never forgotten: a saga around it has to undo it.  And what is being
        undone already is undone to its end.
        """
        while True:
            for strand in self._live():
                strand.gated = strand.gated or not strand.cancelled
            busy = any(strand.committing or strand.undoing for strand in self._live())
            if not (busy or self._recorded()):
                return
            await self.calls.movement()

    def _recorded(self) -> bool:
        """Whether strands have yet to make calls that the journal has."""
        prefix = self.strands[0].path.rstrip("!").rpartition(".")[0] + "."
        found = self.calls.journal.by_path.items()
        return any(p.startswith(prefix) and r and self._comes(p) for p, r in found)

    def _live(self) -> list[Strand]:
        return [strand for child in list(self.parent.children) for strand in child.live()]

    def _record(self, first: int) -> None:
        """Cancel the strands that have not ended, and put down where they were."""
        calls = self.calls
        wanted = [strand for strand in self._live() if not strand.cancelled and _runs(strand)]
        at = [[s.path, s.returned + 1 if s.inside else s.returned, s.inside] for s in wanted]
        lasting = calls.lasting_in(wanted)
        info = {"call": self.key, "n": self.number, "site": self.site, "first": first, "at": at}
        calls.feed(
            CallsCancelled(
                pointer=calls.pointer,
                attempt=calls.attempt,
                name="gather",
                info=info,
                calls=tuple(lasting),
            )
        )
        self._cut({s.path for s in wanted})

    def _cut(self, paths: set[str]) -> None:
        for strand in self._live():
            if strand.path in paths:
                strand.cancelled, strand.cut, strand.blocked = True, None, False
                strand.gated = False
                strand.path += "!"
                strand.records = self.calls.journal.by_path.get(strand.path, {})
                strand.last = max(strand.records, default=-1)
                strand.calls = strand.returned = strand.gathers = 0
                strand.uses = {}
                if strand.task is not None:
                    strand.task.cancel()

    def _cancel_all(self) -> None:
        for strand in self._live():
            if strand.task is not None:
                strand.task.cancel()

    async def _ended(self) -> None:
        """Await the strands, also those that clean up."""
        while pending := [task for task in self.tasks if not task.done()]:
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError:
                if self.calls.over:
                    self._cancel_all()
                # Else it was cancelled by another gather, which awaits all of this.
        self._count()

    def _count(self) -> None:
        """Count those that have ended no more; until then the function is not idle."""
        gone = {task for task in self.tasks if task.done()} - self.gone
        self.calls.leaves -= len(gone)
        self.gone |= gone


def _runs(strand: Strand) -> bool:
    return strand.task is not None and not strand.task.done()
