"""The fleet over every kind of store: nothing is lost or done twice when a worker is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _urls(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    if store == "sqlite":
        return [f"sqlite:///{tmp_path}/orders.db"]
    names = ["postgres_url", "valkey_url"] if store == "postgres+valkey" else ["postgres_url"]
    return [str(request.getfixturevalue(name)) for name in names]


@pytest.mark.parametrize("store", ["sqlite", "postgres", "postgres+valkey"])
def test_a_fleet_that_loses_a_worker_loses_no_order(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    urls = _urls(store, request, tmp_path)

    done = subprocess.run(
        [sys.executable, "-m", "examples.many_hosts.fleet", *urls],
        cwd=ROOT,
        env={**os.environ, "WFE_LEASE": "2s"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.stdout.splitlines() == [
        "60 orders complete",
        "reserve: completed 60 times",
        "pack: completed 60 times",
        "ship: completed 60 times",
    ], done.stderr
