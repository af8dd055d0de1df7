"""The contracts of results and artifacts catch what is broken in one place."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from inspect import getmembers, signature
from pathlib import Path
from typing import Any

import attrs
import pytest

from wfe.core.artifact_index import ArtifactRow, Stored
from wfe.core.artifacts import ArtifactError, DamagedArtifactError
from wfe.core.cache_index import CacheEntry
from wfe.core.clocks import VirtualClock
from wfe.core.errors import ProviderError
from wfe.core.memory import MemoryStore
from wfe.core.memory_cache import MemoryArtifacts, MemoryCache
from wfe.core.oci import OciLayout
from wfe.testing.contracts import (
    ArtifactIndexContract,
    ArtifactStoreContract,
    CacheIndexContract,
)

FAILURES = (AssertionError, LookupError, ValueError, ProviderError, ArtifactError, OSError)

# -- results --------------------------------------------------------------------------------------


class ForgetsManifests(MemoryCache):
    def put(self, entry: CacheEntry, holder: str | None) -> None:
        super().put(attrs.evolve(entry, artifacts=()), holder)


class HidesTheExpired(MemoryCache):
    def put(self, entry: CacheEntry, holder: str | None) -> None:
        if entry.expires is None:
            super().put(entry, holder)


class KeepsTheFirst(MemoryCache):
    def put(self, entry: CacheEntry, holder: str | None) -> None:
        super().put(self.entries.get(entry.key, entry), holder)


class KeepsBoth(MemoryCache):
    def find(self, definition: str | None, step: str | None) -> list[CacheEntry]:
        return super().find(definition, step) * 2


class OldestFirst(MemoryCache):
    def find(self, definition: str | None, step: str | None) -> list[CacheEntry]:
        return super().find(definition, step)[::-1]


class FindsByDefinitionOnly(MemoryCache):
    def find(self, definition: str | None, step: str | None) -> list[CacheEntry]:
        return super().find(definition, None)


class ClaimsForAll(MemoryCache):
    def claim(self, key: str, holder: str, lease: int, now: int) -> str:
        super().claim(key, holder, lease, now)
        return holder


class ClaimsForEver(MemoryCache):
    def claim(self, key: str, holder: str, lease: int, now: int) -> str:
        return super().claim(key, holder, lease * 10**6, now)


class NeverProlongs(MemoryCache):
    def claim(self, key: str, holder: str, lease: int, now: int) -> str:
        other, until = self.claims.get(key, (holder, now))
        if other == holder and until > now:
            return holder
        return super().claim(key, holder, lease, now)


class NeverReleases(MemoryCache):
    def release(self, key: str, holder: str) -> None:
        pass


class ReleasesForAll(MemoryCache):
    def release(self, key: str, holder: str) -> None:
        self.claims.pop(key, None)


class ReleasesEverything(MemoryCache):
    def release(self, key: str, holder: str) -> None:
        self.claims = {k: c for k, c in self.claims.items() if c[0] != holder}


class PutKeepsTheClaim(MemoryCache):
    def put(self, entry: CacheEntry, holder: str | None) -> None:
        super().put(entry, None)


class PutNeedsTheClaim(MemoryCache):
    def put(self, entry: CacheEntry, holder: str | None) -> None:
        if holder is None or self.claims.get(entry.key, (holder,))[0] == holder:
            super().put(entry, holder)


class PutEndsEveryClaim(MemoryCache):
    def put(self, entry: CacheEntry, holder: str | None) -> None:
        super().put(entry, holder)
        self.claims.pop(entry.key, None)


class PurgesNewestFirst(MemoryCache):
    def purge(
        self, limit: int, expired: int | None, definition: str | None, step: str | None
    ) -> list[str]:
        keys = super().purge(10**6, expired, definition, step)
        return keys[::-1][:limit]


class PurgesTheEternal(MemoryCache):
    def purge(
        self, limit: int, expired: int | None, definition: str | None, step: str | None
    ) -> list[str]:
        for key, each in self.entries.items():
            self.entries[key] = attrs.evolve(each, expires=each.expires or 0)
        return super().purge(limit, expired, definition, step)


class PurgesOneTooLate(MemoryCache):
    def purge(
        self, limit: int, expired: int | None, definition: str | None, step: str | None
    ) -> list[str]:
        return super().purge(limit, expired and expired - 1, definition, step)


class PurgesAnyStep(MemoryCache):
    def purge(
        self, limit: int, expired: int | None, definition: str | None, step: str | None
    ) -> list[str]:
        return super().purge(limit, expired, definition, None)


class ChecksBeforeItClaims(MemoryStore):
    """Several may win."""

    async def cache_claim(self, key: str, holder: str, lease: int) -> str:
        free = key not in self._cache.claims
        await asyncio.sleep(0)
        if free:
            self._cache.claims[key] = (holder, 2**62)
            return holder
        return await super().cache_claim(key, holder, lease)


class RemembersManifests(MemoryStore):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.seen: set[str] = set()

    async def cache_manifests(self) -> Sequence[str]:
        self.seen.update(await super().cache_manifests())
        return sorted(self.seen)


# -- names of artifacts ---------------------------------------------------------------------------


class ForgetsTheSize(MemoryArtifacts):
    def put(self, row: ArtifactRow) -> None:
        super().put(attrs.evolve(row, size=0))


class SharesNames(MemoryArtifacts):
    def of(self, root: str, name: str | None) -> list[ArtifactRow]:
        return [row for row in self.rows.values() if name in (None, row.name)]


class InOrderOfArrival(MemoryArtifacts):
    def of(self, root: str, name: str | None) -> list[ArtifactRow]:
        return [r for r in self.rows.values() if r.root == root and name in (None, r.name)]


class FirstNameWins(MemoryArtifacts):
    def put(self, row: ArtifactRow) -> None:
        self.rows.setdefault((row.root, row.name), row)


class FindsTheOldest(MemoryStore):
    async def find_artifact(self, digest: str) -> ArtifactRow | None:
        found = [row for row in self._artifacts.rows.values() if row.digest == digest]
        return min(found, key=lambda row: row.created, default=None)


class FindsAnything(MemoryStore):
    async def find_artifact(self, digest: str) -> ArtifactRow | None:
        rows = self._artifacts.rows.values()
        return max(rows, key=lambda row: row.created, default=None)


class RepeatsPages(MemoryArtifacts):
    def after(self, place: tuple[str, str], limit: int) -> list[ArtifactRow]:
        return [self.rows[key] for key in sorted(self.rows) if key >= place][:limit]


class PagesByRoot(MemoryArtifacts):
    def after(self, place: tuple[str, str], limit: int) -> list[ArtifactRow]:
        return [self.rows[key] for key in sorted(self.rows) if key[0] > place[0]][:limit]


class KeepsNames(MemoryArtifacts):
    def forget(self, n: int) -> None:
        pass


class ForgetsAll(MemoryArtifacts):
    def forget(self, n: int) -> None:
        self.rows.clear()


# -- artifact stores ------------------------------------------------------------------------------


class Wrapping(OciLayout):
    """Puts other files than it was given."""

    def change(self, files: dict[str, Path]) -> dict[str, Path]:
        return files

    async def put(self, files: Mapping[str, Path]) -> Stored:
        return await super().put(self.change(dict(files)))


class LosesBigFiles(Wrapping):
    def change(self, files: dict[str, Path]) -> dict[str, Path]:
        small = {p: f for p, f in files.items() if not (f.is_file() and f.stat().st_size > 99_999)}
        return small or files


class RenamesAFileAlone(Wrapping):
    def change(self, files: dict[str, Path]) -> dict[str, Path]:
        return {"file": next(iter(files.values()))} if len(files) == 1 else files


class FollowsLinks(Wrapping):
    def change(self, files: dict[str, Path]) -> dict[str, Path]:
        return {place: path.resolve() for place, path in files.items()}


class ForgetsModes(OciLayout):
    async def get(self, manifest: str, directory: Path) -> Sequence[str]:
        places = await super().get(manifest, directory)
        for place in places:
            if not (directory / place).is_symlink():
                (directory / place).chmod(0o644)
        return places


class CountsPuts(OciLayout):
    puts = 0

    async def put(self, files: Mapping[str, Path]) -> Stored:
        stored = await super().put(files)
        CountsPuts.puts += 1
        return attrs.evolve(stored, digest=f"sha256:{CountsPuts.puts}")


class DigestsNames(OciLayout):
    async def put(self, files: Mapping[str, Path]) -> Stored:
        stored = await super().put(files)
        return attrs.evolve(stored, digest=f"sha256:{sorted(files)}")


class EmptiesTheDirectory(OciLayout):
    async def get(self, manifest: str, directory: Path) -> Sequence[str]:
        if await self.whole(manifest):
            shutil.rmtree(directory, ignore_errors=True)
        return await super().get(manifest, directory)


class Trusts(OciLayout):
    """Says that everything is whole."""

    async def whole(self, manifest: str) -> bool:
        return True


class GivesDamaged(OciLayout):
    """Gives what is left of a damaged artifact."""

    async def get(self, manifest: str, directory: Path) -> Sequence[str]:
        try:
            return await super().get(manifest, directory)
        except DamagedArtifactError:
            directory.mkdir(parents=True)
            (directory / "rest").write_bytes(b"")
            raise


class NeverHeals(OciLayout):
    """Trusts what is there under the right name."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.known: dict[tuple[str, ...], Stored] = {}

    async def put(self, files: Mapping[str, Path]) -> Stored:
        key = tuple(sorted(files))
        if key not in self.known:
            self.known[key] = await super().put(files)
        return self.known[key]


class MakesUpFiles(OciLayout):
    async def get(self, manifest: str, directory: Path) -> Sequence[str]:
        try:
            return await super().get(manifest, directory)
        except DamagedArtifactError:
            return []


class ReadsAnything(OciLayout):
    async def get(self, manifest: str, directory: Path) -> Sequence[str]:
        if not manifest.startswith("sha256:") or len(manifest) != 71:
            return []
        return await super().get(manifest, directory)


class TakesAnything(OciLayout):
    async def put(self, files: Mapping[str, Path]) -> Stored:
        good = {
            place: path
            for place, path in files.items()
            if place and path.is_file() and ".." not in place and not path.is_symlink()
        }
        try:
            return await super().put(good)
        except ArtifactError:
            return Stored(digest="", manifest="", size=0, files=0, media_type="")


class SweepsTheYoung(OciLayout):
    async def sweep(self, manifests: Collection[str], age: int) -> int:
        return await super().sweep(manifests, 0)


class SweepsShared(OciLayout):
    async def sweep(self, manifests: Collection[str], age: int) -> int:
        blobs = self.directory / "blobs" / "sha256"
        if age == 0 and blobs.is_dir():
            for path in blobs.iterdir():
                if path.stat().st_size > 99_999:
                    path.unlink()
        return await super().sweep(manifests, age)


class NeverSweeps(OciLayout):
    async def sweep(self, manifests: Collection[str], age: int) -> int:
        return 0


class SweepsWhatIsNotThere(OciLayout):
    async def sweep(self, manifests: Collection[str], age: int) -> int:
        os.listdir(self.directory)  # noqa: PTH208 - it fails
        return await super().sweep(manifests, age)


class OneTemporaryName(OciLayout):
    """Two puts at the same time write into each other's file."""

    shared: bytes = b""

    async def put(self, files: Mapping[str, Path]) -> Stored:
        OneTemporaryName.shared = files["own"].read_bytes() if "own" in files else b""
        await asyncio.sleep(0)
        if "own" in files:
            mixed = self.directory.parent / "mixed"
            mixed.write_bytes(OneTemporaryName.shared)
            files = {**files, "own": mixed}
        return await super().put(files)


class ClosesOnce(OciLayout):
    closed = False

    async def close(self) -> None:
        if self.closed:
            raise ProviderError("artifacts", "closed already")
        self.closed = True


# -- who is caught by what ------------------------------------------------------------------------

RESULTS: list[tuple[Any, str]] = [
    (ForgetsManifests, "an_entry_comes_back_as_it_was"),
    (HidesTheExpired, "an_expired_entry_is_still_shown"),
    (KeepsTheFirst, "a_new_entry_replaces_the_old_one"),
    (KeepsBoth, "a_new_entry_replaces_the_old_one"),
    (OldestFirst, "entries_are_found_newest_first"),
    (FindsByDefinitionOnly, "entries_are_found_newest_first"),
    (ClaimsForAll, "a_claim_keeps_others_out_until_it_ends"),
    (NeverReleases, "a_claim_keeps_others_out_until_it_ends"),
    (ClaimsForEver, "a_claim_lapses_and_can_be_prolonged"),
    (NeverProlongs, "a_claim_lapses_and_can_be_prolonged"),
    (ReleasesForAll, "only_the_holder_releases"),
    (ReleasesEverything, "only_the_holder_releases"),
    (PutKeepsTheClaim, "keeping_a_result_ends_the_claim_on_it"),
    (PutNeedsTheClaim, "a_result_of_who_lost_the_claim_is_kept"),
    (PutEndsEveryClaim, "a_result_of_who_lost_the_claim_is_kept"),
    (ChecksBeforeItClaims, "only_one_of_many_claims"),
    (PurgesNewestFirst, "what_expired_is_purged_oldest_first"),
    (PurgesTheEternal, "what_expired_is_purged_oldest_first"),
    (PurgesOneTooLate, "what_expired_is_purged_oldest_first"),
    (PurgesAnyStep, "a_purge_has_criteria"),
    (ForgetsManifests, "manifests_of_entries_are_known"),
    (RemembersManifests, "manifests_of_entries_are_known"),
]
NAMES: list[tuple[Any, str]] = [
    (ForgetsTheSize, "a_name_comes_back_as_it_was"),
    (SharesNames, "a_name_comes_back_as_it_was"),
    (InOrderOfArrival, "names_are_listed_in_order"),
    (FirstNameWins, "a_later_one_replaces_the_name"),
    (FindsTheOldest, "contents_are_found_the_newest_first"),
    (FindsAnything, "contents_are_found_the_newest_first"),
    (RepeatsPages, "every_name_comes_in_pages"),
    (PagesByRoot, "every_name_comes_in_pages"),
    (KeepsNames, "names_go_with_their_run"),
    (ForgetsAll, "names_go_with_their_run"),
]
STORES: list[tuple[type[OciLayout], str]] = [
    (LosesBigFiles, "files_come_back_as_they_were"),
    (RenamesAFileAlone, "one_file_comes_back"),
    (FollowsLinks, "modes_and_links_come_back"),
    (ForgetsModes, "modes_and_links_come_back"),
    (CountsPuts, "equal_trees_have_equal_digests"),
    (DigestsNames, "every_difference_changes_the_digest"),
    (EmptiesTheDirectory, "files_that_stand_there_are_replaced_and_others_stay"),
    (Trusts, "damage_is_seen_and_nothing_is_given"),
    (GivesDamaged, "damage_is_seen_and_nothing_is_given"),
    (NeverHeals, "putting_again_heals"),
    (MakesUpFiles, "what_is_not_there_is_not_whole"),
    (ReadsAnything, "a_foreign_digest_reads_nothing"),
    (TakesAnything, "places_outside_and_no_files_are_refused"),
    (SweepsTheYoung, "what_nothing_names_is_swept"),
    (SweepsShared, "what_nothing_names_is_swept"),
    (NeverSweeps, "what_nothing_names_is_swept"),
    (SweepsWhatIsNotThere, "an_empty_store_sweeps_nothing"),
    (OneTemporaryName, "many_at_once"),
    (ClosesOnce, "it_can_be_closed_twice"),
]


def _store(kind: Any) -> MemoryStore:
    if issubclass(kind, MemoryStore):
        made: MemoryStore = kind(VirtualClock())
        return made
    store = MemoryStore(VirtualClock())
    if issubclass(kind, MemoryCache):
        store._cache = kind()
    else:
        store._artifacts = kind()
    return store


def _named(each: object) -> str:
    return each if isinstance(each, str) else getattr(each, "__name__", "")


@pytest.mark.parametrize(("broken", "law"), RESULTS, ids=_named)
async def test_the_contract_of_results_catches(broken: Any, law: str) -> None:
    run = getattr(CacheIndexContract(), f"test_{law}")
    await run(MemoryStore(VirtualClock()))

    with pytest.raises(FAILURES):
        await run(_store(broken))


@pytest.mark.parametrize(("broken", "law"), NAMES, ids=_named)
async def test_the_contract_of_names_catches(broken: Any, law: str) -> None:
    run = getattr(ArtifactIndexContract(), f"test_{law}")
    await run(MemoryStore(VirtualClock()))

    with pytest.raises(FAILURES):
        await run(_store(broken))


def _damage(layout: OciLayout) -> Callable[[], object]:
    def flip() -> None:
        blobs = layout.directory / "blobs" / "sha256"
        path = max(blobs.iterdir(), key=lambda each: each.stat().st_size)
        path.write_bytes(b"!" + path.read_bytes()[1:])

    return flip


async def _law(layout: OciLayout, law: str, directory: Path) -> None:
    directory.mkdir()
    run = getattr(ArtifactStoreContract(), f"test_{law}")
    wanted = signature(run).parameters
    given: dict[str, Any] = {
        "artifacts": layout,
        "damage": _damage(layout),
        "tmp_path": directory,
        "contents": {"a": b"a", "b": b"b"},
    }
    await run(**{name: value for name, value in given.items() if name in wanted})


@pytest.mark.parametrize(("broken", "law"), STORES, ids=_named)
async def test_the_contract_of_stores_catches(
    broken: type[OciLayout], law: str, tmp_path: Path
) -> None:
    await _law(OciLayout(tmp_path / "good"), law, tmp_path / "g")

    with pytest.raises((*FAILURES, pytest.fail.Exception)):
        await _law(broken(tmp_path / "broken"), law, tmp_path / "b")


@pytest.mark.parametrize(
    ("contract", "zoo"),
    [
        (CacheIndexContract, RESULTS),
        (ArtifactIndexContract, NAMES),
        (ArtifactStoreContract, STORES),
    ],
)
def test_every_law_is_broken_by_somebody(contract: type, zoo: list[tuple[Any, str]]) -> None:
    laws = {name for name, _ in getmembers(contract) if name.startswith("test_")}

    assert {f"test_{law}" for _, law in zoo} == laws
