"""The functions of expressions that CEL itself does not have: pure, typed and bounded.

None of them reads a file, a clock or the network; the cost of each is linear in what it is given.
"""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from typing import Any, Final, TypeAlias, cast
from zoneinfo import ZoneInfo

from wfe.core.lean import frozen

__all__ = ["FUNCTIONS", "CelFunction", "Form", "used"]

Json: TypeAlias = Any


@frozen
class Form:
    """One way to call a function: types of its arguments, and of its result."""

    arguments: tuple[str, ...]
    result: str


@frozen(kw_only=True)
class CelFunction:
    """A function of ours.

    Attributes:
        forms: The ways to call it.
        call: Takes the arguments as plain Python; raises ``ValueError`` with a message for people.
        member: Whether it is written behind its first argument: ``text.lines()``.
    """

    name: str
    forms: tuple[Form, ...]
    call: Callable[..., Json]
    member: bool = False


_LONGEST: Final = 4 * 1024 * 1024  # characters of a text that a function makes


def _bounded(text: str, name: str) -> str:
    if len(text) > _LONGEST:
        raise ValueError(f"{name} gives a text of more than {_LONGEST:,} characters")
    return text


def _join_path(*parts: str | Sequence[str]) -> str:
    names: list[Json] = [n for part in parts for n in ([part] if isinstance(part, str) else part)]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("joinPath takes texts")
    return _bounded(posixpath.join("", *cast("list[str]", names)), "joinPath")


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _extension(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[1]


def _plain(value: object) -> Json:
    match value:
        case bytes() | bytearray():
            raise ValueError("toJson cannot take bytes; encode them: base64.encode(...)")
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return f"{value.total_seconds():g}s"
        case dict():
            fields = cast("dict[object, Json]", value)
            return {_key(key): _plain(item) for key, item in fields.items()}
        case list():
            return [_plain(item) for item in cast("list[object]", value)]
        case float() if not math.isfinite(value):
            raise ValueError(f"toJson cannot take {value}, which JSON does not have")
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case _:
            return value


def _key(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _to_json(value: Json) -> str:
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return _bounded(text, "toJson")


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else _to_json(value).strip('"')


_DEEPEST: Final = 100  # nested lists and maps of a JSON text
# A text that is not closed is taken to the end: to look again at each quote would take a square.
_MARKS: Final = re.compile(r'"(?:\\(?s:.)|[^"\\])*(?:"|\\?\Z)|[\[{]|[\]}]')


def _from_json(text: str) -> Json:
    depth = 0
    for found in _MARKS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > _DEEPEST:
            raise ValueError(f"fromJson: nested more than {_DEEPEST} deep")
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise ValueError(f"fromJson: not JSON: {error}") from None
    return _in_range(value)


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _in_range(value: object) -> Json:
    match value:
        case int() if not isinstance(value, bool) and not -(2**63) <= value < 2**63:
            return float(value)
        case float() if not math.isfinite(value):
            raise ValueError("fromJson: a number is too large")
        case list():
            return [_in_range(item) for item in cast("list[object]", value)]
        case dict():
            fields = cast("dict[str, Json]", value)
            return {key: _in_range(item) for key, item in fields.items()}
        case str() if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError("fromJson: a text with NUL or half a character")
        case _:
            return value


_RANK: Final[Mapping[object, int]] = {bool: 0, int: 1, float: 1, str: 2}


def _sorted(values: Sequence[Json]) -> list[Json]:
    kinds: set[object] = {type(value) for value in values}
    ranks = {_RANK.get(kind, -1) for kind in kinds}
    if len(ranks) > 1 or -1 in ranks:
        raise ValueError("sorted takes a list of numbers, of texts or of booleans")
    return sorted(values)


def _unique(values: Sequence[Json]) -> list[Json]:
    seen: dict[str, Json] = {}
    for value in values:
        seen.setdefault(f"{isinstance(value, bool)}{_to_json(value)}", value)
    return list(seen.values())


def _sum(values: Sequence[Json]) -> Json:
    total: float = 0
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("sum takes a list of numbers")  # noqa: TRY004 - for people
        total += value
    if isinstance(total, int) and not -(2**63) <= total < 2**63:
        raise ValueError("sum: integer overflow")
    return total


def _values(fields: Mapping[str, Json]) -> list[Json]:
    return [fields[name] for name in sorted(fields)]


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []


def _default(value: Json, other: Json) -> Json:
    return other if value is None else value


_TIME: Final = re.compile(r"%(.)", re.DOTALL)
_DIRECTIVES: Final = frozenset("YmdHMSjuVGyabABpIfzZs%")


def _format_time(time: datetime | str, pattern: str, zone: str = "UTC") -> str:
    if isinstance(time, str):
        time = _read_time(time)
    for found in _TIME.finditer(pattern):
        if found[1] not in _DIRECTIVES:
            known = " ".join(f"%{letter}" for letter in sorted(_DIRECTIVES))
            raise ValueError(f"formatTime does not know `%{found[1]}`; it knows {known}")
    if len(pattern) > 1000 or pattern.replace("%%", "").endswith("%"):
        raise ValueError("formatTime: the pattern is too long, or ends in `%`")
    local = time.astimezone(_zone(zone))
    seconds = str(int(time.timestamp()))
    text = _TIME.sub(lambda f: seconds if f[1] == "s" else f[0], pattern)
    return local.strftime(text)


def _zone(name: str) -> Any:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"there is no time zone {name!r}") from None


def _read_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no timestamp such as 2026-01-31T12:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_VERSION: Final = re.compile(
    r"v?(0|[1-9]\d{0,17})\.(0|[1-9]\d{0,17})\.(0|[1-9]\d{0,17})"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)


def _is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


def _version(text: Json) -> re.Match[str]:
    found = _VERSION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is no semantic version such as 1.2.3 or 2.0.0-rc.1")
    return found


def _version_parts(text: str) -> dict[str, Json]:
    found = _version(text)
    numbers = {name: int(found[i]) for i, name in enumerate(("major", "minor", "patch"), 1)}
    return {**numbers, "prerelease": found[4] or "", "build": found[5] or ""}


def _compare_versions(one: str, other: str) -> int:
    """Compare by the precedence rules of Semantic Versioning 2.0.0, section 11."""
    mine, theirs = _version(one), _version(other)
    for number in (1, 2, 3):
        if int(mine[number]) != int(theirs[number]):
            return 1 if int(mine[number]) > int(theirs[number]) else -1
    if bool(mine[4]) != bool(theirs[4]):
        return -1 if mine[4] else 1
    return _compare_parts((mine[4] or "").split("."), (theirs[4] or "").split("."))


def _compare_parts(mine: Sequence[str], theirs: Sequence[str]) -> int:
    one, other = [_part(part) for part in mine], [_part(part) for part in theirs]
    return (one > other) - (one < other)


def _part(text: str) -> tuple[bool, int, str]:
    return (False, int(text), "") if text.isdecimal() else (True, 0, text)


def _sorted_versions(versions: Sequence[Json]) -> list[str]:
    for version in versions:
        _version(version)
    return sorted(versions, key=cmp_to_key(_compare_versions))


def _sha256(text: str | bytes | bytearray) -> str:
    raw = text.encode() if isinstance(text, str) else bytes(text)
    return hashlib.sha256(raw).hexdigest()


_ONE: Final = Form(("string",), "string")
_TWO: Final = Form(("string", "string"), "string")
_LIST: Final = Form(("list<dyn>",), "list<dyn>")
_KINDS: Final = (
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "null",
    "list<dyn>",
    "map<dyn,dyn>",
    "timestamp",
    "duration",
)


def _each(result: str, kinds: Iterable[str] = _KINDS) -> tuple[Form, ...]:
    # One form a kind: the library does not dispatch on `dyn` at run time.
    return tuple(Form((kind,), result) for kind in kinds)


_DEFAULTS: Final = (
    *(Form((kind, kind), kind) for kind in _KINDS),
    *(Form(("null", kind), kind) for kind in _KINDS if kind != "null"),
    Form(("int", "double"), "dyn"),
    Form(("double", "int"), "dyn"),
)

FUNCTIONS: Final[tuple[CelFunction, ...]] = (
    CelFunction(name="basename", forms=(_ONE,), call=posixpath.basename),
    CelFunction(name="dirname", forms=(_ONE,), call=posixpath.dirname),
    CelFunction(name="stem", forms=(_ONE,), call=_stem),
    CelFunction(name="ext", forms=(_ONE,), call=_extension),
    CelFunction(
        name="joinPath",
        forms=(
            _TWO,
            Form(("string", "string", "string"), "string"),
            Form(("list<dyn>",), "string"),
        ),
        call=_join_path,
    ),
    CelFunction(name="normalPath", forms=(_ONE,), call=posixpath.normpath),
    CelFunction(
        name="lines",
        forms=(Form(("string",), "list<string>"),),
        call=_lines,
        member=True,
    ),
    CelFunction(name="removePrefix", forms=(_TWO,), call=str.removeprefix, member=True),
    CelFunction(name="removeSuffix", forms=(_TWO,), call=str.removesuffix, member=True),
    CelFunction(name="toJson", forms=_each("string"), call=_to_json),
    CelFunction(name="text", forms=_each("string"), call=_text),
    CelFunction(name="fromJson", forms=(Form(("string",), "dyn"),), call=_from_json),
    CelFunction(name="keys", forms=(Form(("map<string,dyn>",), "list<string>"),), call=sorted),
    CelFunction(
        name="values",
        forms=(Form(("map<string,dyn>",), "list<dyn>"),),
        call=_values,
    ),
    CelFunction(
        name="length",
        forms=_each("int", ("string", "bytes", "list<dyn>", "map<dyn,dyn>")),
        call=len,
    ),
    # Lists of all kinds are one kind at run time, so there is one form for them.
    CelFunction(name="sorted", forms=(_LIST,), call=_sorted),
    CelFunction(name="unique", forms=(_LIST,), call=_unique),
    CelFunction(name="sum", forms=(Form(("list<dyn>",), "dyn"),), call=_sum),
    CelFunction(name="default", forms=_DEFAULTS, call=_default),
    CelFunction(
        name="formatTime",
        forms=(
            Form(("timestamp", "string"), "string"),
            Form(("timestamp", "string", "string"), "string"),
            Form(("string", "string"), "string"),
            Form(("string", "string", "string"), "string"),
        ),
        call=_format_time,
    ),
    CelFunction(name="isVersion", forms=(Form(("string",), "bool"),), call=_is_version),
    CelFunction(
        name="compareVersions", forms=(Form(("string", "string"), "int"),), call=_compare_versions
    ),
    CelFunction(
        name="versionParts", forms=(Form(("string",), "map<string,dyn>"),), call=_version_parts
    ),
    CelFunction(
        name="sortedVersions",
        forms=(Form(("list<dyn>",), "list<string>"),),
        call=_sorted_versions,
    ),
    CelFunction(name="sha256", forms=(_ONE, Form(("bytes",), "string")), call=_sha256),
)
"""What is added to CEL."""

_NAMES: Final = re.compile(rf"\b(?:{'|'.join(function.name for function in FUNCTIONS)})\s*\(")


def used(text: str) -> bool:
    """Whether *text* may call one of :data:`FUNCTIONS`; quick, and sometimes wrongly true."""
    return _NAMES.search(text) is not None
