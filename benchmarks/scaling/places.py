"""Where hosts meet: a store with its queue and lock, on servers that this run started."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs
import psycopg

from wfe.host.connect import Providers, connect
from wfe.testing.services import Service, resolve
from wfe.testing.services.databases import Databases

__all__ = ["SETUPS", "Place", "Servers"]

SETUPS = ("sqlite", "postgres", "postgres+valkey")


@attrs.frozen(kw_only=True)
class Place:
    """URLs of a store that nobody used before; without its own, the store is queue and lock."""

    store: str
    queue: str | None = None
    lock: str | None = None

    def providers(self) -> Providers:
        """Return the providers behind the URLs."""
        return connect(self.store, self.queue, self.lock)


class Servers:
    """Servers of a setup, and new places on them.

    Commits wait for the disk; Valkey keeps nothing on disk, as it holds hints and beats only.
    """

    def __init__(self, setup: str, folder: Path) -> None:
        """Start what *setup* (one of :data:`SETUPS`) needs; files go to *folder*."""
        self.setup = setup
        self._folder = folder
        self._numbers = itertools.count(1)
        self._services: list[Service] = []
        self._databases: Databases | None = None
        self._valkey = ""
        self.postgres: Service | None = None
        if "postgres" in setup:
            self.postgres = self._started("postgres", durable=True)
            self._databases = Databases(self.postgres.url)
        if "valkey" in setup:
            self._valkey = self._started("valkey", durable=False).url

    def _started(self, name: str, *, durable: bool) -> Service:
        service = resolve(name, own=True, durable=durable)
        self._services.append(service)
        return service

    def described(self) -> str:
        """Return names and versions."""
        each = [f"{one.name} {one.version} ({one.source})" for one in self._services]
        return ", ".join(each) or "SQLite"

    def new(self) -> Place:
        """Return a place of its own: a new database or file."""
        number = next(self._numbers)
        if self._databases is None:
            return Place(store=f"sqlite:///{self._folder}/place-{number}.db")
        store = self._databases.new()
        if not self._valkey:
            return Place(store=store)
        near = f"{self._valkey}?{urlencode({'prefix': f'b{number}:'})}"
        return Place(store=store, queue=near, lock=near)

    def drop(self, place: Place) -> None:
        """Delete what a place holds."""
        if self._databases is not None:
            self._databases.drop(place.store)

    def cpu(self) -> float:
        """Return CPU seconds of the PostgreSQL server and all processes that it ever had."""
        if self.postgres is None or self.postgres.process is None:
            return 0.0
        ticks = sum(_ticks(pid) for pid in _tree(self.postgres.process.pid))
        return ticks / os.sysconf("SC_CLK_TCK")

    def transactions(self, place: Place) -> int:
        """Return how many transactions the place's database has committed; 0: nobody counts."""
        if self._databases is None:
            return 0
        sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = %s"
        return int(self.ask(sql, urlsplit(place.store).path.strip("/"))[0][0])

    def log_bytes(self) -> int:
        """Return how much the server has written to its log; 0: nobody counts."""
        if self.postgres is None:
            return 0
        return int(self.ask("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0][0])

    def ask(self, sql: str, *args: Any, place: Place | None = None) -> list[Any]:
        """Return what a statement finds in a place (its server's first database)."""
        assert self.postgres is not None
        url = self.postgres.url if place is None else place.store
        with psycopg.connect(url, autocommit=True) as conn:
            found = conn.execute(sql.encode(), args or None)
            return found.fetchall() if found.description is not None else []

    def close(self) -> None:
        """Stop the servers."""
        if self._databases is not None:
            self._databases.drop_all()
        for service in self._services:
            service.stop()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:  # it ended meanwhile
        return
    for child in children.split():
        yield from _tree(int(child))


def _ticks(pid: int) -> int:
    """Return the CPU time of a process and of the children that it has waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return sum(map(int, text.rpartition(")")[2].split()[11:15]))
