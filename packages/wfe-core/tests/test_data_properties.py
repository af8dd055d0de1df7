"""Whatever data there is, storing, loading and comparing it loses and invents nothing."""

from __future__ import annotations

import operator
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import attrs
import orjson
from hypothesis import given
from hypothesis import strategies as st

from wfe.core.data import model_for, same
from wfe.core.fields import merged
from wfe.core.rules.inputs import Writes


class Size(Enum):
    SMALL = "s"
    LARGE = 2


@attrs.define
class Part:
    name: str
    weight: float = 1.0
    inner: Part | None = None


@attrs.define
class Order:
    id: int
    price: Decimal = Decimal(0)
    when: datetime | None = None
    size: Size = Size.SMALL
    parts: list[Part] = attrs.field(factory=list[Part])
    by_key: dict[int, set[str]] = attrs.field(factory=dict[int, set[str]])
    pair: tuple[bool, bytes] = (False, b"")
    either: int | str | None = None


@attrs.define
class Tagged:
    tags: list[str] = merged(operator.add, factory=list)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.floats(allow_nan=False, allow_infinity=False)
parts = st.recursive(
    st.builds(Part, text, numbers),
    lambda inner: st.builds(Part, text, numbers, inner),
    max_leaves=3,
)
orders = st.builds(
    Order,
    id=st.integers(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    when=st.none() | st.datetimes(timezones=st.just(UTC)),
    size=st.sampled_from(Size),
    parts=st.lists(parts, max_size=3),
    by_key=st.dictionaries(st.integers(), st.sets(text, max_size=3), max_size=3),
    pair=st.tuples(st.booleans(), st.binary(max_size=3)),
    either=st.none() | st.integers() | text,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
fields = st.dictionaries(text.filter(lambda name: name != "$"), plain, max_size=5)


def through_a_store(stored: dict[str, Any]) -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads(orjson.dumps(stored))
    return loaded


def written(before: dict[str, Any], writes: Writes) -> dict[str, Any]:
    kept = {name: value for name, value in before.items() if name not in writes.removed}
    return {**kept, **writes.fields}


@given(orders)
def test_typed_data_comes_back_as_it_was(order: Order) -> None:
    model = model_for(Order)

    stored = through_a_store(model.start(order))

    loaded = model.load(stored)
    assert loaded == order
    assert model.changes(stored, loaded, 0) == Writes({}, base=0)
    assert same(model.start(attrs.asdict(order)), stored)


@given(orders, orders)
def test_changes_turn_one_state_into_the_other(before: Order, after: Order) -> None:
    model = model_for(Order)
    stored = model.start(before)

    writes = model.changes(stored, after, 0)

    assert model.load(written(stored, writes)) == after
    assert all(not same(value, stored[name]) for name, value in writes.fields.items())


@given(fields, fields)
def test_changes_of_plain_data_turn_one_state_into_the_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    model = model_for(None)
    stored = through_a_store(model.start(before))

    writes = model.changes(stored, after, 0)

    assert repr(sorted(model.load(written(stored, writes)).items(), key=_name)) == repr(
        sorted(after.items(), key=_name)
    )
    assert set(writes.removed) == before.keys() - after.keys()


def _name(pair: tuple[str, Any]) -> str:
    return pair[0]


@given(st.lists(text), st.lists(text))
def test_appended_items_are_the_operand(before: list[str], more: list[str]) -> None:
    model = model_for(Tagged)
    stored = model.start({"tags": before})
    tagged = model.load(stored)
    tagged.tags.extend(more)

    writes = model.changes(stored, tagged, 0)

    assert writes == Writes({}, (), {"tags": more} if more else {}, 0)
