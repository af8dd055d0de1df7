"""Waits for a store that is away for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from wfe.core.cancelling import check_cancelled
from wfe.core.errors import ProviderError

__all__ = ["patiently"]

T = TypeVar("T")

_PAUSE: Final = (0.05, 2.0)  # seconds: the first, and the longest


async def patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Return what *read* finds, however often the store must be asked until it answers.

    A run that needs something from its store is in no way broken while the store is away; whoever
    takes the run from here cancels this.

    Raises:
        ProviderError: Asking again would not help.
    """
    pause = _PAUSE[0]
    while True:
        try:
            return await read()
        except ProviderError as error:
            check_cancelled()
            if not error.transient:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _PAUSE[1])
