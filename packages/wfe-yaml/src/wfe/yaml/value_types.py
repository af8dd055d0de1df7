"""Declared types of inputs and outputs: how they are written, checked and converted."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

import attrs

from wfe.core.cel_types import CelType
from wfe.core.lean import frozen
from wfe.yaml.scalars import kind_of, parse_duration, resolve

__all__ = [
    "ANY",
    "STRING",
    "TypeTextError",
    "UnfitValueError",
    "ValueType",
    "described",
    "parse_type",
    "type_of_value",
]

SIMPLE: Final = (
    "string",
    "number",
    "integer",
    "bool",
    "any",
    "bytes",
    "duration",
    "timestamp",
    "artifact",
    "secret",
)
TEXTS: Final = frozenset({"string", "enum", "bytes", "duration", "timestamp", "artifact", "secret"})


class TypeTextError(ValueError):
    """A type is not written as one; ``offset`` says where."""

    def __init__(
        self, problem: str, offset: int = 0, hint: str | None = None, width: int = 1
    ) -> None:
        super().__init__(problem)
        self.offset = offset
        self.hint = hint
        self.width = width


class UnfitValueError(ValueError):
    """A value does not fit its declared type."""


@frozen
class ValueType:
    """A declared type.

    Attributes:
        kind: One of the simple names, ``list``, ``map``, ``enum`` or ``record``.
        item: Type of the items of a list or the values of a map.
        optional: Whether null is allowed (``T?``).
        choices: Of an enum.
        fields: Of a record.
        name: Of a record.
    """

    kind: str
    item: ValueType | None = None
    optional: bool = False
    choices: tuple[str, ...] = ()
    fields: tuple[tuple[str, ValueType], ...] = ()
    name: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "list" | "map":
                text = f"{self.kind}<{self.item}>"
            case "enum":
                text = f"enum({'|'.join(self.choices)})"
            case "record":
                text = self.name
            case _:
                text = self.kind
        return text + ("?" if self.optional else "")

    @property
    def cel(self) -> CelType:
        """The type in expressions; durations, timestamps and bytes are texts there."""
        if self.optional:
            return CelType.DYN
        match self.kind:
            case "list":
                return CelType.list_of(self.item.cel if self.item else CelType.DYN)
            case "map":
                return CelType.map_of(self.item.cel if self.item else CelType.DYN)
            case "record":
                return CelType.map_of(CelType.DYN)
            case _:
                return _CEL[self.kind]

    def to_json(self) -> Any:
        """Return the stored form: the text, or a map when there is a record in it."""
        text = str(self)
        if not self.records():
            return text
        fields = {name: kind.to_json() for name, kind in self.fields}
        stored = {"kind": self.kind, "optional": self.optional, "name": self.name, "fields": fields}
        return stored if self.item is None else {**stored, "item": self.item.to_json()}

    @classmethod
    def from_json(cls, stored: Any) -> ValueType:
        """Return the type that :meth:`to_json` stored."""
        if isinstance(stored, str):
            return parse_type(stored, {})
        item = stored.get("item")
        fields = tuple((name, cls.from_json(kind)) for name, kind in stored["fields"].items())
        return cls(
            stored["kind"],
            None if item is None else cls.from_json(item),
            stored["optional"],
            fields=fields,
            name=stored["name"],
        )

    def records(self) -> bool:
        """Whether a record is in it."""
        return self.kind == "record" or (self.item is not None and self.item.records())

    def variables(self, name: str) -> Iterator[tuple[str, CelType]]:
        """Yield *name*, and the names of a record's fields, with their types in expressions."""
        yield name, self.cel
        if not self.optional:
            for field, kind in self.fields:
                yield from kind.variables(f"{name}.{field}")

    def convert(self, value: object) -> Any:
        """Return *value* as this type has it: integers as float for ``number``, and so on.

        Raises:
            UnfitValueError: It does not fit; the message says why.
        """
        if value is None:
            if self.optional or self.kind == "any":
                return None
            raise UnfitValueError(f"expected {self._described()}, got null")
        match self.kind:
            case "any":
                return value
            case "list":
                return self._list(value)
            case "map" | "record":
                return self._map(value)
            case _:
                return self._scalar(value)

    def read(self, text: str) -> Any:
        """Return the value that *text* (from a command line or a step's stdout) is for this type.

        Lists, maps and records are JSON; ``any`` is read as a YAML scalar.

        Raises:
            UnfitValueError: It is none.
        """
        if self.kind in TEXTS:
            return self.convert(None if self.optional and text in {"null", ""} else text)
        if self.kind in {"list", "map", "record"}:
            return self.convert(_json(text))
        plain = resolve(text)
        if self.kind == "any" and isinstance(plain, float) and not math.isfinite(plain):
            return text
        return self.convert(plain)

    def _described(self) -> str:
        match self.kind:
            case "integer":
                return "an integer"
            case "bool":
                return "true or false"
            case "duration":
                return "a duration such as 30s or 1h30m"
            case "timestamp":
                return "a timestamp such as 2026-01-31T12:00:00Z"
            case "enum":
                return "one of " + ", ".join(self.choices)
            case "bytes":
                return "bytes as base64 text"
            case "artifact":
                return "an artifact: its name, or sha256: and 64 hexadecimal digits"
            case "secret":
                return "the name of a secret"
            case _:
                return f"a {self}"

    def _unfit(self, value: object) -> UnfitValueError:
        shown = repr(value) if isinstance(value, str) else str(value)
        shown = shown if len(shown) <= 40 else shown[:37] + "..."
        what = kind_of(value)
        return UnfitValueError(f"expected {self._described()}, got {what} ({shown})")

    def _scalar(self, value: object) -> object:
        match self.kind, value:
            case "bool", bool():
                return value
            case (("integer" | "number"), bool()):
                raise self._unfit(value)
            case "integer", int():
                return value
            case "integer", float() if value.is_integer():
                return int(value)
            case "number", int() | float():
                return self._number(value)
            case "duration", str() if parse_duration(value) is not None:
                return _seconds(parse_duration(value) or 0)
            case _:
                return self._form(value)

    def _form(self, value: object) -> str:
        """Return a text that has the form of its kind."""
        if self.kind == "bytes" and isinstance(value, bytes):
            return base64.b64encode(value).decode()
        given: object = value
        if self.kind == "artifact" and isinstance(given, Mapping):
            # What describes one has its digest, which is exact.
            given = cast("Mapping[str, object]", given).get("digest")
        form = self.choices.__contains__ if self.kind == "enum" else _FORMS.get(self.kind)
        if form is None or not isinstance(given, str) or not form(given):
            raise self._unfit(value)
        return given

    def _number(self, value: float) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._unfit(value)
        return number

    def _list(self, value: Any) -> list[Any]:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise self._unfit(value)
        kind = self.item or ANY
        items = cast("Sequence[object]", value)
        return [_inside(kind, item, f"item {i + 1}") for i, item in enumerate(items)]

    def _map(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise self._unfit(value)
        content = cast("Mapping[str, object]", value)
        if self.kind == "map":
            kind = self.item or ANY
            return {str(key): _inside(kind, item, f"`{key}`") for key, item in content.items()}
        fields = dict(self.fields)
        unknown = [key for key in content if key not in fields]
        if unknown:
            known = ", ".join(fields)
            raise UnfitValueError(f"{self.name} has no field `{unknown[0]}` (it has {known})")
        lacking = [n for n, kind in self.fields if n not in content and not _skippable(kind)]
        if lacking:
            raise UnfitValueError(f"the field `{lacking[0]}` of {self.name} is missing")
        return {
            name: _inside(kind, content.get(name), f"field `{name}`") for name, kind in self.fields
        }


def _skippable(kind: ValueType) -> bool:
    return kind.optional or kind.kind == "any"


def _inside(kind: ValueType, value: object, where: str) -> Any:
    try:
        return kind.convert(value)
    except UnfitValueError as error:
        raise UnfitValueError(f"{where}: {error}") from None


def _seconds(micros: int) -> str:
    """Return a duration as it is stored: in a form that this module and expressions read."""
    whole, rest = divmod(micros, 1_000_000)
    return f"{micros // 1000}ms" if rest else f"{whole}s"


def _json(text: str) -> object:
    import json  # noqa: PLC0415 - rarely needed

    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnfitValueError(f"expected JSON ({error})") from None


def _is_timestamp(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


# A name or a digest, as artifacts are asked for.
_ARTIFACT: Final = re.compile(r"sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SECRET: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,199}")

_FORMS: Final[Mapping[str, Callable[[str], object]]] = {
    "string": lambda _: True,
    "timestamp": _is_timestamp,
    "bytes": _is_base64,
    "artifact": _ARTIFACT.fullmatch,
    "secret": _SECRET.fullmatch,
}

ANY: Final = ValueType("any")
STRING: Final = ValueType("string")

_CEL: Final[Mapping[str, CelType]] = {
    "string": CelType.STRING,
    "number": CelType.DOUBLE,
    "integer": CelType.INT,
    "bool": CelType.BOOL,
    "any": CelType.DYN,
    "bytes": CelType.STRING,
    "duration": CelType.STRING,
    "timestamp": CelType.STRING,
    "artifact": CelType.STRING,
    "secret": CelType.STRING,
    "enum": CelType.STRING,
}
_WORD: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_-]*)\s*")
_ENUM: Final = re.compile(r"\s*\(([^()]*)\)\s*")
_OPTIONAL: Final = re.compile(r"(?:\?\s*)+")
_DEEPEST: Final = 20


def parse_type(text: str, records: Mapping[str, ValueType]) -> ValueType:
    """Return the type that *text* writes.

    Args:
        text: For example ``list<string>?`` or ``enum(a|b)``.
        records: The named record types of the file.

    Raises:
        TypeTextError: It is none.
    """
    found, end = _parse(text, 0, records, 0)
    if end != len(text):
        raise TypeTextError(f"`{text[end:].strip()}` does not belong after the type `{found}`", end)
    return found


def _parse(
    text: str, at: int, records: Mapping[str, ValueType], depth: int
) -> tuple[ValueType, int]:
    word = _WORD.match(text, at)
    if word is None or depth > _DEEPEST:
        raise TypeTextError(f"`{text}` is not a type", at, f"types are {_known(records)}")
    name, end = word[1], word.end()
    if name in {"list", "map"}:
        found, end = _container(text, name, end, records, depth)
    elif name == "enum":
        found, end = _enum(text, end)
    else:
        found = _named(name, word.start(1), records)
    marks = _OPTIONAL.match(text, end)
    if marks is not None:
        found, end = attrs.evolve(found, optional=True), marks.end()
    return found, end


def _container(
    text: str, name: str, end: int, records: Mapping[str, ValueType], depth: int
) -> tuple[ValueType, int]:
    if text[end : end + 1] != "<":
        raise TypeTextError(
            f"`{name}` needs the type of what is in it", end, f"write `{name}<string>`"
        )
    start = end + 1
    item, end = _parse(text, start, records, depth + 1)
    if item.kind == "secret":
        message = f"a secret is an input of its own, it cannot stand in a {name}"
        raise TypeTextError(message, start, "declare one input for each secret")
    if text[end : end + 1] != ">":
        raise TypeTextError(f"the `<` of `{name}<` is not closed", end, f"write `{name}<{item}>`")
    end += 1
    end += len(text[end:]) - len(text[end:].lstrip())
    return ValueType(name, item), end


def _enum(text: str, end: int) -> tuple[ValueType, int]:
    found = _ENUM.match(text, end)
    choices = [choice.strip() for choice in found[1].split("|")] if found else []
    if found is None or not all(choices) or len(set(choices)) != len(choices):
        raise TypeTextError("`enum` needs different choices", end, "write `enum(a|b)`")
    return ValueType("enum", choices=tuple(choices)), found.end()


def _named(name: str, at: int, records: Mapping[str, ValueType]) -> ValueType:
    if name in records:
        return records[name]
    if name in SIMPLE:
        return ValueType(name)
    from wfe.yaml.diagnostics import nearest  # noqa: PLC0415 - only for the message

    near = nearest(
        _ELSEWHERE.get(name.lower(), name),
        [*SIMPLE, "list", "map", "enum", *records],
    )
    hint = f"did you mean `{near}`?" if near else f"types are {_known(records)}"
    raise TypeTextError(f"there is no type `{name}`", at, hint, len(name))


_ELSEWHERE: Final[Mapping[str, str]] = {
    "boolean": "bool",
    "date": "timestamp",
    "datetime": "timestamp",
    "double": "number",
    "file": "artifact",
    "float": "number",
    "int": "integer",
    "object": "any",
    "str": "string",
    "text": "string",
    "time": "timestamp",
}


def _known(records: Mapping[str, ValueType]) -> str:
    return ", ".join([*SIMPLE, "list<T>", "map<T>", "enum(a|b)", "T?", *records])


def described(kind: CelType) -> str:
    """Return what messages call a value of a type of expressions, for example ``a list``."""
    return _WORDS.get(kind.signature.partition("<")[0], f"a {kind}")


_WORDS: Final[Mapping[str, str]] = {
    "bool": "true or false",
    "bytes": "bytes",
    "double": "a number",
    "duration": "a duration",
    "dyn": "a value of any type",
    "int": "an integer",
    "list": "a list",
    "map": "a map",
    "null": "null",
    "string": "a text",
    "timestamp": "a time",
}


def type_of_value(value: object) -> CelType:
    """Return the type of a constant in expressions."""
    match value:
        case bool():
            return CelType.BOOL
        case int():
            return CelType.INT
        case float():
            return CelType.DOUBLE
        case str():
            return CelType.STRING
        case list():
            return CelType.list_of(CelType.DYN)
        case dict():
            return CelType.map_of(CelType.DYN)
        case _:
            return CelType.DYN
