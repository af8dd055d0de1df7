"""Data models: what is taken for a declared type, what is refused, what counts as a change."""

from __future__ import annotations

import enum
import operator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.core import codec
from wfe.core.data import model_for, same
from wfe.core.errors import DataTypeError, DefinitionError
from wfe.core.fields import merged, transient
from wfe.core.reducers import append, union
from wfe.core.rules.inputs import Writes

T = TypeVar("T")
NOW = datetime(2025, 1, 2, 3, 4, tzinfo=UTC)


class Color(enum.Enum):
    RED = "red"
    ONE = 1


@attrs.define
class Item:
    sku: str
    count: int = 1


@attrs.define
class Box(Generic[T]):
    value: T


@attrs.define
class Tree:
    name: str
    children: list[Tree] = attrs.field(factory=list["Tree"])


@attrs.define
class Cat:
    purrs: bool


@attrs.define
class Dog:
    barks: bool


@attrs.define
class Cat2:
    purrs: bool


class Name(str):
    __slots__ = ()


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    ONE = "one"


@attrs.define
class Named:
    name: Name
    level: Level
    word: Word


def either(current: dict[str, int], operand: dict[str, int]) -> dict[str, int]:
    return {**current, **operand}


def longest(current: str, operand: str) -> str:
    return max(current, operand, key=len)


@attrs.define
class Order:
    id: int
    amount: float = 0
    note: str | None = None
    items: list[Item] = attrs.field(factory=list[Item])
    by_name: dict[str, Item] = attrs.field(factory=dict[str, Item])
    numbers: set[int] = attrs.field(factory=set[int])
    place: tuple[int, str] = (0, "")
    color: Color = Color.RED
    mode: Literal["a", 1] = "a"
    key: int | str = 0
    when: datetime | None = None
    price: Decimal = Decimal(0)
    box: Box[int] = attrs.Factory(lambda: Box(0))
    tree: Tree | None = None
    pet: Cat | Dog | None = None
    anything: Any = None
    step: int = attrs.field(default=0, init=False)
    cache: dict[str, int] = transient(factory=dict)


@attrs.define
class Merging:
    tags: list[str] = merged(operator.add, factory=list)
    log: list[str] = merged(append, factory=list)
    names: list[str] = merged(union, factory=list)
    numbers: set[int] = merged(union, factory=set)
    options: dict[str, int] = merged(either, factory=dict)
    total: Decimal = merged(operator.add, default=Decimal(0))
    count: int = merged(operator.add, default=0)
    text: str = merged(operator.add, default="")
    best: int = merged(max, default=0)
    word: str = merged(longest, default="")
    maybe: list[int] | None = merged(operator.add, default=None)


@dataclass
class Shipment:
    id: int
    tags: Annotated[list[str], merged(operator.add)] = field(default_factory=list[str])
    lock: Annotated[object, transient()] = None


class Row(TypedDict):
    id: int
    name: NotRequired[str]
    tags: NotRequired[Annotated[list[str], merged(operator.add)]]
    cache: NotRequired[Annotated[list[int], transient(factory=list)]]


def start(**given: Any) -> dict[str, Any]:
    return model_for(Order).start({"id": 1, **given})


@pytest.mark.parametrize(
    ("name", "given_", "value"),
    [
        ("amount", 3, 3.0),
        ("note", None, None),
        ("items", [{"sku": "x"}], [Item("x")]),
        ("items", [Item("x", 2)], [Item("x", 2)]),
        ("by_name", {"k": {"sku": "x"}}, {"k": Item("x")}),
        ("numbers", [1, 2, 2], {1, 2}),
        ("numbers", {1}, {1}),
        ("place", [1, "x"], (1, "x")),
        ("color", "red", Color.RED),
        ("color", Color.ONE, Color.ONE),
        ("mode", 1, 1),
        ("key", "x", "x"),
        ("when", "2025-01-02T03:04:00+00:00", NOW),
        ("when", NOW, NOW),
        ("price", "1.50", Decimal("1.50")),
        ("price", 2, Decimal(2)),
        ("box", {"value": 3}, Box(3)),
        ("tree", {"name": "a", "children": [{"name": "b"}]}, Tree("a", [Tree("b")])),
        ("pet", {"barks": True}, Dog(barks=True)),
        ("pet", Cat(purrs=True), Cat(purrs=True)),
        ("anything", {"x": {1, 2}}, {"x": {1, 2}}),
        ("step", 4, 4),
    ],
)
def test_a_field_takes_its_type_and_what_json_writes_for_it(
    name: str, given_: Any, value: Any
) -> None:
    loaded = model_for(Order).load(start(**{name: given_}))

    assert getattr(loaded, name) == value
    assert type(getattr(loaded, name)) is type(value)


WRONG_STARTS: list[tuple[Any, str]] = [
    ({"id": "5"}, "data.id: expected int, got '5' (str)"),
    ({"id": True}, "data.id: expected int, got True (bool)"),
    ({"id": 1.0}, "data.id: expected int, got 1.0 (float)"),
    ({}, "data.id: is missing; Order needs it"),
    (None, "data.id: is missing; Order needs it"),
    (5, "data: expected Order, got 5 (int)"),
    (Item("x"), "data: expected Order, got Item(sku='x', count=1) (Item)"),
    ({"id": 1, "amout": 2}, "data.amout: Order has no such field; did you mean 'amount'?"),
    ({"id": 1, 2: 3}, "data: the field name 2 is no text; give data fields names of type str"),
    ({"id": 1, "note": 5}, "data.note: expected str | None, got 5 (int)"),
    ({"id": 1, "items": "abc"}, "data.items: expected list[Item], got 'abc' (str)"),
    ({"id": 1, "items": [{"sku": 1}]}, "data.items[0].sku: expected str, got 1 (int)"),
    ({"id": 1, "items": [{"count": 1}]}, "data.items[0].sku: is missing"),
    (
        {"id": 1, "items": [{"sku": "x", "cuont": 1}]},
        "data.items[0].cuont: Item has no such field; did you mean 'count'?",
    ),
    ({"id": 1, "items": [7]}, "data.items[0]: expected Item, got 7 (int)"),
    ({"id": 1, "by_name": {"k": {"sku": 1}}}, "data.by_name['k'].sku: expected str, got 1 (int)"),
    ({"id": 1, "by_name": []}, "data.by_name: expected dict[str, Item], got [] (list)"),
    ({"id": 1, "numbers": "12"}, "data.numbers: expected set[int], got '12' (str)"),
    ({"id": 1, "numbers": [1, "2"]}, "data.numbers[1]: expected int, got '2' (str)"),
    ({"id": 1, "place": [1]}, "data.place: expected 2 items, got 1"),
    ({"id": 1, "place": [1, 2]}, "data.place[1]: expected str, got 2 (int)"),
    ({"id": 1, "color": "blue"}, "data.color: expected Color ('red', 1), got 'blue' (str)"),
    ({"id": 1, "color": True}, "data.color: expected Color ('red', 1), got True (bool)"),
    ({"id": 1, "mode": True}, "data.mode: expected one of 'a', 1, got True (bool)"),
    ({"id": 1, "key": 1.5}, "data.key: expected int | str, got 1.5 (float)"),
    ({"id": 1, "when": "soon"}, "data.when: expected datetime | None, got 'soon' (str)"),
    ({"id": 1, "price": 1.5}, "data.price: expected Decimal or its text, got 1.5 (float)"),
    ({"id": 1, "price": "NaN"}, "data.price: expected Decimal or its text, got 'NaN' (str)"),
    ({"id": 1, "box": {"value": "x"}}, "data.box.value: expected int, got 'x' (str)"),
    (
        {"id": 1, "tree": {"name": "a", "children": [{"name": 1}]}},
        "data.tree.children[0].name: expected str, got 1 (int)",
    ),
    ({"id": 1, "anything": object}, "data.anything: an object of class type cannot be stored; "),
]


@pytest.mark.parametrize(("given_", "message"), WRONG_STARTS)
def test_wrong_start_data_is_refused_with_place_and_expectation(given_: Any, message: str) -> None:
    with pytest.raises(DataTypeError) as raised:
        model_for(Order).start(given_)

    shown = str(raised.value).replace(f"{__name__}.", "")
    assert shown == message or (message.endswith("; ") and shown.startswith(message))


def test_attrs_validators_and_converters_have_their_say() -> None:
    def even(_: object, __: object, value: int) -> None:
        if value % 2:
            raise ValueError("must be even")

    def ordered(tags: list[str]) -> list[str]:
        return sorted(tags)

    @attrs.define
    class Checked:
        n: int = attrs.field(validator=even)
        tags: list[str] = attrs.field(converter=ordered, factory=list[str])

    model = model_for(Checked)

    assert model.start({"n": 2, "tags": ["b", "a"]}) == {"n": 2, "tags": ["a", "b"]}
    with pytest.raises(DataTypeError, match=r"^data: is not valid \(ValueError: must be even\)$"):
        model.start({"n": 3})


def test_an_instance_starts_a_run_and_is_checked_like_a_mapping() -> None:
    order = Order(id=1, items=[Item("x")], cache={"a": 1})
    wrong = Order(id="1")  # type: ignore[arg-type]

    stored = model_for(Order).start(order)

    assert "cache" not in stored
    assert model_for(Order).load(stored) == attrs.evolve(order, cache={})
    with pytest.raises(DataTypeError, match="expected int, got '1'"):
        model_for(Order).start(wrong)


def test_starting_again_from_what_was_loaded_changes_nothing() -> None:
    model = model_for(Order)
    stored = start(amount=3, when="2025-01-02T03:04:00+00:00", numbers=[2, 1], tree={"name": "a"})

    loaded = model.load(stored)

    assert model.start(loaded) == stored == model.dump(loaded)
    assert model.changes(stored, loaded, 4) == Writes({}, base=4)


def test_loaded_data_shares_nothing_with_what_is_stored() -> None:
    model = model_for(Order)
    stored = start(items=[{"sku": "x"}], anything={"a": [1]})

    first, second = model.load(stored), model.load(stored)
    first.items[0].sku = "y"
    first.anything["a"].append(2)
    first.cache["k"] = 1

    assert second == model.load(stored)
    assert second.cache == {}


def test_a_field_that_the_type_has_no_more_is_passed_over() -> None:
    stored = {**start(items=[{"sku": "x"}]), "gone": 1}
    stored["items"] = [{"sku": "x", "count": 1, "gone": 2}]

    loaded = model_for(Order).load(stored)

    assert loaded.items == [Item("x")]
    assert model_for(Order).changes(stored, loaded, 0).removed == ()


def test_changes_are_found_field_by_field() -> None:
    model = model_for(Order)
    before = start()
    order = model.load(before)

    order.note = "x"
    order.items.append(Item("y"))
    order.step = 2
    order.cache["k"] = 1

    changed = {"note": "x", "items": [{"sku": "y", "count": 1}], "step": 2}
    assert model.changes(before, order, 7) == Writes(changed, base=7)


def test_a_change_is_checked_against_the_type() -> None:
    model = model_for(Order)
    before = start()
    order = model.load(before)
    order.note = 5

    with pytest.raises(DataTypeError, match=r"^data.note: expected str \| None, got 5 \(int\)$"):
        model.changes(before, order, 0)
    del order.note
    with pytest.raises(DataTypeError, match=r"^data\.note: the field was deleted"):
        model.changes(before, order, 0)


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), (0.0, -0.0), ([1], [1.0]), ({"a": 0}, {"a": False})]
)
def test_values_that_python_calls_equal_are_other_values(one: Any, other: Any) -> None:
    model = model_for(None)

    writes = model.changes({"x": one}, {"x": other}, 0)

    assert not same(one, other)
    assert [repr(value) for value in writes.fields.values()] == [repr(other)]


@given(st.recursive(st.integers() | st.text() | st.none() | st.booleans(), st.lists))
def test_every_value_is_the_same_as_its_copy(value: Any) -> None:
    stored = codec.encode(value)

    assert same(stored, codec.encode(codec.decode(stored)))


def test_plain_data_may_gain_and_lose_fields() -> None:
    model = model_for(None)
    before = model.start({"a": 1, "b": [1], "$x": {"$": 1}})
    data = model.load(before)

    del data["a"]
    data["b"].append(2)
    data["c"] = {1: 2}

    stored = {"b": [1, 2], "c": {"$": "dict", "v": [[1, 2]]}}
    assert model.changes(before, data, 3) == Writes(stored, ("a",), {}, 3)
    assert before["b"] == [1]


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (5, "data: expected a mapping, got 5 (int)"),
        ({1: 2}, "data: the field name 1 is no text; give data fields names of type str"),
        ({"$": 2}, "data: a data field cannot be called '$'; choose another name"),
        (
            {"x\ud800": 2},
            "data: the field name 'x\\ud800': contains a lone surrogate at position 1",
        ),
    ],
)
def test_wrong_plain_data_is_refused(given_: Any, message: str) -> None:
    with pytest.raises(DataTypeError) as raised:
        model_for(dict).start(given_)

    assert str(raised.value).removesuffix(", which is no valid text") == message


def test_plain_data_may_come_as_an_object() -> None:
    assert model_for(None).start(Item("x")) == {"sku": "x", "count": 1}
    assert model_for(None).start(None) == {}


# -- reducers --------------------------------------------------------------------------------------

REDUCED: list[tuple[str, Any, Any, Any]] = [
    ("tags", ["a"], ["b"], ["a", "b"]),
    ("log", ["a"], "b", ["a", "b"]),
    ("names", ["a"], ["a", "b"], ["a", "b"]),
    ("numbers", {1}, {2}, {1, 2}),
    ("options", {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    ("total", Decimal("1.5"), Decimal("0.5"), Decimal("2.0")),
    ("count", 1, 2, 3),
    ("count", 2**80, 2**80, 2**81),
    ("text", "a", "b", "ab"),
    ("best", 3, 2, 3),
    ("word", "abc", "de", "abc"),
    ("maybe", None, [1], [1]),
    ("maybe", [1], [2], [1, 2]),
]


def _merge(name: str, current: Any, operand: Any) -> Any:
    """Merge as the rules do: by name on stored values, or by the wrapped function."""
    from wfe.core.reducers import REDUCERS  # noqa: PLC0415 - the other side of the seam

    reducer = model_for(Merging).reducers[name]
    merge = REDUCERS[reducer.name] if reducer.name else reducer.merge
    return merge(current, operand)


@pytest.mark.parametrize(("name", "current", "operand", "result"), REDUCED)
def test_a_returned_value_is_the_operand(
    name: str, current: Any, operand: Any, result: Any
) -> None:
    model = model_for(Merging)
    before = model.start({name: current})

    writes = model.returned({name: operand}, 5)

    assert (writes.fields, set(writes.reduced), writes.base) == ({}, {name}, 5)
    merged_ = {**before, name: _merge(name, before[name], writes.reduced[name])}
    assert getattr(model.load(merged_), name) == result


@pytest.mark.parametrize(
    ("name", "current", "result"),
    [(name, current, result) for name, current, _, result in REDUCED if current != result],
)
def test_a_change_becomes_an_operand_that_makes_it(name: str, current: Any, result: Any) -> None:
    model = model_for(Merging)
    before = model.start({name: current})
    data = model.load(before)
    setattr(data, name, result)

    writes = model.changes(before, data, 5)

    assert (writes.fields, set(writes.reduced)) == ({}, {name})
    merged_ = {**before, name: _merge(name, before[name], writes.reduced[name])}
    assert getattr(model.load(merged_), name) == result


def test_only_lists_and_text_are_journaled_by_operand() -> None:
    names = {name: reducer.name for name, reducer in model_for(Merging).reducers.items()}

    by_operand = {"tags": "add", "log": "append", "names": "union", "text": "add"}
    assert {name: found for name, found in names.items() if found} == by_operand


def test_an_operand_of_a_wrong_type_is_refused() -> None:
    with pytest.raises(DataTypeError, match=r"data.tags: expected list\[str\], got 'x'"):
        model_for(Merging).returned({"tags": "x"}, 0)


# -- dataclasses and typed dicts -------------------------------------------------------------------


def test_dataclass_fields_are_marked_in_the_annotation() -> None:
    model = model_for(Shipment)

    stored = model.start(Shipment(1, ["a"], lock=object()))

    assert stored == {"id": 1, "tags": ["a"]}
    assert model.load(stored) == Shipment(1, ["a"])
    assert set(model.reducers) == {"tags"}
    assert model.returned({"tags": ["b"], "id": 2}, 0) == Writes({"id": 2}, (), {"tags": ["b"]}, 0)


def test_typed_dicts_know_which_fields_may_be_missing() -> None:
    model = model_for(Row)
    before = model.start({"id": 1, "name": "x"})
    row = model.load(before)

    del row["name"]
    row["cache"].append(1)
    row["tags"] = ["a"]

    assert model.load(before) == {"id": 1, "name": "x", "cache": []}
    assert model.changes(before, row, 2) == Writes({}, ("name",), {"tags": ["a"]}, 2)
    with pytest.raises(DataTypeError, match=r"^data\.id: is missing; Row needs it"):
        model.start({})
    with pytest.raises(
        DataTypeError, match=r"^data\.nmae: Row has no such field; did you mean 'name'"
    ):
        model.changes(before, {"id": 1, "nmae": 2}, 0)
    with pytest.raises(DataTypeError, match=r"^data\.id: is required and cannot be removed"):
        model.changes(before, {"name": "x"}, 0)


def test_data_types_that_cannot_work_are_refused() -> None:
    @dataclass
    class Misplaced:
        tags: list[str] = merged(operator.add, factory=list)

    @dataclass
    class Undefaulted:
        lock: Annotated[object, transient()]

    @attrs.define
    class Unstorable:
        stream: memoryview

    @attrs.define
    class Ambiguous:
        it: Cat | Cat2

    cases: list[tuple[Any, str]] = [
        (
            int,
            "int cannot be the type of a workflow's data; use an attrs class, a dataclass,",
        ),
        (Order(id=1), "cannot be the type of a workflow's data"),
        (
            Misplaced,
            "field 'tags' of a dataclass cannot be declared with = merged(...) or = transient(...)",
        ),
        (Undefaulted, "transient field 'lock' has no default"),
        (Ambiguous, "Ambiguous.it: the type test_data.Cat | test_data.Cat2 cannot be read back ("),
        (
            Unstorable,
            "Unstorable.stream: values of type memoryview cannot be stored; use plain types,",
        ),
    ]
    for wrong, message in cases:
        with pytest.raises(DefinitionError) as raised:
            model_for(wrong)
        assert message in str(raised.value).replace(f"{__name__}.", "test_data.")


def test_frozen_classes_and_private_fields_work() -> None:
    @attrs.frozen
    class Sealed:
        a: int
        _b: int = 2
        c: int = attrs.field(default=3, init=False)

    model = model_for(Sealed)

    assert model.start({"a": 1}) == {"a": 1, "_b": 2, "c": 3}
    assert model.load({"a": 1, "_b": 5, "c": 3}) == Sealed(1, 5)


def test_kinds_of_text_and_number_come_back_as_their_class() -> None:
    model = model_for(Named)

    loaded = model.load(model.start({"name": "x", "level": 3, "word": "one"}))

    assert (type(loaded.name), loaded.level, loaded.word) == (Name, Level.HIGH, Word.ONE)
    with pytest.raises(DataTypeError, match=r"^data\.word: expected Word \('one'\), got 'two'"):
        model.start({"name": "x", "level": 3, "word": "two"})
    with pytest.raises(DataTypeError, match=r"^data\.name: expected Name \(str\), got 5"):
        model.start({"name": 5, "level": 3, "word": "one"})


def test_one_type_has_one_model() -> None:
    assert model_for(Order) is model_for(Order)
    assert model_for(None) is model_for(dict) is model_for(dict[str, int])


def test_field_types_are_known_for_expressions() -> None:
    names = model_for(Order).type_names

    assert names is not None
    assert (names["id"], names["note"], "cache" in names) == (int, str | None, False)
    assert model_for(None).type_names is None
