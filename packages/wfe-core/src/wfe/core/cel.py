"""Compile, type-check and evaluate CEL expressions (extra ``[cel]``).

The library behind it is imported at the first expression, so ``import wfe.core`` stays cheap and
works without the extra.
"""

from __future__ import annotations

import importlib
import re
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import attrs

from wfe.core.cel_messages import ERROR, CelProblem, first_line, problems_of, runtime_message
from wfe.core.cel_syntax import CelPath, CelSyntaxTooDeepError, read_paths
from wfe.core.cel_types import CelType, UnfitError, cel_type_of, cel_value, plain_value
from wfe.core.errors import DefinitionError, WfeError

__all__ = [
    "CelError",
    "CelEvaluationError",
    "CelPath",
    "CelProblem",
    "CelProgram",
    "CelType",
    "cel_paths",
    "cel_type_of",
    "compile_cel",
]

LONGEST: Final = 20_000
"""Most characters of one expression."""

_CONFIG: Final = "name: wfe\nextensions:\n- name: optional\n- name: strings\n"


@attrs.define(eq=False)
class CelError(DefinitionError):
    """An expression does not parse or does not type-check.

    Attributes:
        text: The expression.
        problems: All that is wrong, at least one.
    """

    text: str = ""
    problems: tuple[CelProblem, ...] = ()

    @classmethod
    def of(cls, text: str, problems: Sequence[CelProblem]) -> CelError:
        """Return the error for *problems* of *text*."""
        first = problems[0]
        line = f"line {first.line}, " if "\n" in text.strip() else ""
        message = f"{first.message} ({line}column {first.column} of {_shown(text)})"
        return cls(message, None, None, text, tuple(problems))


@attrs.define(eq=False)
class CelEvaluationError(WfeError):
    """A correct expression failed on the values that it was given.

    Attributes:
        text: The expression.
        problem: Why.
    """

    text: str
    problem: str

    def __str__(self) -> str:
        return f"expression {_shown(self.text)} failed: {self.problem}"


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return f"`{line if len(line) <= 120 else line[:117] + '...'}`"


@attrs.frozen(kw_only=True, eq=False)
class CelProgram:
    """A compiled expression; make one with :func:`compile_cel`.

    Attributes:
        text: The expression.
        result_type: What it gives, ``dyn`` when that is known only when it runs.
        references: Names of the declared variables it reads, sorted; a dotted variable appears
            under its full name.
        paths: Every name it reads, as written, with places.
    """

    text: str
    result_type: CelType
    references: tuple[str, ...]
    paths: tuple[CelPath, ...]
    _variables: Mapping[str, CelType] = attrs.field(alias="variables")
    _needed: Mapping[str, frozenset[str] | None] = attrs.field(alias="needed")
    _expression: Any = attrs.field(alias="expression")

    def evaluate(self, values: Mapping[str, object]) -> object:
        """Return the value as plain Python.

        Args:
            values: One entry per name in :attr:`references` (more do no harm).  A dotted variable
                takes its value under its full name (``{"data.amount": 5}``) or, when that key is
                not there, from nested mappings or attributes (``{"data": {"amount": 5}}``).
                Datetimes and durations inside an untyped (``dyn``) variable appear as text that
                ``timestamp()`` and ``duration()`` read.

        Raises:
            CelEvaluationError: A value is missing or of a wrong type, a key does not exist, a
                number overflows, something is divided by zero …
        """
        data = {name: self._value(name, values) for name in self.references}
        try:
            result: Any = self._expression.eval(data=data)
            plain = result.plain_value()
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise CelEvaluationError(self.text, first_line(str(error))) from error
        if _type_name(result.type()) == "error":
            raise CelEvaluationError(self.text, runtime_message(str(plain)))
        return plain_value(plain)

    def _value(self, name: str, values: Mapping[str, object]) -> object:
        found = _look_up(name, values)
        if found is _MISSING:
            problem = f"there is no value for `{name}`"
            raise CelEvaluationError(self.text, problem)
        declared, needed = self._variables[name], self._needed[name]
        if declared in _TIMES and isinstance(found, datetime | timedelta):
            return found
        if needed is not None and isinstance(found, Mapping):
            content = typing.cast("Mapping[str, object]", found)
            found = {key: content[key] for key in needed if key in content}
        try:
            return cel_value(found, name)
        except UnfitError as error:
            raise CelEvaluationError(self.text, str(error)) from None


_MISSING: Final = object()
_TIMES: Final = (CelType.TIMESTAMP, CelType.DURATION)


def _look_up(name: str, values: Mapping[str, object]) -> object:
    if name in values:
        return values[name]
    head, *rest = name.split(".")
    found: object = values.get(head, _MISSING)
    for part in rest:
        if isinstance(found, Mapping):
            found = typing.cast("Mapping[str, object]", found).get(part, _MISSING)
        elif found is not _MISSING:
            found = getattr(found, part, _MISSING)
    return found


def cel_paths(text: str) -> tuple[CelPath, ...]:
    """Return every name that the expression reads, with its place, without checking types.

    Raises:
        CelError: It does not parse.
        DefinitionError: The ``[cel]`` extra is missing.
    """
    return _parse(text)


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[CelPath, ...]:
    if len(text) > LONGEST:
        message = f"the expression has {len(text)} characters, more than {LONGEST}"
        raise CelError.of(text, [CelProblem(message)])
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise CelError.of(ascii(text), [CelProblem("the expression contains a lone surrogate")])
    try:
        parsed = _environment(()).compile(text, disable_check=True)
        return read_paths(parsed.serialize())
    except CelSyntaxTooDeepError:
        message = "the expression is nested too deeply; split it over several steps"
        raise CelError.of(text, [CelProblem(message)]) from None
    except (RuntimeError, TypeError, ValueError) as error:
        raise CelError.of(text, list(problems_of(str(error), text))) from error


def compile_cel(text: str, variables: Mapping[str, CelType]) -> CelProgram:
    """Compile and type-check an expression; compiling the same again costs nothing.

    Args:
        text: CEL with the optional syntax (``a.?b.orValue(c)``) and the string functions.
        variables: What it may read.  Names may be dotted: ``inputs.image`` declared as a string is
            checked as such, and ``inputs.imgae`` is an unknown name.  The longest declared name
            wins, so ``data`` (``dyn``) and ``data.amount`` (``int``) may stand side by side.

    Raises:
        CelError: It does not parse, reads an unknown name, or the types do not fit; all problems
            are in ``problems``, with line and column.
        DefinitionError: The ``[cel]`` extra is missing.
    """
    return _compile(text, tuple(sorted(variables.items())))


@lru_cache(maxsize=4096)
def _compile(text: str, variables: tuple[tuple[str, CelType], ...]) -> CelProgram:
    paths = _parse(text)
    try:
        expression = _environment(variables).compile(text)
    except (RuntimeError, TypeError, ValueError) as error:
        expression = _with_mixed_numbers(text, variables, str(error))
    if "optional_type" in str(expression.return_type()).lower():
        message = "the result may be missing; end the expression with `.orValue(...)`"
        raise CelError.of(text, [CelProblem(message)])
    needed = _needed(paths, dict(variables))
    return CelProgram(
        text=text,
        result_type=CelType(_type_name(expression.return_type())),
        references=tuple(sorted(needed)),
        paths=paths,
        variables=dict(variables),
        needed=needed,
        expression=expression,
    )


def _type_name(found: object) -> str:
    return str(found).lower().replace(", ", ",")


_MIXED: Final = re.compile(
    r"no matching overload for '_(?:<|<=|>|>=|==|!=)_' applied to '\((?:double, int|int, double)\)'"
)


def _with_mixed_numbers(text: str, variables: tuple[tuple[str, CelType], ...], error: str) -> Any:
    """Compile again with untyped floats when only comparisons of int with float stood in the way.

    The language compares numbers of both kinds, but its checker refuses to.
    """
    messages = [found.group("message") for found in ERROR.finditer(error)]
    if messages and all(_MIXED.search(message) for message in messages):
        loose = tuple((n, CelType.DYN if t == CelType.DOUBLE else t) for n, t in variables)
        try:
            return _environment(loose).compile(text)
        except (RuntimeError, TypeError, ValueError) as again:
            error = str(again)
    raise CelError.of(text, list(problems_of(error, text)))


def _needed(
    paths: Sequence[CelPath], variables: Mapping[str, CelType]
) -> dict[str, frozenset[str] | None]:
    """Per variable: the keys that are read below it, ``None`` when it is read as a whole."""
    needed: dict[str, frozenset[str] | None] = {}
    for path in paths:
        names = path.names()
        found = next((n for n in range(len(names), 0, -1) if ".".join(names[:n]) in variables), 0)
        if not found:
            continue
        name = ".".join(names[:found])
        below = frozenset(names[found : found + 1])
        so_far = needed.get(name, frozenset())
        needed[name] = None if so_far is None or not below else so_far | below
    return needed


@lru_cache(maxsize=1024)
def _environment(variables: tuple[tuple[str, CelType], ...]) -> Any:
    library = _library()
    declared = {name: library.Type(kind.signature) for name, kind in variables}
    return library.NewEnv(config=library.NewEnvConfigFromYaml(_CONFIG), variables=declared)


def _library() -> Any:
    try:
        # Its stub file needs a package that it does not require, so it is imported by name.
        return importlib.import_module("cel_expr_python.cel")
    except ImportError as error:
        problem = "CEL expressions need an extra that is not installed"
        raise DefinitionError(problem, None, 'pip install "wfe-core[cel]"') from error
