"""The laws of keeping, and of blobs, catch providers that are broken in one place."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from wfe.core.blobs import FileBlobs
from wfe.core.clocks import VirtualClock
from wfe.core.errors import ProviderError
from wfe.core.memory import MemoryStore
from wfe.core.providers import PurgeQuery, StoredInstance, StreamRow
from wfe.testing.contracts import BlobContract
from wfe.testing.contracts.keeping import KeepingLaws

FAILURES = (AssertionError, ValueError, LookupError, ProviderError)

# -- purging and streams ------------------------------------------------------------------------


class OffersTheLiving(MemoryStore):
    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        return [run.stored() for run in self._runs.by_n.values() if run.new.parent is None]


class IgnoresChildren(MemoryStore):
    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        return [
            run.stored()
            for run in self._runs.by_n.values()
            if run.new.parent is None and run.completed_at is not None
        ]


class OffersChildren(MemoryStore):
    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        found = list(await super().purgeable(query))
        return [each for root in found for each in await self.family(root.n)]


class NewestFirst(MemoryStore):
    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        return (await super().purgeable(query))[::-1]


class IgnoresTheStatus(MemoryStore):
    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        return await super().purgeable(attrs.evolve(query, status=None))


class IgnoresTheAge(MemoryStore):
    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        return await super().purgeable(attrs.evolve(query, completed_before=None))


class DeletesTooEarly(MemoryStore):
    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        if query.retained_until is not None:
            query = attrs.evolve(query, retained_until=query.retained_until + 1)
        return await super().purgeable(query)


class ForgetsRetention(MemoryStore):
    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        return await super().purgeable(attrs.evolve(query, retained_until=None))


class DeletesWhatIsRetried(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        for root in roots:
            for run in self._runs.family(root):
                if run.completed_at is not None:
                    run.wake = None
        return await super().purge(roots)


class PurgesTheLiving(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        for root in roots:
            for run in self._runs.family(root):
                run.completed_at = run.completed_at or 1
                self._runs.release(run, None)
        return await super().purge(roots)


class LeavesChildren(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        for root in roots:
            self._runs._children.pop(root, None)
        return await super().purge(roots)


class LeavesStreams(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        rows = dict(self._streams._rows)
        count = await super().purge(roots)
        self._streams._rows.update(rows)
        return count


class LeavesLogs(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        rows = dict(self._logs)
        count = await super().purge(roots)
        self._logs.update(rows)
        return count


class DeletesTooMuch(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        count = await super().purge(roots)
        self._logs.clear()
        return count


class CountsFamilies(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        there = [root for root in roots if root in self._runs.by_n]
        await super().purge(roots)
        return len(there)


class KeepsNames(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        names = dict(self._runs.by_name)
        count = await super().purge(roots)
        self._runs.by_name.update(names)
        return count


class KeepsLongJournals(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        for root in roots:
            for run in self._runs.family(root):
                if len(run.rows) > 10_000:
                    del run.rows[:10_000]
                    return 0
        return await super().purge(roots)


class KeepsEvents(MemoryStore):
    async def purge_events(self, limit: int) -> int:
        return 0


class DeletesAllEvents(MemoryStore):
    async def purge_events(self, limit: int) -> int:
        clock, self.clock = self.clock, VirtualClock(datetime(2100, 1, 1, tzinfo=UTC))
        try:
            return await super().purge_events(limit)
        finally:
            self.clock = clock


class DeletesEventsWithoutLimit(MemoryStore):
    async def purge_events(self, limit: int) -> int:
        return await super().purge_events(10**6)


class StreamsBackwards(MemoryStore):
    async def stream(self, n: int, after: int, limit: int) -> Sequence[StreamRow]:
        return (await super().stream(n, after, limit))[::-1]


class StreamsFromTheBeginning(MemoryStore):
    async def stream(self, n: int, after: int, limit: int) -> Sequence[StreamRow]:
        return await super().stream(n, 0, limit)


class MixesStreams(MemoryStore):
    async def append_stream(self, rows: Sequence[StreamRow]) -> None:
        await super().append_stream([attrs.evolve(row, n=rows[0].n) for row in rows])


class ForgetsTheStep(MemoryStore):
    async def append_stream(self, rows: Sequence[StreamRow]) -> None:
        await super().append_stream([attrs.evolve(row, step=None) for row in rows])


class UsesOffsetsAgain(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        count = await super().purge(roots)
        self._streams._last_s = 0
        return count


ZOO: list[tuple[type[MemoryStore], str]] = [
    (OffersTheLiving, "finished_roots_are_purgeable_oldest_first"),
    (IgnoresChildren, "a_family_is_purgeable_when_all_of_it_is_over"),
    (IgnoresChildren, "a_finished_run_that_is_to_be_retried_is_kept"),
    (OffersChildren, "a_family_is_purgeable_when_all_of_it_is_over"),
    (NewestFirst, "finished_roots_are_purgeable_oldest_first"),
    (IgnoresTheStatus, "purge_criteria_hold_together"),
    (IgnoresTheAge, "purge_criteria_hold_together"),
    (DeletesTooEarly, "retention_counts_from_its_time_on_and_none_is_for_ever"),
    (ForgetsRetention, "retention_counts_from_its_time_on_and_none_is_for_ever"),
    (DeletesWhatIsRetried, "a_finished_run_that_is_to_be_retried_is_kept"),
    (PurgesTheLiving, "a_family_is_purgeable_when_all_of_it_is_over"),
    (LeavesChildren, "purge_deletes_whole_families_and_nothing_else"),
    (LeavesStreams, "purge_deletes_whole_families_and_nothing_else"),
    (LeavesLogs, "purge_deletes_whole_families_and_nothing_else"),
    (DeletesTooMuch, "purge_deletes_whole_families_and_nothing_else"),
    (CountsFamilies, "purge_counts_the_runs_of_all_families"),
    (KeepsNames, "keys_and_names_of_the_deleted_are_free"),
    (KeepsLongJournals, "a_long_run_is_deleted_wholly"),
    (KeepsEvents, "expired_events_are_deleted_and_their_ids_are_free"),
    (DeletesAllEvents, "expired_events_are_deleted_and_their_ids_are_free"),
    (DeletesEventsWithoutLimit, "events_are_deleted_some_at_a_time"),
    (StreamsBackwards, "a_stream_is_read_in_order_from_an_offset"),
    (StreamsFromTheBeginning, "a_stream_is_read_in_order_from_an_offset"),
    (MixesStreams, "a_stream_is_read_in_order_from_an_offset"),
    (ForgetsTheStep, "a_stream_is_read_in_order_from_an_offset"),
    (UsesOffsetsAgain, "offsets_of_a_stream_are_not_used_again"),
]


async def _keeps(kind: type[MemoryStore], law: str) -> None:
    store = kind(VirtualClock())
    await store.open()
    await getattr(KeepingLaws(), f"test_{law}")(store)


@pytest.mark.parametrize(("broken", "law"), ZOO)
async def test_keeping_laws_catch(broken: type[MemoryStore], law: str) -> None:
    await _keeps(MemoryStore, law)
    with pytest.raises(FAILURES):
        await _keeps(broken, law)


def test_every_law_but_one_has_its_broken_store() -> None:
    laws = {name.removeprefix("test_") for name in dir(KeepingLaws) if name.startswith("test_")}

    # Claims of what was deleted end in an error, whatever the store: nothing to break in one place.
    assert laws - {law for _, law in ZOO} == {"nothing_of_the_deleted_is_claimed"}


# -- blobs ----------------------------------------------------------------------------------------


class CutsThem(FileBlobs):
    async def get(self, ref: str) -> bytes:
        return (await super().get(ref))[:1000]


class SharesThem(FileBlobs):
    async def put(self, owner: str, data: bytes) -> str:
        return await super().put("7", data)


class NewEachTime(FileBlobs):
    count = 0

    async def put(self, owner: str, data: bytes) -> str:
        NewEachTime.count += 1
        return f"{await super().put(owner, data)}#{NewEachTime.count}"

    async def get(self, ref: str) -> bytes:
        return await super().get(ref.partition("#")[0])


class DeletesNothing(FileBlobs):
    async def delete(self, owners: Sequence[str]) -> None:
        return


class DeletesAll(FileBlobs):
    async def delete(self, owners: Sequence[str]) -> None:
        await super().delete([*owners, *(await self.owners(0))])


class ReadsAnything(FileBlobs):
    async def get(self, ref: str) -> bytes:
        path = self.directory / ref
        return path.read_bytes() if path.is_file() else await super().get(ref)


class ListsTheYoung(FileBlobs):
    async def owners(self, age: int) -> Sequence[str]:
        return await super().owners(0)


class ListsNobody(FileBlobs):
    async def owners(self, age: int) -> Sequence[str]:
        return ()


class LosesSome(FileBlobs):
    async def put(self, owner: str, data: bytes) -> str:
        return await super().put(owner, data[:1] or data)


BLOB_ZOO: list[tuple[type[FileBlobs], str]] = [
    (CutsThem, "what_was_put_comes_back_as_it_was"),
    (NewEachTime, "the_same_again_has_the_same_reference"),
    (SharesThem, "owners_share_nothing"),
    (DeletesNothing, "owners_share_nothing"),
    (DeletesAll, "deleting_what_is_not_there_is_nothing"),
    (ReadsAnything, "a_foreign_reference_reads_nothing"),
    (ListsTheYoung, "owners_are_listed_by_age"),
    (ListsNobody, "owners_are_listed_by_age"),
    (LosesSome, "many_at_once"),
]


@pytest.mark.parametrize(("broken", "law"), BLOB_ZOO)
async def test_blob_contract_catches(broken: type[FileBlobs], law: str, tmp_path: Path) -> None:
    test: Callable[[FileBlobs], Awaitable[None]] = getattr(BlobContract(), f"test_{law}")
    kinds: tuple[type[FileBlobs], ...] = (FileBlobs, broken)
    for k, kind in enumerate(kinds):
        done = test(kind(tmp_path / str(k)))
        if kind is FileBlobs:
            await done
        else:
            with pytest.raises((*FAILURES, pytest.fail.Exception)):
                await done


def test_every_blob_law_has_its_broken_provider() -> None:
    laws = {name.removeprefix("test_") for name in dir(BlobContract) if name.startswith("test_")}
    assert laws == {law for _, law in BLOB_ZOO}
