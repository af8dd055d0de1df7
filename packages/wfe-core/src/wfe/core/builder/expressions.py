"""Checks the CEL texts of a definition against its data type, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import attrs

from wfe.core.builder.drafts import Draft
from wfe.core.data import DataModel
from wfe.core.definition import Cel, Expr, Kind, Limit, ListOf, Record, Text
from wfe.core.errors import DefinitionError
from wfe.core.nearest import nearest

if TYPE_CHECKING:
    from wfe.core.cel import CelPath, CelProgram, CelType

__all__ = ["CelCheck"]

_ALWAYS: Final = ("data", "event", "run", "env")
_UNTYPED: Final = ("inputs", "steps")  # fields of data without a declared type
_ITEM: Final = ("item", "index")
_BOOLS: Final = frozenset({"condition", "run_if", "cancel_when", "until"})


class CelCheck:
    """Compiles every CEL text once, with what it may read where it stands."""

    def __init__(self, model: DataModel) -> None:
        """Check against the fields of *model*."""
        self._model = model

    def check(self, draft: Draft, where: str, *, item: bool) -> None:
        """Check the expressions of one draft; *item*: it stands in a for-each.

        Raises:
            DefinitionError: One does not parse, reads what is not there, or gives a wrong type.
        """
        for role, expression in _expressions(draft):
            for text in _texts(expression):
                at = f"{where}: {_SHOWN.get(role, role)}"
                program = self._compiled(text, at, item=item)
                if isinstance(expression, Cel):
                    _check_result(draft.kind, role, program, at)

    def check_limits(self, limits: Iterable[Limit], where: str) -> None:
        """Check the keys of a whole definition's limits.

        Raises:
            DefinitionError: One does not parse, reads what is not there, or gives a wrong type.
        """
        for role, expression in _keys(limits, "workflow_"):
            for text in _texts(expression):
                at = f"{where}: {role}"
                program = self._compiled(text, at, item=False)
                if isinstance(expression, Cel):
                    _check_result(None, role, program, at)

    def _compiled(self, text: str, where: str, *, item: bool) -> CelProgram:
        from wfe.core.cel import CelType, cel_paths, compile_cel  # noqa: PLC0415 - the extra is optional

        try:
            # The checker takes has(data.x) of a declared x for x itself, unless its type is open.
            asked = [path.segments[0].name for path in cel_paths(text) if _asked_for(path)]
            open_types = {f"data.{name}": CelType.DYN for name in asked}
            program = compile_cel(text, {**self._variables(item=item), **open_types})
        except DefinitionError as error:
            raise attrs.evolve(error, where=where) from error
        declared, data_type = self._model.declared, self._model.data_type
        if declared is not None and data_type is not None:
            for path in program.paths:
                name = path.segments[0].name if path.root == "data" and path.segments else None
                if name is not None and name not in declared:
                    problem = f"{data_type.__name__} has no field {name!r}{nearest(name, declared)}"
                    raise DefinitionError(problem, where)
        return program

    def _variables(self, *, item: bool) -> Mapping[str, CelType]:
        from wfe.core.cel import CelType, cel_type_of  # noqa: PLC0415 - the extra is optional

        names = [*_ALWAYS, *(_ITEM if item else ())]
        types = self._model.type_names
        if types is None:
            return dict.fromkeys([*names, *_UNTYPED], CelType.DYN)
        # Times reach an expression as text, which timestamp() and duration() read.
        timed = (CelType.TIMESTAMP, CelType.DURATION)
        fields = {f"data.{name}": cel_type_of(kind) for name, kind in types.items()}
        typed = {name: CelType.DYN if kind in timed else kind for name, kind in fields.items()}
        return {**dict.fromkeys(names, CelType.DYN), **typed}


def _asked_for(path: CelPath) -> bool:
    return path.root == "data" and bool(path.segments) and path.segments[0].tested


_SHOWN: Final[Mapping[str, str]] = {"run_if": "run_if()", "cancel_when": "cancel_when()"}
_DURATIONS: Final = frozenset({"duration", "interval"})


def _expressions(draft: Draft) -> Iterator[tuple[str, Expr]]:
    if draft.run_if is not None:
        yield "run_if", draft.run_if
    if draft.cancel_when is not None:
        yield "cancel_when", draft.cancel_when
    if draft.cache is not None and draft.cache.key is not None:
        yield "cache(key=...)", draft.cache.key
    for name, expression in draft.inputs.items():
        yield f"input {name!r}", expression
    yield from draft.exprs.items()
    yield from _keys(draft.limits)


def _keys(limits: Iterable[Limit], prefix: str = "") -> Iterator[tuple[str, Expr]]:
    for limit in limits:
        if limit.key is not None:
            method = "concurrency()" if limit.per is None else "rate_limit()"
            yield f"{_KEY}{prefix}{method}", limit.key


_KEY: Final = "the key of "
_TEXTS: Final = frozenset({"string", "int", "uint", "dyn"})


def _texts(expression: Expr) -> Iterator[str]:
    match expression:
        case Cel(text):
            yield text
        case Record(fields):
            for _, inner in fields:
                yield from _texts(inner)
        case Text(parts):
            for part in parts:
                yield from _texts(part)
        case ListOf(items):
            for each in items:
                yield from _texts(each)
        case _:
            return


def _check_result(kind: Kind | None, role: str, program: CelProgram, where: str) -> None:
    found = program.result_type.signature
    if role in _BOOLS and found not in ("bool", "dyn"):
        problem = f"`{program.text}` gives {found}, not bool"
        raise DefinitionError(problem, where, "compare it with something")
    if kind is Kind.FOR_EACH and role == "items" and not found.startswith(("list", "dyn")):
        problem = f"`{program.text}` gives {found}, not a list"
        raise DefinitionError(problem, where)
    if role in _DURATIONS and found not in ("duration", "dyn"):
        problem = f"`{program.text}` gives {found}, not a duration"
        raise DefinitionError(problem, where, 'for example duration("30s")')
    if kind is Kind.DELAY and role == "at" and found not in ("timestamp", "dyn"):
        problem = f"`{program.text}` gives {found}, not a timestamp"
        raise DefinitionError(problem, where, 'for example timestamp("2030-01-01T00:00:00Z")')
    if role.startswith(_KEY) and found not in _TEXTS:
        problem = f"`{program.text}` gives {found}, not a text"
        raise DefinitionError(problem, where, "for example string(data.id)")
