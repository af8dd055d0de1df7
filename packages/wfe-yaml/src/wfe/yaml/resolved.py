"""What a name of an expression stands for, or why it stands for nothing."""

from __future__ import annotations

from collections.abc import Iterable

from wfe.core.cel_syntax import CelPath
from wfe.core.cel_types import CelType
from wfe.core.lean import frozen
from wfe.yaml.diagnostics import nearest

__all__ = ["NameProblem", "Resolved", "field_of", "plain_name"]


@frozen
class NameProblem(Exception):  # noqa: N818 - raised and caught within this part only
    """A path of an expression names nothing; *segment* says which part (0: the root)."""

    code: str
    message: str
    hint: str | None = None
    segment: int = 0


@frozen
class Resolved:
    """What a path stands for.

    Attributes:
        variable: Name to declare, and its type.
        replace: Text that stands for *covered* segments in the stored expression.
        covered: How many segments below the root *variable* (and *replace*) cover.
        choices: Of an enum, ``()`` for all else.
    """

    variable: str
    kind: CelType
    covered: int
    replace: str | None = None
    choices: tuple[str, ...] = ()


def field_of(path: CelPath, what: str, known: Iterable[str]) -> str:
    """Return the first name below the root of *path*, which must be one of *known*."""
    name = path.segments[0].name
    names = list(known)
    if name not in names:
        near = nearest(name, names)
        listed = ", ".join(f"`{known}`" for known in names)
        hint = f"did you mean `{path.root}.{near}`?" if near else None
        hint = hint or (f"known here: {listed}" if names else f"there is no {what} at all here")
        raise NameProblem("WFE032", f"there is no {what} `{name}`", hint, 1)
    return name


def plain_name(name: str) -> bool:
    return name.isascii() and name.isidentifier()
