"""All that is random in a simulation comes from one seed; the one place where that is arranged."""

from __future__ import annotations

import os
import random  # noqa: TID251 - the one source of a simulation
import secrets
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

__all__ = ["drawn_from"]


@contextmanager
def drawn_from(seed: int, micros: Any) -> Generator[None]:
    """Have the standard library's sources of chance and wall time follow *seed* and *micros*.

    Epochs, ids, tokens and jitter are drawn by the code under test itself, from ``secrets``,
    ``os.urandom`` and ``random``; wall time is read for ids only.

    Args:
        seed: Of the simulation.
        micros: Returns the virtual time, µs since 1970.
    """
    rng = random.Random(f"{seed}/library")  # noqa: S311 - reproducible on purpose
    before = random.getstate()
    random.seed(rng.getrandbits(64))
    with ExitStack() as stack:
        for module, name, made in (
            (os, "urandom", rng.randbytes),
            (secrets, "randbits", rng.getrandbits),
            (secrets, "token_bytes", lambda size=32: rng.randbytes(size or 32)),
            (secrets, "token_hex", lambda size=32: rng.randbytes(size or 32).hex()),
            (secrets, "token_urlsafe", lambda size=32: rng.randbytes(size or 32).hex()),
            (secrets, "randbelow", rng.randrange),
            (secrets, "choice", rng.choice),
            (time, "time_ns", lambda: micros() * 1000),
            (time, "time", lambda: micros() / 1e6),
        ):
            stack.enter_context(patch.object(module, name, made))
        try:
            yield
        finally:
            random.setstate(before)
