"""The codec: everything comes back as it was, or is refused by name."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.core.codec import decode, encode
from wfe.core.errors import DataTypeError
from wfe.core.fields import transient

BERLIN = ZoneInfo("Europe/Berlin")
ODD: OrderedDict[str, int] = OrderedDict(a=1)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    ONE = "one"


@attrs.define
class Point:
    x: int
    y: Decimal
    cache: list[int] = transient(factory=list)


@dataclass
class Pair:
    left: Point
    right: set[int]


text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(allow_nan=False, allow_infinity=False),
    text,
    st.sampled_from(["$", "v", "set", "\0", "a\0b"]),
    st.binary(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.timezones()),
    st.dates(),
    st.times(timezones=st.none() | st.just(timezone(timedelta(hours=-3, minutes=30)))),
    st.timedeltas(),
    st.uuids(),
)
hashables = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(text | st.just("$"), inner, max_size=4),
        st.dictionaries(hashables, inner, max_size=3),
        st.sets(hashables, max_size=3),
        st.frozensets(hashables, max_size=3),
    ),
    max_leaves=12,
)


def exactly(one: Any, other: Any) -> bool:
    """Whether two values are equal and of equal types all the way down."""
    kind = one.__class__
    if kind is not other.__class__:
        return False
    if kind in (dict, OrderedDict):
        theirs = {(key.__class__, key): value for key, value in other.items()}
        return len(one) == len(other) and all(
            (key.__class__, key) in theirs and exactly(value, theirs[key.__class__, key])
            for key, value in one.items()
        )
    if kind in (list, tuple):
        return len(one) == len(other) and all(map(exactly, one, other))
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and one == other
    if isinstance(one, Decimal):
        return str(one) == str(other)
    if isinstance(one, datetime):
        return bool(one == other) and str(one.tzinfo) == str(other.tzinfo)
    return bool(one == other)


@given(values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    through_a_store = orjson.loads(orjson.dumps(encode(value)))

    assert exactly(decode(through_a_store), value)


@given(values)
def test_a_stored_form_shares_nothing_with_the_value(value: Any) -> None:
    before = orjson.dumps(encode(value))
    stored = encode(value)
    _wipe(stored)

    assert orjson.dumps(encode(value)) == before


def _wipe(stored: Any) -> None:
    kind = stored.__class__
    if kind in (dict, list):
        for inner in stored.values() if kind is dict else stored:
            _wipe(inner)
        stored.clear()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        pytest.param(
            {"a": [1, "x", None, True, 1.5]}, {"a": [1, "x", None, True, 1.5]}, id="plain"
        ),
        pytest.param((1, (2,)), [1, [2]], id="tuples-are-lists"),
        pytest.param(2**63 - 1, 2**63 - 1, id="64-bit"),
        pytest.param(2**63, {"$": "int", "v": "0x8000000000000000"}, id="beyond-64-bit"),
        pytest.param(Decimal("1.50"), {"$": "decimal", "v": "1.50"}, id="decimal"),
        pytest.param({1: 2}, {"$": "dict", "v": [[1, 2]]}, id="keys-that-are-no-text"),
        pytest.param({"$": 2}, {"$": "dict", "v": [["$", 2]]}, id="the-tag-key-is-escaped"),
        pytest.param({"b", "a"}, {"$": "set", "v": ["a", "b"]}, id="sets-have-one-order"),
        pytest.param(timedelta(seconds=1), {"$": "timedelta", "v": 1_000_000}, id="timedelta"),
        pytest.param(date(2025, 1, 2), {"$": "date", "v": "2025-01-02"}, id="date"),
        pytest.param(time(1, 2), {"$": "time", "v": "01:02:00"}, id="time"),
        pytest.param(bytearray(b"x"), {"$": "bytes", "v": "eA=="}, id="bytearray-is-bytes"),
        pytest.param(UUID(int=1), {"$": "uuid", "v": str(UUID(int=1))}, id="uuid"),
        pytest.param(
            datetime(2025, 1, 1, tzinfo=BERLIN),
            {"$": "datetime", "v": "2025-01-01T00:00:00+01:00[Europe/Berlin]"},
            id="datetime-keeps-its-zone",
        ),
        pytest.param([Color.RED, Level.HIGH, Word.ONE], ["red", 3, "one"], id="enum-members"),
        pytest.param({Word.ONE: 1}, {"one": 1}, id="text-enum-as-key"),
        pytest.param(ODD, {"a": 1}, id="subclasses-of-plain-types"),
        pytest.param(
            Pair(Point(1, Decimal(2), [3]), {4}),
            {"left": {"x": 1, "y": {"$": "decimal", "v": "2"}}, "right": {"$": "set", "v": [4]}},
            id="objects-field-by-field-without-transient",
        ),
    ],
)
def test_stored_forms(value: Any, stored: Any) -> None:
    assert exactly(encode(value), stored)


@pytest.mark.parametrize("fold", [0, 1])
def test_the_hour_that_happens_twice_stays_the_one_it_was(fold: int) -> None:
    value = datetime(2025, 10, 26, 2, 30, tzinfo=BERLIN, fold=fold)

    back = decode(encode(value))

    assert (back.utcoffset(), back.fold, back.tzinfo) == (value.utcoffset(), fold, BERLIN)


def _cycle() -> object:
    value: list[object] = []
    value.append(value)
    return value


def _unset() -> object:
    return Point.__new__(Point)


DAMAGED: list[tuple[Any, str]] = [
    ({"$": "nonsense", "v": 1}, "stored value: has the unknown tag 'nonsense'; it was stored"),
    ({"$": ["x"], "v": 1}, "stored value: has the unknown tag ['x']; it was stored by"),
    ({"$": "decimal", "v": "x"}, "stored value: is a damaged decimal"),
    ({"$": "uuid"}, "stored value: is a damaged uuid"),
    ({"$": "set", "v": [[]]}, "stored value: is a damaged set"),
]
REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: math.nan, "data: nan cannot be stored; use None or a text for no finite number"),
    (
        lambda: [1, -math.inf],
        "data[1]: -inf cannot be stored; use None or a text for no finite number",
    ),
    (
        lambda: {"a": Decimal("NaN")},
        "data.a: Decimal NaN cannot be stored; use None or a text for no finite number",
    ),
    (
        lambda: {"a b": [{"c": "x\ud800"}]},
        "data['a b'][0].c: contains a lone surrogate at position 1, which is no valid text",
    ),
    (
        lambda: {"x\ud800": 1},
        "data['x\\ud800']: contains a lone surrogate at position 1, which is no valid text",
    ),
    (
        lambda: Pair(Point(1, Decimal(1)), {object()}),  # type: ignore[arg-type]
        "data.right{}: an object of class object cannot be stored; use plain values,",
    ),
    (
        lambda: {(1, object): 1},
        "data[(1, <class 'object'>)]: an object of class type cannot be stored",
    ),
    (lambda: {frozenset({1}): _cycle()}, "is nested more than 200 levels deep, or contains itself"),
    (_cycle, "is nested more than 200 levels deep, or contains itself"),
    (_unset, "data.x: the field was never set on "),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_cannot_be_stored_is_named_with_its_place(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(DataTypeError) as raised:
        encode(make())

    shown = str(raised.value).replace(f"{__name__}.", "test_codec.")
    assert message in shown
    assert len(shown) < 600


def test_the_deepest_value_fits_the_json_library() -> None:
    value: Any = None
    for _ in range(200):
        value = [value]

    stored = encode(value)

    assert decode(orjson.loads(orjson.dumps([[[[[[[stored]]]]]]]))[0][0][0][0][0][0][0]) == value
    with pytest.raises(DataTypeError):
        encode([value])


def test_unhashable_members_are_refused() -> None:
    @attrs.frozen
    class Key:
        n: int

    with pytest.raises(DataTypeError, match="cannot be stored as a key or in a set"):
        encode({Key(1): 2})


@pytest.mark.parametrize(("stored", "message"), DAMAGED)
def test_damaged_stored_values_are_refused(stored: Any, message: str) -> None:
    with pytest.raises(DataTypeError) as raised:
        decode({"a": [stored]})

    assert str(raised.value).startswith(message)
