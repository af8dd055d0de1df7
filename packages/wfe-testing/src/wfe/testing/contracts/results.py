"""Contracts of what a store keeps for later steps: cached results, names of artifacts."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import attrs
import pytest

from wfe.core.artifact_index import ArtifactIndex, ArtifactRow
from wfe.core.cache_index import CacheEntry, CacheIndex
from wfe.core.clocks import VirtualClock
from wfe.core.providers import Done, Item, PersistenceProvider
from wfe.testing.contracts.runs import HOUR, begin, final, one, worker

__all__ = ["ArtifactIndexContract", "CacheIndexContract"]

_KEY = "k" * 64


def _entry(key: str = _KEY, **columns: Any) -> CacheEntry:
    usual = CacheEntry(
        key=key,
        definition="order",
        step="build",
        run="run-1",
        document='{"schema":1,"é":[1.5,null]}',
        result='{"fields":{"a":"ü"}}',
        created=1000,
        duration=7,
    )
    return attrs.evolve(usual, **columns)


def _later(store: Any, micros: int) -> None:
    clock = store.clock
    assert isinstance(clock, VirtualClock), "the fixture needs a VirtualClock"
    clock.move_to(clock.now() + micros)


class CacheIndexContract:
    """Subclass as ``TestMyCache`` with a ``store`` fixture: open, empty, on a VirtualClock.

    A store that goes by no clock but its own takes the capability ``virtual_clock`` away.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"virtual_clock"})

    async def test_an_entry_comes_back_as_it_was(self, store: CacheIndex) -> None:
        bare = _entry()
        full = _entry("f" * 64, expires=5000, artifacts=("sha256:1", "sha256:2"), duration=0)

        await store.cache_put(bare)
        await store.cache_put(full)

        assert await store.cache_get(bare.key) == bare
        assert await store.cache_get(full.key) == full
        assert await store.cache_get("x" * 64) is None

    async def test_an_expired_entry_is_still_shown(self, store: CacheIndex) -> None:
        await store.cache_put(_entry(expires=1))

        assert await store.cache_get(_KEY) == _entry(expires=1)

    async def test_a_new_entry_replaces_the_old_one(self, store: CacheIndex) -> None:
        await store.cache_put(_entry())
        newer = _entry(run="run-2", created=2000, artifacts=("sha256:1",))

        await store.cache_put(newer)

        assert await store.cache_get(_KEY) == newer
        assert list(await store.cache_find()) == [newer]

    async def test_entries_are_found_newest_first(self, store: CacheIndex) -> None:
        for key, created, definition, step in (
            ("b", 1, "order", "build"),
            ("a", 2, "order", "test"),
            ("d", 2, "bill", "build"),
            ("c", 3, "order", "build"),
        ):
            await store.cache_put(_entry(key, created=created, definition=definition, step=step))

        answers = (
            await store.cache_find(),
            await store.cache_find("order"),
            await store.cache_find(None, "build"),
            await store.cache_find("order", "build"),
            await store.cache_find(None, None, 2),
        )
        found = [[each.key for each in entries] for entries in answers]

        assert found == [
            ["c", "a", "d", "b"],
            ["c", "a", "b"],
            ["c", "d", "b"],
            ["c", "b"],
            ["c", "a"],
        ]

    async def test_a_claim_keeps_others_out_until_it_ends(self, store: CacheIndex) -> None:
        assert await store.cache_claim(_KEY, "me", HOUR) == "me"
        assert await store.cache_claim(_KEY, "you", HOUR) == "me"
        assert await store.cache_claim("o" * 64, "you", HOUR) == "you"

        await store.cache_release(_KEY, "me")

        assert await store.cache_claim(_KEY, "you", HOUR) == "you"

    @pytest.mark.needs("virtual_clock")
    async def test_a_claim_lapses_and_can_be_prolonged(self, store: CacheIndex) -> None:
        assert await store.cache_claim(_KEY, "me", HOUR) == "me"
        _later(store, HOUR - 1)
        assert await store.cache_claim(_KEY, "me", HOUR) == "me"
        _later(store, HOUR - 1)
        assert await store.cache_claim(_KEY, "you", HOUR) == "me"
        _later(store, 1)

        assert await store.cache_claim(_KEY, "you", HOUR) == "you"
        assert await store.cache_claim(_KEY, "me", HOUR) == "you"

    async def test_only_the_holder_releases(self, store: CacheIndex) -> None:
        assert await store.cache_claim(_KEY, "me", HOUR) == "me"

        await store.cache_release(_KEY, "you")
        await store.cache_release("o" * 64, "me")

        assert await store.cache_claim(_KEY, "you", HOUR) == "me"

    async def test_keeping_a_result_ends_the_claim_on_it(self, store: CacheIndex) -> None:
        assert await store.cache_claim(_KEY, "me", HOUR) == "me"

        await store.cache_put(_entry(), "me")

        assert await store.cache_claim(_KEY, "you", HOUR) == "you"

    async def test_a_result_of_who_lost_the_claim_is_kept(self, store: CacheIndex) -> None:
        assert await store.cache_claim(_KEY, "you", HOUR) == "you"

        await store.cache_put(_entry(), "me")

        assert await store.cache_get(_KEY) == _entry()
        assert await store.cache_claim(_KEY, "they", HOUR) == "you"

    async def test_only_one_of_many_claims(self, store: CacheIndex) -> None:
        claims = [store.cache_claim(_KEY, f"host-{k}", HOUR) for k in range(20)]

        assert len(set(await asyncio.gather(*claims))) == 1

    async def test_what_expired_is_purged_oldest_first(self, store: CacheIndex) -> None:
        for key, created, expires in (("a", 3, 10), ("b", 1, 10), ("c", 2, 11), ("d", 0, None)):
            await store.cache_put(_entry(key, created=created, expires=expires))

        assert list(await store.cache_purge(1, expired=10)) == ["b"]
        assert list(await store.cache_purge(9, expired=10)) == ["a"]
        assert list(await store.cache_purge(9, expired=10)) == []
        assert [each.key for each in await store.cache_find()] == ["c", "d"]

    async def test_a_purge_has_criteria(self, store: CacheIndex) -> None:
        for key, definition, step in (
            ("a", "order", "build"),
            ("b", "order", "test"),
            ("c", "bill", "build"),
        ):
            await store.cache_put(_entry(key, definition=definition, step=step))

        assert list(await store.cache_purge(9, definition="order", step="test")) == ["b"]
        assert list(await store.cache_purge(9, step="build")) == ["a", "c"]
        assert list(await store.cache_purge(9)) == []

    async def test_manifests_of_entries_are_known(self, store: CacheIndex) -> None:
        await store.cache_put(_entry("a", artifacts=("m2", "m1")))
        await store.cache_put(_entry("b", artifacts=("m2",)))
        await store.cache_put(_entry("c"))

        assert sorted(await store.cache_manifests()) == ["m1", "m2"]

        await store.cache_purge(1)
        assert sorted(await store.cache_manifests()) == ["m2"]


def _row(name: str = "dist", **columns: Any) -> ArtifactRow:
    usual = ArtifactRow(
        n=1,
        root="root-1",
        run="run-1",
        step="build",
        name=name,
        digest="sha256:d",
        manifest="sha256:m",
        size=12,
        files=3,
        media_type="application/x",
        created=5,
    )
    return attrs.evolve(usual, **columns)


class ArtifactIndexContract:
    """Subclass as ``TestMyArtifactIndex`` with a ``store`` fixture: an open, empty store."""

    async def test_a_name_comes_back_as_it_was(self, store: ArtifactIndex) -> None:
        await store.put_artifact(_row())

        assert list(await store.artifacts("root-1")) == [_row()]
        assert list(await store.artifacts("root-1", "dist")) == [_row()]
        assert list(await store.artifacts("root-1", "docs")) == []
        assert list(await store.artifacts("root-2", "dist")) == []

    async def test_names_are_listed_in_order(self, store: ArtifactIndex) -> None:
        for name in ("b", "c", "a"):
            await store.put_artifact(_row(name))
        await store.put_artifact(_row("d", root="root-2"))

        assert [row.name for row in await store.artifacts("root-1")] == ["a", "b", "c"]

    async def test_a_later_one_replaces_the_name(self, store: ArtifactIndex) -> None:
        await store.put_artifact(_row())
        later = _row(n=2, run="run-2", step="again", digest="sha256:e", manifest="sha256:n", size=1)

        await store.put_artifact(later)

        assert list(await store.artifacts("root-1")) == [later]

    async def test_contents_are_found_the_newest_first(self, store: ArtifactIndex) -> None:
        await store.put_artifact(_row("a", created=2, manifest="sha256:2"))
        await store.put_artifact(_row("b", root="root-2", created=3, manifest="sha256:3"))
        await store.put_artifact(_row("c", created=1, manifest="sha256:1"))

        found = await store.find_artifact("sha256:d")

        assert found is not None
        assert found.manifest == "sha256:3"
        assert await store.find_artifact("sha256:x") is None

    async def test_every_name_comes_in_pages(self, store: ArtifactIndex) -> None:
        rows = [_row(name, root=root) for root in ("r1", "r2") for name in ("a", "b", "c")]
        for row in reversed(rows):
            await store.put_artifact(row)

        first = list(await store.every_artifact(("", ""), 4))
        rest = list(await store.every_artifact((first[-1].root, first[-1].name), 4))

        assert first + rest == rows
        assert list(await store.every_artifact(("r2", "c"), 4)) == []

    async def test_names_go_with_their_run(self, store: Any) -> None:
        provider: PersistenceProvider = store
        epoch = await worker(provider)
        kept, gone = await begin(provider, epoch), await begin(provider, epoch)
        await store.put_artifact(_row("a", n=kept))
        await store.put_artifact(_row("b", n=gone))
        assert isinstance(await one(provider, epoch, Item(n=gone, base=0, header=final())), Done)

        assert await provider.purge([gone]) == 1

        assert [row.name for row in await store.artifacts("root-1")] == ["a"]
