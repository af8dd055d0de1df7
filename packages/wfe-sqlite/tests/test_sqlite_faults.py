"""What goes wrong with a file has its own error, and loses nothing that was acknowledged."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.core.errors import (
    ProviderError,
    StoreCorruptError,
    StoreFullError,
    StoreUnavailableError,
    StoreVersionError,
)
from wfe.core.providers import Done, Header, Item, WorkerInfo
from wfe.sqlite import SqliteStore
from wfe.sqlite.faults import _network_kind
from wfe.sqlite.schema import SCHEMA

Start = Callable[..., Any]
WORKER = WorkerInfo(name="w", host="h", pid=1)
SHORT = timedelta(milliseconds=200)


async def begin(store: SqliteStore, epoch: int) -> int:
    n = await store.allocate(1)
    new = Header(n=n, id=f"run-{n}", d=1, definition="x", version=1, root_id="r", owner=epoch)
    (outcome,) = await store.commit(epoch, [Item(n=n, new=new, rows=('"begin"',))])
    assert isinstance(outcome, Done)
    return n


async def refusal(path: Path, **options: Any) -> ProviderError:
    store = SqliteStore(path, **options)
    with pytest.raises(ProviderError) as caught:
        await store.open()
    return caught.value


# -- places -------------------------------------------------------------------------------------


async def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    error = await refusal(tmp_path)

    assert isinstance(error, StoreUnavailableError)
    assert str(error) == (
        f"sqlite: {tmp_path} is a directory; name a file in it, for example {tmp_path}/wfe.db"
    )


async def test_a_missing_directory_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "typo" / "wfe.db"

    error = await refusal(path)

    assert str(error) == (
        f"sqlite: cannot make {path}: the directory {path.parent} does not exist; create it first"
    )
    assert not path.parent.exists()


async def test_the_default_directory_is_made(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / ".wfe" / "wfe.db")

    await store.open()
    await store.close()

    assert store.path.exists()


async def test_a_file_in_the_way_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    error = await refusal(tmp_path / "file" / "wfe.db")

    assert str(error).endswith(f"{tmp_path / 'file'} is not a directory")


def test_network_file_systems_are_recognised(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda1 / ext4 rw 0 0\nserver:/x {tmp_path}/a\\040share nfs4 rw 0 0\n"
        f"tmpfs {tmp_path}/a\\040share/local tmpfs rw 0 0\n",
        encoding="utf-8",
    )

    kinds = [
        _network_kind(tmp_path / name, mounts)
        for name in ("a share/wfe.db", "a share/local/wfe.db", "wfe.db")
    ]

    assert kinds == ["nfs4", None, None]
    assert _network_kind(tmp_path, tmp_path / "no such table") is None


async def test_network_file_systems_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cifs(_: Path) -> str:
        return "cifs"

    monkeypatch.setattr("wfe.sqlite.faults._network_kind", cifs)

    error = await refusal(tmp_path / "wfe.db")

    assert "is on a network file system (cifs)" in str(error)
    assert "put the file on a local disk" in str(error)
    assert list(tmp_path.iterdir()) == []


async def test_an_old_library_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")

    error = await refusal(path)

    assert str(error) == (
        "sqlite: this Python has SQLite 3.34.1, the store needs 3.35 or newer;"
        " use a Python built with a newer SQLite library"
    )


async def test_a_store_that_is_not_open_says_so(path: Path) -> None:
    store = SqliteStore(path)

    with pytest.raises(StoreUnavailableError, match=r"is not open; await store\.open\(\) first"):
        await store.get("x")

    assert not path.exists()


# -- contents -----------------------------------------------------------------------------------


def set_meta(path: Path, **values: int) -> None:
    db = sqlite3.connect(path)
    with db:
        db.executemany("INSERT OR REPLACE INTO wfe_meta VALUES (?, ?)", list(values.items()))
    db.close()


async def test_a_file_of_a_newer_version_is_refused(path: Path, store: SqliteStore) -> None:
    await store.close()
    set_meta(path, schema=SCHEMA + 2, min_reader=SCHEMA + 1)

    error = await refusal(path)

    assert isinstance(error, StoreVersionError)
    assert str(error) == (
        f"sqlite: {path} was made by a newer wfe-sqlite (its schema needs {SCHEMA + 1}, this one"
        f" has {SCHEMA}); upgrade it: pip install --upgrade wfe-sqlite"
    )


async def test_a_newer_file_that_this_version_can_read_is_opened_and_left(
    path: Path, store: SqliteStore
) -> None:
    await store.close()
    set_meta(path, schema=SCHEMA + 2, min_reader=SCHEMA)

    await store.open()
    await store.register(WORKER)
    await store.close()

    db = sqlite3.connect(path)
    assert db.execute("SELECT value FROM wfe_meta WHERE key = 'schema'").fetchone() == (SCHEMA + 2,)
    db.close()


async def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    text = b"Dear diary,\n" * 1000
    path.write_bytes(text)

    error = await refusal(path)

    assert isinstance(error, StoreCorruptError)
    assert str(error) == (
        f"sqlite: {path} is not a SQLite database; name another file, or move this one away"
    )
    assert path.read_bytes() == text


async def test_a_damaged_file_is_reported(path: Path, store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)
    rows = tuple(f'"{k} {"x" * 500}"' for k in range(500))
    await store.commit(epoch, [Item(n=n, base=0, rows=rows)])
    await store.close()
    contents = bytearray(path.read_bytes())
    for page in range(4096, len(contents), 4096):
        if b"x" * 400 in contents[page : page + 4096]:
            contents[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(contents)

    await store.open()
    with pytest.raises(StoreCorruptError) as caught:
        await store.load([n])

    assert f"{path} is damaged" in str(caught.value)
    assert "restore a backup or salvage it: sqlite3 wfe.db .recover" in str(caught.value)
    assert not caught.value.transient


# -- locks --------------------------------------------------------------------------------------


async def test_a_foreign_writer_is_waited_for_and_then_named(
    path: Path, store: SqliteStore, process: Start
) -> None:
    await store.close()
    short = SqliteStore(path, patience=SHORT)
    await short.open()
    epoch = await short.register(WORKER)
    n = await begin(short, epoch)
    foreign = process("foreign")
    foreign.hear()
    started = time.monotonic()

    with pytest.raises(StoreUnavailableError) as caught:
        await short.commit(epoch, [Item(n=n, base=0, rows=('"1"',))])

    assert time.monotonic() - started >= SHORT.total_seconds()
    assert str(caught.value) == (
        f"sqlite: {path} has been locked by process {foreign.popen.pid} for more than 0.2 s;"
        " end its transaction, or stop it"
    )
    assert caught.value.transient
    assert [row.seq for row in await short.history(n, -1, 10)] == [0]  # reading goes on
    waiting = asyncio.create_task(short.commit(epoch, [Item(n=n, base=0, rows=('"1"',))]))
    foreign.tell("let go")
    (outcome,) = await waiting
    assert isinstance(outcome, Done)
    await short.close()


async def test_opening_a_locked_file_waits_and_then_names_who(
    path: Path, store: SqliteStore, process: Start
) -> None:
    await store.close()
    set_meta(path, schema=0)  # so that opening must write
    foreign = process("foreign")
    foreign.hear()

    error = await refusal(path, patience=SHORT)

    assert isinstance(error, StoreUnavailableError)
    assert f"locked by process {foreign.popen.pid}" in str(error)


async def test_a_host_stuck_in_a_write_is_named_and_what_was_given_up_is_not_written_later(
    path: Path, store: SqliteStore, process: Start
) -> None:
    await store.close()
    short = SqliteStore(path, patience=SHORT)
    await short.open()
    epoch = await short.register(WORKER)
    n = await begin(short, epoch)
    host = process("stick")
    pid = host.hear()["inside"]

    with pytest.raises(StoreUnavailableError) as caught:
        await short.commit(epoch, [Item(n=n, base=0, rows=('"given up"',))])

    assert f"locked by process {pid}" in str(caught.value)
    host.tell("go on")
    assert host.hear() == {"done": True}
    (outcome,) = await short.commit(epoch, [Item(n=n, base=0, rows=('"again"',))])
    assert isinstance(outcome, Done)
    assert [row.event for row in await short.history(n, 0, 10)] == ['"again"']
    await short.close()


# -- space and permissions ------------------------------------------------------------------------


async def test_a_full_disk_loses_nothing_and_the_store_goes_on(
    path: Path, store: SqliteStore
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)
    db = store._opened.writer.db
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 20}")
    row = f'"{"x" * 5000}"'
    base = 0

    async def fill() -> None:
        nonlocal base
        while base < 1000:
            await store.commit(epoch, [Item(n=n, base=base, rows=(row,))])
            base += 1

    with pytest.raises(StoreFullError) as caught:
        await fill()

    assert str(caught.value) == (
        f"sqlite: no space is left for {path}; free some: what was acknowledged is safe"
    )
    assert caught.value.transient
    assert len(await store.history(n, 0, 1000)) == base > 5
    db.execute("PRAGMA max_page_count = 1000000")
    (outcome,) = await store.commit(epoch, [Item(n=n, base=base, rows=(row,))])
    assert isinstance(outcome, Done)


IN_A_SMALL_PLACE = """
import asyncio, subprocess, sys
from pathlib import Path
from wfe.core.errors import ProviderError, StoreFullError
from wfe.core.providers import Done, Header, Item, WorkerInfo
from wfe.sqlite import SqliteStore

def mount(*args):
    subprocess.run(["mount", *args], check=True)

async def main(place):
    mount("-t", "tmpfs", "-o", "size=600k", "tmpfs", place)
    store = SqliteStore(Path(place) / "wfe.db")
    await store.open()
    epoch = await store.register(WorkerInfo(name="w", host="h", pid=1))
    new = Header(n=1, id="a", d=1, definition="x", version=1, root_id="r", owner=epoch)
    await store.commit(epoch, [Item(n=1, new=new)])
    base, row = -1, '"' + "x" * 5000 + '"'
    async def go(limit):
        nonlocal base
        while base < limit:
            (outcome,) = await store.commit(epoch, [Item(n=1, base=base, rows=(row,))])
            assert isinstance(outcome, Done), outcome
            base += 1
    for _ in range(2):
        try:
            await go(1000)
        except StoreFullError:
            pass
        else:
            raise AssertionError("never full")
        assert len(await store.history(1, -1, 10_000)) == base + 1
    mount("-o", "remount,size=20m", place)
    await go(base + 50)
    await store.close()
    again = SqliteStore(store.path)
    await again.open()
    assert len(await again.history(1, -1, 10_000)) == base + 1 > 50
    await again.close()
    mount("-o", "remount,ro", place)
    for name in ("wfe.db", "new.db"):
        try:
            await SqliteStore(Path(place) / name).open()
        except ProviderError as error:
            print(type(error).__name__, error)
        else:
            raise AssertionError(name)

asyncio.run(main(sys.argv[1]))
"""


def test_a_small_file_system_that_fills_up_and_one_that_is_read_only(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    alone = [str(unshare), "--user", "--map-root-user", "--mount"]
    if unshare is None or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("this system lets no user mount a file system of his own")

    done = subprocess.run(
        [*alone, sys.executable, "-c", IN_A_SMALL_PLACE, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    existing, new = done.stdout.splitlines()
    assert existing.startswith(f"StoreUnavailableError sqlite: cannot write {tmp_path}/wfe.db")
    assert new.startswith(f"StoreUnavailableError sqlite: cannot write {tmp_path}/new.db")
    assert "is read-only for this user" in existing
