"""Real servers for tests: found or started, and gone when the tests are.

``resolve`` is imported when it is first used: the fixtures of this package are loaded in every run
of pytest, and most runs need no server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wfe.testing.services.records import Service, ServiceError, Unavailable

if TYPE_CHECKING:
    from wfe.testing.services.resolving import resolve

__all__ = ["Service", "ServiceError", "Unavailable", "resolve"]


def __getattr__(name: str) -> Any:
    """Import ``resolve`` at its first use (PEP 562)."""
    if name != "resolve":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from wfe.testing.services import resolving  # noqa: PLC0415 - at first use, as above

    return resolving.resolve
