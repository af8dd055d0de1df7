"""A workflow's data between its stored form and the type that its author declared."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs

from wfe.core.codec import decode, encode
from wfe.core.conversion import checker
from wfe.core.definition import Json
from wfe.core.equality import same
from wfe.core.errors import DataTypeError, DefinitionError
from wfe.core.fields import DataField, data_fields
from wfe.core.lean import frozen
from wfe.core.merging import Merge, merge_of
from wfe.core.nearest import nearest
from wfe.core.rules.writes import Writes

if TYPE_CHECKING:
    from wfe.core.rules.plan import Reducer

__all__ = ["DataModel", "model_for", "same"]

_UNSET: Final[Any] = object()
_PLAIN: Final = frozenset(
    {str, int, bool, float, bytes, Decimal, datetime, date, time, timedelta, UUID, type(None)}
)


@frozen(kw_only=True, eq=False, slots=False)
class DataModel:
    """One data type; get it with :func:`model_for`.

    Attributes:
        data_type: An attrs class, dataclass or ``TypedDict``; ``None`` for plain ``dict``.
        declared: Its stored fields by name; ``None`` when any field may be set.
        fresh: Makes the values of a typed dict's transient fields.
    """

    data_type: type | None
    declared: Mapping[str, DataField] | None
    fresh: Mapping[str, Callable[[], Any]]

    @cached_property
    def reducers(self) -> Mapping[str, Reducer]:
        """Reducers of the fields that have one, for the rules."""
        return {name: merge.reducer() for name, merge in self._merges.items()}

    @cached_property
    def type_names(self) -> Mapping[str, Any] | None:
        """Type of each field, for checking expressions; ``None`` when any field may be set."""
        if self.declared is None:
            return None
        return {name: field.type for name, field in self.declared.items()}

    @cached_property
    def _merges(self) -> Mapping[str, Merge]:
        fields = (self.declared or {}).values()
        return {f.name: merge_of(f, f.reducer) for f in fields if f.reducer is not None}

    @cached_property
    def _exact(self) -> Mapping[str, frozenset[Any]]:
        """By field: the classes whose instances need no further check."""
        return {name: _exact(field.type) for name, field in (self.declared or {}).items()}

    def start(self, value: object, path: str = "data") -> dict[str, Json]:
        """Return the stored form of a run's first data.

        Args:
            value: An instance of the type, a mapping, or ``None`` for the type's defaults.
            path: What to call it in errors.

        Raises:
            DataTypeError: A field is unknown, missing or of a wrong type.
        """
        if self.data_type is None or self.declared is None:
            return _mapping(value, path)
        if not isinstance(value, Mapping) and value is not None:
            if typing.is_typeddict(self.data_type) or not isinstance(value, self.data_type):
                raise DataTypeError(path, _wanted(self.data_type.__name__, value))
            value = {name: getattr(value, name) for name in self.declared}
        given = typing.cast("Mapping[str, object]", {} if value is None else value)
        self._known(given, path)
        for name, field in self.declared.items():
            if field.required and name not in given:
                problem = f"is missing; {self.data_type.__name__} needs it"
                raise DataTypeError(f"{path}.{name}", problem)
        decoded = {name: decode(encode(each, f"{path}.{name}")) for name, each in given.items()}
        typed = checker(self.data_type, strict=True)(decoded, path)
        # Defaults and attrs converters had their say: what they made is checked like all else.
        return {name: self._field(name, each, path) for name, each in self._items(typed, path)}

    def load(self, stored: Mapping[str, Json]) -> Any:
        """Return fresh typed data; fields that the type does not have (any more) are left out.

        Raises:
            DataTypeError: The stored data does not fit the type.
        """
        if self.data_type is None or self.declared is None:
            return {name: decode(value) for name, value in stored.items()}
        declared = self.declared
        decoded = {name: decode(value) for name, value in stored.items() if name in declared}
        typed = checker(self.data_type, strict=False)(decoded, "data")
        for name, make in self.fresh.items():
            typed[name] = make()
        return typed

    def dump(self, value: object, path: str = "data") -> dict[str, Json]:
        """Return the stored form of typed data, without transient fields.

        Raises:
            DataTypeError: It contains what cannot be stored.
        """
        return {name: encode(each, f"{path}.{name}") for name, each in self._items(value, path)}

    def _items(self, value: Any, path: str) -> Iterable[tuple[str, Any]]:
        if self.declared is None:
            return _with_text_keys(value, path).items()
        if typing.is_typeddict(self.data_type):
            self._known({name: value[name] for name in value if name not in self.fresh}, path)
            return [(name, value[name]) for name in self.declared if name in value]
        try:
            return [(name, getattr(value, name)) for name in self.declared]
        except AttributeError as error:
            at = f"{path}.{error.name or '?'}"
            raise DataTypeError(at, "the field was deleted; set it to a value") from None

    def fields(self, mapping: Mapping[str, object], path: str = "data") -> dict[str, Json]:
        """Return the stored form of some fields' new values.

        Raises:
            DataTypeError: A field is unknown, or its value does not fit.
        """
        if self.declared is None:
            return _mapping(mapping, path)
        self._known(mapping, path)
        return {name: self._field(name, value, path) for name, value in mapping.items()}

    def _known(self, mapping: Mapping[str, object], path: str) -> None:
        declared = self.declared
        if declared is None or declared.keys() >= mapping.keys():
            return
        name = next(name for name in mapping if name not in declared)
        _with_text_keys(mapping, path)
        owner = self.data_type.__name__ if self.data_type else "the data"
        raise DataTypeError(f"{path}.{name}", f"{owner} has no such field{nearest(name, declared)}")

    def _field(self, name: str, value: object, path: str) -> Json:
        """Return one field's stored form, after a check against its type."""
        at = f"{path}.{name}"
        stored = encode(value, at)
        if self.declared is None or type(value) in self._exact[name]:
            return stored
        declared = self.declared[name].type
        if declared is Any or declared is object:
            return stored
        return encode(checker(declared, strict=True)(decode(stored), at), at)

    def changes(self, before: Mapping[str, Json], after: object, base: int) -> Writes:
        """Return what a step changed in its copy of the data.

        Args:
            before: What the copy was loaded from.
            after: The copy.
            base: Seq of the state that *before* belongs to.

        Raises:
            DataTypeError: A changed field does not fit its type or cannot be stored.
        """
        fields: dict[str, Json] = {}
        reduced: dict[str, Json] = {}
        seen: set[str] = set()
        for name, value in self._items(after, "data"):
            seen.add(name)
            stored = encode(value, f"data.{name}")
            if name in before and same(before[name], stored):
                continue
            stored = self._field(name, value, "data")
            if name in before and same(before[name], stored):
                continue
            if name in self._merges:
                reduced[name] = self._merges[name].operand(before.get(name), stored)
            else:
                fields[name] = stored
        removed = self._removed(before, seen)
        return Writes(fields, removed, reduced, base)

    def _removed(self, before: Mapping[str, Json], seen: set[str]) -> tuple[str, ...]:
        declared = self.declared
        if declared is None:
            return tuple(name for name in before if name not in seen)
        gone = [name for name in before if name not in seen and name in declared]
        for name in gone:
            if declared[name].required:
                raise DataTypeError(f"data.{name}", "is required and cannot be removed")
        return tuple(gone)

    def returned(self, mapping: Mapping[str, object], base: int) -> Writes:
        """Return what a returned mapping writes; for a field with a reducer it is the operand.

        Raises:
            DataTypeError: A field is unknown, or its value does not fit.
        """
        if not self._merges:
            return Writes(self.fields(mapping), base=base)
        self._known(mapping, "data")
        plain = {name: value for name, value in mapping.items() if name not in self._merges}
        reduced = {
            name: self._operand(name, value)
            for name, value in mapping.items()
            if name in self._merges
        }
        return Writes(self.fields(plain), (), reduced, base)

    def _operand(self, name: str, value: object) -> Json:
        kind = self._merges[name].kind
        if kind is None or kind == "append":  # the operand has another type than the field
            return encode(value, f"data.{name}")
        return self._field(name, value, "data")


def _exact(declared: Any) -> frozenset[Any]:
    if declared in _PLAIN:
        return frozenset({declared})
    args = typing.get_args(declared)
    united = bool(args) and _PLAIN.issuperset(args) and _united(declared)
    return frozenset(args) if united else frozenset()


def _united(declared: Any) -> bool:
    return not isinstance(typing.get_origin(declared), type) or isinstance(declared, _UnionType)


_UnionType: Final = type(int | str)


def _mapping(value: object, path: str) -> dict[str, Json]:
    if value is None:
        return {}
    if attrs.has(type(value)) or hasattr(type(value), "__dataclass_fields__"):
        stored: dict[str, Json] = encode(value, path)
        return stored
    named = _with_text_keys(value, path)
    return {str(name): encode(each, f"{path}.{name}") for name, each in named.items()}


def _with_text_keys(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataTypeError(path, _wanted("a mapping", value))
    named = typing.cast("Mapping[str, Any]", value)
    for name in typing.cast("Mapping[object, Any]", value):
        if not isinstance(name, str):
            problem = f"the field name {name!r} is no text; give data fields names of type str"
            raise DataTypeError(path, problem)
        if name == "$":
            raise DataTypeError(path, "a data field cannot be called '$'; choose another name")
        encode(name, f"{path}: the field name {name!r}")
    return named


def _wanted(what: str, value: object) -> str:
    return f"expected {what}, got {value!r:.80} ({type(value).__name__})"


def model_for(data_type: Any) -> DataModel:
    """Return the model of a data type; the same type gives the same model.

    Args:
        data_type: An attrs class, a dataclass or a ``TypedDict``; ``dict`` or ``None`` for data
            without declared fields.

    Raises:
        DefinitionError: It is something else, or a field's type cannot be stored.
    """
    if data_type is None or data_type is dict or typing.get_origin(data_type) is dict:
        return _UNTYPED
    if not isinstance(data_type, type) or data_fields(data_type) is None:
        shown = getattr(data_type, "__qualname__", None) or f"{data_type!r:.80}"
        problem = f"{shown} cannot be the type of a workflow's data"
        raise DefinitionError(problem, None, "use an attrs class, a dataclass, a TypedDict or dict")
    return _typed_model(data_type)


_UNTYPED: Final = DataModel(data_type=None, declared=None, fresh={})


@lru_cache(maxsize=1024)
def _typed_model(data_type: type) -> DataModel:
    fields = data_fields(data_type) or ()
    for field in fields:
        if not field.transient:
            try:
                checker(field.type, strict=True)
            except DefinitionError as error:
                where = f"{data_type.__qualname__}.{field.name}"
                raise DefinitionError(error.problem, where, error.hint) from error
    return DataModel(
        data_type=data_type,
        declared={field.name: field for field in fields if not field.transient},
        fresh={field.name: field.fresh for field in fields if field.fresh is not None},
    )
