"""Fills a PostgreSQL store with copies of runs that were really run."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Final, LiteralString

import attrs
import psycopg
from psycopg import sql

from benchmarks.scaling.flows import definitions
from wfe.host import WorkflowHost

__all__ = ["BASE", "FINISHED", "REFERENCES", "Filled", "fill", "vacuum"]

FINISHED: Final = tuple(f"order-{k}" for k in range(5))
"""Definitions of the finished runs; that of a failed one is the first."""
REFERENCES: Final = 20
"""Finished runs that share one reference."""
_CHUNK: Final = 20_000  # runs of one transaction
BASE: Final = 1_000_000_000
"""Numbers of copies are above it, those of hosts' runs are not."""
_COLUMNS: Final[LiteralString] = """
n, id, d, definition, version, name, reference, status, wake, owner, poke, takeovers, faults,
priority, parent, parent_pointer, parent_id, root_id, idem, dedup, error, created_at, completed_at,
retain_until"""
# Spread over the 30 days before, in order of their numbers; ids are made as the host makes them.
_MOMENTS: Final[LiteralString] = """
WITH t AS (SELECT i.*, i.completed_at - i.created_at AS took FROM wfe_instances i
    WHERE i.definition = %(template)s::text ORDER BY n LIMIT 1),
g AS (SELECT k, {base} + k AS n,
    (SELECT created_at FROM t) - 2592000000000 + k * (2592000000000 / %(total)s::bigint) AS at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS s (k)),
r AS (SELECT k, n, at, (lpad(to_hex(at / 1000), 12, '0') || '7' ||
    substr(md5(n::text), 1, 3) || 'a' || substr(md5(n::text), 4, 15))::uuid::text AS id FROM g)"""
_HEADERS: Final[LiteralString] = (
    _MOMENTS
    + """
INSERT INTO wfe_instances ({columns})
SELECT r.n, r.id, d.d, d.id, t.version, NULL, 'customer-' || r.k / %(share)s::bigint,
    CASE WHEN r.k %% 50 = 0 AND took IS NOT NULL THEN 'failed' ELSE t.status END,
    CASE WHEN t.completed_at IS NULL THEN r.at + 2592000000000 + 86400000000 END, NULL,
    0, 0, 0, 0, NULL, NULL, NULL, r.id,
    CASE WHEN r.k %% 2 = 0 THEN 'key:' || r.n END, NULL, NULL, r.at, r.at + t.took,
    r.at + t.took + 2592000000000
FROM r CROSS JOIN t JOIN (SELECT d, id, row_number() OVER (ORDER BY id) - 1 AS place
    FROM wfe_definitions WHERE id = ANY (%(definitions)s::text[])) d
    ON d.place = r.k %% cardinality(%(definitions)s::text[])"""
)
_ROWS: Final[LiteralString] = (
    _MOMENTS
    + """
INSERT INTO wfe_journal (instance, seq, at, event)
SELECT r.n, j.seq, r.at + j.at - t.created_at, j.event
FROM r CROSS JOIN t CROSS JOIN LATERAL (
    SELECT * FROM wfe_journal j WHERE j.instance = t.n AND j.seq < %(rows)s::bigint
    ORDER BY j.seq) j"""
)
_SNAPSHOTS: Final[LiteralString] = (
    _MOMENTS
    + """
INSERT INTO wfe_snapshots (n, seq, at, state, data)
SELECT r.n, s.seq, r.at + s.at - t.created_at, s.state, s.data
FROM r CROSS JOIN t JOIN wfe_snapshots s ON s.n = t.n"""
)


@attrs.frozen(kw_only=True)
class Filled:
    """What was put in.

    Attributes:
        rows: Journal rows of each finished run.
        seconds: How long it took.
    """

    url: str
    finished: int
    sleeping: int
    rows: int
    seconds: float


async def fill(url: str, *, finished: int, sleeping: int, rows: int) -> Filled:
    """Run one workflow of ten steps and one sleeper, and copy their rows.

    Args:
        url: A database of its own.
        finished: Copies of the former, of five definitions; one of 50 has failed.
        sleeping: Copies of the latter.
        rows: Most journal rows of a finished one (it has 12).
    """
    began = time.perf_counter()
    await _templates(url)
    await asyncio.to_thread(_copy, url, "ten", FINISHED, finished, rows, BASE)
    await asyncio.to_thread(_copy, url, "sleeper", ("sleeper",), sleeping, 12, BASE + finished + 1)
    await asyncio.to_thread(vacuum, url)
    took = time.perf_counter() - began
    return Filled(url=url, finished=finished, sleeping=sleeping, rows=rows, seconds=took)


async def _templates(url: str) -> None:
    known = definitions()
    async with WorkflowHost(url, linger=timedelta(0)) as host:
        host.register(*known.values())
        host.register(*(attrs.evolve(known["ten"], id=name) for name in FINISHED))
        run = await host.start_workflow("ten", {"order": 7, "customer": "c-1"})
        await run.wait()
        await host.start_workflow("sleeper")
        while (await host.health())["live"]:  # noqa: ASYNC110 - until it is given up
            await asyncio.sleep(0.05)


def _copy(
    url: str, template: str, names: tuple[str, ...], total: int, rows: int, base: int
) -> None:
    statements = [
        sql.SQL(text).format(base=sql.Literal(base), columns=sql.SQL(_COLUMNS))
        for text in (_HEADERS, _ROWS, _SNAPSHOTS)
    ]
    with psycopg.connect(url) as conn:
        conn.execute("SET synchronous_commit = off")
        for first in range(1, total + 1, _CHUNK):
            args = {
                "template": template,
                "definitions": sorted(names),
                "total": total,
                "first": first,
                "last": min(first + _CHUNK - 1, total),
                "rows": rows,
                "share": REFERENCES,
            }
            for statement in statements:
                conn.execute(statement, args)
            conn.commit()


def vacuum(url: str) -> None:
    """Do what autovacuum would have done by then, and let nothing be left to write."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")
