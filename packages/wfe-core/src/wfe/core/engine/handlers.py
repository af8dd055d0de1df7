"""Calls the handlers of updates and queries."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["call_handler"]


async def call_handler(handler: Callable[..., Any], data: Any, payload: Any) -> Any:
    """Return what *handler* says to ``(data, payload)``, or to ``(data)`` if it takes only that."""
    try:
        inspect.signature(handler).bind(data, payload)
    except TypeError:
        result = handler(data)
    else:
        result = handler(data, payload)
    return await result if inspect.isawaitable(result) else result
