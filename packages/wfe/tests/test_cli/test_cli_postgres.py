"""The command over a PostgreSQL database: what it makes there, and what it shows of its URL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from wfe.host.cli.store import masked

Wfe = Callable[..., Any]


def tables(url: str) -> int:
    """Return how many tables of somebody's stand in the database."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN"
            " ('pg_catalog', 'information_schema')"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_only_what_runs_something_makes_the_tables(wfe: Wfe, postgres_url: str) -> None:
    db = ("--db", f"{postgres_url}?prefix=jobs_")
    for args in (("list",), ("show", "last"), ("search", "x"), ("run", "--resume", "last")):
        refused = wfe(*args, *db)
        assert refused.code == 2
        assert "there are no tables of WFE in" in refused.err
        assert "(schema public, prefix jobs_)" in refused.err
    assert wfe("doctor", *db).code == 1
    assert tables(postgres_url) == 0

    assert wfe("run", "hello.yaml", *db).code == 0

    assert tables(postgres_url) > 0
    assert "hello-1" in wfe("list", *db).out


def test_no_way_to_go_on_shows_the_password(wfe: Wfe, postgres_url: str) -> None:
    password = urlsplit(postgres_url).password
    assert password

    ended = wfe("run", "failing.yaml", "--db", postgres_url)

    assert ended.code == 1
    assert "run it again:   wfe run failing.yaml --db 'postgresql://wfe:***@" in ended.out
    assert f":{password}@" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:sesame@h/db", "postgresql://me:***@h/db"),
        ("valkey://:sesame@h:6379/0?prefix=a", "valkey://:***@h:6379/0?prefix=a"),
        (
            "postgresql://h/db?user=me&password=sesame&sslmode=require",
            "postgresql://h/db?user=me&password=***&sslmode=require",
        ),
        ("repository=https://me:sesame@h/r.git", "repository=https://me:***@h/r.git"),
        ("sqlite:///runs.db", "sqlite:///runs.db"),
    ],
)
def test_passwords_of_urls_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown
