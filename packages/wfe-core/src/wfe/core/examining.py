"""What a provider finds out about itself for ``wfe doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from wfe.core.lean import frozen

__all__ = ["Examined", "Finding", "Level"]

Level: TypeAlias = Literal["ok", "note", "warning", "problem"]
"""``problem``: something does not work; ``warning``: it may soon not, or is slower than need be."""


@frozen(kw_only=True)
class Finding:
    """One line of a report.

    Attributes:
        topic: What it is about: ``store``, ``queue``, ``workers``, ``runs`` …
        text: One sentence without a full stop.
        hint: What to do; ``None``: nothing.
    """

    level: Level
    topic: str
    text: str
    hint: str | None = None


@runtime_checkable
class Examined(Protocol):
    """A provider that knows how it is; none has to be one."""

    async def examine(self) -> Sequence[Finding]:
        """Return what an operator should know: versions, settings, what is wrong.

        Raises:
            ProviderError: The backend cannot be asked.
        """
        ...
