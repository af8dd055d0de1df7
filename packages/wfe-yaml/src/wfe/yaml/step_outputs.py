"""What a step gives back: the file behind ``$WFE_OUTPUT`` and ``##wfe[output k=v]`` lines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from wfe.core.errors import WfeError
from wfe.core.lean import define
from wfe.yaml.diagnostics import nearest
from wfe.yaml.private_files import PrivateFileError, read_private
from wfe.yaml.value_types import ANY, UnfitValueError, ValueType

__all__ = ["RESERVED", "StepOutputError", "StepOutputs", "read_marker"]

RESERVED: Final = ("inputs", "outputs")
"""Names that the data of a run has already."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,199}")
_MOST_WARNINGS: Final = 20
_MARKER: Final = re.compile(r"##wfe\[output ([^=\]]+)=(.*)\]\s*")


@define(eq=False)
class StepOutputError(WfeError):
    """A step's outputs cannot be taken: what is wrong, and where."""

    problem: str

    def __str__(self) -> str:
        return self.problem


def read_marker(line: str) -> tuple[str, str] | None:
    """Return name and value of a ``##wfe[output name=value]`` line, ``None`` for other lines."""
    if not line.startswith("##wfe["):
        return None
    found = _MARKER.fullmatch(line)
    return (found[1].strip(), found[2]) if found else None


@define
class StepOutputs:
    """Collects the outputs of one attempt.

    Attributes:
        declared: Types by name.
        values: So far.
    """

    declared: Mapping[str, ValueType]
    values: dict[str, Any] = attrs.field(factory=dict[str, Any])
    unknown: set[str] = attrs.field(factory=set[str])

    def take_marker(self, name: str, text: str) -> str | None:
        """Take an output that stdout named; return a warning instead when it is not declared.

        Anybody's output can reach stdout, so a name that is not declared is no output.

        Raises:
            StepOutputError: The value does not fit the declared type.
        """
        if name in self.declared:
            self.values[name] = self._read(name, text, f"output {name!r}")
            return None
        if name in self.unknown or len(self.unknown) >= _MOST_WARNINGS:
            return None
        self.unknown.add(name)
        near = nearest(name, self.declared)
        hint = f"did you mean {near!r}?" if near else "declare it in the step's `outputs`"
        return f"output {name!r} on stdout is ignored, the step does not declare it; {hint}"

    def take_file(self, path: Path, limit: int) -> None:
        """Take the lines of the file, JSON objects or ``name=value``.

        Raises:
            StepOutputError: It is no regular file, is larger than *limit* bytes, or a line is
                wrong; line and reason are named.
        """
        for number, line in enumerate(_content(path, limit).split("\n"), 1):
            line = line.removesuffix("\r")  # noqa: PLW2901 - the same line
            if line.strip():
                self._take_line(line, f"line {number} of $WFE_OUTPUT")

    def _take_line(self, line: str, where: str) -> None:
        if line.lstrip().startswith("{"):
            try:
                fields: dict[str, Any] = json.loads(line, parse_constant=_refuse)
            except (ValueError, RecursionError) as error:
                raise StepOutputError(f"{where} is not a JSON object: {error}") from error
            for name, value in fields.items():
                self._take(name, where)
                self.values[name] = self._convert(name, value, f"{where}, {name!r}")
            return
        name, equals, text = line.partition("=")
        if not equals:
            raise StepOutputError(
                f'{where} is neither name=value nor {{"name": value}}: {line[:80]!r}'
            )
        self._take(name, where)
        self.values[name] = self._read(name, text, f"{where}, {name!r}")

    def _take(self, name: str, where: str) -> None:
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise StepOutputError(f"{where}: an output cannot be called {name[:80]!r}")

    def _read(self, name: str, text: str, where: str) -> Any:
        try:
            return self.declared.get(name, ANY).read(text)
        except UnfitValueError as error:
            raise StepOutputError(f"{where}: {error}") from None

    def _convert(self, name: str, value: object, where: str) -> Any:
        try:
            return self.declared.get(name, ANY).convert(value)
        except UnfitValueError as error:
            raise StepOutputError(f"{where}: {error}") from None

    def finish(self) -> dict[str, Any]:
        """Return the outputs; those that may be null and were not made are null.

        Raises:
            StepOutputError: A declared output was not made.
        """
        missing = [
            name
            for name, kind in self.declared.items()
            if name not in self.values and not kind.optional and kind.kind != "any"
        ]
        if missing:
            names = ", ".join(repr(name) for name in missing)
            hint = f"echo '{missing[0]}=VALUE' >> \"$WFE_OUTPUT\""
            raise StepOutputError(f"the step declares {names}, and did not make it; write: {hint}")
        return {**dict.fromkeys(self.declared), **self.values}


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _content(path: Path, limit: int) -> str:
    try:
        content, whole = read_private(path, limit)
    except PrivateFileError as error:
        problem = error.problem.removeprefix("it ")
        raise StepOutputError(f"the file of $WFE_OUTPUT {problem}") from error
    if not whole:
        raise StepOutputError(f"the file of $WFE_OUTPUT has more than {limit:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise StepOutputError("the file of $WFE_OUTPUT is not UTF-8 text") from error
