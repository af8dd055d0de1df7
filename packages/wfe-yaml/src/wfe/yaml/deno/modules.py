"""Modules from the network: fetched once into a cache of ours, and run from there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from wfe.yaml.deno.errors import DenoStartError

__all__ = [
    "cache_root",
    "cached_modules",
    "import_hosts",
    "lend",
    "module_home",
    "registries",
]

_NEEDED: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("DENO_CERT", "DENO_TLS_CA_STORE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"),
)
_PLACES: Final = ("NPM_CONFIG_REGISTRY", "JSR_URL")  # modules are kept by these
_PATIENCE: Final = 300  # seconds for all modules of a step
_COMPLETE: Final = "complete.json"


def cache_root() -> Path:
    """Return where modules are kept: ``$WFE_DENO_CACHE``, or in the user's cache directory."""
    given = os.environ.get("WFE_DENO_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wfe" / "deno"


def import_hosts(modules: Sequence[str]) -> tuple[str, ...]:
    """Return the hosts that *modules* come from."""
    hosts: dict[str, None] = {}
    for module in modules:
        if module.startswith("jsr:"):
            hosts[urlsplit(os.environ.get("JSR_URL", "https://jsr.io")).netloc] = None
        elif not module.startswith("npm:"):
            hosts[urlsplit(module).netloc.rpartition("@")[2]] = None
    return tuple(hosts)


def cached_modules(program: str, modules: Sequence[str]) -> Path:
    """Return the directory that holds *modules* and what they import; fetch them if it does not.

    Each list of modules has a directory of its own, so that a step finds what it lists and no more.
    Blocks.

    Raises:
        DenoStartError: They cannot be fetched.
    """
    home = module_home(modules)
    if (home / _COMPLETE).is_file():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place and moved there whole: another process may do the same.
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=home.parent))
    try:
        _fetch(program, modules, made)
        (made / _COMPLETE).write_text(json.dumps(sorted(modules)))
        with suppress(OSError):
            made.rename(home)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    if not (home / _COMPLETE).is_file():
        raise DenoStartError(f"the module cache {str(home)!r} cannot be written")
    return home


def registries() -> dict[str, str]:
    """Return the variables that tell Deno where its modules have come from."""
    return {name: os.environ[name] for name in _PLACES if name in os.environ}


def module_home(modules: Sequence[str]) -> Path:
    """Return the directory of a list of modules, whether it is there or not."""
    listed = [sorted(set(modules)), registries()]
    key = hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:32]
    return cache_root() / "modules" / key


def _fetch(program: str, modules: Sequence[str], home: Path) -> None:
    hosts = import_hosts(modules)
    allowed = [f"--allow-import={','.join(hosts)}"] if hosts else []
    command = [program, "cache", "--no-config", "--no-lock", "--quiet", *allowed, *modules]
    passed = {name: os.environ[name] for name in (*_NEEDED, *_PLACES) if name in os.environ}
    try:
        done = subprocess.run(  # noqa: S603 - a list, without a shell
            command,
            env={**passed, "DENO_DIR": str(home), "NO_COLOR": "1"},
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DenoStartError(f"the modules cannot be fetched: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().removeprefix("error: ")
        hint = "check the names in `modules`, and that a module's own imports come from their hosts"
        raise DenoStartError(f"the modules cannot be fetched: {said[-600:]}", hint)


def lend(home: Path, private: Path) -> None:
    """Make the modules of *home* usable from *private*, a directory that Deno writes to."""
    for name in ("remote", "npm"):
        if (home / name).exists():
            (private / name).symlink_to(home / name, target_is_directory=True)
