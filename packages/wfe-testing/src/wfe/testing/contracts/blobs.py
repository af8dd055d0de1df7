"""The blob contract: what was put comes back whole, and goes with its owner."""

from __future__ import annotations

import asyncio

import pytest

from wfe.core.errors import ProviderError
from wfe.core.providers import BlobProvider

__all__ = ["BlobContract"]

_HOUR = 3_600_000_000  # µs
_SOME = (b"", b"text", bytes(range(256)) * 5000)


class BlobContract:
    """Subclass as ``TestMyBlobs`` and give the class a ``blobs`` fixture: an empty provider."""

    async def test_what_was_put_comes_back_as_it_was(self, blobs: BlobProvider) -> None:
        refs = [await blobs.put("7", data) for data in _SOME]

        assert [await blobs.get(ref) for ref in refs] == list(_SOME)
        assert len(set(refs)) == len(_SOME)

    async def test_the_same_again_has_the_same_reference(self, blobs: BlobProvider) -> None:
        first = await blobs.put("7", b"text")

        assert await blobs.put("7", b"text") == first
        assert await blobs.get(first) == b"text"

    async def test_owners_share_nothing(self, blobs: BlobProvider) -> None:
        mine, its = await blobs.put("7", b"text"), await blobs.put("8", b"text")

        await blobs.delete(["7"])

        assert mine != its
        assert await blobs.get(its) == b"text"
        with pytest.raises(ProviderError) as raised:
            await blobs.get(mine)
        assert not raised.value.transient

    async def test_deleting_what_is_not_there_is_nothing(self, blobs: BlobProvider) -> None:
        kept = await blobs.put("event-12", b"text")

        await blobs.delete(["7", "8"])
        await blobs.delete([])

        assert await blobs.get(kept) == b"text"

    async def test_a_foreign_reference_reads_nothing(self, blobs: BlobProvider) -> None:
        await blobs.put("7", b"text")

        for ref in ("", "7", "../secret", "7/../8", "/etc/hostname", "7/" + "0" * 64):
            with pytest.raises(ProviderError):
                await blobs.get(ref)

    async def test_owners_are_listed_by_age(self, blobs: BlobProvider) -> None:
        assert list(await blobs.owners(0)) == []
        await blobs.put("7", b"a")
        await blobs.put("event-12", b"b")

        assert sorted(await blobs.owners(0)) == ["7", "event-12"]
        assert list(await blobs.owners(_HOUR)) == []
        await blobs.delete(["7"])
        assert list(await blobs.owners(0)) == ["event-12"]

    async def test_many_at_once(self, blobs: BlobProvider) -> None:
        contents = [str(k % 10).encode() * 1000 for k in range(40)]

        stored = [blobs.put(f"{k % 4}", data) for k, data in enumerate(contents)]
        refs = await asyncio.gather(*stored)

        assert await asyncio.gather(*(blobs.get(ref) for ref in refs)) == contents
        assert len(set(refs)) == 20
