"""How a host behaves."""

from __future__ import annotations

from typing import Final

from wfe.core.lean import frozen

__all__ = ["Settings"]

_SECOND: Final = 1_000_000  # µs


@frozen(kw_only=True)
class Settings:
    """How a host behaves.

    Attributes:
        lease: µs without a beat after which others may take over.
        max_live: Runs in memory at a time; the others wait in the store.
        linger: µs that a waiting run stays in memory before it is given up.
        poll: µs between looks at the store for work that nobody announced.
        threads: For sync bodies.
        processes: For CPU-bound bodies; ``None``: one for each core.
        own_runs_only: Drive only runs that were started or asked for here, and what they start.
        labels: What this host can do beyond running code (``WorkflowDefinition.requires``).
        max_steps: Bodies that run at a time; ``None``: no limit.
        max_interruptions: Deaths of hosts in a row, while they ran a run, that suspend it.
        max_history: Rows of a run; one that writes more fails.
        retention: µs that finished runs are kept; ``None``: for ever.
        event_retention: µs that events are kept; ``None``: for ever.
        max_inline: Bytes of a value beyond which it needs a blob provider.
        max_data: Bytes of all data of a run.
    """

    lease: int = 30 * _SECOND
    max_live: int = 1000
    linger: int = 5 * _SECOND
    poll: int = _SECOND
    threads: int = 64
    processes: int | None = None
    strict_versions: bool = False
    own_runs_only: bool = False
    labels: frozenset[str] = frozenset()
    max_steps: int | None = None
    max_interruptions: int = 5
    max_history: int = 10_000_000
    name: str = "wfe"
    retention: int | None = 30 * 24 * 3600 * _SECOND
    event_retention: int | None = 30 * 24 * 3600 * _SECOND
    max_inline: int = 1 << 20
    max_data: int = 8 << 20

    @property
    def guest(self) -> bool:
        """Whether a host only looks, starts and asks: it is no worker unless it needs a lock."""
        return self.own_runs_only and not self.max_live
