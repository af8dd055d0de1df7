"""What hosts are made of: the engine and all that it needs, imported when the first one is made.

A program that only imports the host, for its types or for what it offers, does not wait for it.
"""

from __future__ import annotations

from wfe.core.engine.engine import Engine
from wfe.core.engine.lifecycle import Subscription
from wfe.core.engine.options import StartOptions
from wfe.core.engine.settings import Settings
from wfe.core.secrets import open_secrets
from wfe.host.activities import Activities
from wfe.host.checks import (
    checked_caching,
    checked_labels,
    checked_middleware,
    counts,
    durations,
    functions,
)
from wfe.host.connect import connect, connect_part
from wfe.host.results import Artifacts, Cache
from wfe.host.schedules import Schedules

__all__ = [
    "Activities",
    "Artifacts",
    "Cache",
    "Engine",
    "Schedules",
    "Settings",
    "StartOptions",
    "Subscription",
    "checked_caching",
    "checked_labels",
    "checked_middleware",
    "connect",
    "connect_part",
    "counts",
    "durations",
    "functions",
    "open_secrets",
]
