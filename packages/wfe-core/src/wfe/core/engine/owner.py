"""What a live run asks of the host that owns it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio

    from wfe.core.engine.carriers import Carriers
    from wfe.core.engine.live import LiveRun
    from wfe.core.engine.options import StartOptions
    from wfe.core.engine.reporting import Reporter
    from wfe.core.engine.shared import Shared
    from wfe.core.engine.sizes import Sizes
    from wfe.core.engine.transactions import Transactions
    from wfe.core.providers import Clock
    from wfe.core.rules.inputs import Received

__all__ = ["Owner"]


class Owner(Protocol):
    """What a live run asks of its host."""

    clock: Clock
    app: Any
    report: Reporter
    shared: Shared
    sizes: Sizes
    carriers: Carriers
    at_work: set[object]
    """Branches with a body that has not ended: their outcomes will want to be written."""

    def retain_until(self, run: LiveRun, status: str) -> int | None:
        """Return when retention may delete *run* if it ends now so, µs; ``None``: never."""
        ...

    @property
    def slots(self) -> asyncio.Semaphore | None:
        """One for each body that may run at a time; ``None``: no limit."""
        ...

    @property
    def transactions(self) -> Transactions:
        """The transactions of steps."""
        ...

    @property
    def unsure(self) -> bool:
        """Whether this host may have been taken for dead, and begins no body until it knows."""
        ...

    async def sure(self) -> None:
        """Return when the store said that this host is not fenced; never if it stops before."""
        ...

    async def start_run(
        self, id: str, version: int | None, data: Any, options: StartOptions
    ) -> str:
        """Start another run; return its id."""
        ...

    def changed(self, run: LiveRun) -> None:
        """Take note that *run* has inputs to decide on."""
        ...

    def finished(self, run: LiveRun) -> None:
        """Take note that a body of *run* is done: decide on it, at once if that can be."""
        ...

    def ended(self, run: LiveRun) -> None:
        """Take note that *run* is final."""
        ...

    def turned(self, run: LiveRun) -> None:
        """Take note that *run* was suspended or resumed."""
        ...

    def look_up(self, run: LiveRun, message: Received) -> None:
        """Feed *message* to *run* once what it needs was looked up."""
        ...

    def answered(self, update: str) -> None:
        """Take note that the answer to an update is in the history."""
        ...

    def idled(self, run: LiveRun) -> None:
        """Take note that *run* only waits now."""
        ...

    def broken(self, run: LiveRun, error: Exception) -> None:
        """Take note that the engine itself failed on *run*."""
        ...

    def timer(self, run: LiveRun, when: int, pointer: int | None) -> None:
        """Call :meth:`LiveRun.timer` at *when* (µs)."""
        ...
