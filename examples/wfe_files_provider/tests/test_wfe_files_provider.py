"""The store keeps the contracts that it claims; a torn journal is no damaged one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest
from wfe_files_provider import FilesStore, open_url

from wfe.core import WorkflowBuilder
from wfe.core.clocks import VirtualClock
from wfe.core.errors import ProviderError, UnreadableTextError
from wfe.core.providers import Clock, PersistenceProvider, WorkerInfo
from wfe.host import WorkflowHost
from wfe.testing.contracts import (
    ArtifactIndexContract,
    CacheIndexContract,
    LockContract,
    PersistenceContract,
    QueueContract,
)

WORKER = WorkerInfo(name="w", host="h", pid=1)


class TestFilesStore(PersistenceContract):
    capabilities: ClassVar[frozenset[str]] = frozenset({"virtual_clock", "lock", "durable"})
    examples: ClassVar[int] = 10

    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Callable[[Clock], PersistenceProvider]:
        numbers = count()
        return lambda clock: FilesStore(tmp_path / f"{next(numbers)}", clock=clock)

    @pytest.fixture
    async def reopen(
        self, store: FilesStore, tmp_path: Path
    ) -> AsyncIterator[Callable[[], Awaitable[FilesStore]]]:
        again = FilesStore(tmp_path / "0", clock=store.clock)

        async def reopen() -> FilesStore:
            await store.close()
            await again.open()
            return again

        yield reopen
        await again.close()


class OnFiles:
    """An open store on a clock of the test's own."""

    @pytest.fixture
    def clock(self) -> Clock | None:
        return VirtualClock()

    @pytest.fixture
    async def store(self, tmp_path: Path, clock: Clock | None) -> AsyncIterator[FilesStore]:
        store = open_url(f"files://{tmp_path}", clock=clock)
        await store.open()
        yield store
        await store.close()


class TestFilesQueue(OnFiles, QueueContract):
    @pytest.fixture
    def clock(self) -> Clock | None:
        return None

    @pytest.fixture
    def queue(self, store: FilesStore) -> FilesStore:
        return store


class TestFilesLock(OnFiles, LockContract):
    capabilities: ClassVar[frozenset[str]] = frozenset({"virtual_clock", "fences"})

    @pytest.fixture
    def lock(self, store: FilesStore) -> FilesStore:
        return store

    @pytest.fixture
    def new_epoch(self, store: FilesStore) -> Callable[[], Awaitable[int]]:
        return lambda: store.register(WORKER)

    @pytest.fixture
    def fence(self, store: FilesStore) -> Callable[[int], Awaitable[object]]:
        return lambda epoch: store.fence([epoch], lease=None)


class TestFilesCache(OnFiles, CacheIndexContract):
    pass


class TestFilesArtifacts(OnFiles, ArtifactIndexContract):
    pass


async def test_a_torn_line_is_as_if_never_begun(tmp_path: Path) -> None:
    store = FilesStore(tmp_path)
    await store.open()
    await store.allocate(5)
    await store.close()
    journal = tmp_path / "journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[:-4])

    await store.open()

    assert journal.read_bytes() == whole
    assert await store.allocate(1) == 6
    await store.close()


async def test_a_damaged_line_is_reported(tmp_path: Path) -> None:
    store = FilesStore(tmp_path)
    await store.open()
    for _ in range(2):
        await store.allocate(5)
    await store.close()
    journal = tmp_path / "journal"
    journal.write_bytes(journal.read_bytes().replace(b"allocate", b"allocatf", 1))

    with pytest.raises(UnreadableTextError, match="line 1 of"):
        await store.open()


async def test_a_directory_has_one_store(tmp_path: Path) -> None:
    store, other = FilesStore(tmp_path), FilesStore(tmp_path)
    await store.open()

    with pytest.raises(ProviderError, match="in use by another store"):
        await other.open()
    await store.close()
    await other.open()
    await other.close()


async def test_hosts_before_this_process_are_dead(tmp_path: Path) -> None:
    store = FilesStore(tmp_path)
    await store.open()
    before = await store.register(WORKER)
    await store.close()
    await store.open()
    now = await store.register(WORKER)

    assert list(await store.dead([before, now], 3_600_000_000)) == [before]
    await store.close()


async def test_a_run_goes_on_in_the_next_process(tmp_path: Path) -> None:
    flow = WorkflowBuilder().wait_for("paid", key="7", output="sum").build("order")
    async with WorkflowHost(FilesStore(tmp_path)) as host:
        run = await host.start_workflow(flow)

    async with WorkflowHost(FilesStore(tmp_path)) as host:
        host.register(flow)
        await host.publish_event("paid", "7", 250)
        ended = await (await host.run(run.id)).wait(timeout=timedelta(seconds=10))

    assert (ended.status, ended.data["sum"]) == ("complete", 250)
