"""Objects of one host that all of its steps share: made at first use, closed at the stop."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

__all__ = ["Shared"]

_LOG: Final = logging.getLogger("wfe.engine")

T = TypeVar("T")


class Shared:
    """Objects by key."""

    def __init__(self) -> None:
        """Begin without any."""
        self._made: dict[str, Any] = {}
        self._turn = threading.Lock()  # sync bodies ask from their threads

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the object called *key*; *make* makes it at the first call."""
        with self._turn:
            if key not in self._made:
                self._made[key] = make()
            found: T = self._made[key]
            return found

    async def close(self) -> None:
        """Call each object's ``aclose()`` or ``close()``, newest first, and forget them."""
        with self._turn:
            made, self._made = self._made, {}
        for key, each in reversed(made.items()):
            end = getattr(each, "aclose", None) or getattr(each, "close", None)
            try:
                done = None if end is None else end()
                if inspect.isawaitable(done):
                    await done
            except Exception:  # noqa: BLE001 - a guest's object must not keep the host from stopping
                _LOG.exception("the shared object %r could not be closed", key)
