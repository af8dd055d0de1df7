"""What a live run takes at once: events and messages that are decided on before they are written.

Whatever is sent to a run goes into its inbox, and what the run makes of it is a second commit.
For a run that is driven here and only waits, that can be decided beforehand, as if it had read the
message; then its transition is committed instead, together with the event if it is one.

The transition says that the run's inbox is as it was read, and that its wait is over before the
event looks for whom it wakes.  So either all of that is true, and the commit is what two commits
would have come to; or the store refuses it, nothing is written, and what was sent goes the long
way.  The place of the event among others is the store's to give: the run notes the event's id
instead (see ``wfe.core.rules.positions``).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import orjson

from wfe.core.engine.refusals import RESTORES
from wfe.core.lean import define
from wfe.core.models import WorkflowStatus
from wfe.core.rules.inputs import Received

if TYPE_CHECKING:
    from wfe.core.engine.batches import Call
    from wfe.core.engine.live import LiveRun
    from wfe.core.providers import Event, Item, Message, Subscription

__all__ = ["Delivering"]

_Topic: TypeAlias = tuple[str, str]

_LOOKED_UP: Final = RESTORES | {"update"}
"""Messages for which something is looked up or asked before they are decided on."""
_COMPLETE: Final = WorkflowStatus.COMPLETE.value  # nothing ever changes about such a run
_LATELY: Final = 1.0  # seconds for which those are kept in memory
_MOST_COMPLETE: Final = 100
_FEW: Final = 64  # waits of one run, among which those that are over do no harm
_PAST: Final = 4  # events whose place a wait does not know; after so many, the store is to tell


@define
class _Waits:
    """The waits of one run, by pointer; *most*: with more of them, those that are over go."""

    topics: dict[int, _Topic] = attrs.field(factory=dict[int, "_Topic"])
    most: int = _FEW


class Delivering:
    """Which waits of the live runs the store knows of, and who takes what at once."""

    def __init__(self, live: Mapping[int, LiveRun], now: Callable[[], int]) -> None:
        """Deliver to the runs in *live*; *now* is the store's time, µs."""
        self._live = live
        self._now = now
        self._topics: dict[_Topic, dict[tuple[int, int], Subscription]] = {}
        self._waits: dict[int, _Waits] = {}
        self._complete: dict[str, LiveRun] = {}

    # -- who waits

    def noted(self, item: Item) -> None:
        """Take note of the waits that begin with *item*, which is committed."""
        run = self._live.get(item.n)
        if run is None:  # it is over already
            return
        waits = self._waits.setdefault(item.n, _Waits())
        for wait in item.subscribe:
            self._drop(item.n, wait.pointer)
            topic = waits.topics[wait.pointer] = (wait.name, wait.key)
            self._topics.setdefault(topic, {})[item.n, wait.pointer] = wait
        if len(waits.topics) > waits.most:
            for pointer in [p for p, topic in waits.topics.items() if not _listens(run, p, topic)]:
                self._drop(item.n, pointer)
            waits.most = max(_FEW, 2 * len(waits.topics))

    def forget(self, n: int) -> None:
        """Run *n* is not driven here any more."""
        waits = self._waits.get(n)
        if waits is not None:
            for pointer in list(waits.topics):
                self._drop(n, pointer)
            del self._waits[n]

    def _drop(self, n: int, pointer: int) -> None:
        topic = self._waits[n].topics.pop(pointer, None)
        if topic is not None:
            waiting = self._topics[topic]
            del waiting[n, pointer]
            if not waiting:
                del self._topics[topic]

    # -- who takes what

    def reader(self, item: Item) -> LiveRun | None:
        """Return the live run that could take what *item* sends; ``None``: none could."""
        if item.publish:
            event = item.publish[0]
            for n, _ in self._topics.get((event.name, event.key), ()):
                run = self._live.get(n)
                if run is not None and self._listening(run, event):
                    return run
            return None
        message = item.messages[0]
        run = None if message.target is None else self._live.get(message.target)
        return None if run is None or message.kind in _LOOKED_UP or not _is_free(run) else run

    def crowded(self, calls: Iterable[Call]) -> frozenset[int]:
        """Return the runs to which several of *calls* want to send something.

        These messages go together, in their order.
        """
        waiting = list(calls)
        if len(waiting) < 2 or not any(call.direct for call in waiting):
            return frozenset()
        counts = Counter(each.target for call in waiting for each in call.item.messages)
        for call in waiting:
            run = self.reader(call.item) if call.item.publish else None
            if run is not None:
                counts[run.n] += 1
        return frozenset([n for n, count in counts.items() if n is not None and count > 1])

    def taken(self, run: LiveRun, item: Item) -> Item | None:
        """Return the transition of *run*, its :meth:`reader`, that has *item* in it.

        ``None``: it cannot be had, and the run is as it was.
        """
        if item.publish:
            event = item.publish[0]
            listening = self._listening(run, event)
            received = [_heard(event, wait) for wait in listening]
            over = tuple([wait.pointer for wait in listening])
        else:
            received, over = [_read(item.messages[0])], ()
        run.inputs.extend(received)
        try:
            made = run.prepare()
        except Exception:  # noqa: BLE001 - it fails the long way, too, and is set aside there
            made = None
        if made is None or made.consumed != (0,) * len(received) or made.subscribe:
            self.given_back(run)
            return None
        if not item.publish:
            return made
        ended = tuple([pointer for pointer in over if pointer not in made.unsubscribe])
        return attrs.evolve(made, publish=item.publish, unsubscribe=(*made.unsubscribe, *ended))

    def settled(self, run: LiveRun) -> None:
        """What *run* took is committed; whoever sent it may well ask next how the run ended."""
        if run.final_at is None or run.state.status != _COMPLETE:
            return
        if not self._complete:
            asyncio.get_running_loop().call_later(_LATELY, self._complete.clear)
        if len(self._complete) < _MOST_COMPLETE:
            self._complete[run.ref.id] = run

    def lately(self, id: str) -> LiveRun | None:
        """Return the run with this id if it took something and was complete a moment ago."""
        return self._complete.get(id)

    def given_back(self, run: LiveRun) -> None:
        """What *run* took is not committed: it never heard of it."""
        if run.in_flight:
            run.again()
        run.inputs = [each for each in run.inputs if getattr(each, "i", None) != 0]

    def _listening(self, run: LiveRun, event: Event) -> list[Subscription]:
        """Return the waits of *run* that *event* surely ends, if it can take it at once."""
        now = self._now()
        # Others may have given another event the same time: which is first, the store must say.
        if event.at is not None or (event.expires is not None and event.expires <= now):
            return []
        waits, topic = self._waits.get(run.n), (event.name, event.key)
        if waits is None or not _is_free(run):
            return []
        waiting = self._topics[topic]
        return [
            wait
            for pointer, each in sorted(waits.topics.items())
            if each == topic and _listens(run, pointer, topic)
            for wait in (waiting[run.n, pointer],)
            if wait.as_of <= now and wait.after_at < now and len(wait.past) < _PAST
        ]


def _is_free(run: LiveRun) -> bool:
    """Whether *run* only waits, and may decide."""
    return run.idle and not run.held_back


def _listens(run: LiveRun, key: int, topic: _Topic) -> bool:
    """Whether a pointer waits for events of *topic*."""
    pointer = run.state.pointers.get(key)
    return pointer is not None and pointer.extra.get("wait") == [*topic]


def _heard(event: Event, wait: Subscription) -> Received:
    content: dict[str, Any] = {
        "pointer": wait.pointer,
        "at": wait.after_at,
        "e": wait.after_e,
        "past": [*wait.past, event.id],
        "id": event.id,
        "payload": orjson.loads(event.payload),
    }
    return Received(i=0, kind="event", payload=content)


def _read(message: Message) -> Received:
    return Received(
        i=0,
        kind=message.kind,
        payload=orjson.loads(message.payload),
        actor=message.actor,
        reason=message.reason,
    )
