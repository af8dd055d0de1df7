"""Every fuzz target, for a few seconds, without the tool that guides the fuzzing."""

from __future__ import annotations

import itertools
import time

import pytest
from fuzz.mutating import mutants
from fuzz.targets import TARGETS

RUNS = 3000
SECONDS = 5.0
SLOWEST = 2.0  # CPU seconds of one input of 4 kB; the fuzzer itself allows one


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_promise(name: str) -> None:
    target = TARGETS[name]
    until = time.monotonic() + SECONDS

    done = 0
    for data in itertools.islice(mutants(target, seed=4), RUNS):
        began = time.process_time()
        target.run(data)
        assert time.process_time() - began < SLOWEST, data
        done += 1
        if time.monotonic() > until:
            break

    assert done >= 20


def test_what_is_mutated_is_the_same_for_a_seed() -> None:
    target = TARGETS["type"]

    first = list(itertools.islice(mutants(target, seed=1), 20))

    assert first == list(itertools.islice(mutants(target, seed=1), 20))
    assert first != list(itertools.islice(mutants(target, seed=2), 20))
