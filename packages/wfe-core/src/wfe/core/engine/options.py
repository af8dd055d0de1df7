"""How a run starts."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from wfe.core.engine.sizes import check_index, check_name, check_note
from wfe.core.errors import DataTypeError
from wfe.core.lean import lean

__all__ = ["StartOptions"]

_MOST: Final = 2**31 - 1  # every store can keep it
_LONGEST: Final = timedelta(days=365_000)


@lean(kw_only=True)
class StartOptions:
    """How a run starts.

    Attributes:
        name: Unique in the store; ``None``: none.
        reference: The caller's own key, for ``find``.
        idempotency_key: A second start of the definition with the same key finds the first run.
        delay: Before the first step.
        priority: Of runs that wait for a host, higher ones go first.
        dedup_key: While a run with the same key is not final, another start finds it.
        around: (id, root id) of the run whose step starts it; ``None``: nobody's.
    """

    name: str | None = None
    reference: str | None = None
    idempotency_key: str | None = None
    delay: timedelta | None = None
    actor: str | None = None
    priority: int = 0
    dedup_key: str | None = None
    around: tuple[str, str] | None = None

    def check(self) -> None:
        """Refuse what cannot be stored.

        Raises:
            DataTypeError: A text is none, too long or contains NUL; the name is empty; the
                priority is no number of 32 bits, or the delay no duration or too long.
        """
        if self.name is not None:
            check_name("name", self.name)
        check_note("actor", self.actor)
        check_index("reference", self.reference)
        check_index("idempotency_key", self.idempotency_key)
        check_index("dedup_key", self.dedup_key)
        _check_priority(self.priority)
        _check_delay(self.delay)


def _check_priority(given: object) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or abs(given) > _MOST:
        problem = f"expected a whole number from -{_MOST} to {_MOST}, got {given!r}"
        raise DataTypeError("priority", problem)


def _check_delay(given: object) -> None:
    if given is None:
        return
    if not isinstance(given, timedelta):
        problem = f"expected a timedelta, got {given!r}; for seconds: timedelta(seconds=...)"
        raise DataTypeError("delay", problem)
    if given > _LONGEST:
        raise DataTypeError("delay", f"is longer than {_LONGEST.days:,} days")
