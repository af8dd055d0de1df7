"""Lifecycle events between processes: what a publisher implements, and their JSON form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, cast

import attrs
import orjson

from wfe.core.models import LifecycleEvent

__all__ = [
    "LARGEST",
    "LifecyclePublisher",
    "LifecycleSubscription",
    "checked_kinds",
    "event_from_json",
    "event_to_json",
]

LARGEST: Final = 8192
"""Bytes of an event's data beyond which it is left out: ``{"omitted": bytes}``."""


class LifecycleSubscription(Protocol):
    """Events from the call of :meth:`LifecyclePublisher.subscribe` on; an async iterator.

    It outlives failures of the backend: it waits until that is back, and goes on with what is
    kept there.
    """

    @property
    def position(self) -> str:
        """After what a later subscription goes on (``after=``) without missing anything."""
        ...

    def __aiter__(self) -> AsyncIterator[LifecycleEvent]:
        """Yield events until :meth:`close`."""
        ...

    async def close(self) -> None:
        """Stop; the iterator ends.  Idempotent."""
        ...


class LifecyclePublisher(Protocol):
    """Carries lifecycle events from the hosts to any process.

    They tell what the store has already: whoever misses some reads the history.
    """

    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        """Tell all subscribers, in this order.

        Args:
            source: Who tells; one at a time uses a name.
            first: Number of the first event, from 1; they count up.  What was told by *source*
                under these numbers already is not told again, so a call whose answer was lost
                may be repeated.
            events: What happened.

        Raises:
            ProviderError: The backend failed; some of it may have been told.
        """
        ...

    async def subscribe(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> LifecycleSubscription:
        """Return a subscription that has begun.

        Args:
            kinds: Which; ``None``: all.
            after: ``None``: from now on; a subscription's position: from there on, as far as the
                events are still kept; ``""``: all that are kept.

        Raises:
            ProviderError: The backend failed, or *after* is no position.
            TypeError: *kinds* is no collection of texts.
        """
        ...

    async def close(self) -> None:
        """Let go of connections, and end the subscriptions; idempotent."""
        ...


def checked_kinds(kinds: Collection[str] | None) -> frozenset[str] | None:
    """Return *kinds* as a set.

    Raises:
        TypeError: It is no collection of texts.
    """
    if kinds is None:
        return None
    if isinstance(kinds, str) or not isinstance(kinds, Collection):  # pyright: ignore[reportUnnecessaryIsInstance] - users may
        problem = f"kinds must be a collection of texts such as [{str(kinds)!r}], got {kinds!r}"
        raise TypeError(problem)
    return frozenset(kinds)


def event_to_json(event: LifecycleEvent, *, largest: int = LARGEST, data: bool = True) -> bytes:
    """Return the JSON form of *event*, without fields that are ``None``.

    Args:
        event: What happened.
        largest: Bytes of data; more are left out, and ``{"omitted": bytes}`` says so.
        data: Whether its data is told at all.
    """
    whole = attrs.asdict(event, recurse=False)
    whole["at"] = event.at.isoformat()
    fields = {name: value for name, value in whole.items() if value is not None}
    if not data:
        fields.pop("data", None)
    elif event.data is not None:
        text = orjson.dumps(event.data, default=str, option=_OPTIONS)
        if len(text) > largest:
            text = orjson.dumps({"omitted": len(text)})
        fields["data"] = orjson.Fragment(text)
    return orjson.dumps(fields, option=_OPTIONS)


def event_from_json(text: bytes | str) -> LifecycleEvent:
    """Return the event that :func:`event_to_json` made a text of.

    Raises:
        ValueError: It is no such text.
    """
    found: object = orjson.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"no lifecycle event: {text[:100]!r}")  # noqa: TRY004 - the text is wrong
    fields = cast("dict[str, Any]", found)
    try:
        # What a later version says beyond these is not for us.
        known = {name: value for name, value in fields.items() if name in _FIELDS}
        known["at"] = datetime.fromisoformat(fields["at"])
        return LifecycleEvent(**known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no lifecycle event: {text[:100]!r}") from error


_OPTIONS: Final = orjson.OPT_NON_STR_KEYS
_FIELDS: Final = frozenset(field.name for field in attrs.fields(LifecycleEvent))
