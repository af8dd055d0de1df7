"""Databases for single tests, on a server that others use, too."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

if TYPE_CHECKING:
    import psycopg

__all__ = ["Databases"]


@attrs.define(eq=False)
class Databases:
    """Makes databases on one PostgreSQL server.

    A database of its own keeps a test's notifications and advisory locks apart, too, which a
    schema would not.
    """

    server: str
    """The URL of a database whose user may create others."""
    _connection: psycopg.Connection | None = attrs.field(default=None, init=False)
    _names: set[str] = attrs.field(factory=set[str], init=False)
    _prefix: str = attrs.field(factory=lambda: f"wfe_{secrets.token_hex(4)}", init=False)
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count, init=False)

    def new(self, template: str | None = None) -> str:
        """Create a database and return its URL.

        Args:
            template: The URL of one that :meth:`new` made, to copy; nobody may be connected to it.
        """
        name = f"{self._prefix}_{next(self._numbers)}"
        copied = f' TEMPLATE "{_name(template)}"' if template is not None else ""
        self._run(f'CREATE DATABASE "{name}"{copied}')
        self._names.add(name)
        return urlsplit(self.server)._replace(path=f"/{name}").geturl()

    def drop(self, url: str) -> None:
        """Drop a database that :meth:`new` made, whoever is connected to it."""
        name = _name(url)
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._names.discard(name)

    def drop_all(self) -> None:
        """Drop those that are left, and hang up."""
        for name in tuple(self._names):
            self.drop(urlsplit(self.server)._replace(path=f"/{name}").geturl())
        self._close()

    def _run(self, statement: str) -> None:
        import psycopg  # noqa: PLC0415 - the extra `services`; the plugin is loaded without it

        if self._connection is not None:
            try:
                self._connection.execute(statement.encode())
            except psycopg.OperationalError:
                self._close()  # a test may have cut it: once more
            else:
                return
        self._connection = psycopg.connect(self.server, autocommit=True, connect_timeout=10)
        self._connection.execute(statement.encode())

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _name(url: str) -> str:
    return urlsplit(url).path.strip("/")
