"""Each seam has at least eight providers that are wrong on purpose, and each of them is caught.

That they are caught is tested where they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from test_contracts_zoo import LOCK_ZOO, PERSISTENCE_ZOO, QUEUE_ZOO
from test_zoo_crashes import ZOO as CRASH_ZOO
from test_zoo_keeping import BLOB_ZOO
from test_zoo_lifecycle import ZOO as LIFECYCLE_ZOO
from test_zoo_races import ZOO as RACE_ZOO
from test_zoo_results import NAMES, RESULTS, STORES
from test_zoo_search import FEEDS, INDEXES
from test_zoo_secrets import ZOO as SECRETS_ZOO

ZOOS: dict[str, Sequence[Any]] = {
    "persistence": PERSISTENCE_ZOO,
    "races": RACE_ZOO,
    "crashes": CRASH_ZOO,
    "queue": QUEUE_ZOO,
    "lock": LOCK_ZOO,
    "lifecycle": LIFECYCLE_ZOO,
    "search": INDEXES,
    "changes": FEEDS,
    "blobs": BLOB_ZOO,
    "artifacts": STORES,
    "artifact index": NAMES,
    "cache index": RESULTS,
    "secrets": SECRETS_ZOO,
}


def animals(zoo: Sequence[Any]) -> set[Any]:
    """Return who is wrong: the first of each row, or the row itself."""
    return {row[0] if isinstance(row, tuple) else row for row in zoo}


@pytest.mark.parametrize("seam", ZOOS)
def test_a_seam_has_eight_wrong_providers(seam: str) -> None:
    assert len(animals(ZOOS[seam])) >= 8
