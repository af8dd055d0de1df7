"""Steps while a definition is being written: named and checked only when it is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from wfe.core.definition import Expr, Json, Kind
from wfe.core.policies import ErrorPolicy

__all__ = ["Branch", "Draft"]


@attrs.define(eq=False)
class Branch:
    """Steps that run one after the other; ``label`` and ``default`` as in a ``Block``."""

    label: Json = None
    default: bool = False
    drafts: list[Draft] = attrs.field(factory=list["Draft"])


@attrs.define(kw_only=True, eq=False)
class Draft:
    """One step being written.

    Attributes:
        method: What made it, for errors: ``then()``, ``if_do()`` ...
        base: Its name when its author gives none; repeats get ``-2``, ``-3``.
        name: From its author.
        id: From its author, for ``goto``.
        body: What runs, for steps.
        code: Callables by role.
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

    def walk(self) -> Iterator[Draft]:
        """Yield this draft and all in it, containers first."""
        yield self
        for branch in self.branches:
            for inner in branch.drafts:
                yield from inner.walk()
