"""How writes of a data field that has a reducer are told to the rules."""

from __future__ import annotations

import typing
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from wfe.core.codec import decode, encode
from wfe.core.definition import Json
from wfe.core.fields import DataField
from wfe.core.lean import frozen
from wfe.core.reducers import difference, reducer_name

if TYPE_CHECKING:
    from wfe.core.rules.plan import Reducer

__all__ = ["Merge", "merge_of"]


@frozen
class Merge:
    """How writes of one field become operands, and operands its value.

    Attributes:
        name: In ``wfe.core.reducers``, which then works on stored values and grows the journal by
            the operand only; ``None``: *rule* works on decoded values and its result is journaled.
        kind: Built-in meaning, ``None`` for a user's own reducer.
        rule: Takes decoded values.
    """

    name: str | None
    kind: str | None
    rule: Callable[[Any, Any], Any]

    def operand(self, before: Json, after: Json) -> Json:
        """Return the operand that made *after* of *before*, both stored."""
        if self.kind is None or before is None or after is None:
            return after
        if self.kind == "add" and not isinstance(after, list | str):
            return encode(decode(after) - decode(before))  # numbers, Decimal, timedelta
        return difference(self.kind, before, after)[1]

    def merge(self, current: Json, operand: Json) -> Json:
        """Return the stored form of the merged value."""
        if current is None:
            return operand
        return encode(self.rule(decode(current), decode(operand)))

    def reducer(self) -> Reducer:
        """Return the form that the rules take."""
        from wfe.core.rules.plan import Reducer  # noqa: PLC0415 - once for each definition

        return Reducer(self.name, self.merge)


def merge_of(field: DataField, reducer: Callable[[Any, Any], Any]) -> Merge:
    """Return how writes of *field* are merged by its *reducer*."""
    kind = reducer_name(reducer)
    origin = typing.get_origin(field.type) or field.type
    listed = isinstance(origin, type) and issubclass(origin, list | tuple)
    if kind in ("add", "append", "union") and (listed or (kind == "add" and origin is str)):
        # Stored as it is in JSON, so that the operand alone can be journaled.
        return Merge(kind, kind, reducer)
    sets = isinstance(origin, type) and issubclass(origin, AbstractSet)
    return Merge(None, kind, _join_sets if kind == "union" and sets else reducer)


def _join_sets(current: AbstractSet[Any], operand: AbstractSet[Any]) -> AbstractSet[Any]:
    return current | operand
