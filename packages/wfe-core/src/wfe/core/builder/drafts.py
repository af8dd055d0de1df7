"""Steps while a definition is being written: named and checked only when it is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from wfe.core.caching import Caching
from wfe.core.definition import HOOKS, Expr, Json, Kind, Limit
from wfe.core.lean import define
from wfe.core.policies import ErrorPolicy

__all__ = ["Branch", "Defaults", "Draft"]


@define(eq=False)
class Branch:
    """Steps that run one after the other; ``label`` and ``default`` as in a ``Block``."""

    label: Json = None
    default: bool = False
    drafts: list[Draft] = attrs.field(factory=list["Draft"])


@define(kw_only=True, eq=False)
class Draft:
    """One step being written.

    Attributes:
        method: What made it, for errors: ``then()``, ``if_do()`` ...
        base: Its name when its author gives none; repeats get ``-2``, ``-3``.
        name: From its author.
        id: From its author, for ``goto``.
        body: What runs, for steps.
        code: Callables by role.
        undo: Steps of ``compensate_with``.
        hooks: Steps of ``ensure`` and the like, by the hook's name.
    """

    kind: Kind
    method: str
    base: str
    name: str | None = None
    id: str | None = None
    body: Any = None
    branches: list[Branch] = attrs.field(factory=list[Branch])
    needs: tuple[str, ...] = ()
    needs_any: tuple[str, ...] = ()
    run_if: Expr | None = None
    inputs: dict[str, Expr] = attrs.field(factory=dict[str, Expr])
    outputs: dict[str, Expr] = attrs.field(factory=dict[str, Expr])
    exprs: dict[str, Expr] = attrs.field(factory=dict[str, Expr])
    config: dict[str, Json] = attrs.field(factory=dict[str, Json])
    code: dict[str, Any] = attrs.field(factory=dict[str, Any])
    on_error: ErrorPolicy | None = None
    timeout: int | None = None
    undo: Branch | None = None
    hooks: dict[str, Branch] = attrs.field(factory=dict[str, Branch])
    limits: list[Limit] = attrs.field(factory=list[Limit])
    cancel_when: Expr | None = None
    trigger: str = "all"
    secrets: dict[str, None] = attrs.field(factory=dict[str, None])
    cache: Caching | None = None

    @property
    def shown(self) -> str:
        """What to call it in errors before it has its final name."""
        return self.name or self.id or self.base

    def compute(self, name: str, found: tuple[Expr, Any]) -> None:
        """Set expression *name* to what an argument check found."""
        self.exprs[name] = self.keep(name, found)

    def keep(self, role: str, found: tuple[Expr, Any]) -> Expr:
        """Return the expression of *found* and keep its callable under *role*."""
        expression, function = found
        if function is not None:
            self.code[role] = function
        return expression

    def inner(self) -> Iterator[Branch]:
        """Yield every branch that belongs to the step: contained ones, undo and hooks."""
        yield from self.branches
        yield from self.around()

    def around(self) -> Iterator[Branch]:
        """Yield undo and hooks, which run after the step."""
        if self.undo is not None:
            yield self.undo
        yield from (self.hooks[name] for name in HOOKS if name in self.hooks)

    def walk(self) -> Iterator[Draft]:
        """Yield this draft and all that belongs to it, containers first, undo and hooks last."""
        yield self
        for branch in self.inner():
            for draft in branch.drafts:
                yield from draft.walk()


@define(kw_only=True)
class Defaults:
    """What a workflow says for all of its steps.

    Attributes:
        error: For steps without their own policy.
        timeout: Of one attempt, µs.
        run_timeout: Of a whole run, µs.
        limits: For whole runs.
        retention: µs that a finished run is kept; ``None``: the host's setting; -1: for ever.
        requires: Labels that a host must have.
        code: Callables of the workflow by role: handlers and keys of limits.
        handlers: Roles of its handlers.
    """

    error: ErrorPolicy | None = None
    timeout: int | None = None
    run_timeout: int | None = None
    limits: list[Limit] = attrs.field(factory=list[Limit])
    retention: int | None = None
    requires: tuple[str, ...] = ()
    code: dict[str, Any] = attrs.field(factory=dict[str, Any])
    handlers: tuple[str, ...] = ()
