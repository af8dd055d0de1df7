"""Public names of a package that are imported when they are first used (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeAlias

__all__ = ["Lookup", "lazily"]

Lookup: TypeAlias = Callable[[str], Any]
"""A package's ``__getattr__``."""


def lazily(package: dict[str, Any], homes: Mapping[str, str]) -> Lookup:
    """Return the ``__getattr__`` of a package.

    Args:
        package: Its ``globals()``: what was imported once is remembered there.
        homes: Public name to the module that has it.
    """

    def found(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            message = f"module {package['__name__']!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = package[name] = getattr(import_module(home), name)
        return value

    return found
