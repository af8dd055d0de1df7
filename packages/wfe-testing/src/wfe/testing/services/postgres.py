"""PostgreSQL for tests: a cluster of its own, thrown away as a whole."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from wfe.testing.services.binaries import Binary
from wfe.testing.services.demotion import demoted
from wfe.testing.services.processes import await_ready, free_port, keep, work_folder
from wfe.testing.services.records import Service, ServiceError

__all__ = ["postgres_version", "start_postgres"]

_USER = "wfe"
# After a crash, one call to the system in place of one for each of a thousand files.
_DURABLE = {"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}
_CAREFREE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_SETTINGS = {
    # In the data folder, so that nothing of a killed server stays in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}
# Sorting by a language's rules catches SQL that leans on the order of code points; where the
# build knows no languages, it is that order.
_LOCALES = (("--locale=C", "--locale-provider=icu", "--icu-locale=en-US"), ("--locale=C",))


def start_postgres(binary: Binary, *, durable: bool = False, parent: int | None = None) -> Service:
    """Start a new cluster.

    Args:
        binary: The ``postgres`` to run; ``initdb`` lies beside it.
        durable: Whether commits wait for the disk, as in production; off for ordinary tests.
        parent: The process with whose end the cluster ends; None means this one.

    Raises:
        ServiceError: It could not be made or started; with what the server said.
        Unavailable: Root cannot run it here.
    """
    folder = work_folder("pg")
    password = secrets.token_urlsafe(12)
    data = folder / "data"
    try:
        _make(binary, folder, data, password)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # no keeper has it yet
        raise
    port = free_port()
    settings = {**_SETTINGS, **(_DURABLE if durable else _CAREFREE)}
    settings |= {"port": str(port), "unix_socket_directories": str(folder)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [*demoted(folder), str(binary.path), "-D", str(data), *options]
    # SIGQUIT is the shutdown that does not write what is in memory.
    ending = signal.SIGINT if durable else signal.SIGQUIT
    server = keep("PostgreSQL", command, folder=folder, ending=ending, parent=parent)
    url = f"postgresql://{_USER}:{password}@127.0.0.1:{port}/postgres"
    try:
        version = await_ready(server, lambda: postgres_version(url))
    except BaseException:
        server.close()
        raise
    return Service(
        name="postgres",
        source=binary.source,
        version=version,
        url=url,
        log=server.log,
        process=server,
        stop=server.close,
    )


def postgres_version(url: str) -> str:
    """Return the server's version after a full handshake.

    Raises:
        OSError: Nobody answers as PostgreSQL does; with the driver's words.
    """
    import psycopg  # noqa: PLC0415 - the extra `services`; the plugin is loaded without it

    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute("SHOW server_version").fetchone()
    except psycopg.OperationalError as error:
        raise ConnectionError(str(error)) from error
    assert row is not None
    return str(row[0]).split()[0]


def _make(binary: Binary, folder: Path, data: Path, password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    plain = ["--auth=password", f"--username={_USER}", f"--pwfile={secret}", "--encoding=UTF8"]
    initdb = binary.path.with_name("initdb")
    done = None
    for locale in _LOCALES:
        command = [*demoted(folder), initdb, "-D", data, *plain, *locale, "--no-sync"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
        if done.returncode == 0:
            return
    assert done is not None
    raise ServiceError(f"{initdb} failed:\n{done.stderr.strip()}")
