"""What the result of a step depends on, as a document; its hash is the key of the result.

The document is kept with the result, so that ``wfe cache explain`` can say what differs.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import types
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, cast

import attrs
import orjson

from wfe.core.codec import encode
from wfe.core.definition import Json
from wfe.core.errors import DataTypeError, WfeError
from wfe.core.file_digests import FileDigests, tree_digest
from wfe.core.globs import GlobError, find_files
from wfe.core.lean import define, frozen

__all__ = ["Files", "Key", "NoKeyError", "fingerprint", "hash_file_tree", "hashed", "make_key"]

SCHEMA: Final = 1
_LONG: Final = 2048  # characters of a text from which its digest stands for it
_LISTED: Final = 2000  # files that a document lists
_CONSTANTS: Final = (str, int, float, bool, bytes, type(None))


@define(eq=False)
class NoKeyError(WfeError):
    """A step's result cannot be kept, because something that it depends on has no stable form."""

    problem: str

    def __str__(self) -> str:
        return self.problem


@frozen
class Key:
    """The key of a result.

    Attributes:
        digest: SHA-256 of the document, hexadecimal.
        document: What was hashed, with the listing of files added.
    """

    digest: str
    document: Mapping[str, Json]


@frozen
class Files:
    """The files that a result depends on.

    Attributes:
        root: Digest of all of them.
        listing: Place -> mode and digest; ``None``: too many to be listed.
    """

    root: str
    count: int
    listing: Mapping[str, str] | None


def make_key(parts: Mapping[str, Json], files: Files | None) -> Key:
    """Return the key of what *parts* say.

    Raises:
        NoKeyError: Something in them has no stable form.
    """
    document: dict[str, Json] = {"schema": SCHEMA, **parts}
    if files is not None:
        document["files"] = {"root": files.root, "count": files.count}
    text = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(text).hexdigest()
    if files is not None and files.listing is not None:
        document["listing"] = dict(files.listing)
    return Key(digest, document)


def hashed(value: object, what: str) -> Json:
    """Return the form of *value* in a key document: plain JSON; long texts by their digest.

    Raises:
        NoKeyError: It has none.
    """
    try:
        return _shortened(encode(value, what))
    except DataTypeError as error:
        raise NoKeyError(f"{error}; so it cannot be part of the key") from error


def _shortened(value: object) -> Json:
    if isinstance(value, str):
        if len(value) <= _LONG:
            return value
        digest = hashlib.sha256(value.encode()).hexdigest()
        return {"$sha256": digest, "length": len(value)}
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return {name: _shortened(field) for name, field in fields.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in cast("list[object]", value)]
    return value


def hash_file_tree(root: Path, patterns: Sequence[str], digests: FileDigests) -> Files:
    """Return what the files that fit *patterns* contain.

    Raises:
        NoKeyError: A pattern is wrong or leads out of *root*, or a file cannot be read.
    """
    try:
        entries = {
            place: _entry(path, digests) for place, path in find_files(root, patterns).items()
        }
    except GlobError as error:
        raise NoKeyError(str(error)) from error
    except OSError as error:
        problem = f"the file {error.filename} cannot be read: {error.strerror}"
        raise NoKeyError(problem) from error
    listing = None
    if len(entries) <= _LISTED:
        listing = {place: f"{mode} {content}" for place, (mode, content) in entries.items()}
    return Files(tree_digest(entries), len(entries), listing)


def _entry(path: Path, digests: FileDigests) -> tuple[str, str]:
    mode, content = digests.entry(path)
    if mode == "link" and path.is_file():  # it leads to a file of the workspace, which counts
        content = f"{content} {digests.entry(path.resolve())[1]}"
    return mode, content


def environment(names: Sequence[str]) -> dict[str, Json]:
    """Return the digests of variables of the host; ``None`` of those that are not set."""
    return {name: _secretly(os.environ.get(name)) for name in sorted(set(names))}


def _secretly(value: str | None) -> str | None:
    if value is None:
        return None
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


def machine() -> dict[str, Json]:
    """Return what kind of machine this is."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


# -- code -------------------------------------------------------------------------------------


def fingerprint(target: Any) -> Json:
    """Return what stands for the code of a body, a mapping or a condition.

    A body may say it itself, with a method ``cache_identity()`` that returns plain JSON.  Of
    others: the qualified name and the source; the constants that a function was made with; the
    fields of an object.  What it calls is not looked at.

    Raises:
        NoKeyError: A field has no stable form.
    """
    own = getattr(target, "cache_identity", None)
    if callable(own) and not inspect.isclass(target):
        return hashed(own(), "cache_identity()")
    if inspect.isclass(target) or isinstance(target, types.FunctionType):
        return _coded(target)
    inner = getattr(target, "__wrapped__", None) or getattr(target, "func", None)
    kind: type = target.__class__
    found: dict[str, Json] = {"class": _coded(kind)}
    if callable(inner):
        found["function"] = fingerprint(inner)
    fields = _fields(target)
    if fields:
        found["fields"] = {name: hashed(field, f"the field {name!r}") for name, field in fields}
    return found


def _coded(target: type | types.FunctionType) -> dict[str, Json]:
    name = f"{target.__module__}.{target.__qualname__}"
    found: dict[str, Json] = {"name": name, "source": _source(target)}
    distribution = _distribution(target.__module__)
    if distribution is not None:
        found["distribution"] = distribution
    if isinstance(target, types.FunctionType):
        constants = _closure(target)
        if constants:
            found["constants"] = constants
    return found


def _distribution(module: str) -> str | None:
    """Return distribution and version of a module of ours; others count by their source."""
    parts = module.split(".")
    if parts[0] != "wfe" or len(parts) < 2:
        return None
    name = f"wfe-{parts[1]}"
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return None


def _source(target: type | types.FunctionType) -> str:
    try:
        text = inspect.getsource(target)
    except (OSError, TypeError):  # made at run time, or typed in
        text = _compiled(target)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _compiled(target: type | types.FunctionType) -> str:
    if isinstance(target, types.FunctionType):
        return _code_text(target.__code__)
    functions = [each for each in vars(target).values() if isinstance(each, types.FunctionType)]
    return "\n".join(_code_text(each.__code__) for each in functions)


def _code_text(code: types.CodeType) -> str:
    every: tuple[Any, ...] = code.co_consts
    constants = [_constant_text(each) for each in every]
    return repr((code.co_code, constants, code.co_names, code.co_varnames))


def _constant_text(value: object) -> str:
    if isinstance(value, types.CodeType):
        return _code_text(value)
    if isinstance(value, frozenset):  # the order of texts in it differs between processes
        return repr(sorted(map(repr, cast("frozenset[object]", value))))
    return repr(value)


def _closure(function: types.FunctionType) -> dict[str, Json]:
    """Return the constants that a function was made with; what may change does not count."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = {name: _cell(cell) for name, cell in cells}
    defaults = function.__defaults__ or ()
    found.update((f"default {k}", each) for k, each in enumerate(defaults))
    found.update(function.__kwdefaults__ or {})
    return {
        name: hashed(value, name) for name, value in found.items() if isinstance(value, _CONSTANTS)
    }


def _cell(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return ...


def _fields(target: Any) -> list[tuple[str, Any]]:
    kind: type = target.__class__
    if attrs.has(kind):
        return [(each.name, getattr(target, each.name)) for each in attrs.fields(kind) if each.init]
    fields: dict[str, Any] = getattr(target, "__dict__", {})
    return sorted(fields.items())


def parameters_of(target: Any) -> tuple[str, ...]:
    """Return the names of a function's parameters; none of a class or an object with ``run``."""
    if inspect.isclass(target) or callable(getattr(target, "run", None)):
        return ()
    call = cast("Callable[..., Any]", target)
    try:
        return tuple(inspect.signature(call).parameters)
    except (TypeError, ValueError):
        return ()
