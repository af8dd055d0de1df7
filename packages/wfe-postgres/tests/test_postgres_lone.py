"""A batch of one usual item: one statement, which leaves what the others would leave."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
import pytest
from postgres_parts import WORKER, begin, query, start

from wfe.core.providers import (
    Conflict,
    Done,
    Event,
    Fenced,
    HeaderChange,
    Hold,
    Item,
    Message,
    Refused,
    Snapshot,
    Stale,
    Subscription,
)
from wfe.postgres import PostgresStore
from wfe.postgres.lone import Lone
from wfe.testing.services.databases import Databases

ROW: Final = ('"e"',)
FINAL: Final = HeaderChange(status="complete", final=True, retain_until=7)
FAILED: Final = HeaderChange(status="terminated", final=True, error='{"type":"x"}')
PARK: Final = HeaderChange(status="runnable", wake=2**62, release=True)
AGAIN: Final = HeaderChange(status="runnable", wake=1, release=True)
SUSPEND: Final = HeaderChange(status="suspended")
EVENT: Final = Event(id="e", name="go", key="k", payload='{"a":1}', at=5, expires=2**62)
# Whose item is at row 0 of its run, and says nothing of others.
USUAL: Final = {
    "row": Item(base=0, rows=ROW),
    "rows": Item(base=0, rows=('"a"', '"b"', '"ü"')),
    "final": Item(base=0, rows=ROW, header=FINAL, fold=Snapshot(1, "{}", "null"), seen=1),
    "failed": Item(base=0, rows=ROW, header=FAILED, alive=True, consumed=(1,), seen=1),
    "parked": Item(base=0, rows=ROW, header=PARK, seen=1),
    "parked with a message": Item(base=0, rows=ROW, header=PARK, seen=0),
    "due": Item(base=0, header=AGAIN, seen=1),
    "kept": Item(base=0, rows=('"a"', '"b"'), header=SUSPEND, seen=1),
    "folded": Item(base=0, rows=ROW, fold=Snapshot(1, "{}", "1")),
    "consumed": Item(base=0, rows=ROW, consumed=(0, 1), seen=1),
    "ended wait": Item(base=0, rows=ROW, unsubscribe=(1,)),
    "event": Item(base=0, rows=ROW, publish=(EVENT,), unsubscribe=(1,), consumed=(0,), seen=1),
    "last event": Item(base=0, rows=ROW, header=FINAL, publish=(EVENT,), seen=1),
}
TABLES: Final = {
    "wfe_instances": "n, status, wake > 4e18, least(wake, 9), owner IS NULL, error, poke,"
    " takeovers, retain_until, completed_at IS NULL",
    "wfe_journal": "instance, seq, event",
    "wfe_snapshots": "n, seq, state, data",
    "wfe_inbox": "instance, kind, payload",
    "wfe_events": "id, name, key, at, payload, expires",
    "wfe_subscriptions": "instance, pointer, name, key",
}


def left(tables: str) -> dict[str, list[Any]]:
    """Return what stands in the tables, but times."""
    return {
        name: query(tables, f"SELECT {columns} FROM {name} ORDER BY 1, 2")
        for name, columns in TABLES.items()
    }


async def waiting(store: PostgresStore) -> tuple[int, int]:
    """Return a worker and its run, which waits for an event and has had a message."""
    epoch = await store.register(WORKER)
    (n,) = await begin(store, 1, epoch)
    wait = Subscription(pointer=1, name="go", key="k", as_of=0)
    await store.commit(epoch, [Item(n=n, base=0, subscribe=(wait,))])
    await store.commit(None, [Item(messages=(Message(target=n, kind="x"),))])
    return epoch, n


def nothing(_epoch: int | None, _item: Item) -> None:
    """Stand for an item that is unusual."""


@pytest.mark.parametrize("kind", USUAL)
async def test_a_usual_item_alone_leaves_what_the_function_would(
    store: PostgresStore, tables: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[dict[str, list[Any]], Any]] = []
    for alone in (True, False):
        epoch, n = await waiting(store)
        (i,) = [row.i for _, _, rows in await store.inbox([n]) for row in rows]
        item = USUAL[kind]
        item = attrs.evolve(item, n=n, consumed=tuple([k and i for k in item.consumed]))
        assert Lone.of(epoch, item) is not None
        if not alone:
            monkeypatch.setattr(Lone, "of", nothing)
        before = store.stats.statements
        outcomes = await store.commit(epoch, [item])

        if alone:
            assert store.stats.statements - before == 1 + bool(item.publish)
        (outcome,) = outcomes
        assert isinstance(outcome, Done)
        found.append((left(tables), outcome.woken))
        await store.unregister(epoch)
        query(tables, "TRUNCATE " + ", ".join(TABLES))
        query(tables, "SELECT setval('wfe_numbers', 1, false)")

    assert found[0] == found[1]


async def test_a_start_alone_leaves_what_many_do(store: PostgresStore, tables: str) -> None:
    epoch = await store.register(WORKER)
    d = await store.put_definition("order", 1, "hash", "{}")
    columns: dict[str, Any] = {
        "name": "ü",
        "reference": "r",
        "idem": "i",
        "dedup": "d",
        "priority": 3,
        "parent": 1,
        "parent_pointer": 2,
        "parent_id": "p",
    }

    outcomes = [
        *await store.commit(epoch, [start(1, d, owner=epoch)]),
        *await store.commit(None, [start(2, d, wake=1, **columns)]),
        *await store.commit(None, [start(3, d, wake=None)]),
    ]

    assert [o.woken for o in outcomes if isinstance(o, Done)] == [(), ((2, d, None),), ()]
    names = ", ".join(columns)
    (row,) = query(tables, f"SELECT {names} FROM wfe_instances WHERE n = 2")
    assert dict(zip(columns, row, strict=True)) == columns
    assert [seq for (seq,) in query(tables, "SELECT seq FROM wfe_journal")] == [0, 0, 0]
    same = start(4, d, **{**columns, "idem": None})
    assert list(await store.commit(None, [same])) == [Refused("dedup", "run-2")]


async def test_what_the_statement_does_not_accept_the_function_explains(
    store: PostgresStore,
) -> None:
    epoch, n = await waiting(store)
    other = await store.register(WORKER)

    async def one(epoch: int, **fields: Any) -> Any:
        given: dict[str, Any] = {"n": n, "base": 0, **fields}
        (outcome,) = await store.commit(epoch, [Item(**given)])
        return outcome

    assert await one(epoch, rows=ROW, header=FINAL, seen=0) == Stale()
    assert await one(epoch, rows=ROW, consumed=(0,), seen=0) == Stale()
    assert await one(epoch, rows=ROW, header=FINAL, seen=1, base=1) == Conflict()
    assert await one(other, rows=ROW, header=FINAL, seen=1) == Conflict()
    assert await one(other, rows=ROW, fold=Snapshot(1, "{}", "1")) == Conflict()
    assert await one(epoch, rows=("\udc80",)) == Conflict()
    assert await one(epoch, rows=("\0",)) == Conflict()
    assert await one(epoch, rows=ROW, base=-1) == Conflict()  # there is such a row
    await store.fence([other], lease=None)
    for item in (Item(n=n, base=0, rows=ROW), Item(n=n, base=0, rows=ROW, header=FINAL, seen=1)):
        assert list(await store.commit(other, [item])) == [Fenced()]
    assert isinstance(await one(epoch, rows=ROW, header=FINAL, seen=1), Done)


async def test_a_run_that_holds_a_place_ends_by_the_function(store: PostgresStore) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 2, epoch)
    for n in runs:
        hold = (Hold(pointer=1, attempt=0, key="k", limit=1),)
        await store.commit(epoch, [Item(n=n, base=0, hold=hold)])

    (outcome,) = await store.commit(epoch, [Item(n=runs[0], base=0, header=FINAL, seen=1)])

    assert isinstance(outcome, Done)
    assert [n for n, _, _ in outcome.woken] == [runs[1]]  # whose turn it is


@pytest.mark.parametrize("header", [None, FINAL])
async def test_an_event_that_another_run_waits_for_reaches_it(
    store: PostgresStore, header: HeaderChange | None
) -> None:
    epoch, n = await waiting(store)
    (other,) = await begin(store, 1, epoch)
    wait = Subscription(pointer=4, name="go", key="k", as_of=0)
    await store.commit(epoch, [Item(n=other, base=0, subscribe=(wait,))])
    event = Item(
        n=n, base=0, rows=ROW, header=header, publish=(EVENT,), unsubscribe=(1,), consumed=(0,)
    )

    (outcome,) = await store.commit(epoch, [attrs.evolve(event, seen=1)])

    assert isinstance(outcome, Done)
    assert [n for n, _, _ in outcome.woken] == [other]
    assert [[row.kind for row in rows] for _, _, rows in await store.inbox([other])] == [["event"]]


def scans(plan: Sequence[tuple[str]]) -> list[str]:
    """Return the lines of a plan that look at all runs or rows."""
    return [line for (line,) in plan if "Seq Scan on wfe_" in line or "wfe_instances_owner" in line]


@pytest.mark.parametrize("kind", ["final", "parked", "event", "last event", "consumed"])
async def test_a_new_database_is_not_read_through(postgres_databases: Databases, kind: str) -> None:
    """The server knows nothing of its tables yet, and keeps the plan that it makes now."""
    store = PostgresStore(postgres_databases.new())
    await store.open()
    epoch = await store.register(WORKER)
    await begin(store, 50, epoch)
    lone = Lone.of(epoch, attrs.evolve(USUAL[kind], n=1))
    assert lone is not None
    text, values = lone.statements(store._opened.names, None)[-1]

    async with store._opened.connection() as conn:
        await conn.execute(b"PREPARE lone AS " + text)
        given = ", ".join(["NULL"] * len(values)).encode()
        found = await (await conn.execute(b"EXPLAIN EXECUTE lone (" + given + b")")).fetchall()

    assert scans(found) == []
    await store.close()
