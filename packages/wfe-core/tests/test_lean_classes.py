"""Classes of ``wfe.core.lean`` show, compare and hash as attrs's own do."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import attrs
import pytest

from wfe.core import lean

KINDS = ("frozen", "lean", "define")


def made_by(make: Any, **settings: Any) -> Any:
    """Return a class with fields of each sort, as *make* makes it."""

    @make(**settings)
    class Record:
        name: str
        size: int = 3
        secret: str = attrs.field(default="s", repr=False)
        note: str = attrs.field(default="n", eq=False)
        shown: float = attrs.field(default=0.5, repr=lambda value: f"<{value}>")
        later: Any = attrs.field(init=False, eq=False)

    return Record


def both(kind: str, **settings: Any) -> tuple[Any, Any]:
    """Return the class of this library, and the one that attrs makes of the same."""
    theirs: dict[str, Any] = {
        "frozen": attrs.frozen,
        "define": attrs.define,
        "lean": partial(attrs.define, unsafe_hash=True),
    }
    return made_by(getattr(lean, kind), **settings), made_by(theirs[kind], **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings", [{}, {"kw_only": True}, {"slots": False}, {"eq": False}, {"repr": False}], ids=str
)
def test_they_do_what_classes_of_attrs_do(kind: str, settings: dict[str, Any]) -> None:
    said: list[list[Any]] = []
    for cls in both(kind, **settings):
        one, same, noted = cls(name="a"), cls(name="a"), cls(name="a", note="other")
        others = [cls(name="b"), cls(name="a", size=4), cls(name="a", secret="t"), "a", None]
        shown = repr(one).partition(" object at ")[0]
        equal = [one == each for each in (one, same, noted, *others)]
        unequal = [one != each for each in (one, same, noted, *others)]
        hashable = cls.__hash__ is not None
        hashed = hashable and hash(one) == hash(same) == hash(noted)
        said.append([shown, equal, unequal, hashable, hashed, [a.name for a in attrs.fields(cls)]])
    ours, theirs = said
    if kind == "lean" and settings.get("eq") is False:
        theirs[4] = ours[4]  # hashed by identity, like all that compares by it
    assert ours == theirs


def test_only_frozen_classes_refuse_to_change() -> None:
    frozen = made_by(lean.frozen)(name="a")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        frozen.size = 1
    plain = made_by(lean.lean)(name="a")
    plain.size = 1
    assert plain.size == 1


def test_own_methods_stay() -> None:
    @lean.frozen
    class Own:
        name: str

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    assert repr(Own("a")) == "own"
    assert Own("a") == Own("b")


@lean.frozen
class Base:
    """A class for pickles and subclasses."""

    name: str


@lean.frozen
class Derived(Base):
    """It has a field more."""

    size: int = 1


class Undecorated(Derived):
    """It has what its base has."""


@lean.frozen
class Empty:
    """It has no field."""


@lean.define(eq=False)
class Failed(Exception):  # noqa: N818 - as the library's errors, it compares by identity
    """An error with a field."""

    reason: str


def test_subclasses_are_of_another_kind() -> None:
    assert Derived("a") == Derived("a")
    assert Base("a") != Derived("a")
    assert Derived("a") != Undecorated("a")
    assert repr(Undecorated("a")) == "Undecorated(name='a', size=1)"
    assert Empty() == Empty()
    assert len({Empty(), Empty(), Derived("a"), Derived("a"), Derived("b")}) == 3


def test_they_can_be_pickled_and_evolve() -> None:
    one = Derived("a", 2)
    assert pickle.loads(pickle.dumps(one)) == one
    assert attrs.evolve(one, size=3) == Derived("a", 3)
    match one:
        case Derived(name, size):
            assert (name, size) == ("a", 2)


def test_errors_compare_by_identity() -> None:
    error = Failed("full")
    assert (repr(error), error.args) == ("Failed(reason='full')", ("full",))
    assert error == error  # noqa: PLR0124 - that is what is asked
    assert error != Failed("full")


def test_what_contains_itself_is_shown() -> None:
    @lean.lean
    class Knot:
        inner: Any

    knot = Knot([])
    knot.inner.append(knot)
    assert repr(knot) == "Knot(inner=[...])"


@pytest.mark.parametrize("special", [{"eq": str.lower}, {"hash": False}], ids=str)
def test_fields_that_compare_in_their_own_way_are_refused(special: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"Odd\.name compares in its own way: use attrs\.frozen"):

        @lean.frozen
        class Odd:
            name: str = attrs.field(**special)
