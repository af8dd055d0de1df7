"""Runs the contract suites against what a URL names, in a process of their own."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from wfe.core.clocks import VirtualClock
from wfe.core.errors import PluginNotFoundError, ProviderError
from wfe.core.lifecycle_provider import LifecyclePublisher
from wfe.core.models import LifecycleEvent, from_micros
from wfe.core.plugins import installed, load
from wfe.core.providers import SeparateLock
from wfe.testing.contract_places import NUMBER, places
from wfe.testing.contract_recorder import RECORD, RECORDS, REFUSED
from wfe.testing.contract_suites import Target, in_use, shown

__all__ = ["GROUPS", "ContractError", "Law", "Seam", "run_contracts"]

GROUPS: Final = (
    "wfe.persistence",
    "wfe.queue",
    "wfe.lock",
    "wfe.search",
    "wfe.lifecycle",
    "wfe.blobs",
    "wfe.artifacts",
    "wfe.secrets",
)
"""The groups of entry points that have a contract."""

_OF_STORE: Final = {
    "queue": ("queue", "QueueOfStore"),
    "lock": ("lock", "LockOfStore"),
    "cache": ("cache-index", "CacheIndexOfStore"),
    "artifacts": ("artifact-index", "ArtifactIndexOfStore"),
    "changes": ("changes", "ChangesOfStore"),
    "search": ("search", "SearchOfStore"),
}
"""Feature of a store -> the seam that it is then, and its suite."""

_OF_URL: Final = {
    "wfe.queue": ("queue", "QueueOfUrl"),
    "wfe.search": ("search", "SearchOfUrl"),
    "wfe.blobs": ("blobs", "BlobsOfUrl"),
    "wfe.artifacts": ("artifacts", "ArtifactsOfUrl"),
    "wfe.secrets": ("secrets", "SecretsOfUrl"),
}
_SETTINGS: Final = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""
_ARRIVES: Final = 2.0  # seconds for an event from another object of the same process


class ContractError(Exception):
    """The suites cannot be run, or must not be."""


@attrs.frozen(kw_only=True)
class Law:
    """How one law ended.

    Attributes:
        outcome: ``passed``, ``failed`` or ``skipped``.
        text: Why, one line; empty when it passed.
    """

    seam: str
    name: str
    outcome: str
    text: str


@attrs.frozen(kw_only=True)
class Seam:
    """How a seam keeps its contract."""

    name: str
    capabilities: tuple[str, ...]
    laws: tuple[Law, ...]

    def ended(self, outcome: str) -> list[Law]:
        """Return the laws that ended so."""
        return [law for law in self.laws if law.outcome == outcome]


@attrs.frozen(kw_only=True)
class _Suite:
    """A test class to be written."""

    seam: str
    base: str
    target: Target
    capabilities: frozenset[str]

    @property
    def name(self) -> str:
        return "Test" + self.seam.title().replace("-", "")

    def source(self) -> str:
        made = self.target
        switches = f"clock={made.clock}, named={made.named}"
        return (
            f"class {self.name}(suites.{self.base}):\n"
            f"    target = suites.Target({made.group!r}, {made.url!r}, {switches})\n"
            f"    capabilities = frozenset({sorted(self.capabilities)!r})\n"
        )


def run_contracts(
    url: str,
    *,
    seams: Collection[str] = (),
    without: Collection[str] = (),
    keyword: str | None = None,
    loud: bool = False,
) -> list[Seam]:
    """Run every suite that the plugins of the URL's scheme claim.

    Args:
        url: ``{n}`` in it becomes a number, another one for each test.
        seams: Only these.
        without: Capabilities that are not claimed, though they seem to be there.
        keyword: Only laws whose names fit, as pytest's ``-k``.
        loud: Show what pytest prints, on stderr.

    Raises:
        ContractError: A store is in use, a durable one has no ``{n}``, or pytest failed.
        PluginNotFoundError: Nothing installed handles the URL's scheme.
        ProviderError: The provider cannot be made or opened.
    """
    scheme = urlsplit(url).scheme
    groups = [group for group in GROUPS if scheme in installed(group)]
    if not groups:
        known = sorted({name for group in GROUPS for name in installed(group)})
        raise PluginNotFoundError("wfe.persistence", scheme or url, tuple(known), None)
    with places(url, secrets.token_hex(3)) as placed:
        found = asyncio.run(_suites(groups, placed, url))
        suites = [
            attrs.evolve(each, capabilities=each.capabilities - frozenset(without))
            for each in found
            if not seams or each.seam in seams
        ]
        if not suites:
            offered = ", ".join(sorted({each.seam for each in found}))
            raise ContractError(f"{shown(url)} is no {' or '.join(seams)}; it is: {offered}")
        return _run(suites, keyword, loud=loud)


async def _suites(groups: Sequence[str], url: str, given: str) -> list[_Suite]:
    """Find out what there is to try, and what it seems to be able to do."""
    found: list[_Suite] = []
    for group in groups:
        # Secrets are there already, where they are.
        target = Target(group, given if group == "wfe.secrets" else url, named=NUMBER in given)
        if group == "wfe.persistence":
            found += await _of_store(target)
        elif group == "wfe.lifecycle":
            shared = frozenset({"shared"}) if await _reaches_others(target) else frozenset[str]()
            found.append(_suite("lifecycle", "LifecycleOfUrl", target, shared))
        elif group == "wfe.lock":
            lock = target.make(_first(target))
            await lock.dead([1], 1)  # a server that is away is told of once, not at each law
            separate = isinstance(lock, SeparateLock)
            can = frozenset({"fences"} if separate else ())
            found.append(_suite("lock", "LockOfUrl", target, can))
            if isinstance(lock, SeparateLock):
                await lock.close()
        else:
            if group == "wfe.search" and (used := await in_use(target, _first(target))) is not None:
                raise ContractError(f"{used}; the laws are tried on empty stores only")
            found.append(_suite(*_OF_URL[group], target))
    return found


def _suite(
    seam: str, base: str, target: Target, capabilities: frozenset[str] = frozenset()
) -> _Suite:
    can = capabilities | frozenset(["empty"] if seam == "secrets" else [])
    return _Suite(seam=seam, base=base, target=target, capabilities=can)


def _first(target: Target) -> str:
    return target.url.replace(NUMBER, "0")


async def _of_store(target: Target) -> list[_Suite]:
    """Look at a store that nobody uses."""
    url = _first(target)
    store = target.make(url)
    durable = (await store.open()).durable
    features = frozenset(store.features)
    await store.close()
    if durable and NUMBER not in target.url:
        raise ContractError(
            f"every law needs an empty store, and {shown(url)} is one; write {NUMBER} into the URL"
            " where a number makes it another"
        )
    if (used := await in_use(target, url)) is not None:
        raise ContractError(f"{used}; the laws are tried on empty stores only")
    can: set[str] = {"lock"} & features
    if durable:
        can |= {"durable"}
        can |= {"shared"} if await _opens_twice(target, url) else set()
    target.clock = _goes_by(target, url)
    clocked = {"virtual_clock"} if target.clock else set[str]()
    suites = [_suite("persistence", "PersistenceOfUrl", target, frozenset(can | clocked))]
    for feature in sorted(features & _OF_STORE.keys()):
        seam, base = _OF_STORE[feature]
        can = {"lock": {"fences"} | clocked, "cache": clocked}.get(feature, set[str]())
        suites.append(_suite(seam, base, target, frozenset(can)))
    return suites


async def _opens_twice(target: Target, url: str) -> bool:
    """Whether a second object can be opened while the first one is."""
    store, other = target.make(url), target.make(url)
    await store.open()
    try:
        await other.open()
    except ProviderError:
        return False
    else:
        await other.close()
        return True
    finally:
        await store.close()


def _goes_by(target: Target, url: str) -> bool:
    """Whether a store goes by the clock that it is given."""
    clock = VirtualClock()
    try:
        store = load(target.group, urlsplit(url).scheme)(url, clock=clock)
    except TypeError:
        return False
    return store.clock is clock


async def _reaches_others(target: Target) -> bool:
    """Whether what one object tells reaches another of the same URL."""
    here: LifecyclePublisher = target.make(_first(target))
    there: LifecyclePublisher = target.make(_first(target))
    subscription = await there.subscribe()
    event = LifecycleEvent(kind="k", instance_id="", definition="", at=from_micros(0))
    await here.publish("contract", 1, [event])
    try:
        async with asyncio.timeout(_ARRIVES):
            async for _ in subscription:
                return True
    except TimeoutError:
        pass
    finally:
        await here.close()
        await there.close()
    return False


def _run(suites: Sequence[_Suite], keyword: str | None, *, loud: bool) -> list[Seam]:
    with tempfile.TemporaryDirectory(prefix="wfe-contract-") as name:
        directory = Path(name)
        (directory / "pytest.ini").write_text(_SETTINGS, encoding="utf-8")
        head = "from wfe.testing import contract_suites as suites\n"
        classes = "\n\n".join(each.source() for each in suites)
        (directory / "test_contract.py").write_text(f"{head}\n\n{classes}", encoding="utf-8")
        done = _pytest(directory, keyword, loud=loud)
        refused = directory / REFUSED
        if refused.exists():
            used = refused.read_text(encoding="utf-8")
            raise ContractError(f"{used}; the laws are tried on empty stores only")
        record = directory / RECORD
        if done.returncode not in {0, 1} or not record.exists():
            raise ContractError(f"pytest could not run the laws:\n{_tail(done)}")
        told = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    return [_seam(suite, told) for suite in suites]


def _pytest(
    directory: Path, keyword: str | None, *, loud: bool
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-c", str(directory / "pytest.ini")]
    command += ["--rootdir", str(directory), "-p", "wfe.testing.contract_recorder"]
    command += ["-p", "no:cacheprovider", "-q", "--tb=short", "--import-mode=importlib"]
    command += [] if keyword is None else ["-k", keyword]
    own = {"HYPOTHESIS_STORAGE_DIRECTORY": str(directory / "hypothesis")}
    own[RECORDS] = str(directory)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "WFE_REQUIRE_"))}
    return subprocess.run(  # noqa: S603 - this interpreter, and a module of our own
        [*command, str(directory / "test_contract.py")],
        env={**kept, **own},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if loud else subprocess.PIPE,
        stderr=None if loud else subprocess.STDOUT,
        text=True,
        check=False,
    )


def _tail(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout or "").strip().splitlines()[-15:]
    return "\n".join(f"  {line}" for line in lines) or f"  it exited with {done.returncode}"


def _seam(suite: _Suite, told: Sequence[Mapping[str, Any]]) -> Seam:
    laws = [
        Law(
            seam=suite.seam,
            name=each["law"].removeprefix("test_"),
            outcome=each["outcome"],
            text=each["text"],
        )
        for each in told
        if each["seam"] == suite.name
    ]
    return Seam(name=suite.seam, capabilities=tuple(sorted(suite.capabilities)), laws=tuple(laws))
