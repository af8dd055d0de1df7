"""Fields of data classes: which there are, which are merged, which are never stored."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final, NotRequired, Required, TypeAlias, TypeVar, overload

import attrs
from typing_extensions import ReadOnly

from wfe.core.errors import DefinitionError
from wfe.core.lean import frozen

__all__ = ["DataField", "data_fields", "merged", "stored_names", "transient"]

T = TypeVar("T")

# For these a checker knows only ``list[Unknown]``, which strict users would have to look away from.
_Container: TypeAlias = type[list[Any]] | type[dict[Any, Any]] | type[set[Any]]

_REDUCER: Final = "wfe.reducer"
_TRANSIENT: Final = "wfe.transient"
_UNSET: Final[Any] = object()


@overload
def merged(reducer: Callable[[Any, Any], Any], *, factory: _Container) -> Any: ...
@overload
def merged(reducer: Callable[[Any, Any], Any], *, factory: Callable[[], T]) -> T: ...
@overload
def merged(reducer: Callable[[Any, Any], Any], *, default: T) -> T: ...
@overload
def merged(reducer: Callable[[Any, Any], Any]) -> Any: ...
def merged(
    reducer: Callable[[Any, Any], Any], *, factory: Any = _UNSET, default: Any = _UNSET
) -> Any:
    """Declare that concurrent writes to a data field are merged by *reducer*, not overwritten.

    In an attrs class it stands where ``attrs.field()`` would; in a dataclass or ``TypedDict`` it
    stands in the annotation::

        tags: list[str] = merged(operator.add, factory=list)  # attrs
        tags: Annotated[list[str], merged(operator.add)]  # dataclass, TypedDict

    Args:
        reducer: Takes the current value and the operand, returns the new value; it must not
            change either.  ``operator.add``, ``append``, ``union`` (or ``operator.or_``), ``min``
            and ``max`` are built in.
        factory: Makes the default.
        default: The default, when it is immutable.
    """
    return _field({_REDUCER: reducer}, factory, default)


@overload
def transient(*, factory: _Container) -> Any: ...
@overload
def transient(*, factory: Callable[[], T]) -> T: ...
@overload
def transient(*, default: T) -> T: ...
@overload
def transient() -> Any: ...
def transient(*, factory: Any = _UNSET, default: Any = _UNSET) -> Any:
    """Declare that a data field is never stored: each step gets a new one from its default.

    It stands where :func:`merged` stands.  Without *factory* and *default* the default is
    ``None`` in an attrs class, and the class's own in a dataclass.
    """
    if factory is _UNSET and default is _UNSET:
        default = None
    return _field({_TRANSIENT: True}, factory, default)


def _field(metadata: dict[str, Any], factory: Any, default: Any) -> Any:
    if factory is not _UNSET:
        return attrs.field(factory=factory, metadata=metadata)
    if default is not _UNSET:
        return attrs.field(default=default, metadata=metadata)
    return attrs.field(metadata=metadata)


@frozen(kw_only=True)
class DataField:
    """One field of a data class.

    Attributes:
        type: Its annotation without ``Annotated`` and the like.
        required: Whether it has no default.
        reducer: From :func:`merged`, ``None`` without.
        transient: Whether it is never stored.
        fresh: Makes a transient field's value; ``None``: the class does.
    """

    name: str
    type: Any
    required: bool
    reducer: Callable[[Any, Any], Any] | None
    transient: bool
    fresh: Callable[[], Any] | None = None


@cache
def data_fields(cls: type) -> tuple[DataField, ...] | None:
    """Return the fields of an attrs class, dataclass or ``TypedDict``; ``None`` for other classes.

    Raises:
        DefinitionError: An annotation cannot be resolved, or ``merged`` or ``transient`` stands
            where it has no effect.
    """
    known: type[Any] = cls  # what the questions below narrow it to is of no use
    if attrs.has(known):
        return tuple(_attrs_fields(known))
    if dataclasses.is_dataclass(known):
        return tuple(_dataclass_fields(cls))
    return tuple(_typed_dict_fields(cls)) if typing.is_typeddict(cls) else None


def _attrs_fields(cls: type[attrs.AttrsInstance]) -> Iterator[DataField]:
    hints = _hints(cls)
    for field in attrs.fields(cls):
        kind, marks = _unwrapped(hints.get(field.name, Any), field.metadata)
        yield _data_field(field.name, kind, marks, required=field.default is attrs.NOTHING)


def _dataclass_fields(cls: type) -> Iterator[DataField]:
    hints = _hints(cls)
    for field in dataclasses.fields(cls):
        if _marks(field.default):
            problem = (
                f"field {field.name!r} of a dataclass cannot be declared"
                " with = merged(...) or = transient(...)"
            )
            hint = f"write {field.name}: Annotated[..., merged(...)], or use an attrs class"
            raise DefinitionError(problem, cls.__qualname__, hint)
        none = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        kind, marks = _unwrapped(hints.get(field.name, Any), field.metadata)
        if none and marks.get(_TRANSIENT):
            problem = f"transient field {field.name!r} has no default"
            hint = "give the dataclass field a default or a default_factory"
            raise DefinitionError(problem, cls.__qualname__, hint)
        yield _data_field(field.name, kind, marks, required=none)


def _typed_dict_fields(cls: type) -> Iterator[DataField]:
    required: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
    for name, hint in _hints(cls).items():
        kind, marks = _unwrapped(hint, {})
        # Written as text (``from __future__ import annotations``) the markers are not in the keys.
        needed = marks.get(_NEEDED, name in required)
        yield _data_field(name, kind, marks, required=needed, fresh=marks.get("fresh"))


def _data_field(
    name: str,
    kind: Any,
    marks: Mapping[str, Any],
    *,
    required: bool,
    fresh: Callable[[], Any] | None = None,
) -> DataField:
    hidden = bool(marks.get(_TRANSIENT))
    return DataField(
        name=name,
        type=kind,
        required=required and not hidden,
        reducer=marks.get(_REDUCER),
        transient=hidden,
        fresh=fresh if hidden else None,
    )


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        problem = f"an annotation of the data class cannot be resolved ({error})"
        hint = "define the class and the types it names at module level; import them at run time"
        raise DefinitionError(problem, cls.__qualname__, hint) from error


_NEEDED: Final = "needed"
_WRAPPERS: Final[Mapping[Any, Mapping[str, bool]]] = {
    Required: {_NEEDED: True},
    NotRequired: {_NEEDED: False},
    ReadOnly: {},
    typing.Final: {},
}


def _unwrapped(hint: Any, metadata: Mapping[Any, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the type itself, and what ``merged`` and ``transient`` said around it."""
    marks: dict[str, Any] = dict(metadata)
    while True:
        origin = typing.get_origin(hint)
        if origin is typing.Annotated:
            hint, *extras = typing.get_args(hint)
            for extra in extras:
                marks.update(_marks(extra))
        elif origin in _WRAPPERS:
            marks.update(_WRAPPERS[origin])
            (hint,) = typing.get_args(hint)
        else:
            return (Any if hint is typing.Final else hint), marks


def _marks(declared: object) -> dict[str, Any]:
    """Return what an ``attrs.field()`` of ours holds; nothing for any other object."""
    metadata: object = getattr(declared, "metadata", None)
    if not isinstance(metadata, Mapping):
        return {}
    found = typing.cast("Mapping[str, Any]", metadata)
    marks = {key: found[key] for key in (_REDUCER, _TRANSIENT) if key in found}
    if marks:
        marks["fresh"] = _fresh(getattr(declared, "_default", None))
    return marks


def _fresh(default: Any) -> Callable[[], Any]:
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        make: Callable[[], Any] = default.factory
        return make
    return lambda: default


@cache
def stored_names(cls: type) -> tuple[str, ...]:
    """Return the names of those fields of an attrs class or dataclass that are stored."""
    try:
        fields = data_fields(cls) or ()
    except DefinitionError:
        # An unresolvable annotation hides only what Annotated says; plain fields still are known.
        return tuple(
            field.name
            for field in (attrs.fields(cls) if attrs.has(cls) else dataclasses.fields(cls))
            if not field.metadata.get(_TRANSIENT)
        )
    return tuple(field.name for field in fields if not field.transient)
