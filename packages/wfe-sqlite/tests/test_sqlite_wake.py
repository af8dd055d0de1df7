"""Hints between processes find hosts that came a moment ago."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from wfe.core.providers import Hint
from wfe.sqlite.wake import Wake

FIRST, SECOND = 7, 8


@pytest.mark.skipif(sys.platform == "win32", reason="only on Linux and macOS")
async def test_who_came_within_a_tick_of_the_clock_is_told(tmp_path: Path) -> None:
    here, there = Wake(tmp_path / "wfe.db"), Wake(tmp_path / "wfe.db")
    got: asyncio.Queue[int] = asyncio.Queue()
    there.bind(FIRST)
    directory = there._directory
    assert directory is not None
    now = time.time_ns()
    os.utime(directory, ns=(now, now))
    here.send([Hint(1, 1, None)])  # it knows the first now

    there.bind(SECOND)
    there.listen(SECOND, lambda _, n: got.put_nowait(n))
    os.utime(directory, ns=(now, now))  # as a clock does that ticks every 4 ms
    here.send([Hint(2, 1, None)])

    async with asyncio.timeout(5):
        assert await got.get() == 2
    there.close()
    here.close()
