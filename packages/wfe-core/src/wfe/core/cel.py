"""Compile, type-check and evaluate CEL expressions (extra ``[cel]``).

The library behind it is imported at the first expression, so ``import wfe.core`` stays cheap and
works without the extra.
"""

from __future__ import annotations

import importlib
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import attrs

from wfe.core.cel_functions import FUNCTIONS, CelFunction, used
from wfe.core.cel_messages import ERROR, CelProblem, first_line, problems_of, runtime_message
from wfe.core.cel_syntax import (
    NAMESPACES,
    STATUS,
    CelCall,
    CelComparison,
    CelPath,
    CelSyntax,
    CelSyntaxTooDeepError,
    read_syntax,
)
from wfe.core.cel_types import CelType, UnfitError, cel_type_of, cel_value, plain_value
from wfe.core.errors import DefinitionError, WfeError
from wfe.core.lean import define, frozen

__all__ = [
    "NAMESPACES",
    "CelCall",
    "CelComparison",
    "CelError",
    "CelEvaluationError",
    "CelPath",
    "CelProblem",
    "CelProgram",
    "CelSyntax",
    "CelType",
    "cel_paths",
    "cel_syntax",
    "cel_type_of",
    "check_cel",
    "compile_cel",
]

LONGEST: Final = 20_000
"""Most characters of one expression."""

_CONFIG: Final = (
    "name: wfe\nextensions:\n- name: optional\n- name: strings\n- name: math\n- name: encoders\n"
    # Later versions make lists of any length from a number.
    "- name: lists\n  version: 1\n"
)


@define(eq=False)
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
        return cls(message, None, first.hint, text, tuple(problems))


@define(eq=False)
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


@frozen(kw_only=True, eq=False)
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
    return _parse(text).paths


def cel_syntax(text: str) -> CelSyntax:
    """Return what the expression reads and calls, without checking names or types.

    Raises:
        CelError: It does not parse, or is nested too deeply.
        DefinitionError: The ``[cel]`` extra is missing.
    """
    return _parse(text)


@lru_cache(maxsize=4096)
def _parse(text: str) -> CelSyntax:
    if len(text) > LONGEST:
        message = f"the expression has {len(text)} characters, more than {LONGEST}"
        raise CelError.of(text, [CelProblem(message)])
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise CelError.of(ascii(text), [CelProblem("the expression contains a lone surrogate")])
    try:
        parsed = _environment((), functions=False).compile(text, disable_check=True)
        return read_syntax(parsed.serialize())
    except CelSyntaxTooDeepError as error:
        message = f"the expression is too deep: {error}; split it over several steps"
        raise CelError.of(text, [CelProblem(message)]) from None
    except (RuntimeError, TypeError, ValueError) as error:
        raise CelError.of(text, list(problems_of(str(error), text))) from error


def compile_cel(text: str, variables: Mapping[str, CelType]) -> CelProgram:
    """Compile and type-check an expression; compiling the same again costs nothing.

    Args:
        text: CEL with the optional syntax (``a.?b.orValue(c)``), its string, list, math and base64
            functions and ours.  ``success()``, ``failure()`` and ``always()`` are read from the
            values ``_success_``, ``_failure_`` and ``_always_``.
        variables: What it may read.  Names may be dotted: ``inputs.image`` declared as a string is
            checked as such, and ``inputs.imgae`` is an unknown name.  The longest declared name
            wins, so ``data`` (``dyn``) and ``data.amount`` (``int``) may stand side by side.

    Raises:
        CelError: It does not parse, reads an unknown name, or the types do not fit; all problems
            are in ``problems``, with line and column.
        DefinitionError: The ``[cel]`` extra is missing.
    """
    return _compile(text, tuple(sorted(variables.items())))


def check_cel(text: str, variables: Mapping[str, CelType], syntax: CelSyntax) -> CelType:
    """Type-check an expression and return the type of what it gives.

    It costs half of what :func:`compile_cel` does, which parses once more.

    Args:
        text: As for :func:`compile_cel`.
        variables: As for :func:`compile_cel`.
        syntax: What :func:`cel_syntax` gave for a text whose calls stand at the same places.

    Raises:
        CelError: As :func:`compile_cel`.
    """
    return _checked(text, tuple(sorted(variables.items())), syntax.calls)[0]


@lru_cache(maxsize=4096)
def _checked(
    text: str, variables: tuple[tuple[str, CelType], ...], calls: tuple[CelCall, ...]
) -> tuple[CelType, Any, str, tuple[str, ...]]:
    """Return the type, the library's expression, its text, and the names about status in it."""
    written, status = _with_status(text, calls)
    variables += tuple((name, CelType.BOOL) for name in status)
    try:
        expression = _environment(variables, functions=used(text)).compile(written)
    except (RuntimeError, TypeError, ValueError) as error:
        expression = _with_mixed_numbers(written, variables, str(error))
    kind = _type_name(expression.return_type())
    if "optional_type" in kind:
        message = "the result may be missing; end the expression with `.orValue(...)`"
        raise CelError.of(text, [CelProblem(message)])
    return CelType(kind), expression, written, status


@lru_cache(maxsize=4096)
def _compile(text: str, variables: tuple[tuple[str, CelType], ...]) -> CelProgram:
    syntax = _parse(text)
    kind, expression, written, status = _checked(text, variables, syntax.calls)
    paths = _parse(written).paths if status else syntax.paths
    variables += tuple((name, CelType.BOOL) for name in status)
    needed = _needed(paths, dict(variables))
    return CelProgram(
        text=text,
        result_type=kind,
        references=tuple(sorted(needed)),
        paths=syntax.paths,
        variables=dict(variables),
        needed=needed,
        expression=expression,
    )


_EMPTY_CALL: Final = re.compile(r"(\w+)\s*\(\s*\)")


def _with_status(text: str, calls: Sequence[CelCall]) -> tuple[str, tuple[str, ...]]:
    """Return the expression with a variable of the same length for each question about status."""
    found: list[str] = []
    for call in calls:
        if call.name not in STATUS or call.member or call.arguments:
            continue
        start = text.rfind(call.name, 0, call.offset)
        written = _EMPTY_CALL.match(text, max(start, 0))
        if written is not None:
            name = f"_{call.name}_"
            found.append(name)
            text = text[:start] + name.ljust(len(written[0])) + text[written.end() :]
    return text, tuple(sorted(set(found)))


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
            return _environment(loose, functions=used(text)).compile(text)
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


@lru_cache(maxsize=64)
def _environment(variables: tuple[tuple[str, CelType], ...], *, functions: bool) -> Any:
    library = _library()
    declared = {name: _library_type(kind.signature) for name, kind in variables}
    ours = _library_functions() if functions else []
    return library.NewEnv(config=_configuration(), variables=declared, functions=ours)


@lru_cache(maxsize=1)
def _configuration() -> Any:
    return _library().NewEnvConfigFromYaml(_CONFIG)


@lru_cache(maxsize=1024)
def _library_type(signature: str) -> Any:
    return _library().Type.NULL if signature == "null" else _library().Type(signature)


@lru_cache(maxsize=1)
def _library_functions() -> list[Any]:
    library = _library()
    return [
        library.FunctionDecl(
            function.name,
            [
                library.Overload(
                    id="_".join((function.name, *form.arguments)),
                    return_type=_library_type(form.result),
                    parameters=[_library_type(kind) for kind in form.arguments],
                    is_member=function.member,
                    impl=_guarded(function),
                )
                for form in function.forms
            ],
        )
        for function in FUNCTIONS
    ]


def _guarded(function: CelFunction) -> Callable[..., object]:
    def call(*arguments: object) -> object:
        try:
            return function.call(*arguments)
        except (TypeError, AttributeError, OverflowError, RecursionError) as error:
            message = f"{function.name} cannot take what it was given"
            raise ValueError(message) from error

    return call


def _library() -> Any:
    try:
        # Its stub file needs a package that it does not require, so it is imported by name.
        return importlib.import_module("cel_expr_python.cel")
    except ImportError as error:
        problem = "CEL expressions need an extra that is not installed"
        raise DefinitionError(problem, None, 'pip install "wfe-core[cel]"') from error
