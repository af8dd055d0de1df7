"""Real servers for tests: found or started, and gone when the tests are.

``resolve`` is imported when it is first used: the fixtures of this package are loaded in every run
of pytest, and most runs need no server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wfe.core.lazy import Lookup, lazily
from wfe.testing.services.records import Service, ServiceError, Unavailable

if TYPE_CHECKING:
    from wfe.testing.services.resolving import resolve

__all__ = ["Service", "ServiceError", "Unavailable", "resolve"]
__getattr__: Lookup = lazily(globals(), {"resolve": "wfe.testing.services.resolving"})
