"""Valkey or Redis for tests, and the few words of their protocol that need no client."""

from __future__ import annotations

import re
import secrets
import signal
import socket
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

from wfe.testing.services.binaries import Binary
from wfe.testing.services.processes import await_ready, free_port, keep, work_folder
from wfe.testing.services.records import Service

__all__ = ["ask_valkey", "start_valkey", "valkey_features", "valkey_version"]

_TIMEOUT = 5.0
"""Seconds to connect, and for each answer."""


def start_valkey(binary: Binary, *, durable: bool = False, parent: int | None = None) -> Service:
    """Start a server.

    Args:
        binary: The ``valkey-server`` or ``redis-server`` to run.
        durable: Whether it writes every command to a file before it answers; off for ordinary
            tests, whose server forgets everything when it stops.
        parent: The process with whose end the server ends; None means this one.

    Raises:
        ServiceError: It could not be started; with what the server said.
    """
    folder = work_folder("valkey")
    password = secrets.token_urlsafe(12)
    port = free_port()
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "requirepass": password,
        "databases": "64",
        "save": "",
        "appendonly": "yes" if durable else "no",
        "appendfsync": "always",
    }
    file = folder / "server.conf"  # not arguments: other users may read those
    file.write_text("".join(f'{name} "{value}"\n' for name, value in settings.items()))
    server = keep(
        "Valkey", [binary.path, file], folder=folder, ending=signal.SIGTERM, parent=parent
    )
    url = f"valkey://:{password}@127.0.0.1:{port}/0"
    try:
        version = await_ready(server, lambda: valkey_version(url))
    except BaseException:
        server.close()
        raise
    return Service(
        name="valkey",
        source=binary.source,
        version=version,
        url=url,
        features=valkey_features(version),
        log=server.log,
        process=server,
        stop=server.close,
    )


def valkey_version(url: str) -> str:
    """Return the server's version: ``8.1.8``, or ``Redis 7.0.15``.

    Raises:
        OSError: Nobody answers as Valkey does.
    """
    (info,) = ask_valkey(url, ("INFO", "server"))
    told = dict(re.findall(r"^(\w+):([^\r\n]+)", str(info), re.MULTILINE))
    if "valkey_version" in told:
        return str(told["valkey_version"])
    return f"Redis {told['redis_version']}"


def valkey_features(version: str) -> frozenset[str]:
    """Return what this version can do that the oldest cannot: ``ifeq``, ``hash-ttl``."""
    if version.startswith("Redis"):
        return frozenset()
    number = tuple(int(part) for part in version.split(".")[:2])
    known = {"ifeq": number >= (8, 1), "hash-ttl": number >= (9, 0)}
    return frozenset(name for name, there in known.items() if there)


def ask_valkey(url: str, *commands: tuple[str, ...]) -> tuple[object, ...]:
    """Send commands to the URL's database, one after the other, and return the answers.

    Raises:
        OSError: Nobody answers, or the answer is an error.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 6379)
    greeting: list[tuple[str, ...]] = []
    if parts.password is not None:
        user = (unquote(parts.username),) if parts.username else ()
        greeting.append(("AUTH", *user, unquote(parts.password)))
    if (number := parts.path.strip("/")) not in {"", "0"}:
        greeting.append(("SELECT", number))
    with (
        socket.create_connection(address, timeout=_TIMEOUT) as connection,
        cast("BinaryIO", connection.makefile("rb")) as answers,
    ):
        answered: list[object] = []
        for command in (*greeting, *commands):
            connection.sendall(_encoded(command))
            answered.append(_answer(answers))
    return tuple(answered[len(greeting) :])


def _encoded(command: tuple[str, ...]) -> bytes:
    parts = [part.encode() for part in command]
    head = b"*%d\r\n" % len(parts)
    return head + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _answer(answers: BinaryIO) -> object:
    line = answers.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server hung up")
    kind, rest = line[:1], line[1:-2]
    match kind:
        case b"+":
            return rest.decode()
        case b":":
            return int(rest)
        case b"$":
            size = int(rest)
            return None if size < 0 else answers.read(size + 2)[:-2].decode(errors="replace")
        case b"*":
            return [_answer(answers) for _ in range(int(rest))]
        case _:
            raise ConnectionError(f"the server says {line.decode(errors='replace').strip()}")
