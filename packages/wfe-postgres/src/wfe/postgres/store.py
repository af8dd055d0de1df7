"""Workflow state, queue and locks in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wfe.postgres.activities import PostgresActivities
from wfe.postgres.base import PostgresBase
from wfe.postgres.changes import PostgresChanges
from wfe.postgres.keeping import PostgresKeeping
from wfe.postgres.reads import PostgresReads
from wfe.postgres.results import PostgresResults
from wfe.postgres.schedules import PostgresSchedules
from wfe.postgres.searching import PostgresSearch
from wfe.postgres.transactions import PostgresTransactions

if TYPE_CHECKING:
    from wfe.core.examining import Finding

__all__ = ["PostgresStore"]


class PostgresStore(
    PostgresBase,
    PostgresReads,
    PostgresActivities,
    PostgresSchedules,
    PostgresKeeping,
    PostgresResults,
    PostgresChanges,
    PostgresSearch,
    PostgresTransactions,
):
    """Persistence, queue and lock in one database; any number of hosts may share it.

    Nothing is connected before :meth:`open`.  All of it belongs to one event loop but
    :meth:`beat`, which has a connection of its own in each.

    Args:
        url: ``postgresql://user:password@host:5432/database``, or what else libpq takes.
        clock: The store's clock; ``None``: the server's, which is what hosts need.
        schema: Where the tables stand; it is made when it is not there.  ``None``: the first of
            the connection's ``search_path``.
        prefix: With which the names of tables and functions begin.
        pool: How many connections this object has at most.
        patience: How long to wait for a connection.
        prepare: Whether statements are prepared: not behind a proxy that shares connections.
        notify: Whether hosts are woken by starts and events in transactions of the application;
            else they find these within a second.
        create: Whether the tables are made where there are none; else opening fails.
    """

    features: frozenset[str] = frozenset(
        {
            "queue",
            "lock",
            "deaths",
            "outbox",
            "cache",
            "artifacts",
            "changes",
            "search",
            "transaction",
        }
    )

    async def examine(self) -> Sequence[Finding]:
        """Return what an operator should know of the server and the database."""
        from wfe.postgres.examining import examine  # noqa: PLC0415 - asked by few

        return await examine(self._opened)
