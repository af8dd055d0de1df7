"""What the doctor says of a server."""

from __future__ import annotations

from typing import Any

import pytest

from wfe.core.examining import Examined
from wfe.valkey import open_lifecycle, open_lock, open_queue
from wfe.valkey.examining import judged

SOUND: dict[str, Any] = {
    "valkey_version": "8.1.8",
    "redis_version": "7.2.4",
    "used_memory": 3 << 20,
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "role": "master",
}


def test_a_sound_server_has_nothing_wrong() -> None:
    (found,) = judged("cache", SOUND, 0.001)

    assert (found.level, found.text) == ("ok", "cache: Valkey 8.1.8, 3 MiB used")


def test_redis_is_called_so() -> None:
    (found,) = judged("cache", {"redis_version": "7.0.15"}, 0.001)

    assert found.text == "cache: Redis 7.0.15, 0 MiB used"


@pytest.mark.parametrize(
    ("changed", "took", "level", "text"),
    [
        ({"valkey_version": "6.2.1"}, 0.001, "warning", "version 6.2.1 is older than 7"),
        ({"role": "slave"}, 0.001, "problem", "cache is a replica: it takes no writes"),
        (
            {"maxmemory": 1 << 30, "maxmemory_policy": "allkeys-lru"},
            0.001,
            "warning",
            "drops any key when memory is short (maxmemory-policy allkeys-lru)",
        ),
        ({"maxmemory": 3 << 20}, 0.001, "warning", "cache uses 3 of 3 MiB"),
        ({}, 0.25, "warning", "cache took 250 ms to answer"),
    ],
)
def test_what_is_wrong_is_told_with_a_cure(
    changed: dict[str, Any], took: float, level: str, text: str
) -> None:
    _, found = judged("cache", {**SOUND, **changed}, took)

    assert found.level == level
    assert text in found.text
    assert found.hint


@pytest.mark.parametrize("make", [open_lock, open_queue, open_lifecycle])
async def test_every_provider_examines_its_server(make: Any, valkey_url: str) -> None:
    provider = make(valkey_url)
    examined: Examined = provider
    try:
        found = await examined.examine()
    finally:
        await provider.close()

    assert isinstance(examined, Examined)
    assert found[0].level == "ok"
    assert "pw" not in found[0].text
