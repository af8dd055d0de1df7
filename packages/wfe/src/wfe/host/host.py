"""The host: what an application makes, registers definitions with, and starts runs on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from wfe.core.lazy import importing
from wfe.core.micros import to_micros
from wfe.host.controls import Controls
from wfe.host.keeping import Keeping
from wfe.host.observing import Observing
from wfe.host.reads import Reads
from wfe.host.runs import seconds
from wfe.host.searching import Searches, search_settings
from wfe.host.starting import Starting

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from wfe.core.artifact_index import ArtifactStore
    from wfe.core.engine import StepMiddleware, WorkflowMiddleware
    from wfe.core.engine.retention import Archive
    from wfe.core.lifecycle_provider import LifecyclePublisher
    from wfe.core.providers import (
        BlobProvider,
        LockProvider,
        PayloadCodec,
        PersistenceProvider,
        QueueProvider,
    )
    from wfe.core.search import SearchProvider
    from wfe.core.secrets import SecretsGiven
    from wfe.host.activities import Activities
    from wfe.host.results import Artifacts, Cache
    from wfe.host.schedules import Schedules

__all__ = ["WorkflowHost"]


class WorkflowHost(Starting, Reads, Controls, Observing, Keeping, Searches):
    """Runs workflows over a store; use it as ``async with WorkflowHost("sqlite:///runs.db")``."""

    def __init__(  # noqa: PLR0913 - the options of a host
        self,
        url: str | PersistenceProvider = "memory://",
        *,
        persistence: str | PersistenceProvider | None = None,
        queue: str | QueueProvider | None = None,
        lock: str | LockProvider | None = None,
        app: Any = None,
        step_factory: Callable[[type], Any] | None = None,
        middleware: Sequence[StepMiddleware | WorkflowMiddleware] = (),
        lease: timedelta = timedelta(seconds=30),
        max_live: int = 1000,
        linger: timedelta = timedelta(seconds=5),
        threads: int = 64,
        processes: int | None = None,
        strict_versions: bool = False,
        own_runs_only: bool = False,
        labels: Collection[str] = (),
        max_steps: int | None = None,
        max_interruptions: int = 5,
        name: str = "wfe",
        retention: timedelta | None = timedelta(days=30),
        event_retention: timedelta | None = timedelta(days=30),
        archive: Archive | None = None,
        blobs: str | BlobProvider | None = None,
        codec: PayloadCodec | None = None,
        secrets: SecretsGiven | None = None,
        artifacts: str | ArtifactStore | None = None,
        caching: Literal["on", "refresh", "off"] = "on",
        search: str | SearchProvider | None = None,
        search_fields: Mapping[str, Collection[str]] | None = None,
        lifecycle: str | LifecyclePublisher | None = None,
        max_inline: int = 1_048_576,
        max_data: int = 8_388_608,
        max_history: int = 10_000_000,
    ) -> None:
        """Make a host; nothing is opened before :meth:`start`.

        Args:
            url: The store, by URL (``memory://``, ``sqlite:///runs.db`` …) or as an object.
            persistence: The same by its other name.
            queue: Separate queue, by URL or object; ``None``: the store's own.
            lock: Separate lock, by URL or object; ``None``: the store's own.
            app: Given to bodies as ``ctx.app``; never stored.
            step_factory: Builds the bodies of step classes, for dependency injection.
            middleware: Goes around bodies and runs; the first is outermost.
            lease: Silence after which other hosts take over.
            max_live: Runs in memory at a time; the others wait in the store.  0: none, this host
                starts runs and asks, and leaves driving them to others.
            linger: How long a waiting run stays in memory before it is given up.
            threads: For sync bodies.
            processes: Worker processes for bodies with ``process=True``, started when they are
                needed; ``None``: one for each core.
            strict_versions: Refuse a definition whose id and version is stored with other contents.
            own_runs_only: Drive only the runs that are started here or given to :meth:`drive`, and
                their sub-workflows; other hosts on the store are left their work.  With a
                *max_live* of 0 this host is no worker at all: nobody sees or waits for it.
            labels: What this host can do; definitions that ``require`` others are left to hosts
                that have them.
            max_steps: Bodies that run at a time on this host; ``None``: no limit.
            max_interruptions: A run whose hosts died so often in a row while they ran it is
                suspended.
            name: Shown to operators.
            retention: How long finished runs are kept; a definition's own wins; ``None``: for ever.
            event_retention: How long published events are kept; ``None``: for ever.
            archive: Called (it may be async) with an ``ArchivedRun`` before a run is deleted; what
                it raises keeps the run.
            blobs: Where values go that are bigger than *max_inline*: a URL (``file:///…``) or a
                provider; ``None``: such values are refused.
            codec: Applied to stored texts, for example to encrypt them; all hosts on a store need
                the same.
            secrets: Where steps get the secrets that they name: a provider, a URL (``env:``,
                ``file:secrets.env``, ``command:pass show {name}``), a mapping, or a list of these,
                of which the first that knows a secret gives it; ``None``: the environment, where
                ``npm-token`` is ``WFE_SECRET_NPM_TOKEN``.
            artifacts: Where files that steps keep go: a URL (``file:///…``, an OCI image layout)
                or a store; ``None``: ``artifacts`` beside the store's file, a temporary directory
                for a store in memory.
            caching: What steps with a cache do: ``on``, ``refresh`` (run, and keep the result) or
                ``off`` (run).
            search: Index for :meth:`search`, by URL (``opensearch://…``) or object, which this host
                helps to keep up to date; ``None``: the store's own.
            search_fields: By definition, the data fields (``customer.city``) that can be searched;
                of a definition that is not in it: all, with a codec: none.
            lifecycle: Where lifecycle events are told to other processes, by URL (``valkey://…``)
                or object, for :meth:`follow` there; without their data when there is a codec.
            max_inline: Bytes of a value (a data field, a result, an event's data) as JSON.
            max_data: Bytes of all data of a run as JSON.
            max_history: Rows in the history of a run; one that writes more fails with an error
                that says so.

        Raises:
            PluginNotFoundError: No installed distribution handles the URL's scheme.
            TypeError: An option is of a wrong type.
            ValueError: A duration is negative, or a number less than 1.
        """
        with importing():
            from wfe.host import parts  # noqa: PLC0415 - most of the library

        parts.durations({"lease": lease}, least=timedelta(milliseconds=10))
        parts.durations(
            {"linger": linger, "retention": retention, "event_retention": event_retention}
        )
        parts.counts(
            {
                "max_interruptions": max_interruptions,
                "threads": threads,
                "processes": 1 if processes is None else processes,
                "max_steps": 1 if max_steps is None else max_steps,
            }
        )
        parts.counts({"max_inline": max_inline, "max_data": max_data, "max_history": max_history})
        parts.functions({"step_factory": step_factory, "archive": archive})
        self._providers = providers = parts.connect(persistence or url, queue, lock)
        self._engine = parts.Engine(
            providers.persistence,
            queue=providers.queue,
            lock=providers.lock,
            settings=parts.Settings(
                lease=to_micros(lease),
                max_live=max_live,
                linger=to_micros(linger),
                threads=threads,
                processes=processes,
                strict_versions=strict_versions,
                own_runs_only=own_runs_only,
                labels=parts.checked_labels(labels),
                max_steps=max_steps,
                max_interruptions=max_interruptions,
                name=name,
                retention=None if retention is None else to_micros(retention),
                event_retention=None if event_retention is None else to_micros(event_retention),
                max_inline=max_inline,
                max_data=max_data,
                max_history=max_history,
            ),
            app=app,
            step_factory=step_factory,
            middleware=parts.checked_middleware(middleware),
            archive=archive,
            codec=codec,
            blobs=parts.connect_part("wfe.blobs", blobs),
            secrets=parts.open_secrets(secrets),
            artifacts=parts.connect_part("wfe.artifacts", artifacts),
            caching=parts.checked_caching(caching),
            lifecycle=parts.connect_part("wfe.lifecycle", lifecycle),
            search=search_settings(
                search, providers.persistence, search_fields, coded=codec is not None
            ),
        )
        self._cache = parts.Cache(self._engine)
        self._artifacts = parts.Artifacts(self._engine)
        self._activities = parts.Activities(self._engine)
        self._schedules = parts.Schedules(self._engine)

    @classmethod
    async def from_config(cls, path: str | Path | None = None, **options: Any) -> Self:
        """Return a host made of ``wfe.config.yaml`` and the ``WFE_*`` variables over it.

        Args:
            path: The file; ``None``: ``WFE_CONFIG_FILE``, or ``wfe.config.yaml`` in the working
                directory if it is there.
            **options: As of the constructor; they win over both.

        Raises:
            ConfigError: Something in the file or in a variable is wrong, or a secret is missing.
            PluginNotFoundError: No installed distribution handles a URL's scheme.
        """
        from wfe.host.config import read_config  # noqa: PLC0415 - rarely asked for

        found = await read_config(path).options(options.get("secrets"))
        return cls(**{**found, **options})

    # -- life

    async def __aenter__(self) -> Self:
        """Start the host."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the host."""
        await self.stop()

    async def start(self) -> None:
        """Open the store, register as a worker and begin to work.

        Raises:
            ProviderError: The store cannot be opened.
        """
        await self._engine.start()

    async def stop(self, grace: timedelta | float = 5.0) -> int:
        """Stop; unfinished runs are handed back at once.

        Args:
            grace: How long running bodies may go on before they are cancelled; a number is seconds.

        Returns:
            How many bodies were cancelled.
        """
        return await self._engine.stop(seconds(grace) or 0.0)

    # -- schedules, events and activities

    @property
    def schedules(self) -> Schedules:
        """Workflows that start by themselves."""
        return self._schedules

    @property
    def cache(self) -> Cache:
        """Results that steps with a cache kept."""
        return self._cache

    @property
    def artifacts(self) -> Artifacts:
        """Files that steps kept."""
        return self._artifacts

    @property
    def activities(self) -> Activities:
        """Work that external workers claim and answer."""
        return self._activities

    async def publish_event(
        self,
        name: str,
        key: str | int | UUID = "",
        data: Any = None,
        *,
        id: str | None = None,
        at: datetime | None = None,
        expires: timedelta | None = None,
        within: Any = None,
    ) -> str:
        """Publish an event; when this returns it is stored and has woken who waits for it.

        Args:
            name: Of the event.
            key: Which one of that name, for example an order's number; 5 and "5" are the same.
            data: What waiting steps get.
            id: A second event with the same id is dropped; ``None``: a new one.
            at: Its time; ``None``: now.
            expires: From so long after now it matches nobody any more, and is deleted; ``None``:
                the host's *event_retention*.
            within: The application's own connection to the store's database, in a transaction: the
                event is published within a second after that is committed, with the time of this
                call, and never if it is rolled back.

        Returns:
            Its id.

        Raises:
            DataTypeError: Name, key or id are no texts or too long, or the data cannot be stored.
            ProviderError: *within* is no such connection, or the store has no such transactions.
        """
        control = self._engine.control
        event = control.event(name, key, data, id, at, expires)
        if within is None:
            return await control.publish(event, fresh=id is None)
        await self._engine.outbox.publish(within, event)
        return event.id
