"""Checks decoded values against declared types and builds typed objects from them, with cattrs."""

from __future__ import annotations

import types
import typing
from collections.abc import (
    Callable,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Sequence,
)
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from wfe.core.errors import DataTypeError, DefinitionError
from wfe.core.fields import DataField, data_fields
from wfe.core.nearest import nearest
from wfe.core.scalars import (
    SCALARS,
    Hook,
    MismatchError,
    enum_hook,
    expected,
    literal_hook,
    scalar_hook,
)

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = ["Check", "checker", "type_name"]

Check: TypeAlias = "Callable[[Any, str], Any]"
"""Takes a decoded value and its path; returns the typed value or raises ``DataTypeError``."""


@cache
def checker(declared: Any, *, strict: bool) -> Check:
    """Return what makes a value of type *declared* from its decoded form.

    An int is taken for a float; ISO texts are taken for datetime, date, time, UUID and Decimal;
    values are taken for enum members; lists for tuples and sets.  Nothing else is converted:
    ``"5"`` is no int, and ``True`` is none either.

    Args:
        declared: Any annotation.
        strict: Whether unknown fields of nested classes are errors; they are passed over when
            data is read that an older version of the class wrote.

    Raises:
        DefinitionError: The type cannot be stored.
    """
    import cattrs  # noqa: PLC0415 - 70 ms, and only for typed data

    try:
        hook = _converter(strict).get_structure_hook(declared)
    except cattrs.StructureHandlerNotFoundError as error:
        problem = f"values of type {type_name(error.type_)} cannot be stored"
        hint = "use plain types, attrs classes, dataclasses, or transient() for what is not stored"
        raise DefinitionError(problem, None, hint) from error
    except (TypeError, NameError) as error:
        problem = f"the type {type_name(declared)} cannot be read back ({error})"
        raise DefinitionError(problem, None, "declare a simpler type") from error

    def check(value: Any, path: str) -> Any:
        try:
            return hook(value, declared)
        except Exception as error:  # noqa: BLE001 - validators of user classes may raise anything
            where, problem = _first_problem(error)
            raise DataTypeError(path + where, problem) from None

    return check


def type_name(declared: Any) -> str:
    """Return a type as people write it."""
    if declared is type(None):
        return "None"
    if isinstance(declared, type) and not typing.get_args(declared):
        return declared.__name__
    return str(declared).replace("typing.", "").replace("NoneType", "None")


# -- errors ---------------------------------------------------------------------------------------


def _first_problem(error: BaseException) -> tuple[str, str]:
    """Return (path below the value, what is wrong there) of the first problem in *error*."""
    where = "".join(_note(error))
    if isinstance(error, BaseExceptionGroup):
        group = typing.cast("BaseExceptionGroup[BaseException]", error)
        inner, problem = _first_problem(group.exceptions[0])
        return where + inner, problem
    if isinstance(error, MismatchError):
        return where + error.where, error.problem
    if isinstance(error, KeyError) and where:
        return where, "is missing"
    return where, f"is not valid ({type(error).__name__}: {error})"


def _note(error: BaseException) -> Iterable[str]:
    for note in getattr(error, "__notes__", ()):
        name = getattr(note, "name", None)
        index = getattr(note, "index", None)
        if name is not None:
            yield f".{name}"
        elif index is not None:
            yield f"[{index!r}]"


# -- the converter --------------------------------------------------------------------------------


@cache
def _converter(strict: bool) -> Converter:
    from cattrs import Converter  # noqa: PLC0415 - see checker

    converter = Converter(forbid_extra_keys=strict)
    # The last registered predicate is asked first.
    converter.register_structure_hook_factory(_is_record, _record)
    converter.register_structure_hook_factory(_is_collection, _collection)
    converter.register_structure_hook_factory(_is_mapping, _mapping)
    converter.register_structure_hook_factory(_is_enum, enum_hook)
    converter.register_structure_hook_factory(_is_literal, literal_hook)
    converter.register_structure_hook_factory(_is_union, _union)
    converter.register_structure_hook_func(lambda t: t is object, lambda value, _: value)
    for cls, (what, take) in SCALARS.items():
        converter.register_structure_hook(cls, scalar_hook(cls, what, take))
    return converter


def _origin(declared: Any) -> Any:
    return typing.get_origin(declared) or declared


def _is_class(declared: Any, bases: type | tuple[type, ...]) -> bool:
    origin = _origin(declared)
    return isinstance(origin, type) and issubclass(origin, bases)


def _is_record(declared: Any) -> bool:
    origin = _origin(declared)
    return isinstance(origin, type) and (
        attrs.has(origin) or hasattr(origin, "__dataclass_fields__") or typing.is_typeddict(origin)
    )


def _record(declared: Any, converter: Converter) -> Hook:
    """Return the hook of an attrs class, dataclass or TypedDict, as cattrs generates it."""
    from cattrs import gen, override  # noqa: PLC0415 - see checker

    cls = _origin(declared)
    fields = {field.name: field for field in data_fields(cls) or ()}
    hidden: dict[str, Any] = {
        name: override(omit=True) for name, field in fields.items() if field.transient
    }
    if typing.is_typeddict(cls):
        build: Any = _typed_dict(fields.values(), converter)
    else:
        build = gen.make_dict_structure_fn(
            declared,
            converter,
            _cattrs_forbid_extra_keys=False,
            _cattrs_include_init_false=True,
            **hidden,
        )
    known = {name: None for name in fields if name not in hidden}
    strict = converter.forbid_extra_keys

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise expected(cls.__name__, value)
        given = typing.cast("Mapping[str, Any]", value)
        if strict and not known.keys() >= given.keys():
            unknown = next(name for name in given if name not in known)
            problem = f"{cls.__name__} has no such field{nearest(unknown, known)}"
            raise MismatchError(problem, f".{unknown}")
        return build(given, declared)

    return hook


def _typed_dict(fields: Iterable[DataField], converter: Converter) -> Hook:
    # cattrs does not see markers of required keys in annotations that are text.
    stored = [field for field in fields if not field.transient]

    def build(value: Mapping[str, Any], _: Any) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for field in stored:
            if field.name not in value:
                if field.required:
                    raise MismatchError("is missing", f".{field.name}")
                continue
            try:
                made[field.name] = converter.structure(value[field.name], field.type)
            except Exception as error:  # noqa: BLE001 - as in checker
                where, problem = _first_problem(error)
                raise MismatchError(problem, f".{field.name}{where}") from None
        return made

    return build


_COLLECTIONS: Final = (
    list,
    tuple,
    set,
    frozenset,
    Sequence,
    MutableSequence,
    AbstractSet,
    MutableSet,
)


def _is_collection(declared: Any) -> bool:
    return _origin(declared) in _COLLECTIONS


def _collection(declared: Any, converter: Converter) -> Hook:
    from cattrs import cols  # noqa: PLC0415 - see checker

    origin, args = _origin(declared), typing.get_args(declared)
    as_list_type: Any = types.GenericAlias(list, (args[0] if args else Any,))
    if _is_class(declared, AbstractSet):  # set, frozenset and their protocols
        items = cols.list_structure_factory(as_list_type, converter)
        make: Any = set if origin in (set, MutableSet) else frozenset
        taken: tuple[type, ...] = (list, tuple, set, frozenset)
        build: Hook = lambda value, t: make(items(list(value), t))  # noqa: E731
    elif _is_class(declared, tuple) and args and args[-1] is not ...:
        taken, build = (list, tuple), _fixed(args, converter)
    else:
        as_list = cols.list_structure_factory(as_list_type, converter)
        taken = (list, tuple)
        build = (lambda value, t: tuple(as_list(value, t))) if origin is tuple else as_list
    what = type_name(declared)

    def hook(value: Any, t: Any) -> Any:
        if not isinstance(value, taken):
            raise expected(what, value)
        return build(value, t)

    return hook


def _fixed(args: Sequence[Any], converter: Converter) -> Hook:
    """Return the hook of a tuple with one type per place."""
    hooks = [converter.get_structure_hook(arg) for arg in args]

    def hook(value: Any, _: Any) -> Any:
        if len(value) != len(hooks):
            problem = f"expected {len(hooks)} items, got {len(value)}"
            raise MismatchError(problem)
        made: list[Any] = []
        for item, each, arg in zip(value, hooks, args, strict=True):
            try:
                made.append(each(item, arg))
            except Exception as error:  # noqa: BLE001 - as in checker
                where, problem = _first_problem(error)
                raise MismatchError(problem, f"[{len(made)}]{where}") from None
        return tuple(made)

    return hook


def _is_mapping(declared: Any) -> bool:
    return _origin(declared) in (dict, Mapping, MutableMapping)


def _mapping(declared: Any, converter: Converter) -> Hook:
    from cattrs import cols  # noqa: PLC0415 - see checker

    args = typing.get_args(declared)
    pair = args if len(args) == 2 else (Any, Any)
    as_dict: Any = types.GenericAlias(dict, pair)
    build = typing.cast("Any", cols).mapping_structure_factory(as_dict, converter)
    what = type_name(declared)

    def hook(value: Any, t: Any) -> Any:
        if not isinstance(value, Mapping):
            raise expected(what, value)
        return build(value, t)

    return hook


def _is_enum(declared: Any) -> bool:
    return _is_class(declared, Enum)


def _is_literal(declared: Any) -> bool:
    return typing.get_origin(declared) is Literal


def _is_union(declared: Any) -> bool:
    return typing.get_origin(declared) in (typing.Union, types.UnionType)


def _union(declared: Any, converter: Converter) -> Hook:
    """Return the hook of a union: the value's own type, a class by its fields, then the rest."""
    members = typing.get_args(declared)
    what = " | ".join(type_name(member) for member in members)
    exact = frozenset(m for m in members if m in SCALARS or m is type(None))
    records = tuple(m for m in members if _is_record(m))
    pick = _picker(records, converter)
    rest = [m for m in members if m is not type(None) and (m not in records or not pick)]
    hooks = [(converter.get_structure_hook(member), member) for member in rest]

    def hook(value: Any, _: Any) -> Any:
        if type(value) in exact:
            return value
        if pick is not None and isinstance(value, Mapping):
            return converter.structure(value, pick(value))  # pyright: ignore[reportUnknownArgumentType]
        for each, member in hooks:
            try:
                return each(value, member)
            except Exception as error:  # noqa: BLE001 - as in checker
                if len(hooks) == 1 and value is not None:
                    where, problem = _first_problem(error)
                    if where:
                        raise MismatchError(problem, where) from None
        raise expected(what, value)

    return hook


def _picker(records: tuple[Any, ...], converter: Converter) -> Callable[[Any], Any] | None:
    """Return what tells several classes of a union apart by their fields; cattrs does it."""
    if len(records) < 2:
        return None
    from cattrs.disambiguators import create_default_dis_func  # noqa: PLC0415 - see checker

    picked: Callable[[Any], Any] = create_default_dis_func(converter, *records)
    return picked
