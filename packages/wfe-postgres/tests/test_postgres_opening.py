"""Options of the PostgreSQL store, and how its tables are made: schema, versions, roles, clocks."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from postgres_parts import WORKER, begin, query, start

from wfe.core.errors import ProviderError, StoreUnavailableError, StoreVersionError
from wfe.core.providers import (
    Done,
)
from wfe.postgres import PostgresStore, open_url, schema
from wfe.postgres.clock import ServerClock
from wfe.postgres.database import Connection
from wfe.postgres.faults import translate
from wfe.postgres.schema import SCHEMA


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("mysql://h/db", {}),
        ("postgresql://h/db?pool=none", {}),
        ("postgresql://h/db?pool=0", {}),
        ("postgresql://h/db?prepare=maybe", {}),
        ("postgresql://h/db?schema=a.b", {}),
        ("postgresql://h/db?prefix=" + "x" * 25, {}),
        ("postgresql://h/db?schema=", {}),
        ("postgresql://h/db", {"prefix": ""}),
        ("postgresql://h/db?colour=red", {}),
    ],
)
def test_a_url_that_means_nothing_is_refused(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ProviderError) as caught:
        open_url(url, **options)

    assert not caught.value.transient


def test_passwords_are_not_shown() -> None:
    store = open_url("postgresql://me:sesame@example.org:5433/db?schema=s&pool=3&sslmode=disable")

    assert repr(store) == "PostgresStore('example.org:5433/db')"


@pytest.mark.parametrize("sign", ["%", "/", "#", "["])
def test_a_password_that_is_not_escaped_is_not_shown(sign: str) -> None:
    with pytest.raises(ProviderError, match="escape special characters") as caught:
        open_url(f"postgresql://me:hunter{sign}two@host/db")

    assert "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_server_that_is_not_there_is_a_passing_failure() -> None:
    store = open_url("postgresql://me:sesame@127.0.0.1:1/db?connect_timeout=2")

    with pytest.raises(StoreUnavailableError) as caught:
        await store.open()

    assert caught.value.transient
    assert not caught.value.unknown
    assert "127.0.0.1:1/db" in str(caught.value)
    assert "sesame" not in str(caught.value)


async def test_a_wrong_password_says_so(postgres_url: str) -> None:
    parts = urlsplit(postgres_url)
    store = open_url(parts._replace(netloc=f"me:no@{parts.hostname}:{parts.port}").geturl())

    with pytest.raises(StoreUnavailableError, match="me"):
        await store.open()


async def test_a_store_that_is_not_open_says_so() -> None:
    with pytest.raises(StoreUnavailableError, match="not open"):
        await open_url("postgresql://h/db").workers()


async def test_many_hosts_make_the_tables_at_once(postgres_url: str) -> None:
    stores = [open_url(postgres_url, pool=1) for _ in range(6)]

    await asyncio.gather(*(store.open() for store in stores))

    epochs = await asyncio.gather(*(store.register(WORKER) for store in stores))
    assert {row.epoch for row in await stores[0].workers()} == set(epochs)
    for store in stores:
        await store.close()


async def test_stores_live_side_by_side_in_schemas_and_with_prefixes(postgres_url: str) -> None:
    urls = ["?schema=one", "?schema=Two&prefix=x_", "?schema=one&prefix=y_", ""]
    stores = [open_url(postgres_url + options) for options in urls]
    for store in stores:
        await store.open()

    for k, store in enumerate(stores):
        await begin(store, k + 1)

    for k, store in enumerate(stores):
        d = await store.put_definition("order", 1, "hash", "{}")
        assert len(await store.claim(await store.register(WORKER), [d], 10)) == k + 1
        await store.close()
    found = query(postgres_url, "SELECT schemaname, tablename FROM pg_tables")
    assert {
        ("one", "wfe_instances"),
        ("Two", "x_instances"),
        ("one", "y_instances"),
        ("public", "wfe_instances"),
    } <= set(found)


async def test_a_schema_that_comes_first_later_does_not_hide_the_tables(
    postgres_url: str,
) -> None:
    user = urlsplit(postgres_url).username  # first in the search_path, if there is such a schema
    before = open_url(postgres_url)
    await before.open()
    await begin(before, 1)
    await before.close()

    beside = open_url(f"{postgres_url}?schema={user}&prefix=x_")
    await beside.open()
    await beside.close()
    after = open_url(postgres_url)
    await after.open()
    d = await after.put_definition("order", 1, "hash", "{}")
    assert len(await after.claim(await after.register(WORKER), [d], 10)) == 1
    await after.close()

    both = open_url(f"{postgres_url}?schema={user}")
    await both.open()
    await both.close()
    with pytest.raises(ProviderError, match=r"say which: \?schema=public"):
        await open_url(postgres_url).open()


async def test_tables_are_only_made_where_they_may_be(postgres_url: str) -> None:
    with pytest.raises(StoreUnavailableError, match="no tables of WFE") as caught:
        await open_url(f"{postgres_url}?create=off").open()

    assert not caught.value.transient
    assert query(postgres_url, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
    made = open_url(postgres_url)
    await made.open()
    await made.close()
    found = open_url(f"{postgres_url}?create=off")
    await found.open()
    await found.close()


async def test_a_role_that_may_make_no_tables_is_told_what_it_needs(postgres_url: str) -> None:
    parts = urlsplit(postgres_url)
    role = f"poor_{parts.path[-1]}_{parts.port}"
    query(postgres_url, f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    try:
        poor = parts._replace(netloc=f"{role}:pw@{parts.hostname}:{parts.port}").geturl()
        with pytest.raises(StoreUnavailableError, match="grant it CREATE") as caught:
            await open_url(poor).open()
        assert "(schema public, prefix wfe_)" in str(caught.value)
        assert not caught.value.transient
    finally:
        query(postgres_url, f"DROP ROLE {role}")


def test_a_url_without_a_host_is_the_local_socket() -> None:
    assert repr(open_url("postgres:///shop")) == "PostgresStore('the local socket:5432/shop')"


async def test_a_role_needs_no_right_to_make_schemas(postgres_url: str) -> None:
    parts = urlsplit(postgres_url)
    role = f"plain_{parts.path[-1]}_{parts.port}"
    query(postgres_url, f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    try:
        query(postgres_url, f"CREATE SCHEMA mine AUTHORIZATION {role}")
        plain = parts._replace(netloc=f"{role}:pw@{parts.hostname}:{parts.port}").geturl()
        store = open_url(plain, schema="mine")

        await store.open()
        await begin(store, 1)
        await store.close()
    finally:
        query(postgres_url, "DROP SCHEMA mine CASCADE")
        query(postgres_url, f"DROP ROLE {role}")


async def test_tables_of_a_later_version_are_refused(postgres_url: str) -> None:
    store = open_url(postgres_url)
    await store.open()
    query(
        postgres_url,
        "UPDATE wfe_meta SET value = %s WHERE key = 'min_reader'",
        str(SCHEMA + 1),
    )

    with pytest.raises(StoreVersionError, match=f"schema {SCHEMA + 1}"):
        await store.register(WORKER)
    with pytest.raises(StoreVersionError):
        await open_url(postgres_url).open()
    await store.close()


async def test_tables_that_a_later_version_has_added_to_stay_as_they_are(tables: str) -> None:
    query(tables, "UPDATE wfe_meta SET value = %s WHERE key = 'schema'", str(SCHEMA + 1))
    store = open_url(tables)
    try:
        await store.open()
        await begin(store, 1)

        assert query(tables, "SELECT value FROM wfe_meta WHERE key = 'schema'") == [
            (str(SCHEMA + 1),)
        ]
    finally:
        await store.close()
        query(tables, "UPDATE wfe_meta SET value = %s WHERE key = 'schema'", str(SCHEMA))


async def test_later_migrations_are_done_once_by_whoever_comes_first(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = "CREATE INDEX CONCURRENTLY IF NOT EXISTS wfe_journal_at ON wfe_journal (at)"
    later = (
        *schema.MIGRATIONS,
        schema.Migration("0901_column", ("ALTER TABLE wfe_paused ADD COLUMN why text",)),
        schema.Migration("0902_index", (index,), concurrently=True),
    )
    old = open_url(tables)
    await old.open()
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    monkeypatch.setattr(schema, "SCHEMA", len(later))
    try:
        stores = [open_url(tables, pool=1) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))

        await begin(old, 1)  # a host of the version before goes on
        for store in (old, *stores):
            await store.close()
        names = [name for (name,) in query(tables, "SELECT name FROM wfe_migrations ORDER BY 1")]
        assert names == sorted(each.name for each in later)
        assert query(tables, "SELECT value FROM wfe_meta WHERE key = 'schema'") == [
            (str(len(later)),)
        ]
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'wfe_journal_at'::regclass"
        assert query(tables, valid) == [(True,)]
    finally:
        query(tables, "DROP INDEX IF EXISTS wfe_journal_at")
        query(tables, "ALTER TABLE wfe_paused DROP COLUMN IF EXISTS why")
        query(tables, "DELETE FROM wfe_migrations WHERE name > '09'")
        query(tables, "UPDATE wfe_meta SET value = %s WHERE key = 'schema'", str(SCHEMA))


async def test_a_migration_that_fails_leaves_nothing(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = ("ALTER TABLE wfe_paused ADD COLUMN why text", "SELECT 1 / 0")
    later = (*schema.MIGRATIONS, schema.Migration("0901_broken", statements))
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    monkeypatch.setattr(schema, "SCHEMA", len(later))

    with pytest.raises(ProviderError, match="division by zero"):
        await open_url(tables).open()

    columns = "SELECT 1 FROM information_schema.columns WHERE column_name = 'why'"
    assert query(tables, columns) == []
    assert query(tables, "SELECT value FROM wfe_meta WHERE key = 'schema'") == [(str(SCHEMA),)]


async def test_the_clock_is_the_servers(tables: str) -> None:
    store = open_url(tables)
    await store.open()
    epoch = await store.register(WORKER)
    (n,) = await begin(store, 1, epoch)

    ((server,),) = query(tables, "SELECT (extract(epoch FROM now()) * 1000000)::bigint")

    (loaded,) = await store.load([n])
    assert abs(server - loaded.header.created_at) < 30_000_000
    assert abs(server - store.clock.now()) < 5_000_000
    await store.close()


def test_a_clock_that_is_put_back_stands_still() -> None:
    ticks = iter(range(0, 100_000, 1000))
    clock = ServerClock(wall=lambda: 0, monotonic=lambda: next(ticks))
    clock.sync(50, 1000, 3000)
    before = clock.now()

    moved = clock.sync(20, 4000, 6000)

    assert moved < 0
    assert clock.now() >= before
    assert [clock.now() >= before for _ in range(60)] == [True] * 60
    assert clock.now() > before


def test_a_slow_answer_does_not_spoil_what_a_fast_one_told() -> None:
    clock = ServerClock(wall=lambda: 0, monotonic=lambda: 10_000)
    clock.sync(100, 0, 2000)  # 99 µs before it is 100 there, or more, or less by 1

    assert clock.sync(100, 0, 90_000) == 0
    assert clock.now() == 109
    assert clock.sync(100, 1000, 1000) == 0
    assert clock.sync(200, 1000, 3000) == 98
    assert clock.now() == 207


async def test_a_start_of_a_host_whose_clock_is_ahead_is_told_to_others(
    store: PostgresStore,
) -> None:
    d = await store.put_definition("order", 1, "hash", "{}")
    now = store.clock.now()
    first = await store.allocate(2)
    batch = [start(first, d, wake=now + 50_000), start(first + 1, d, wake=now + 60_000_000)]

    soon, later = await store.commit(None, batch)

    assert isinstance(soon, Done)
    assert soon.woken == ((first, d, None),)
    assert isinstance(later, Done)
    assert later.woken == ()


# -- connections ----------------------------------------------------------------------------------


async def test_a_store_opens_with_one_connection_and_goes_on_with_it(tables: str) -> None:
    asked = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'opens'"
    )
    store = PostgresStore(f"{tables}?application_name=opens")
    await store.open()
    before = query(tables, asked)

    assert await store.workers() == []
    assert await store.owned(1) == []

    assert len(before) == 1
    assert query(tables, asked) == before
    await store.close()


async def test_who_opens_a_store_a_second_time_leaves_no_connection_behind(tables: str) -> None:
    store = PostgresStore(tables)
    await store.open()
    db = store._opened
    second = await db.connect_alone()

    await db.open(second)

    assert second.closed
    await store.close()


# -- behind a proxy -------------------------------------------------------------------------------


async def test_a_statement_that_another_client_prepared_is_told_as_such(
    store: PostgresStore,
) -> None:
    async def ask(conn: Connection) -> None:
        await conn.execute("DEALLOCATE ALL")
        conn._names.clear()
        conn._count = 0
        await conn.execute("PREPARE wfe_1 AS SELECT 2")
        await conn.ask("SELECT 1")

    with pytest.raises(ProviderError, match=r"already exists.*\?prepare=off") as caught:
        await store._opened.run(ask)

    assert not caught.value.transient


def test_a_proxy_that_takes_no_options_is_told_as_such() -> None:
    said = "connection failed: FATAL:  unsupported startup parameter: options"

    error = translate(psycopg.OperationalError(said), "h:6432/db", sent=False)

    assert "ignore_startup_parameters = options" in str(error)
    assert not error.transient
