"""Random histories of hints and of named locks, and what must be true after each step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final, TypeVar

import attrs
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from wfe.core.providers import Hint, LockProvider, QueueProvider, SeparateQueue

__all__ = [
    "LEASE",
    "LockWorld",
    "drawn",
    "follow_hints",
    "follow_locks",
    "hint_histories",
    "lock_histories",
    "start_serving",
    "stop_serving",
]

F = TypeVar("F", bound=Callable[..., Any])

LEASE: Final = 30_000_000  # µs
SOON: Final = 3.0  # seconds
_BRIEF: Final = 20_000  # µs
_READERS: Final = 3

_who = st.integers(0, _READERS - 1)
_hints = st.tuples(
    st.just("hint"), st.lists(st.tuples(st.none() | _who, st.integers(0, 9)), max_size=4)
)
hint_histories: st.SearchStrategy[list[tuple[str, Any]]] = st.lists(
    _hints | st.tuples(st.just("wait"), _who), min_size=2, max_size=12
)
"""Hints for one of three readers or for nobody, and looks of the readers."""

# No sum of these is exactly a lease: which side that falls on is the provider's choice.
_passes = st.tuples(st.just("pass"), st.sampled_from([LEASE // 3 + 1, LEASE // 3 + 1, LEASE + 7]))
_takes = st.tuples(
    st.just("take"), st.tuples(st.sampled_from([0, 0, 1, 2]), st.sampled_from("aab"))
)
_others = st.tuples(st.sampled_from(["beat", "fence", "dead"]), st.sampled_from([0, 0, 1, 2]))
lock_histories: st.SearchStrategy[list[tuple[str, Any]]] = st.lists(
    _takes | _takes | _passes | _others, min_size=8, max_size=20
)
"""Three hosts that take two named locks, fall silent, and are fenced."""

_firsts = count(1_000, 100)
"""Each history has its own runs and definition: those of the one before may still hear of hints."""


def drawn(test: F) -> F:
    """Give a law of drawn histories the same few each time; one provider serves them all."""
    return settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),  # a history is short as it is, and a lost hint takes its time
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
            HealthCheck.too_slow,
        ],
    )(test)


def start_serving(queue: QueueProvider, epoch: int, d: int = 1) -> None:
    """Say that *epoch* can run definition *d*, if the queue wants to know."""
    if isinstance(queue, SeparateQueue):
        queue.serve(epoch, (d,))


async def stop_serving(queue: QueueProvider, epoch: int) -> None:
    """Say that *epoch* is over, in the way in which this queue learns it."""
    unregister: Callable[[int], Awaitable[object]] | None = getattr(queue, "unregister", None)
    if isinstance(queue, SeparateQueue):
        queue.forget(epoch)
    elif unregister is not None:
        await unregister(epoch)


async def follow_hints(
    queue: QueueProvider,
    new_epoch: Callable[[], Awaitable[int]],
    history: Sequence[tuple[str, Any]],
) -> None:
    """Do what *history* says; then everybody has seen what was theirs, and nothing else.

    Raises:
        AssertionError: Somebody was told what was not for them.
        TimeoutError: A hint reached nobody, though all were there.
    """
    first = next(_firsts)
    readers = [await new_epoch() for _ in range(_READERS)]
    told: dict[int | None, set[int]] = {who: set() for who in (None, *readers)}
    seen: dict[int, set[int]] = {epoch: set() for epoch in readers}

    async def look(epoch: int, timeout: int) -> None:
        numbers = {n for n in await queue.wait(epoch, timeout) if n >= first}
        assert numbers <= told[epoch] | told[None], "told to somebody else, or to nobody"
        seen[epoch] |= numbers

    def complete() -> bool:
        return told[None] <= set().union(*seen.values()) and all(
            told[epoch] <= seen[epoch] for epoch in readers
        )

    for epoch in readers:
        start_serving(queue, epoch, first)
        await look(epoch, 0)
    for kind, what in history:
        if kind == "wait":
            await look(_one_of(readers, what), 0)
            continue
        hints = [
            Hint(first + k, first, None if who is None else _one_of(readers, who))
            for who, k in what
        ]
        for hint in hints:
            told[hint.owner].add(hint.n)
        await queue.hint(hints)
        await _let_readers_read()
    async with asyncio.timeout(SOON):
        while not complete():
            await asyncio.gather(*(look(epoch, _BRIEF) for epoch in readers))
    for epoch in readers:
        await stop_serving(queue, epoch)


@attrs.define
class LockWorld:
    """A lock, and what a history may do to the world around it.

    Attributes:
        move: Lets time pass, µs; ``None``: leases do not end within a test.
        fence: Fences an epoch in the store; ``None``: the lock does not learn that.
    """

    lock: LockProvider
    new_epoch: Callable[[], Awaitable[int]]
    move: Callable[[int], object] | None = None
    fence: Callable[[int], Awaitable[object]] | None = None


@attrs.define
class _Model:
    """What a lock must say."""

    beats: dict[int, int]
    now: int = 0
    fenced: set[int] = attrs.field(factory=set[int])
    held: dict[str, tuple[int, int]] = attrs.field(factory=dict[str, tuple[int, int]])

    def take(self, name: str, epoch: int) -> bool:
        holder, until = self.held.get(name, (epoch, 0))
        taken = holder != epoch and until > self.now and holder not in self.fenced
        if epoch in self.fenced or taken:
            return False
        self.held[name] = (epoch, self.now + LEASE)
        return True

    def beat(self, epoch: int) -> bool:
        self.beats[epoch] = self.now
        return epoch not in self.fenced

    def dead(self) -> list[int]:
        return [e for e, at in self.beats.items() if e in self.fenced or at + LEASE < self.now]


async def follow_locks(world: LockWorld, history: Sequence[tuple[str, Any]]) -> None:
    """Do what *history* says, and compare each answer with that of a model.

    Raises:
        AssertionError: Two hosts had a lock, nobody could have it, or the wrong were dead.
    """
    first = next(_firsts)
    epochs = [await world.new_epoch() for _ in range(_READERS)]
    model = _Model(dict.fromkeys(epochs, 0))
    for epoch in epochs:
        assert await world.lock.beat(epoch, LEASE)
    for kind, what in history:
        if kind == "pass":
            if world.move is not None:
                world.move(what)
                model.now += what
        elif kind == "take":
            epoch, name = _one_of(epochs, what[0]), what[1]
            await _beat(world.lock, model, epoch)
            got = await world.lock.try_acquire(f"{name}-{first}", epoch, LEASE)
            assert got == model.take(name, epoch), f"{name} for host {what[0]}: {got}"
        else:
            await _look_after(world, model, kind, _one_of(epochs, what))


async def _look_after(world: LockWorld, model: _Model, kind: str, epoch: int) -> None:
    """Let a host beat, fence it, or ask who is dead."""
    if kind == "beat":
        await _beat(world.lock, model, epoch)
    elif kind == "fence" and world.fence is not None:
        await world.fence(epoch)
        model.fenced.add(epoch)
    elif kind == "dead" and world.move is not None:
        assert sorted(await world.lock.dead(list(model.beats), LEASE)) == sorted(model.dead())


async def _beat(lock: LockProvider, model: _Model, epoch: int) -> None:
    beats, expected = await lock.beat(epoch, LEASE), model.beat(epoch)
    assert beats == expected


async def _let_readers_read() -> None:
    """Give what listens on this loop a turn: a reader that never has one is not alive."""
    for _ in range(2):
        await asyncio.sleep(0)


def _one_of(epochs: Sequence[int], k: int) -> int:
    return epochs[k]
