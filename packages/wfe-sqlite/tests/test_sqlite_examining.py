"""What the doctor says of a file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from wfe.core.examining import Examined
from wfe.sqlite import SqliteStore
from wfe.sqlite.examining import loses_pages


class Usage(NamedTuple):
    total: int = 1 << 40
    used: int = 1 << 39
    free: int = 1 << 39


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_libraries_that_can_lose_pages_are_known(
    version: tuple[int, int, int], expected: bool
) -> None:
    assert loses_pages(version) is expected


async def _found(path: Path | str) -> dict[str, str]:
    store = SqliteStore(path)
    await store.open()
    try:
        assert isinstance(store, Examined)
        return {each.text: each.level for each in await store.examine()}
    finally:
        await store.close()


async def test_a_file_is_measured(tmp_path: Path) -> None:
    found = await _found(tmp_path / "runs.db")

    assert "problem" not in found.values()
    assert "warning" not in found.values()
    assert any(text.endswith("MiB logged") for text in found)
    assert any(text.startswith("tables of version ") for text in found)


async def test_a_store_in_memory_has_no_file_to_look_at() -> None:
    assert not any("logged" in text for text in await _found(":memory:"))


async def test_a_disk_that_is_nearly_full_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_usage(_: object) -> Usage:
        return Usage(free=100 << 20)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)

    found = await _found(tmp_path / "runs.db")

    warnings = [text for text, level in found.items() if level == "warning"]
    assert warnings == [f"only 100.0 MiB are free on the disk of {tmp_path}/runs.db"]
