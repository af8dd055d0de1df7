"""The reference page about contracts names suites, capabilities and laws that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any

import pytest

from wfe.testing import contracts
from wfe.testing.contracts import CAPABILITIES

PAGE = (Path(__file__).parents[3] / "docs/reference/provider-contracts.md").read_text("utf-8")
SUITES: dict[str, type] = {
    name: getattr(contracts, name) for name in contracts.__all__ if name.endswith("Contract")
}
SEAMS = {
    "PersistenceContract": "persistence",
    "QueueContract": "queue",
    "LockContract": "lock",
    "LifecycleContract": "lifecycle",
    "SearchContract": "search",
    "ChangesContract": "changes",
    "BlobContract": "blobs",
    "ArtifactStoreContract": "artifacts",
    "ArtifactIndexContract": "artifact index",
    "CacheIndexContract": "cache index",
    "SecretsContract": "secrets",
    "TransactionContract": "transactions",
    "OutboxContract": "outbox",
}


def section(title: str) -> str:
    return PAGE.split(f"## {title}")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """Return the cells of a table, without its head."""
    found = [line.strip("| ").split(" | ") for line in section(title).splitlines() if "|" in line]
    return found[2:]


def laws(suite: type) -> Iterator[tuple[str, Any]]:
    for name, law in getmembers(suite, isfunction):
        if name.startswith("test_"):
            yield name.removeprefix("test_"), law


def test_every_suite_is_on_the_page_with_its_protocol() -> None:
    table = rows("Suites")

    assert {row[3].strip("`") for row in table} == set(SUITES) == set(SEAMS)
    for row in table:
        module, _, name = row[2].strip("`").rpartition(".")
        assert hasattr(import_module(module), name), row[2]


def test_the_page_has_every_capability_and_no_other() -> None:
    told = {(row[0], row[1].strip("`")) for row in rows("Capabilities")}

    assert told == {(seam, name) for seam, known in CAPABILITIES.items() for name in known}


@pytest.mark.parametrize("suite", SUITES)
def test_laws_need_only_known_capabilities(suite: str) -> None:
    known = CAPABILITIES[SEAMS[suite]]
    needed = {
        capability
        for _, law in laws(SUITES[suite])
        for mark in getattr(law, "pytestmark", [])
        if mark.name == "needs"
        for capability in mark.args
    }

    assert needed <= set(known)


def test_every_law_on_the_page_exists() -> None:
    known = {name for name, _ in laws(SUITES["PersistenceContract"])}
    known |= {f"{suite}.{name}" for suite, kind in SUITES.items() for name, _ in laws(kind)}

    table = rows("What can go wrong in a store, and the laws that say so")
    told = [name for row in table for name in re.findall(r"`([\w.]+)`", row[1])]

    assert len(table) > 30
    assert [name for name in told if name not in known] == []
    assert len(told) == len(set(told)) > 100


def test_every_race_and_crash_is_on_the_page() -> None:
    from wfe.testing.contracts.crashes import CrashLaws  # noqa: PLC0415 - parts, not suites
    from wfe.testing.contracts.meetings import MeetingLaws  # noqa: PLC0415 - as above
    from wfe.testing.contracts.races import RaceLaws  # noqa: PLC0415 - as above

    parts = (CrashLaws, MeetingLaws, RaceLaws)
    missing = [name for part in parts for name, _ in laws(part) if f"`{name}`" not in PAGE]

    assert missing == ["a_schedule_put_by_twenty_is_new_once"]
