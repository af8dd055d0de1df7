"""What a step changed in the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from wfe.core.lean import lean

__all__ = ["NO_WRITES", "Writes"]


@lean
class Writes:
    """What a step changed in the data, in stored form.

    Attributes:
        fields: New values by field.
        removed: Fields that are gone.
        reduced: Operands by field, for fields with a reducer.
        base: Seq of the state that the step saw.
    """

    fields: Mapping[str, Any]
    removed: tuple[str, ...] = ()
    reduced: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    base: int = -1


NO_WRITES = Writes({})
