"""Which runs this host may drive now: labels, paused definitions, bodies at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from wfe.core.errors import DefinitionNotFoundError

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.registry import Registered

__all__ = ["Gates"]


class Gates:
    """What keeps a host from driving definitions that it could run.

    Attributes:
        labels: What this host can do beyond running code.
        paused: Ids of the definitions that are paused, as last seen.
        slots: One for each body that may run at a time; ``None``: no limit.
    """

    def __init__(self, engine: Engine, labels: Collection[str], bodies: int | None) -> None:
        """Guard *engine*."""
        self._engine = engine
        self.labels: frozenset[str] = frozenset(labels)
        self.paused: frozenset[str] = frozenset()
        self.slots: asyncio.Semaphore | None = None if bodies is None else asyncio.Semaphore(bodies)

    def may(self, ready: Registered) -> bool:
        """Whether runs of a definition are driven here now."""
        definition = ready.definition
        return definition.id not in self.paused and self.labels.issuperset(definition.requires)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the stored definitions whose runs are driven here now."""
        registry = self._engine.registry
        if not self.paused and not registry.demanding:
            return registry.numbers
        return tuple(ready.d for ready in registry.all if self.may(ready))

    async def refresh(self) -> None:
        """Look which definitions are paused, and act on what changed."""
        paused = frozenset(await self._engine.store.paused())
        if paused != self.paused:
            self.paused = paused
            self._apply()

    def _apply(self) -> None:
        """Let the runs of paused definitions begin nothing more, and others go on."""
        for run in list(self._engine.live.values()):
            draining = run.ref.definition in self.paused
            if run.draining and not draining and self._engine.running:
                run.draining = False
                run.go_on()
            elif draining:
                run.draining = True
        if self._engine.running:
            self._engine.nudge()

    async def pause(self, id: str, *, paused: bool) -> bool:
        """Pause a definition, or let it go on; ``False``: it was so already.

        Raises:
            DefinitionNotFoundError: Nothing of that id is stored.
        """
        self._engine.check_running()
        if not await self._engine.store.definitions(id):
            rows = await self._engine.store.definitions()
            known = tuple(sorted({f"{row.id} v{row.version}" for row in rows}))
            raise DefinitionNotFoundError(id, None, known)
        changed = await self._engine.store.pause_definition(id, paused=paused)
        await self.refresh()
        return changed
