"""``wfe contract``: runs the suites of what a URL names, and touches nothing that is anybody's."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from wfe.core import plugins
from wfe.core.memory import MemoryStore
from wfe.host.cli import commands
from wfe.host.cli.errors import CommandError, Exit
from wfe.sqlite import SqliteStore
from wfe.testing.contract_command import contract
from wfe.testing.contract_runs import ContractError, run_contracts
from wfe.testing.services.opensearch_client import ask_opensearch


def call(*arguments: str) -> Result:
    return CliRunner().invoke(contract, arguments, standalone_mode=False)


def test_the_seams_of_a_url_are_told_one_a_line() -> None:
    done = call("memory://", "-k", "at_once or one_of_many", "--without", "lock")

    lines = (done.stdout).splitlines()
    assert done.return_value == 0
    assert lines[0].split() == ["seam", "passed", "failed", "skipped"]
    assert {line.split()[0] for line in lines[1:]} == {
        "persistence",
        "artifact-index",
        "cache-index",
        "changes",
        "lifecycle",
        "lock",
        "queue",
        "search",
    }
    assert re.search(r"^lock +1 +0 +0$", done.stdout, re.MULTILINE)


def test_a_file_is_made_for_each_law_and_removed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"

    done = call(url, "--seam", "persistence", "-k", "crash", "--json")

    (store,) = json.loads(done.stdout)
    assert done.return_value == 0
    assert store == {
        "seam": "persistence",
        "capabilities": ["durable", "lock", "shared", "virtual_clock"],
        "passed": 5,
        "failed": [],
        "skipped": [],
    }
    assert list(tmp_path.iterdir()) == []


def test_directories_are_tried_as_what_they_can_be(tmp_path: Path) -> None:
    done = call(f"file://{tmp_path}", "-k", "comes_back or come_back or many_at_once")

    assert done.return_value == 0
    assert re.search(r"^blobs +2 +0 +0$", done.stdout, re.MULTILINE)
    assert re.search(r"^artifacts +4 +0 +0$", done.stdout, re.MULTILINE)
    told = "2 it does not have the secrets of SecretsContract.values"
    assert re.search(rf"^secrets +0 +0 +{told}$", done.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


async def used(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.put_definition("mine", 1, "hash", "{}")
    await store.close()


@pytest.mark.parametrize("number", [0, 2])
async def test_a_store_in_use_is_left_alone(tmp_path: Path, number: int) -> None:
    await used(mine := tmp_path / f"runs-{number}.db")
    before = mine.read_bytes()

    done = await asyncio_free(call, f"sqlite:///{tmp_path}/runs-{{n}}.db", "-k", "crash")

    assert isinstance(done.exception, CommandError)
    assert f"{mine} holds definitions" in str(done.exception)
    assert mine.read_bytes() == before


async def asyncio_free(work: Callable[..., Result], *arguments: str) -> Result:
    """Call it where no loop runs: it has one of its own."""
    return await asyncio.to_thread(work, *arguments)


class Offered(MemoryStore):
    """Somebody's store, which says that it is durable."""

    async def open(self) -> Any:
        return attrs.evolve(await super().open(), durable=True)


def test_a_durable_store_wants_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(_: str) -> tuple[str, ...]:
        return ("theirs",)

    def opener(_: str) -> MemoryStore:
        return Offered()

    def load(*_: str) -> Callable[[str], MemoryStore]:
        return opener

    monkeypatch.setattr("wfe.testing.contract_runs.installed", offered)
    monkeypatch.setattr("wfe.testing.contract_runs.GROUPS", ("wfe.persistence",))
    monkeypatch.setattr("wfe.testing.contract_suites.load", load)

    with pytest.raises(ContractError, match=re.escape("write {n} into the URL")):
        run_contracts("theirs://place")


def test_a_broken_provider_is_told_with_its_laws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an installed distribution that the child process finds."""
    (tmp_path / "deaf.py").write_text(
        "from wfe.core.memory import MemoryStore\n"
        "class Deaf(MemoryStore):\n"
        "    async def hint(self, hints):\n"
        "        return None\n"
        "def open_url(url, **options):\n"
        "    return Deaf(**options)\n"
    )
    info = tmp_path / "deaf-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deaf\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[wfe.persistence]\ndeaf = deaf:open_url\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for cached in (plugins._everything, plugins._group):  # pyright: ignore[reportPrivateUsage]
        cached.cache_clear()

    done = call("deaf://", "--seam", "queue", "-k", "a_hint_wakes or no_hints")

    for cached in (plugins._everything, plugins._group):  # pyright: ignore[reportPrivateUsage]
        cached.cache_clear()
    assert done.return_value == 1
    assert re.search(r"^queue +1 +1 +0$", done.stdout, re.MULTILINE)
    assert "✗ queue: a_hint_wakes_the_waiting_owner\n    TimeoutError" in done.stdout


def test_what_the_url_is_not_is_told() -> None:
    with pytest.raises(ContractError, match="memory:// is no blobs; it is: artifact-index, cache"):
        run_contracts("memory://", seams=["blobs"])


def test_a_scheme_that_nobody_handles_is_told() -> None:
    done = call("nowhere://x")

    assert "nowhere" in str(done.exception)
    assert "sqlite" in str(done.exception)


def test_laws_that_nothing_fits_are_told() -> None:
    done = call("memory://", "-k", "no_such_law")

    assert isinstance(done.exception, CommandError)
    assert "deselected" in str(done.exception)


def test_without_wfe_testing_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(group: str) -> Sequence[str]:
        return ()

    monkeypatch.setattr(plugins, "installed", nothing)

    assert commands.main(["contract", "memory://"]) == 2
    assert "pip install wfe-testing" in capsys.readouterr().err


def test_stores_on_a_server_are_dropped(postgres_url: str) -> None:
    import psycopg  # noqa: PLC0415 - only where the server is

    done = call(postgres_url, "--seam", "persistence", "-k", "crash", "--json")

    assert done.return_value == 0, done.stdout
    (store,) = json.loads(done.stdout)
    assert (store["passed"], store["capabilities"]) == (
        5,
        ["durable", "lock", "shared", "virtual_clock"],
    )
    with psycopg.connect(postgres_url) as connection:
        left = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'wfe_contract%'"
        ).fetchall()
    assert left == []


def test_keys_on_a_server_are_deleted(valkey_url: str) -> None:
    from wfe.testing.services.valkey import ask_valkey  # noqa: PLC0415 - as above

    (before,) = ask_valkey(valkey_url, ("DBSIZE",))

    done = call(valkey_url, "-k", "one_of_many or owners_get or order_is_kept")

    assert done.return_value == 0, done.stdout
    rows = [line.split()[:3] for line in done.stdout.splitlines()[1:]]
    assert sorted(rows) == [["lifecycle", "1", "0"], ["lock", "1", "0"], ["queue", "1", "0"]]
    assert ask_valkey(valkey_url, ("DBSIZE",)) == (before,)


@pytest.mark.parametrize("scheme", ["opensearch", "valkey", "postgresql"])
def test_a_server_that_is_away_is_told_of_once(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    done = call(f"{scheme}://127.0.0.1:{port}/", "-k", "empty or words_find or cursors")

    assert isinstance(done.exception, CommandError), done.stdout
    assert done.exception.code == Exit.USAGE
    assert "127.0.0.1" in done.exception.problem
    assert "no law was tried: see that it runs" in str(done.exception)


def test_an_index_is_tried_and_nothing_is_left_behind(opensearch_url: str) -> None:
    server = opensearch_url.partition("?")[0]

    done = call(f"{server}?prefix=contract-test", "-k", "words_find or cursors or clearing")

    names = ask_opensearch(server, "GET", "/_cat/indices/contract-test*?format=json&h=index")
    assert done.return_value == 0
    assert re.search(r"^search +[1-9]\d* +0 +0$", done.stdout, re.MULTILINE)
    assert names == []
