"""Seeing what goes on: lifecycle events, health, and a look over everything; part of the host."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from wfe.core.errors import ProviderError

if TYPE_CHECKING:
    from wfe.core.engine import Engine
    from wfe.core.engine.lifecycle import Subscription
    from wfe.core.examining import Finding
    from wfe.core.lifecycle_provider import LifecycleSubscription
    from wfe.core.models import LifecycleEvent
    from wfe.host.connect import Providers

__all__ = ["Observing"]


class Observing:
    """What operators and programs that watch a host ask of it."""

    _engine: Engine
    _providers: Providers

    @overload
    def subscribe(self, kinds: Collection[str] | None = None) -> Subscription: ...
    @overload
    def subscribe(self, kinds: Callable[[LifecycleEvent], Any]) -> Callable[[], None]: ...
    def subscribe(
        self, kinds: Collection[str] | Callable[[LifecycleEvent], Any] | None = None
    ) -> Subscription | Callable[[], None]:
        """Observe lifecycle events from now on.

        Args:
            kinds: Which ones, for an async iterator (``None``: all); or a callback, which is
                called on the host's loop and must not block.

        Of an iterator that is read too slowly the oldest events are dropped: at most 10,000 wait.
        One of the kind ``events_missed`` comes in their place, with their ``data["count"]``.

        Returns:
            The iterator, or a function that ends the callback's subscription.
        """
        lifecycle = self._engine.report.lifecycle
        if inspect.iscoroutinefunction(kinds):
            problem = "a callback is called on the loop and not awaited; pass a plain function"
            raise TypeError(problem)
        if callable(kinds):
            observer = kinds
            lifecycle.add(observer)
            return lambda: lifecycle.remove(observer)
        from wfe.host.parts import Subscription  # noqa: PLC0415 - a host has imported it

        return Subscription(lifecycle, kinds)

    async def follow(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> LifecycleSubscription:
        """Observe the lifecycle events of all hosts that tell them where this one does.

        All but log lines and progress.  Some may be missing: a run's history has everything.

        Args:
            kinds: Which ones; ``None``: all.
            after: ``None``: from now on; the ``position`` of an earlier subscription: from there
                on, as far as they are still kept; ``""``: all that are kept.

        Returns:
            An async iterator with ``position`` and ``close()``.

        Raises:
            ProviderError: The host was made without *lifecycle*, its backend failed, or *after* is
                no position.
            TypeError: *kinds* is no collection of texts.
        """
        publishing = self._engine.publishing
        if publishing is None:
            problem = "this host tells nobody else; make it with lifecycle=, such as valkey://host"
            raise ProviderError("lifecycle", problem, transient=False)
        return await publishing.publisher.subscribe(kinds, after=after)

    async def health(self) -> Mapping[str, Any]:
        """Return how the host does.

        Returns:
            ``running``; ``live`` runs in memory; ``store`` (kind and version); ``trouble`` (why the
            store refuses writes, ``None`` when it does not); ``last_look`` (when it looked for
            work last, µs); ``due`` (the earliest waiting run's time, µs, ``None``: none);
            ``unrunnable``: stored definitions (``definition``, ``version``, ``hash``) whose runs
            are ``due`` (µs), while this host has no code for them; ``workers`` (epoch, host, pid,
            last beat) of the store; ``lifecycle``: events ``sent``, ``dropped`` and ``waiting``,
            and ``trouble``, ``None`` without a publisher.
        """
        return await self._engine.health()

    async def examine(self) -> Sequence[Finding]:
        """Look over the store, its workers and runs, and every provider, as ``wfe doctor`` does.

        A host that was not started opens the store for the look alone, and changes nothing in it.
        What cannot be asked is a finding, not an error.

        Raises:
            ProviderError: The store cannot be opened.
        """
        from wfe.host.doctor import examined, opened  # noqa: PLC0415 - rarely asked for

        engine = self._engine
        publisher = engine.publishing.publisher if engine.publishing is not None else None
        index = engine.searching.apart
        parts = self._providers.different(lifecycle=publisher, search=index)
        async with opened(engine, parts) as info:
            return await examined(engine, self._providers.lock, parts, info)
