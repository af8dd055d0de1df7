"""The contracts of whatever a URL names: ``wfe contract`` makes test classes of these."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import unquote, urlsplit

import attrs
import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.errors import ProviderError
from wfe.core.plugins import load
from wfe.core.providers import (
    Clock,
    InstanceQuery,
    PersistenceProvider,
    SeparateLock,
    SeparateQueue,
    WorkerInfo,
)
from wfe.core.search import SearchProvider, SearchQuery
from wfe.testing.contract_places import NUMBER
from wfe.testing.contract_recorder import RECORDS, REFUSED
from wfe.testing.contracts import (
    ArtifactIndexContract,
    ArtifactStoreContract,
    BlobContract,
    CacheIndexContract,
    ChangesContract,
    LifecycleContract,
    LockContract,
    PersistenceContract,
    QueueContract,
    SearchContract,
    SecretsContract,
)

__all__ = [
    "ArtifactIndexOfStore",
    "ArtifactsOfUrl",
    "BlobsOfUrl",
    "CacheIndexOfStore",
    "ChangesOfStore",
    "LifecycleOfUrl",
    "LockOfStore",
    "LockOfUrl",
    "PersistenceOfUrl",
    "QueueOfStore",
    "QueueOfUrl",
    "SearchOfStore",
    "SearchOfUrl",
    "SecretsOfUrl",
    "Target",
    "in_use",
    "shown",
]

_numbers = count(1)
_WORKER: Final = WorkerInfo(name="contract", host="localhost", pid=1)


@attrs.define
class Target:
    """Providers of one group, made from one URL.

    Attributes:
        url: With ``{n}`` where each test has its own.
        clock: Whether what it opens takes ``clock=``.
        named: Whether somebody else chose the names, so that there may be something.
    """

    group: str
    url: str
    clock: bool = False
    named: bool = True

    def make(self, url: str, clock: Clock | None = None) -> Any:
        """Return the provider that *url* names; not open."""
        opener: Callable[..., Any] = load(self.group, urlsplit(url).scheme)
        return opener(url, clock=clock) if self.clock and clock is not None else opener(url)

    def next(self) -> str:
        """Return a URL that no test has used; ends the run where somebody else has."""
        url = self.url.replace(NUMBER, str(next(_numbers)))
        if NUMBER in self.url and self.named:
            with ThreadPoolExecutor(1) as pool:  # a loop may be running here
                used = pool.submit(asyncio.run, in_use(self, url)).result()
            if used is not None:
                refuse(used)
        return url


async def in_use(target: Target, url: str) -> str | None:
    """Return what is already stored behind *url*; ``None``: nothing."""
    if target.group in {"wfe.blobs", "wfe.artifacts"} and url.startswith("file:"):
        return await asyncio.to_thread(_used_directory, Path(unquote(urlsplit(url).path)))
    provider = target.make(url)
    found: list[str] = []
    if target.group == "wfe.persistence":
        await provider.open()
        found = await _stored(provider)
    elif target.group == "wfe.search":
        await provider.open()
        found = ["documents"] if (await provider.search_runs(SearchQuery(limit=1))).hits else []
    if target.group in {"wfe.persistence", "wfe.search"}:
        await provider.close()
    return f"{shown(url)} holds {' and '.join(found)}" if found else None


def _used_directory(directory: Path) -> str | None:
    used = directory.exists() and any(directory.iterdir())
    return f"{directory} is not empty" if used else None


async def _stored(store: PersistenceProvider) -> list[str]:
    looked = {
        "runs": await store.find(InstanceQuery(limit=1)),
        "definitions": await store.definitions(),
        "schedules": await store.schedules(),
        "workers": await store.workers(),
    }
    return [name for name, rows in looked.items() if rows]


def shown(url: str) -> str:
    """Return *url* without a password."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])


def refuse(used: str) -> None:
    """End the run: what is there is somebody's."""
    if directory := os.environ.get(RECORDS):
        Path(directory, REFUSED).write_text(used, encoding="utf-8")
    pytest.exit(used, returncode=2)


class _OfUrl:
    """Has a target; the module that ``wfe contract`` writes sets it."""

    target: ClassVar[Target]


class PersistenceOfUrl(PersistenceContract, _OfUrl):
    """The store itself."""

    examples: ClassVar[int] = 10

    @pytest.fixture
    def urls(self) -> list[str]:
        """The URLs of the stores of this test."""
        return []

    @pytest.fixture
    def new_store(self, urls: list[str]) -> Callable[[Clock], PersistenceProvider]:
        def new(clock: Clock) -> PersistenceProvider:
            urls.append(self.target.next())
            made: PersistenceProvider = self.target.make(urls[-1], clock)
            return made

        return new

    @pytest.fixture
    def another_store(
        self, store: PersistenceProvider, urls: list[str]
    ) -> Callable[[], PersistenceProvider]:
        return lambda: self.target.make(urls[-1], store.clock)

    @pytest.fixture
    async def reopen(
        self, store: PersistenceProvider, urls: list[str]
    ) -> AsyncIterator[Callable[[], Awaitable[PersistenceProvider]]]:
        again: PersistenceProvider = self.target.make(urls[-1], store.clock)

        async def reopen() -> PersistenceProvider:
            await store.close()
            await again.open()
            return again

        yield reopen
        await again.close()


class _OfStore(_OfUrl):
    """What a store does beside storing."""

    @pytest.fixture
    def clock(self) -> Clock | None:
        """The store's clock, if it goes by one that it is given."""
        return VirtualClock()

    @pytest.fixture
    async def store(self, clock: Clock | None) -> AsyncIterator[Any]:
        store = self.target.make(self.target.next(), clock)
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    def new_epoch(self, store: Any) -> Callable[[], Awaitable[int]]:
        return lambda: store.register(_WORKER)


class QueueOfStore(_OfStore, QueueContract):
    """A store that is its own queue; hints come in real time."""

    @pytest.fixture
    def clock(self) -> Clock | None:
        return None

    @pytest.fixture
    def queue(self, store: Any) -> Any:
        return store


class LockOfStore(_OfStore, LockContract):
    """A store that is its own lock."""

    @pytest.fixture
    def lock(self, store: Any) -> Any:
        return store

    @pytest.fixture
    def fence(self, store: Any) -> Callable[[int], Awaitable[object]]:
        return lambda epoch: store.fence([epoch], lease=None)


class CacheIndexOfStore(_OfStore, CacheIndexContract):
    """A store that keeps results."""


class ArtifactIndexOfStore(_OfStore, ArtifactIndexContract):
    """A store that keeps the names of artifacts."""


class ChangesOfStore(_OfStore, ChangesContract):
    """A store that feeds an index."""


class SearchOfStore(_OfStore, SearchContract):
    """A store that is its own index."""

    @pytest.fixture
    def index(self, store: Any) -> Any:
        return store


class SearchOfUrl(_OfUrl, SearchContract):
    """An index of its own."""

    @pytest.fixture
    async def index(self) -> AsyncIterator[Any]:
        index = self.target.make(self.target.next())
        await index.open()
        yield index
        await index.close()

    async def shown(self, index: SearchProvider) -> None:
        refresh: Callable[[], Awaitable[object]] | None = getattr(index, "refresh", None)
        if refresh is not None:
            await refresh()


class QueueOfUrl(_OfUrl, QueueContract):
    """A queue of its own."""

    @pytest.fixture
    def new_epoch(self) -> Callable[[], Awaitable[int]]:
        return new_epoch

    @pytest.fixture
    async def queue(self) -> AsyncIterator[Any]:
        queue = self.target.make(self.target.next())
        yield queue
        if isinstance(queue, SeparateQueue):
            await queue.close()


class LockOfUrl(_OfUrl, LockContract):
    """A lock of its own."""

    @pytest.fixture
    def new_epoch(self) -> Callable[[], Awaitable[int]]:
        return new_epoch

    @pytest.fixture
    async def lock(self) -> AsyncIterator[Any]:
        lock = self.target.make(self.target.next())
        yield lock
        if isinstance(lock, SeparateLock):
            await lock.close()

    @pytest.fixture
    def fence(self, lock: SeparateLock) -> Callable[[int], Awaitable[object]]:
        return lambda epoch: lock.bury([epoch])

    @pytest.fixture
    def listened(self) -> Callable[[], Awaitable[object]]:
        pytest.skip("takes a whole lease of listening")


class LifecycleOfUrl(_OfUrl, LifecycleContract):
    """Lifecycle events; two processes have them unless ``shared`` is not claimed."""

    @pytest.fixture
    def place(self) -> str:
        return self.target.next()

    @pytest.fixture
    async def lifecycle(self, place: str) -> AsyncIterator[Any]:
        lifecycle = self.target.make(place)
        yield lifecycle
        await lifecycle.close()

    @pytest.fixture
    async def elsewhere(self, place: str, lifecycle: Any) -> AsyncIterator[Any]:
        if "shared" not in self.capabilities:
            yield lifecycle
            return
        elsewhere = self.target.make(place)
        yield elsewhere
        await elsewhere.close()


class BlobsOfUrl(_OfUrl, BlobContract):
    """Blobs."""

    @pytest.fixture
    def blobs(self) -> Any:
        return self.target.make(self.target.next())


class ArtifactsOfUrl(_OfUrl, ArtifactStoreContract):
    """An artifact store; what is not a directory nobody knows how to damage."""

    @pytest.fixture
    async def artifacts(self) -> AsyncIterator[Any]:
        artifacts = self.target.make(self.target.next())
        yield artifacts
        await artifacts.close()

    @pytest.fixture
    def damage(self, artifacts: Any) -> Callable[[], object]:
        directory: Path | None = getattr(artifacts, "directory", None)
        if directory is None:
            pytest.skip("nobody knows how to damage what it keeps")

        def flip() -> None:
            files = [path for path in directory.rglob("*") if path.is_file()]
            largest = max(files, key=lambda path: path.stat().st_size)
            largest.write_bytes(b"!" + largest.read_bytes()[1:])

        return flip


class SecretsOfUrl(_OfUrl, SecretsContract):
    """Secrets: the backend has those of ``SecretsContract.values``, and no others."""

    @pytest.fixture
    async def secrets(self) -> Any:
        try:
            secrets = self.target.make(self.target.url)
            known = await secrets.get("token")
        except ProviderError:
            known = secrets = None
        if known != self.values["token"]:
            pytest.skip("it does not have the secrets of SecretsContract.values")
        return secrets


async def new_epoch() -> int:
    """Return an epoch that nobody else has."""
    return secrets.randbits(62) + 1
