"""One server for all workers of a test session: who comes first starts it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wfe.testing.services.records import Service
from wfe.testing.services.resolving import resolve

__all__ = ["resolve_shared"]


def resolve_shared(name: str, folder: Path, parent: int) -> Service:
    """Return the session's server, which ends with the process *parent*.

    Args:
        name: One of ``postgres``, ``valkey``, ``opensearch``.
        folder: The session's, the same in all of its workers.
        parent: The process that lives as long as the session.

    Raises:
        ServiceError: As :func:`~wfe.testing.services.resolve` does.
        Unavailable: As it does.
    """
    import filelock  # noqa: PLC0415 - the extra `services`; the plugin is loaded without it

    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{name}.json"
    with filelock.FileLock(folder / f"{name}.lock", timeout=300):
        if file.exists():
            return _read(file)
        service = resolve(name, parent=parent)
        _write(file, service)
    if service.process is not None:
        service.process.release()
    return _read(file)


def _write(file: Path, service: Service) -> None:
    facts = {
        "name": service.name,
        "source": service.source,
        "version": service.version,
        "url": service.url,
        "features": sorted(service.features),
        "log": None if service.log is None else str(service.log),
    }
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # a password is in it
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(facts, out)


def _read(file: Path) -> Service:
    facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    features = frozenset[str](facts.pop("features"))
    log = facts.pop("log")
    return Service(features=features, log=log and Path(log), **facts)
