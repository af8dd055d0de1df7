"""Find the Deno binary."""

from __future__ import annotations

import shutil
from functools import cache
from typing import Final

__all__ = ["INSTALL", "find_deno"]

INSTALL: Final = 'pip install "wfe-yaml[deno]"'


@cache
def find_deno() -> str | None:
    """Return the path of Deno's binary, ``None`` when there is none.

    That of the distribution ``deno`` comes first, then one in PATH.
    """
    try:
        from deno import find_deno_bin  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
    except ImportError:
        return shutil.which("deno")
    try:
        return str(find_deno_bin())
    except OSError:
        return shutil.which("deno")
