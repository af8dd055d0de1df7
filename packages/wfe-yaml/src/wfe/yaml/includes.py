"""Read a file and all that it includes, confined to the directory of the first one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from wfe.core.lean import define, frozen
from wfe.yaml.diagnostics import Problems, Source, nearest
from wfe.yaml.files import CannotReadError, decoded, read_bytes
from wfe.yaml.parsing import parse
from wfe.yaml.reading import Reader
from wfe.yaml.tree import Limits, MapNode, Scalar
from wfe.yaml.variables import Variables, expand

__all__ = ["File", "read_files"]

_BEGIN: Final = "begin with `workflow:` and an `id`, a `version` and `steps`"


@frozen(eq=False, kw_only=True)
class File:
    """A file, read.

    Attributes:
        source: Its text, under the name that messages show.
        root: Its map, with load-time variables put in.
        includes: What it includes, in its order; a file that two others include is one object.
    """

    source: Source
    root: MapNode
    includes: tuple[File, ...] = ()

    def all(self) -> Iterator[File]:
        """Yield this file, then what it includes, each once and in the order of the text."""
        seen: set[int] = set()
        stack: list[File] = [self]
        while stack:
            file = stack.pop()
            if id(file) not in seen:
                seen.add(id(file))
                yield file
                stack.extend(reversed(file.includes))


def read_files(
    source: Source, path: Path | None, variables: Variables, problems: Problems, limits: Limits
) -> File | None:
    """Return *source* and what it includes; ``None`` when *source* itself cannot be read.

    Args:
        source: The first file.
        path: Where it stands; ``None``: it is a text, which stands in the working directory.
        variables: For ``((name))``.
        problems: Gets what is wrong, at the place of the ``include`` that asks for the file.
        limits: Of each file; ``limits.nodes`` is of all together, too.
    """
    place = Path.cwd() / source.name if path is None else Path(os.path.realpath(path))
    return _Reading(
        workspace=place.parent, variables=variables, problems=problems, limits=limits
    ).file(source, place)


@define(kw_only=True)
class _Reading:
    """Reads files; each once, however often it is included.

    Attributes:
        done: By real path; ``None``: it could not be read, which is reported.
        open: The files that are being read, from the first one on: real path -> shown name.
    """

    workspace: Path
    variables: Variables
    problems: Problems
    limits: Limits
    done: dict[Path, File | None] = attrs.field(factory=dict["Path", "File | None"])
    open: dict[Path, str] = attrs.field(factory=dict["Path", str])
    weight: int = 0

    def file(self, source: Source, path: Path) -> File | None:
        """Read *source*, which stands at *path*, and what it includes."""
        self.open[path] = source.name
        try:
            found = self._file(source, path)
        finally:
            del self.open[path]
        self.done[path] = found
        return found

    def _file(self, source: Source, path: Path) -> File | None:
        root = parse(source, self.problems, self.limits)
        if root is None:
            return None
        root = expand(root, self.variables, self.problems)
        mapping = Reader(self.problems).mapping(root, "a workflow file", _BEGIN)
        if mapping is None:
            return None
        self.weight += mapping.weight
        node = mapping.get("include")
        hint = "write `include: [other.yaml]`"
        listed = Reader(self.problems).sequence(node, "`include`", hint) if node else None
        found = [self._included(item, path.parent, source) for item in _texts(listed, self)]
        files = tuple(file for file in found if file is not None)
        return File(source=source, root=mapping, includes=files)

    def _included(self, item: Scalar, directory: Path, source: Source) -> File | None:
        path = self._place(item, directory)
        if path is None:
            return None
        if path in self.open:
            names = list(self.open.values())[list(self.open).index(path) :]
            circle = " -> ".join(f"`{name}`" for name in [*names, self.open[path]])
            message = f"these files include each other without end: {circle}"
            self.problems.error("WFE082", item.span, message, "remove one `include`")
            return None
        if path not in self.done:
            if len(self.done) + len(self.open) >= self.limits.files:
                message = f"more than {self.limits.files} files are included"
                self.problems.error("WFE002", item.span, message, "put several into one file")
                return None
            shown = os.path.normpath(os.path.join(os.path.dirname(source.name), item.value))  # noqa: PTH118, PTH120 - names, not paths
            text = self._text(item, path)
            if text is None:
                return None
            self.done[path] = self.file(Source(shown, text), path)
            if self.weight > self.limits.nodes:
                most = f"{self.limits.nodes:,}"
                message = f"the file and what it includes have more than {most} nodes"
                self.problems.error("WFE002", item.span, message, "include less")
        return self.done[path]

    def _place(self, item: Scalar, directory: Path) -> Path | None:
        """Return the real path of an included file, ``None`` when it may not be included."""
        text = item.value
        problem: str | None = None
        if not text.strip():
            self.problems.error("WFE013", item.span, "an item of `include` is empty")
            return None
        if "://" in text:
            problem = f"`{text[:60]}` is an address, only files are included"
        elif os.path.isabs(text):  # noqa: PTH117 - the text, before it is a path
            problem = f"`{text[:60]}` is an absolute path"
        try:
            path = Path(os.path.realpath(directory / text))
        except (OSError, ValueError):
            path, problem = directory, f"`{text[:60]!r}` is no path"
        if problem is None and not path.is_relative_to(self.workspace):
            link = ".." not in Path(text).parts
            how = "a link leads" if link else "it leads"
            problem = f"`{text[:60]}` cannot be included, {how} out of the main file's directory"
        if problem is None:
            return path
        hint = "write a path relative to this file, in or below the directory of the main file"
        self.problems.error("WFE080", item.span, problem, hint)
        return None

    def _text(self, item: Scalar, path: Path) -> str | None:
        """Return the text of an included file; what is wrong stands at the ``include``."""
        shown = item.value[:60]
        try:
            content = read_bytes(path, self.limits, ordinary=True)
        except CannotReadError as error:
            code = "WFE002" if error.too_big else "WFE081"
            message = f"the included file `{shown}` cannot be read: {error}"
            near = _beside(path)
            hint = f"did you mean `{item.value.removesuffix(path.name)}{near}`?" if near else None
            self.problems.error(code, item.span, message, hint or error.hint)
            return None
        text, problem = decoded(content)
        if problem is not None:
            where = f"(line {problem.line}, column {problem.column})"
            message = f"the included file `{shown}` is not UTF-8 text: {problem.reason} {where}"
            self.problems.error("WFE010", item.span, message, "save it as UTF-8")
        return text


def _beside(path: Path) -> str | None:
    """Return the name most like that of *path*, which is not there, in its directory."""
    try:
        if path.exists():
            return None
        return nearest(path.name, sorted(each.name for each in path.parent.glob("*.y*ml")))
    except OSError:
        return None


def _texts(listed: object, reading: _Reading) -> list[Scalar]:
    reader = Reader(reading.problems)
    items = getattr(listed, "items", [])
    found = [reader.constant(item, "an item of `include`") for item in items]
    return [scalar for scalar in found if scalar is not None]
