"""What a provider may claim towards its contract suite; a law that needs more is skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["CAPABILITIES"]

CAPABILITIES: Final[Mapping[str, Mapping[str, str]]] = {
    "persistence": {
        "durable": "it outlives its process; there is a fixture `reopen`, an async function that"
        " closes `store` without any worker saying goodbye and returns it opened again",
        "lock": "the store is its own lock (feature `lock`): `beat` counts for `fence`",
        "shared": "several store objects see the same backend; there is a fixture"
        " `another_store`, a function that returns one more for the backend of `store`, not open",
        "virtual_clock": "the store goes by the clock that `new_store` is given",
    },
    "queue": {},
    "lock": {
        "fences": "it knows whom the store fenced; there is a fixture `fence`, an async function"
        " that takes an epoch",
        "virtual_clock": "leases go by the clock that the fixture `clock` returns",
    },
    "lifecycle": {
        "bounded": "it keeps about `kept` events, and not ever more",
    },
    "search": {},
    "transactions": {},
    "outbox": {},
    "changes": {},
    "blobs": {},
    "artifacts": {},
    "artifact index": {},
    "cache index": {
        "virtual_clock": "the store of the fixture goes by a `VirtualClock`",
    },
    "secrets": {
        "empty": "a secret may be the empty text",
    },
}
"""Contract -> capability -> what claiming it promises."""
