"""What callers ask of runs: events, suspend, resume, terminate; stored before it returns."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from wfe.core.codec import encode
from wfe.core.engine.ids import uuid7
from wfe.core.engine.live import dumps
from wfe.core.engine.starts import check_index
from wfe.core.errors import InvalidStateTransitionError, LeaseLostError, WorkflowNotFoundError
from wfe.core.models import to_micros
from wfe.core.providers import Done, Event, Item, Message, Refused

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine

__all__ = ["Control"]


class Control:
    """Durable intents and events."""

    def __init__(self, engine: Engine) -> None:
        """Act on runs of *engine*'s store."""
        self._engine = engine

    async def publish(
        self, name: str, key: str, data: Any, id: str | None, at: datetime | None
    ) -> str:
        """Store an event and wake who waits for it; return its id.

        Raises:
            DataTypeError: Name, key or id cannot be indexed, or the data cannot be stored.
        """
        self._engine.check_running()
        event_id = id or uuid7()
        for what, value in (("event name", name), ("event key", key), ("event id", event_id)):
            check_index(what, value)
        event = Event(
            id=event_id,
            name=name,
            key=key,
            payload=dumps(encode(data, "event data")),
            at=None if at is None else to_micros(at),
        )
        outcome = await self._engine.committer.submit(Item(publish=(event,)))
        if not isinstance(outcome, Done):
            raise LeaseLostError
        return event_id

    async def ask(
        self, id_or_name: str, what: str, *, reason: str | None = None, actor: str | None = None
    ) -> None:
        """Store the intent *what* for a run.

        Raises:
            WorkflowNotFoundError: There is no such run.
            InvalidStateTransitionError: It is final.
        """
        self._engine.check_running()
        header = await self._engine.reads.header(id_or_name)
        message = Message(target=header.n, kind=what, actor=actor, reason=reason, strict=True)
        outcome = await self._engine.committer.submit(Item(messages=(message,)))
        if isinstance(outcome, Refused):
            if outcome.why == "missing":
                raise WorkflowNotFoundError(id_or_name)
            status = outcome.existing or "final"
            raise InvalidStateTransitionError(header.id, what, status)
        if not isinstance(outcome, Done):
            raise LeaseLostError
