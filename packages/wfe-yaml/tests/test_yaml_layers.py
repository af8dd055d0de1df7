"""A map of layers is a dict whose copies are cheap."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.yaml.layers import Layers, layered

ENTRIES = st.dictionaries(st.text("abc", max_size=3), st.integers(), max_size=40)


@given(st.lists(ENTRIES, max_size=12))
def test_it_is_the_dict_with_the_same_entries(added: list[dict[str, int]]) -> None:
    layers, plain = Layers[int](), dict[str, int]()

    for entries in added:
        layers = layers.with_all(entries)
        plain = {**plain, **entries}

    assert dict(layers) == plain
    assert len(layers) == len(plain)
    assert all(layers[name] == value for name, value in plain.items())
    assert layers.get("zz") is None
    with pytest.raises(KeyError):
        layers["zz"]


@given(ENTRIES, st.lists(ENTRIES, max_size=6), st.lists(ENTRIES, max_size=6))
def test_two_maps_of_one_origin_are_joined(
    first: dict[str, int], left: list[dict[str, int]], right: list[dict[str, int]]
) -> None:
    origin = layered(first)
    one = other = origin
    mine, theirs = dict(first), dict(first)
    for entries in left:
        one, mine = one.with_all(entries), {**mine, **entries}
    for entries in right:
        other, theirs = other.with_all(entries), {**theirs, **entries}
    changed = {name: value for name, value in theirs.items() if mine.get(name) != value}

    joined = one.joined(other)

    assert set(joined) == {*mine, *theirs}
    assert all(joined[name] in {mine.get(name), theirs.get(name)} for name in joined)
    assert all(joined[name] == theirs[name] for name in theirs if name not in mine)
    assert all(joined[name] == mine[name] for name in mine if name not in changed)
    assert dict(other.beyond(one)) == {n: v for n, v in theirs.items() if n not in mine}


def test_ten_thousand_copies_share_their_entries() -> None:
    layers = Layers[int]()

    kept = [layers := layers.with_all({f"s{i}": i}) for i in range(10_000)]

    assert len(kept[-1]) == 10_000
    assert kept[99].get("s100") is None
    assert dict(kept[9_999].beyond(kept[9_990])) == {f"s{i}": i for i in range(9_991, 10_000)}


def test_joining_thousands_of_maps_takes_no_time_that_grows_with_their_square() -> None:
    made = [layered({"s0": 0})]

    began = time.process_time()
    for i in range(1, 8_000):
        made.append(made[i - 1].joined(made[i // 2]).with_all({f"s{i}": i}))

    assert len(made[-1]) == 8_000
    # Copies of dicts would be 32 million entries, twice: minutes.
    assert time.process_time() - began < 2
