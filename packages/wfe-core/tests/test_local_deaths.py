"""Workers of this machine show that they live by a lock, and the system tells when they died."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wfe.core.local_deaths import LocalDeaths

HOLDS = """
import sys
from pathlib import Path
from wfe.core.local_deaths import LocalDeaths
deaths = LocalDeaths(Path(sys.argv[1]))
deaths.hold(7)
deaths.hold(8)
deaths.drop(8)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workers"


def test_a_killed_process_is_known_to_be_gone_at_once(folder: Path) -> None:
    mine = LocalDeaths(folder)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDS, folder], stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert mine.gone([7, 8, 9]) == []  # one lives, one ended politely, one was never here

        other.kill()
        other.wait()

        assert mine.gone([7, 8, 9]) == [7]


def test_who_lives_in_this_process_is_not_gone(folder: Path) -> None:
    mine, other = LocalDeaths(folder), LocalDeaths(folder)
    mine.hold(1)
    mine.hold(1)

    assert (mine.gone([1]), other.gone([1])) == ([], [])

    mine.close()

    assert (mine.gone([1]), other.gone([1]), list(folder.iterdir())) == ([], [], [])


def test_one_object_shows_few_workers(folder: Path) -> None:
    """A host that is fenced again and again keeps no file open for each time."""
    mine = LocalDeaths(folder)
    for epoch in range(100):
        mine.hold(epoch)

    assert len(list(folder.iterdir())) == 16
    assert mine.gone(range(100)) == []
    mine.close()


def test_what_the_dead_left_is_swept_after_a_day(folder: Path) -> None:
    mine = LocalDeaths(folder)
    mine.hold(1)
    yesterday = time.time() - 100_000
    for name in ("2.worker", "3.worker", "other"):
        (folder / name).touch()
    for name in ("1.worker", "3.worker", "other"):
        os.utime(folder / name, (yesterday, yesterday))

    mine.hold(4)

    left = {path.name for path in folder.iterdir()}
    assert left == {"1.worker", "2.worker", "4.worker", "other"}
    mine.close()


def _open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def _elsewhere(folder: Path) -> None:
    folder.with_name("real").mkdir()
    folder.symlink_to(folder.with_name("real"))


@pytest.mark.parametrize(
    "spoil", [_open_to_all, _elsewhere, Path.touch], ids=["open to all", "a link", "a file"]
)
def test_a_folder_that_is_not_safe_is_not_used(folder: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(folder)
    mine = LocalDeaths(folder)
    mine.hold(1)

    assert mine.gone([1, 2]) == []
    assert not folder.is_dir() or list(folder.iterdir()) == []
    mine.close()


def test_a_file_that_is_a_link_says_nothing(folder: Path) -> None:
    mine = LocalDeaths(folder)
    mine.hold(1)
    (folder / "2.worker").symlink_to(folder / "1.worker")
    (folder / "3.worker").symlink_to(folder / "nothing")

    assert mine.gone([2, 3]) == []
    mine.close()


def test_without_room_nothing_is_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    mine = LocalDeaths(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        mine.hold(1)

    assert mine.gone([1]) == []
    mine.drop(1)
    mine.close()
