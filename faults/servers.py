"""The servers, and what is done to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

import attrs
import psycopg

from faults.network import ADDRESS
from wfe.testing.services import resolve
from wfe.testing.services.binaries import Binary, postgres_binaries, valkey_binaries
from wfe.testing.services.demotion import demoted
from wfe.testing.services.postgres import postgres_version
from wfe.testing.services.processes import (
    ServerProcess,
    await_ready,
    free_port,
    keep,
    work_folder,
)
from wfe.testing.services.records import Unavailable
from wfe.testing.services.valkey import ask_valkey, valkey_version

__all__ = ["Ballast", "Postgres", "Search", "SlowDisk", "Valkey", "family", "has_strace"]

_FULL: Final = 64 * 1024  # bytes that are left on a full disk


@attrs.define
class Ballast:
    """A small file system, which can be filled to the brim."""

    folder: Path
    mounted: bool = False

    @staticmethod
    def mount(folder: Path, megabytes: int) -> Ballast:
        """Put a file system in memory at *folder*; a plain folder where that is not allowed."""
        folder.mkdir(parents=True, exist_ok=True)
        options = f"size={megabytes}m,mode=0777"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            check=False,
            capture_output=True,
        )
        return Ballast(folder, mounted=done.returncode == 0)

    def fill(self) -> None:
        """Take what room there is."""
        stat = os.statvfs(self.folder)
        free = max(stat.f_bavail * stat.f_frsize - _FULL, 0)
        # Somebody else may be quicker to take it.
        with (self.folder / "ballast").open("ab") as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), file.tell(), max(free, 1))

    def unmount(self) -> None:
        """Take the file system away."""
        subprocess.run(["umount", "-l", str(self.folder)], check=False)

    def free(self) -> None:
        """Give it back."""
        (self.folder / "ballast").unlink(missing_ok=True)


@attrs.define
class SlowDisk:
    """Makes processes wait for the disk, by ``strace``."""

    tracer: subprocess.Popen[bytes]

    @staticmethod
    def of(pids: list[int], millis: int) -> SlowDisk:
        """Let each flush of these processes, and of those that they start, take longer."""
        calls = "fsync,fdatasync"
        inject = f"inject={calls}:delay_enter={millis * 1000}"
        attach = [part for pid in pids for part in ("-p", str(pid))]
        command = ["strace", "-f", "-q", "-o", "/dev/null", "-e", f"trace={calls}", "-e", inject]
        quiet = subprocess.DEVNULL
        return SlowDisk(
            subprocess.Popen([*command, *attach], stdin=quiet, stdout=quiet, stderr=quiet)
        )

    def end(self) -> None:
        """Let go of them."""
        self.tracer.terminate()
        try:
            self.tracer.wait(5)
        except subprocess.TimeoutExpired:
            self.tracer.kill()
            self.tracer.wait()


@attrs.define
class Postgres:
    """A cluster whose commits are on its disk when it says so."""

    server: ServerProcess
    port: int
    password: str
    data: Ballast
    journal: Ballast

    @staticmethod
    async def start(version: str | None) -> Postgres:
        """Make one and start it."""
        binary = _fitting(version, list(postgres_binaries()), "postgres")
        folder = work_folder("faults")
        folder.chmod(0o755)
        journal = Ballast.mount(folder / "journal", 512)
        tables = Ballast.mount(folder / "tables", 2048)
        port, password = free_port(), secrets.token_urlsafe(12)
        _make_cluster(binary, folder, password)
        settings = {
            "port": str(port),
            "listen_addresses": "*",
            "unix_socket_directories": str(folder),
            "max_connections": "150",
            "shared_buffers": "64MB",
            "min_wal_size": "32MB",
            "max_wal_size": "128MB",
            "dynamic_shared_memory_type": "mmap",
            "timezone": "UTC",
            "log_min_messages": "warning",
            "recovery_init_sync_method": "syncfs",
        }
        options = [f"-c{name}={value}" for name, value in settings.items()]
        command = [*demoted(folder), str(binary.path), "-D", str(folder / "data"), *options]
        server = keep("PostgreSQL", command, folder=folder, ending=signal.SIGINT)
        made = Postgres(server, port, password, tables, journal)
        await made.ready()
        place = folder / "tables" / "space"
        place.mkdir()
        with psycopg.connect(made.url("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{place}'")  # type: ignore[arg-type, unused-ignore]
            admin.execute("CREATE DATABASE wfe TABLESPACE small")
        return made

    def url(self, database: str = "wfe", host: str = "127.0.0.1") -> str:
        """Return the URL of a database."""
        return f"postgresql://wfe:{self.password}@{host}:{self.port}/{database}"

    async def ready(self) -> str:
        """Wait until it answers; return its version."""
        url = self.url("postgres")
        return await asyncio.to_thread(
            await_ready, self.server, lambda: postgres_version(url), seconds=60
        )

    async def kill(self) -> None:
        """Kill -9 the whole cluster.

        What the first process left is killed, too, before another may be started on its files:
        each has an own namespace of shared memory, so the next could not see the last one's.
        """
        pids = family(self.server.pid)
        await asyncio.to_thread(self.server.kill)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(_alive(pid) for pid in pids):
            await asyncio.sleep(0.01)

    async def halt(self) -> None:
        """Stop it as its operator would."""
        await asyncio.to_thread(self.server.halt, 10.0)

    async def revive(self) -> None:
        """Start it if it is not there."""
        self.server.ended()
        if self.server.pid == 0:
            self.server.start()
        await self.ready()

    def slow(self) -> SlowDisk:
        """Let its disk be slow."""
        return SlowDisk.of(family(self.server.pid), 80)


@attrs.define
class Valkey:
    """A server that forgets everything when it ends."""

    server: ServerProcess
    port: int
    password: str

    @staticmethod
    async def start(version: str | None) -> Valkey:
        """Start one."""
        binary = _fitting(version, list(valkey_binaries()), "valkey")
        folder, port, password = work_folder("faults"), free_port(), secrets.token_urlsafe(12)
        file = folder / "server.conf"
        lines = (f"port {port}", "bind 0.0.0.0", f"dir {folder}", "appendonly no", 'save ""')
        file.write_text("\n".join((*lines, f"requirepass {password}", "")))
        server = keep("Valkey", [binary.path, file], folder=folder)
        made = Valkey(server, port, password)
        await made.ready()
        return made

    def url(self, host: str = "127.0.0.1") -> str:
        """Return its URL."""
        return f"valkey://:{self.password}@{host}:{self.port}/0"

    async def ready(self) -> str:
        """Wait until it answers; return its version."""
        return await asyncio.to_thread(
            await_ready, self.server, lambda: valkey_version(self.url()), seconds=30
        )

    async def kill(self) -> None:
        """Kill -9 it."""
        await asyncio.to_thread(self.server.kill)

    async def halt(self) -> None:
        """Stop it as its operator would."""
        await asyncio.to_thread(self.server.halt, 5.0)

    async def revive(self) -> None:
        """Start it if it is not there."""
        self.server.ended()
        if self.server.pid == 0:
            self.server.start()
        await self.ready()

    async def flush(self) -> None:
        """Let it forget everything."""
        await asyncio.to_thread(ask_valkey, self.url(), ("FLUSHALL",), ("FUNCTION", "FLUSH"))


@attrs.define
class Search:
    """An OpenSearch node or what speaks alike, which hosts reach through a forwarder."""

    server: ServerProcess
    version: str
    port: int
    forwarder: asyncio.Server

    @staticmethod
    async def start() -> Search:
        """Start one."""
        service = await asyncio.to_thread(resolve, "opensearch", own=True)
        if service.process is None:
            raise Unavailable("this OpenSearch is not ours to stop")
        port = int(service.url.rsplit(":", 1)[1].strip("/"))

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
            writer.close()

        # It listens on the loopback only, and on a port that is its own.
        forwarder = await asyncio.start_server(forward, ADDRESS, port)
        return Search(service.process, service.version, port, forwarder)

    def url(self) -> str:
        """Return the URL for hosts."""
        return f"opensearch://{ADDRESS}:{self.port}/?prefix=faults-"

    async def kill(self) -> None:
        """Kill -9 it."""
        await asyncio.to_thread(self.server.kill)

    async def revive(self) -> None:
        """Start it if it is not there."""
        self.server.ended()
        if self.server.pid == 0:
            self.server.start()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while read := await reader.read(65536):
            writer.write(read)
            await writer.drain()
    writer.close()


def _fitting(version: str | None, found: list[Binary], name: str) -> Binary:
    for binary in found:
        if binary.path.is_file() and binary.matches(version):
            return binary
    raise Unavailable(f"no {name} {version or ''} here; there are {[b.source for b in found]}")


def _make_cluster(binary: Binary, folder: Path, password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    options = ["--auth=password", "--username=wfe", f"--pwfile={secret}", "--encoding=UTF8"]
    where = ["-D", str(folder / "data"), "-X", str(folder / "journal" / "wal")]
    initdb = binary.path.with_name("initdb")
    command = [*demoted(folder), str(initdb), *where, *options, "--locale=C", "--no-sync"]
    # Small files of the log: a full disk is felt soon.
    command.append("--wal-segsize=4")
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    with (folder / "data" / "pg_hba.conf").open("a") as file:
        file.write("host all all 10.79.0.0/24 password\n")


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def has_strace() -> bool:
    """Whether the disk can be made slow."""
    return shutil.which("strace") is not None
