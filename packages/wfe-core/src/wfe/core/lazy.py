"""Public names of a package that are imported when they are first used (PEP 562)."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeAlias

__all__ = ["Lookup", "importing", "lazily"]

Lookup: TypeAlias = Callable[[str], Any]
"""A package's ``__getattr__``."""


@contextmanager
def importing() -> Generator[None, None, None]:
    """Import with the cyclic garbage collector switched off; after that it is as it was.

    What modules make stays.  The collector would look at it again and again and find nothing: that
    is a tenth of an import, and brings on a first full collection in the middle of the work.  So it
    counts as old when this is over, and is looked at when everything is.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else what somebody froze would be thawed
            gc.freeze()
            gc.unfreeze()
        gc.enable()


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
        with importing():
            value = package[name] = getattr(import_module(home), name)
        return value

    return found
