"""What the doctor says of a database."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from wfe.core.examining import Examined
from wfe.postgres import open_url
from wfe.postgres.examining import Condition, judged
from wfe.postgres.schema import SCHEMA

SOUND = Condition(
    version=170_010,
    schema=SCHEMA,
    standby=False,
    fsync=True,
    durable_commits=True,
    allowed=100,
    connected=12,
    longest=0.5,
    size=12 << 20,
    dead=10,
)


def test_a_sound_database_has_nothing_wrong() -> None:
    (found,) = judged(SOUND)

    assert found.level == "ok"
    assert found.text == f"tables of version {SCHEMA}, 12 MiB in the database"


@pytest.mark.parametrize(
    ("changed", "level", "text"),
    [
        ({"version": 140_005}, "warning", "PostgreSQL 14 is older than 15"),
        ({"schema": SCHEMA + 1}, "note", "made by a newer WFE than this one"),
        ({"standby": True}, "problem", "the server is a standby"),
        ({"fsync": False}, "problem", "fsync is off"),
        ({"durable_commits": False}, "warning", "synchronous_commit is off"),
        ({"connected": 95}, "warning", "95 of 100 connections are taken"),
        ({"longest": 7260.0}, "warning", "a transaction is open for 121 minutes"),
        ({"dead": 2_000_000}, "warning", "2,000,000 dead rows wait for vacuum"),
    ],
)
def test_what_is_wrong_is_told_with_a_cure(changed: dict[str, Any], level: str, text: str) -> None:
    _, found = judged(attrs.evolve(SOUND, **changed))

    assert found.level == level
    assert text in found.text
    assert found.hint


async def test_a_store_examines_itself(postgres_url: str) -> None:
    store = open_url(postgres_url, schema="other", prefix="jobs_")
    await store.open()
    try:
        assert isinstance(store, Examined)
        found = await store.examine()
    finally:
        await store.close()

    assert found[0].text.startswith(f"tables of version {SCHEMA}, ")
    assert {each.topic for each in found} == {"store"}
