"""How a run starts."""

from __future__ import annotations

from datetime import timedelta

import attrs

from wfe.core.engine.sizes import check_index

__all__ = ["StartOptions"]


@attrs.frozen(kw_only=True)
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
        """Refuse what cannot be indexed.

        Raises:
            DataTypeError: One of the texts is too long or contains NUL.
        """
        check_index("name", self.name)
        check_index("reference", self.reference)
        check_index("idempotency_key", self.idempotency_key)
        check_index("dedup_key", self.dedup_key)
