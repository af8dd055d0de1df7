"""What the tables are called, and the numbers of the locks that are no rows.

Statements are constants that name tables and functions ``wfe_x``; :class:`Names` turns these into
the real names of a store, once for each statement.
"""

from __future__ import annotations

import re
import zlib
from typing import Any, Final, LiteralString

import attrs

from wfe.core.errors import ProviderError
from wfe.core.lean import frozen

__all__ = ["APPENDS", "GUARDS", "MIGRATION", "NOW", "NUMBERS", "Names"]

NOW: Final = (
    "(SELECT coalesce(%(now)s::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))"
)
"""The time of a statement: the one it is given, else the server's; µs.

A sub-select, so that it is found out once and an index can be used with it.
"""
GUARDS: Final = "guards"
"""Locks of topics and limit keys, by hash."""
APPENDS: Final = "appends"
"""Locks of what is numbered in the order of commits: lines and streams."""
MIGRATION: Final = "migration"
"""The lock of who makes or changes the tables."""
NUMBERS: Final = "numbers"
"""The lock of who takes many instance numbers."""

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME: Final = re.compile(r"(\bINDEX (?:CONCURRENTLY )?(?:IF (?:NOT )?EXISTS )?)?\bwfe_(\w+)")
_LONGEST_PREFIX: Final = 24  # with the longest name below the server's 63 bytes


@frozen
class Names:
    """The real names of a store's tables.

    Args:
        schema: In which they stand; ``None``: wherever the connection's ``search_path`` says.
        prefix: With which they begin.

    Raises:
        ProviderError: One of them is no plain name, or is too long.
    """

    schema: str | None = None
    prefix: str = "wfe_"
    _known: dict[str, LiteralString] = attrs.field(
        factory=dict[str, LiteralString], init=False, eq=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        _check("schema", self.schema or "public", 63)
        _check("prefix", self.prefix, _LONGEST_PREFIX)

    def sql(self, text: str) -> LiteralString:
        """Return *text*, which is a constant or made of constants, with the real names."""
        if text not in self._known:
            made: Any = _NAME.sub(self._replace, text)
            self._known[text] = made
        return self._known[text]

    def channel(self) -> str:
        """Return the channel on which hosts of this store tell each other of work."""
        return f"{self.prefix}{self.lock('channel') & 0xFFFFFFFF:08x}"

    def lock(self, purpose: str) -> int:
        """Return the class of advisory locks for *purpose*: a number of 32 bits with sign."""
        number = zlib.crc32(f"{self.schema}.{self.prefix}:{purpose}".encode())
        return number - 2**32 if number >= 2**31 else number

    def _replace(self, found: re.Match[str]) -> str:
        index, name = found.groups()
        if index is not None:  # an index stands where its table does, and takes no schema
            return f'{index}"{self.prefix}{name}"'
        if self.schema is None:
            return f'"{self.prefix}{name}"'
        return f'"{self.schema}"."{self.prefix}{name}"'


def _check(what: str, name: Any, longest: int) -> None:
    if not isinstance(name, str) or not _PLAIN.fullmatch(name) or len(name) > longest:
        problem = (
            f"{what}={name!r} is no name; use letters, digits and _, at most {longest} characters"
        )
        raise ProviderError("postgres", problem, transient=False)
