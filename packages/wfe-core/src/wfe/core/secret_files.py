"""Secrets in files: a map in one file, or a directory with a file for each."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote

import attrs
import orjson

from wfe.core.errors import ProviderError
from wfe.core.lean import frozen
from wfe.core.secret_names import check_secret_name, variable_of

__all__ = ["FileSecrets", "open_file", "read_dotenv"]

_LOG: Final = logging.getLogger("wfe.secrets")
_LARGEST: Final = 1024 * 1024  # bytes of a file
_ESCAPES: Final[Mapping[str, str]] = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    '"': '"',
    "\\": "\\",
    "$": "$",
}


def open_file(url: str) -> FileSecrets:
    """Return the provider of ``file:PATH`` or ``file:///PATH``.

    Raises:
        ProviderError: It names no path.
    """
    path = url.removeprefix("file:")
    path = unquote(path.removeprefix("//")) if path.startswith("//") else path
    if not path:
        raise ProviderError("secrets", "the URL names no file; write file:PATH", transient=False)
    return FileSecrets(path)


@frozen
class FileSecrets:
    """Secrets in a file, or in a directory of files, as Kubernetes mounts them.

    A file that ends in ``.json``, ``.yaml`` or ``.yml`` holds a map of texts; any other holds
    ``NAME=value`` lines.  A secret is found by its name, else by the form that an environment
    variable has: ``npm-token`` as ``NPM_TOKEN``.  In a directory, each file is called like a secret
    and holds it; one line break at its end is not part of it.  Files are read each time, so a value
    may change while a host runs.
    """

    path: Path = attrs.field(converter=Path)
    _warned: set[Path] = attrs.field(factory=set[Path], init=False, eq=False, repr=False)

    async def get(self, name: str) -> str | None:
        """Return what the file has.

        Raises:
            ProviderError: It cannot be read, is larger than 1 MiB, or is not well-formed.
        """
        return await asyncio.to_thread(self._get, check_secret_name(name))

    def describe(self) -> str:
        """Say where is looked."""
        return f"{self.path}"

    def _get(self, name: str) -> str | None:
        if self.path.is_dir():
            return self._in_directory(name)
        text = self._read(self.path)
        if text is None:
            raise _problem(f"{self.path} does not exist")
        values = self._values(text)
        found = values.get(name, values.get(variable_of(name, "")))
        if found is not None and not isinstance(found, str):
            kind = type(found).__name__
            raise _problem(f"{self.path}: {name} is no text ({kind}); write it in quotes")
        return found

    def _in_directory(self, name: str) -> str | None:
        found = self._read(self.path / name)
        if found is None:
            return None
        return found.removesuffix("\n").removesuffix("\r") if found.endswith("\n") else found

    def _values(self, text: str) -> Mapping[str, Any]:
        suffix = self.path.suffix.lower()
        if suffix not in {".json", ".yaml", ".yml"}:
            return dict(read_dotenv(text, str(self.path)))
        values: object = _json(text, self.path) if suffix == ".json" else _yaml(text, self.path)
        if not isinstance(values, dict):
            raise _problem(f"{self.path} holds no map of names and values")
        return cast("dict[str, Any]", values)

    def _read(self, path: Path) -> str | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
                about = os.fstat(descriptor)
                if not stat.S_ISREG(about.st_mode):
                    raise _problem(f"{path} is no file")
                content = file.read(_LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _problem(f"{path} cannot be read: {error.strerror}") from error
        if len(content) > _LARGEST:
            raise _problem(f"{path} has more than {_LARGEST:,} bytes")
        self._look_at(path, about)
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise _problem(f"{path} is not UTF-8 text") from None

    def _look_at(self, path: Path, about: os.stat_result) -> None:
        """Warn once of a file that others may read; what Kubernetes mounts belongs to root."""
        if path in self._warned or about.st_uid != os.geteuid() or not about.st_mode & 0o077:
            return
        self._warned.add(path)
        mode = stat.S_IMODE(about.st_mode)
        _LOG.warning("%s can be read by other users (mode %03o); chmod 600 it", path, mode)


def read_dotenv(text: str, source: str) -> Iterator[tuple[str, str]]:
    r"""Yield the ``NAME=value`` pairs of *text*.

    ``#`` begins a comment line, ``export`` may stand in front.  A value in single quotes is taken
    as it is, one in double quotes knows ``\n \r \t \" \\ \$``; both may have several lines.

    Raises:
        ProviderError: A line is no such pair; its number is named, not its contents.
    """
    lines = iter(enumerate(text.removeprefix("\ufeff").splitlines(), 1))
    for number, line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name:
            raise _problem(f"{source}: line {number} is not NAME=value")
        if value[:1] not in {"'", '"'}:
            yield name, value
            continue
        while (end := _end_of_quoted(value)) < 0:
            following = next(lines, None)
            if following is None:
                raise _problem(f"{source}: the quote that begins in line {number} does not end")
            value += "\n" + following[1]
        if value[end + 1 :].strip() and not value[end + 1 :].strip().startswith("#"):
            raise _problem(f"{source}: line {number} has something behind the closing quote")
        inner = value[1:end]
        yield name, inner if value[0] == "'" else _unescaped(inner)


def _end_of_quoted(value: str) -> int:
    """Return where the quote that begins *value* ends, -1 when it does not."""
    quote, position = value[0], 1
    while position < len(value):
        if value[position] == "\\" and quote == '"':
            position += 1
        elif value[position] == quote:
            return position
        position += 1
    return -1


def _unescaped(text: str) -> str:
    parts = text.split("\\")
    out, pending = [parts[0]], False
    for part in parts[1:]:
        if pending:  # behind an escaped backslash
            out.append(part)
            pending = False
        elif not part:
            out.append("\\")
            pending = True
        else:
            out.append(_ESCAPES.get(part[0], "\\" + part[0]) + part[1:])
    return "".join(out)


def _json(text: str, path: Path) -> object:
    try:
        return orjson.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 0)
        raise _problem(f"{path} is not well-formed JSON (line {line})") from None


def _yaml(text: str, path: Path) -> object:
    try:
        from ruamel.yaml import YAML  # noqa: PLC0415 - an optional library
        from ruamel.yaml.error import YAMLError  # noqa: PLC0415
    except ImportError:
        problem = f'{path} is YAML, which needs: pip install "wfe[yaml]"; or write JSON'
        raise _problem(problem) from None
    try:
        return YAML(typ="safe", pure=True).load(text)  # pyright: ignore[reportUnknownMemberType]
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise _problem(f"{path} is not well-formed YAML{where}") from None


def _problem(text: str) -> ProviderError:
    return ProviderError("secrets", text, transient=False)
