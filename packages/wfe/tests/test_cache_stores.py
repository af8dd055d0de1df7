"""The cache on stores that fail, have none, or keep texts elsewhere; the mode of a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cache_parts import CALLS, cached_flow, double, finished

from wfe.core import WorkflowBuilder
from wfe.core.cache_index import CacheEntry
from wfe.core.errors import ProviderError
from wfe.core.memory import MemoryStore
from wfe.host import WorkflowHost
from wfe.sqlite import SqliteStore


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


class Broken(MemoryStore):
    """A store of which one part of the cache fails."""

    def __init__(self, part: str) -> None:
        super().__init__()
        setattr(self, part, self._fail)

    async def _fail(self, *_: Any, **__: Any) -> Any:
        raise ProviderError("memory", "no such luck")


@pytest.mark.parametrize("part", ["cache_get", "cache_put", "cache_claim", "cache_release"])
async def test_trouble_with_the_cache_fails_no_step(part: str) -> None:
    async with WorkflowHost(Broken(part)) as host:
        runs = [await finished(host, cached_flow(), x=1) for _ in range(2)]

    assert [run.data for run in runs] == [{"x": 1, "y": 2}] * 2


async def test_a_store_without_results_runs_everything() -> None:
    class Plain(MemoryStore):
        features = frozenset({"queue", "lock"})

    async with WorkflowHost(Plain()) as host:
        for _ in range(2):
            assert (await finished(host, cached_flow(), x=1)).status == "complete"
        with pytest.raises(ProviderError, match="keeps no results"):
            await host.cache.find()

    assert len(CALLS) == 2


async def test_a_step_without_a_cache_never_asks_for_one() -> None:
    class Counting(MemoryStore):
        asked = 0

        async def cache_get(self, key: str) -> CacheEntry | None:
            Counting.asked += 1
            return await super().cache_get(key)

    async with WorkflowHost(Counting()) as host:
        await finished(host, WorkflowBuilder().start_with(double).build("plain", 1), x=1)
        assert Counting.asked == 0
        await finished(host, cached_flow(), x=1)
        assert Counting.asked > 0


@pytest.mark.parametrize(("mode", "calls", "kept"), [("off", 3, 1), ("refresh", 3, 1)])
async def test_a_host_can_leave_or_renew_results(mode: Any, calls: int, kept: int) -> None:
    store = MemoryStore()
    async with WorkflowHost(store) as host:
        first = await finished(host, cached_flow(), x=1)
    async with WorkflowHost(store, caching=mode) as host:
        await finished(host, cached_flow(), x=1)
        last = await finished(host, cached_flow(), x=1)
        entries = await host.cache.find()

    assert (len(CALLS), len(entries)) == (calls, kept)
    assert entries[0].run == (last.id if mode == "refresh" else first.id)
    with pytest.raises(ValueError, match="caching must be"):
        WorkflowHost(store, caching="maybe")  # type: ignore[arg-type]


async def test_what_one_host_keeps_another_takes(shared: dict[str, Any]) -> None:
    async with WorkflowHost(**shared) as one, WorkflowHost(**shared) as two:
        first = await finished(one, cached_flow(), x=1)
        second = await finished(two, cached_flow(), x=1)
        (entry,) = await two.cache.find()

    assert first.data == second.data == {"x": 1, "y": 2}
    assert len(CALLS) == 1
    assert entry.run == first.id


async def test_entries_go_through_the_codec_and_blobs(tmp_path: Path) -> None:
    class Reversed:
        def encode(self, text: str) -> str:
            return text[::-1]

        def decode(self, text: str) -> str:
            return text[::-1]

    def work(x: str) -> dict[str, str]:
        CALLS.append(1)
        return {"y": x * 2}

    big, store = "visible" * 50, SqliteStore(tmp_path / "wfe.db")
    options: dict[str, Any] = {
        "codec": Reversed(),
        "blobs": f"file://{tmp_path}/blobs",
        "max_inline": 300,
    }
    async with WorkflowHost(store, **options) as host:
        runs = [await finished(host, cached_flow(work), x=big) for _ in range(2)]
        (entry,) = await host.cache.find()
        raw = await store.cache_get(entry.key)
        owners = [each.name for each in (tmp_path / "blobs").iterdir()]
        await host.cache.purge()
        left = [each.name for each in (tmp_path / "blobs").iterdir()]

    assert runs[0].data == runs[1].data
    assert len(CALLS) == 1
    assert raw is not None
    assert "visible" not in raw.result + raw.document
    assert any(owner.startswith("cache-") for owner in owners)
    assert not any(owner.startswith("cache-") for owner in left)
