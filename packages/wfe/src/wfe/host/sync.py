"""The same host for programs without an event loop, and one-shot runs in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from wfe.core.definition import WorkflowDefinition
from wfe.core.engine.outbox import HandOver
from wfe.core.lean import frozen
from wfe.core.models import (
    HistoryEntry,
    LifecycleEvent,
    LogLine,
    Page,
    StreamItem,
    WorkflowInstance,
    WorkflowStatus,
)
from wfe.host.collect import Buildable, definitions_in
from wfe.host.host import WorkflowHost
from wfe.host.results import SyncArtifacts, SyncCache
from wfe.host.runs import WorkflowRun
from wfe.host.schedules import SyncSchedules
from wfe.host.sync_controls import SyncActivities, SyncControls

__all__ = ["SyncWorkflowHost", "SyncWorkflowRun", "arun", "run"]

T = TypeVar("T")


async def arun(source: Any, data: Any = None, **options: Any) -> WorkflowInstance[Any]:
    """Run one workflow to its end in memory and return it.

    Args:
        source: A definition, or something with ``build()`` that makes one.
        data: Its start data.
        options: Of :class:`WorkflowHost`, for example ``app``.
    """
    (definition,) = definitions_in(source)
    async with WorkflowHost("memory://", **options) as host:
        host.register(definition)
        started = await host.start_workflow(definition.id, data, version=definition.version)
        return await started.wait()


def run(source: Any, data: Any = None, **options: Any) -> WorkflowInstance[Any]:
    """Run one workflow to its end in memory, blocking; see :func:`arun`.

    Raises:
        RuntimeError: It was called where an event loop runs, which it would block.
    """
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - asks, does not raise
        problem = "run() would block the running event loop; use `await arun(...)` there"
        raise RuntimeError(problem)
    return asyncio.run(arun(source, data, **options))


def _lend(options: dict[str, Any]) -> HandOver | None:
    """Put the caller's connection in *options* so that it is used in the caller's thread."""
    if options.get("within") is None:
        return None
    lent = options["within"] = HandOver(options["within"])
    return lent


class _Portal:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wfe-host", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], lent: HandOver | None = None) -> T:
        """Run *work* on the loop and return its result; Ctrl-C cancels it.

        What *work* asks of the connection that is *lent* is done meanwhile, in this thread.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            if lent is not None:
                future.add_done_callback(lambda _: lent.end())
                lent.serve()
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop; what other threads still wait for on it is cancelled."""
        self.call(_cancel_the_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


@frozen
class SyncWorkflowRun:
    """A :class:`~wfe.host.WorkflowRun` whose methods block."""

    _run: WorkflowRun
    _portal: _Portal

    @property
    def id(self) -> str:
        """Id of the run."""
        return self._run.id

    @property
    def new(self) -> bool:
        """Whether this start made it."""
        return self._run.new

    def wait(
        self, timeout: timedelta | float | None = None, *, suspended: bool = False
    ) -> WorkflowInstance[Any]:
        """Block until the run is final; see :meth:`WorkflowRun.wait`."""
        return self._portal.call(self._run.wait(timeout, suspended=suspended))

    def result(self, timeout: timedelta | float | None = None) -> Any:
        """Block until the run is final and return its data; see :meth:`WorkflowRun.result`."""
        return self._portal.call(self._run.result(timeout))

    def history(self) -> list[HistoryEntry]:
        """Return everything that happened so far."""
        return self._portal.call(self._run.history())


class SyncWorkflowHost(SyncControls):
    """A :class:`WorkflowHost` whose methods block; it runs in a thread of its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take the arguments of :class:`WorkflowHost`."""
        self._host = WorkflowHost(*args, **options)
        self._portal: _Portal | None = None
        self._ask = self._call

    def __enter__(self) -> Self:
        """Start the host."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the host."""
        self.stop()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return self._lending(work, None)

    def _lending(self, work: Coroutine[Any, Any, T], lent: HandOver | None) -> T:
        if self._portal is None:
            self._portal = _Portal()
        return self._portal.call(work, lent)

    def start(self) -> None:
        """Open the store and begin to work."""
        self._call(self._host.start())

    def stop(self, grace: timedelta | float = 5.0) -> int:
        """Stop, and return how many bodies were cancelled."""
        if self._portal is None:
            return 0
        try:
            return self._portal.call(self._host.stop(grace))
        finally:
            self._portal.close()
            self._portal = None

    def register(self, *sources: Any) -> None:
        """Make definitions known; see :meth:`WorkflowHost.register`."""

        async def on_loop() -> None:
            self._host.register(*sources)

        self._call(on_loop())

    def start_workflow(
        self, definition: str | WorkflowDefinition | Buildable, data: Any = None, **options: Any
    ) -> SyncWorkflowRun:
        """Start a run; see :meth:`WorkflowHost.start_workflow`."""
        lent = _lend(options)
        started = self._lending(self._host.start_workflow(definition, data, **options), lent)
        return self._handle(started)

    def run(self, id_or_name: str) -> SyncWorkflowRun:
        """Return a handle on a run that exists."""
        return self._handle(self._call(self._host.run(id_or_name)))

    def _handle(self, started: WorkflowRun) -> SyncWorkflowRun:
        if self._portal is None:
            self._portal = _Portal()
        return SyncWorkflowRun(started, self._portal)

    def fork(
        self,
        id_or_name: str,
        from_step: str,
        data: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> SyncWorkflowRun:
        """Start a new run from a state of another; see :meth:`WorkflowHost.fork`."""
        return self._handle(self._call(self._host.fork(id_or_name, from_step, data, **options)))

    @property
    def activities(self) -> SyncActivities:
        """Work that external workers claim and answer."""
        return SyncActivities(self._host.activities, self._call)

    @property
    def cache(self) -> SyncCache:
        """Results that steps with a cache kept."""
        return SyncCache(self._host.cache, self._call)

    @property
    def artifacts(self) -> SyncArtifacts:
        """Files that steps kept."""
        return SyncArtifacts(self._host.artifacts, self._call)

    @property
    def schedules(self) -> SyncSchedules[SyncWorkflowRun]:
        """Workflows that start by themselves."""
        return SyncSchedules(self._host.schedules, self._call, self._handle)

    def get(self, id_or_name: str) -> WorkflowInstance[Any]:
        """Return a run as stored."""
        return self._call(self._host.get(id_or_name))

    def find(self, **criteria: Any) -> Page[WorkflowInstance[Any]]:
        """Return the runs that fit; see :meth:`WorkflowHost.find`."""
        return self._call(self._host.find(**criteria))

    def search(self, terms: str = "", **criteria: Any) -> Page[Any]:
        """Return the runs, or the lines, that have some words; see :meth:`WorkflowHost.search`."""
        asynchronous: Any = self._host
        found: Page[Any] = self._call(asynchronous.search(terms, **criteria))
        return found

    def reindex(self, told: Callable[[int], None] | None = None) -> int:
        """Fill the search index anew; see :meth:`WorkflowHost.reindex`."""
        return self._call(self._host.reindex(told))

    def history(self, id_or_name: str, **options: Any) -> list[HistoryEntry]:
        """Return what happened in a run; see :meth:`WorkflowHost.history`."""
        return self._call(self._host.history(id_or_name, **options))

    def purge(
        self,
        definition: str | None = None,
        status: WorkflowStatus | str | None = None,
        older_than: timedelta | None = None,
        batch: int = 100,
    ) -> int:
        """Delete finished runs, and return how many; see :meth:`WorkflowHost.purge`."""
        return self._call(self._host.purge(definition, status, older_than, batch))

    def stream(
        self, id_or_name: str, after: int = 0, *, follow: bool = True
    ) -> Iterator[StreamItem]:
        """Yield what the steps of a run emitted; see :meth:`WorkflowHost.stream`."""
        items = self._host.stream(id_or_name, after, follow=follow)

        async def following() -> StreamItem | None:
            return await anext(items, None)

        while (item := self._call(following())) is not None:
            yield item

    def logs(self, id_or_name: str) -> list[LogLine]:
        """Return the lines that the steps of a run wrote."""
        return self._call(self._host.logs(id_or_name))

    def publish_event(
        self,
        name: str,
        key: str | int | UUID = "",
        data: Any = None,
        **options: Any,
    ) -> str:
        """Publish an event; see :meth:`WorkflowHost.publish_event`."""
        lent = _lend(options)
        return self._lending(self._host.publish_event(name, key, data, **options), lent)

    def subscribe(self, callback: Callable[[LifecycleEvent], Any]) -> Callable[[], None]:
        """Call *callback* with each lifecycle event, in the host's thread; return how to end it."""
        return self._host.subscribe(callback)

    def health(self) -> Mapping[str, Any]:
        """Return how the host does; see :meth:`WorkflowHost.health`."""
        return self._call(self._host.health())
