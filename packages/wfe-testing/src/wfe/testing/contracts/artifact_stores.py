"""The contract of artifact stores: equal files are equal, damage is seen, nothing gets out."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from wfe.core.artifact_index import ArtifactStore
from wfe.core.artifacts import ArtifactError, DamagedArtifactError
from wfe.core.errors import ProviderError

__all__ = ["ArtifactStoreContract"]

_HOUR = 3_600_000_000  # µs
_BIG = bytes(range(256)) * 1000


def _tree(directory: Path, contents: Mapping[str, bytes]) -> dict[str, Path]:
    """Write files and return them by place."""
    files: dict[str, Path] = {}
    for place, data in contents.items():
        path = directory / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files[place] = path
    return files


def _read(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


_SOME = {"a.txt": b"a", "deep/er/b.bin": _BIG, "deep/empty": b"", "ü.txt": "ü".encode()}


class ArtifactStoreContract:
    """Subclass as ``TestMyArtifacts`` with two fixtures.

    ``artifacts``: an empty store.  ``damage``: a function that changes or removes something that
    the store keeps, for example one byte of a file.
    """

    async def test_files_come_back_as_they_were(
        self, artifacts: ArtifactStore, tmp_path: Path
    ) -> None:
        stored = await artifacts.put(_tree(tmp_path / "from", _SOME))

        places = await artifacts.get(stored.manifest, tmp_path / "to")

        assert sorted(places) == sorted(_SOME)
        assert _read(tmp_path / "to") == _SOME
        assert (stored.files, stored.size) == (4, sum(map(len, _SOME.values())))
        assert await artifacts.whole(stored.manifest)

    async def test_one_file_comes_back(self, artifacts: ArtifactStore, tmp_path: Path) -> None:
        for name, data in (("empty", b""), ("small", b"x"), ("big", _BIG)):
            stored = await artifacts.put(_tree(tmp_path / "from", {name: data}))
            await artifacts.get(stored.manifest, tmp_path / "to" / name)

            assert _read(tmp_path / "to" / name) == {name: data}

    async def test_modes_and_links_come_back(
        self, artifacts: ArtifactStore, tmp_path: Path
    ) -> None:
        files = _tree(tmp_path / "from", {"bin/run": b"#!", "bin/big": _BIG, "plain": b"p"})
        files["bin/run"].chmod(0o755)
        files["bin/big"].chmod(0o700)
        files["link"] = tmp_path / "from" / "link"
        files["link"].symlink_to("bin/run")

        stored = await artifacts.put(files)
        await artifacts.get(stored.manifest, tmp_path / "to")

        modes = {p: stat.S_IMODE((tmp_path / "to" / p).stat().st_mode) & 0o111 for p in files}
        assert {place for place, mode in modes.items() if mode} == {"bin/run", "bin/big", "link"}
        assert os.readlink(tmp_path / "to" / "link") == "bin/run"  # noqa: PTH115 - as it stands

    async def test_equal_trees_have_equal_digests(
        self, artifacts: ArtifactStore, tmp_path: Path
    ) -> None:
        first = await artifacts.put(_tree(tmp_path / "one", _SOME))
        files = _tree(tmp_path / "two", dict(reversed(_SOME.items())))
        for k, path in enumerate(files.values()):
            os.utime(path, (k, k))

        second = await artifacts.put(files)

        assert second == first

    async def test_every_difference_changes_the_digest(
        self, artifacts: ArtifactStore, tmp_path: Path
    ) -> None:
        contents = {"a": b"a", "b": b"b", "big": _BIG}
        trees: list[dict[str, bytes]] = [
            contents,
            {**contents, "a": b"A"},
            {"a": b"b", "b": b"a", "big": _BIG},
            {**contents, "c": b""},
            {**contents, "big": _BIG[:-1] + b"!"},
            {"a": b"a", "bb": b"b", "big": _BIG},
            {"a": b"a", "x/b": b"b", "big": _BIG},
            {"a": b"a"},
        ]
        stored = [
            await artifacts.put(_tree(tmp_path / str(k), tree)) for k, tree in enumerate(trees)
        ]
        files = _tree(tmp_path / "mode", contents)
        files["a"].chmod(0o755)
        stored.append(await artifacts.put(files))

        assert len({each.digest for each in stored}) == len(stored)
        assert len({each.manifest for each in stored}) == len(stored)

    async def test_files_that_stand_there_are_replaced_and_others_stay(
        self, artifacts: ArtifactStore, tmp_path: Path
    ) -> None:
        stored = await artifacts.put(_tree(tmp_path / "from", {"a": b"new", "d/b": _BIG}))
        _tree(tmp_path / "to", {"a": b"old", "d/b": b"old", "c": b"mine"})

        await artifacts.get(stored.manifest, tmp_path / "to")

        assert _read(tmp_path / "to") == {"a": b"new", "d/b": _BIG, "c": b"mine"}

    @pytest.mark.parametrize("contents", [{"a": b"a", "b": b"b"}, {"big": _BIG, "a": b"a"}])
    async def test_damage_is_seen_and_nothing_is_given(
        self,
        artifacts: ArtifactStore,
        damage: Callable[[], object],
        tmp_path: Path,
        contents: dict[str, bytes],
    ) -> None:
        stored = await artifacts.put(_tree(tmp_path / "from", contents))
        damage()

        assert not await artifacts.whole(stored.manifest)
        with pytest.raises(DamagedArtifactError):
            await artifacts.get(stored.manifest, tmp_path / "to")
        assert _read(tmp_path / "to") == {}

    async def test_putting_again_heals(
        self, artifacts: ArtifactStore, damage: Callable[[], object], tmp_path: Path
    ) -> None:
        files = _tree(tmp_path / "from", {"big": _BIG, "a": b"a"})
        stored = await artifacts.put(files)
        damage()

        assert await artifacts.put(files) == stored
        assert await artifacts.whole(stored.manifest)

    async def test_what_is_not_there_is_not_whole(
        self, artifacts: ArtifactStore, tmp_path: Path
    ) -> None:
        missing = f"sha256:{'0' * 64}"

        assert not await artifacts.whole(missing)
        with pytest.raises(DamagedArtifactError):
            await artifacts.get(missing, tmp_path / "to")

    async def test_a_foreign_digest_reads_nothing(
        self, artifacts: ArtifactStore, tmp_path: Path
    ) -> None:
        await artifacts.put(_tree(tmp_path / "from", {"a": b"a"}))

        for wrong in ("", "a", "../a", "sha256:../../a", "sha256:" + "A" * 64, "md5:" + "0" * 64):
            with pytest.raises(ProviderError):
                await artifacts.get(wrong, tmp_path / "to")

    async def test_places_outside_and_no_files_are_refused(
        self, artifacts: ArtifactStore, tmp_path: Path
    ) -> None:
        (path,) = _tree(tmp_path, {"a": b"a"}).values()
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        out = tmp_path / "out"
        out.symlink_to("../../etc/passwd")
        absolute = tmp_path / "absolute"
        absolute.symlink_to(path)
        wrong: list[dict[str, Path]] = [
            {},
            {"": path},
            {"/a": path},
            {"../a": path},
            {"a/../../b": path},
            {"a//b": path},
            {"./a": path},
            {"a\0b": path},
            {"fifo": fifo},
            {"directory": tmp_path},
            {"gone": tmp_path / "gone"},
            {"out": out},
            {"absolute": absolute},
        ]

        for files in wrong:
            with pytest.raises(ArtifactError):
                await artifacts.put(files)

    async def test_what_nothing_names_is_swept(
        self, artifacts: ArtifactStore, tmp_path: Path
    ) -> None:
        shared = {"big": _BIG}
        kept = await artifacts.put(_tree(tmp_path / "kept", {**shared, "a": b"a"}))
        gone = await artifacts.put(_tree(tmp_path / "gone", {**shared, "b": b"b"}))

        assert await artifacts.sweep([], _HOUR) == 0  # all of it is young
        assert await artifacts.whole(gone.manifest)
        assert await artifacts.sweep([kept.manifest], 0) > 0

        assert await artifacts.whole(kept.manifest)
        assert not await artifacts.whole(gone.manifest)
        assert await artifacts.sweep([kept.manifest], 0) == 0

    async def test_an_empty_store_sweeps_nothing(self, artifacts: ArtifactStore) -> None:
        assert await artifacts.sweep([], 0) == 0

    async def test_many_at_once(self, artifacts: ArtifactStore, tmp_path: Path) -> None:
        trees = [
            _tree(tmp_path / str(k), {"same": _BIG, "own": str(k % 3).encode()}) for k in range(12)
        ]

        stored = await asyncio.gather(*(artifacts.put(files) for files in trees))

        assert len({each.manifest for each in stored}) == 3
        assert all(await asyncio.gather(*(artifacts.whole(each.manifest) for each in stored)))

    async def test_it_can_be_closed_twice(self, artifacts: ArtifactStore) -> None:
        await artifacts.close()
        await artifacts.close()
