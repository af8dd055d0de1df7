"""Looks over a store and all that stands around it, for ``wfe doctor``."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import orjson

from wfe.core.engine.membership import FOREVER, rarely
from wfe.core.errors import WfeError
from wfe.core.examining import Examined, Finding
from wfe.core.models import WorkflowStatus
from wfe.core.providers import LockProvider, StoredInstance, StoreInfo, WorkerRow

if TYPE_CHECKING:
    from wfe.core.engine import Engine

__all__ = ["examined", "opened"]

_SKEW: Final = 1_000_000  # µs between this machine's clock and the store's that are worth a word
_LATE: Final = 10_000_000  # µs after which a due run should have been taken by somebody
_SHOWN: Final = 10  # runs that are named one by one
_MOST: Final = 50_000  # runs that are looked at
_SLOW: Final = 0.1  # seconds for a look at the store


@asynccontextmanager
async def opened(engine: Engine, parts: Sequence[tuple[str, Any]]) -> AsyncGenerator[StoreInfo]:
    """Give what there is to know of the store; open it, and what is beside it, if need be.

    Raises:
        ProviderError: The store cannot be opened.
    """
    if engine.running and engine.info is not None:
        yield engine.info
        return
    info = await engine.store.open()
    try:
        yield info
    finally:
        for _, part in reversed(parts):
            close: Callable[[], Awaitable[object]] | None = getattr(part, "close", None)
            if close is not None:
                await close()


async def examined(
    engine: Engine, lock: LockProvider, parts: Sequence[tuple[str, Any]], info: StoreInfo
) -> list[Finding]:
    """Return all there is to tell of *engine*'s store, its workers and runs, and what is beside it.

    Args:
        engine: Whose store is open.
        lock: Its lock.
        parts: (what it is, provider); each that is ``Examined`` is asked too.
        info: Of the store.
    """
    runs = _Runs()
    checks: list[tuple[str, Callable[[], Awaitable[Sequence[Finding]]]]] = [
        ("store", lambda: _store(engine, info)),
        ("runs", lambda: runs.look(engine)),
        ("workers", lambda: _workers(engine, lock, runs.owned)),
        ("definitions", lambda: _definitions(engine)),
        ("schedules", lambda: _schedules(engine)),
    ]
    for topic, provider in parts:
        if isinstance(provider, Examined):
            checks.append((topic, provider.examine))
    found: list[Finding] = []
    for topic, check in checks:
        try:
            found += await check()
        except WfeError as error:  # one part that is away must not hide the others
            found.append(Finding(level="problem", topic=topic, text=str(error)))
    found = list(dict.fromkeys(found))  # queue and lock may be one server
    topics = list(dict.fromkeys(each.topic for each in found))
    return sorted(found, key=lambda each: topics.index(each.topic))


async def _store(engine: Engine, info: StoreInfo) -> list[Finding]:
    began = time.perf_counter()
    await engine.store.workers()
    took = time.perf_counter() - began
    answered = f"{info.kind} {info.version} answers in {took * 1000:.1f} ms"
    hint = "the network, or the server, is slow: every step waits for it" if took > _SLOW else None
    found = [Finding(level="warning" if hint else "ok", topic="store", text=answered, hint=hint)]
    if not info.durable:
        text = "what it keeps is lost with the process"
        found.append(Finding(level="note", topic="store", text=text))
    # Read twice: the look itself, and what it took, are no skew.
    skew = engine.clock.now() - time.time_ns() // 1000
    if abs(skew) > _SKEW:
        ahead = "behind" if skew > 0 else "ahead of"
        text = f"this machine's clock is {abs(skew) / 1e6:.1f} s {ahead} the store's"
        hint = "runs go by the store's clock; keep the machines' clocks in step (NTP) all the same"
        found.append(Finding(level="warning", topic="clock", text=text, hint=hint))
    else:
        found.append(Finding(level="ok", topic="clock", text="in step with this machine's"))
    return found


async def _workers(engine: Engine, lock: LockProvider, owned: Mapping[int, int]) -> list[Finding]:
    lease = engine.settings.lease
    mine = engine.epoch if engine.running else 0
    workers = [each for each in await engine.store.workers() if each.epoch != mine]
    alive = [each for each in workers if each.fenced is None]
    gone = set(await lock.dead([each.epoch for each in alive if each.owns], lease))
    gone.update(await lock.dead([each.epoch for each in alive if not each.owns], FOREVER))
    now = engine.clock.now()
    told = [_worker(each, owned.get(each.epoch, 0), gone, now, lease) for each in workers]
    found = [each for each in told if each is not None]
    living = sum(each.level == "ok" for each in found)
    text = f"{living} alive"
    return [Finding(level="ok" if living else "note", topic="workers", text=text), *found]


def _worker(
    worker: WorkerRow, runs: int, gone: Collection[int], now: int, lease: int
) -> Finding | None:
    """Tell of one worker; ``None``: it is over, and there is nothing to do about it."""
    named = f"{worker.name} ({worker.host}, pid {worker.pid})"
    over = worker.fenced is not None or worker.epoch in gone
    if over and runs:
        state = "was fenced" if worker.fenced is not None else "is dead, or silent for a lease,"
        text = f"{named} {state} and still owns {_runs_text(runs)}"
        hint = "any running worker takes over; start one if there is none: wfe worker FILE"
        return Finding(level="problem", topic="workers", text=text, hint=hint)
    if over:
        return None
    if worker.owns:
        text = f"{named} is at work on {_runs_text(runs)}" if runs else f"{named} is at work"
        return Finding(level="ok", topic="workers", text=text)
    heard = now - worker.beat
    if heard > 2 * rarely(lease) + lease:  # two beats of an idle one were missed
        text = f"{named} owns nothing, and was heard of {_ago(heard)} ago: probably gone"
        return Finding(level="note", topic="workers", text=text)
    text = f"{named} is idle, heard of {_ago(max(heard, 0))} ago"
    return Finding(level="ok", topic="workers", text=text)


def _runs_text(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


async def _definitions(engine: Engine) -> list[Finding]:
    """Find definitions whose due runs nobody takes."""
    rows = await engine.store.definitions()
    paused = set(await engine.store.paused())
    now = engine.clock.now()
    found: list[Finding] = []
    for row in rows:
        due = await engine.store.due([row.d])
        if due is None or now - due < _LATE or row.id in paused:
            continue
        text = (
            f"{row.id!r} version {row.version} (hash {row.hash[:8]}) has runs that are due since"
            f" {_ago(now - due)}, and nobody takes them"
        )
        hint = "no running worker has its code (or labels), or all are busy: wfe worker FILE"
        found.append(Finding(level="problem", topic="definitions", text=text, hint=hint))
    if paused:
        text = f"paused: {', '.join(sorted(paused))}"
        hint = "wfe unpause ID lets their runs go on"
        found.append(Finding(level="note", topic="definitions", text=text, hint=hint))
    return found or [Finding(level="ok", topic="definitions", text=f"{len(rows)} stored")]


def _ago(micros: int) -> str:
    seconds = micros // 1_000_000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


class _Runs:
    """One look through the runs that are not final.

    Attributes:
        owned: How many each worker owns, by epoch.
    """

    def __init__(self) -> None:
        self.owned: Counter[int] = Counter()
        self._counted: Counter[str] = Counter()
        self._found: list[Finding] = []

    async def look(self, engine: Engine) -> list[Finding]:
        async for headers in engine.inventory.unfinished(None):
            for each in headers:
                self._take(each)
            if self._counted.total() >= _MOST:
                text = f"only {self._counted.total()} runs were looked at: there are more"
                self._found.append(Finding(level="note", topic="runs", text=text))
                break
        suspended = self._counted[WorkflowStatus.SUSPENDED.value]
        text = f"{self._counted.total() - suspended} on their way, {suspended} suspended"
        shown = [Finding(level="ok", topic="runs", text=text), *self._found[:_SHOWN]]
        if len(self._found) > _SHOWN:
            text = f"… and {len(self._found) - _SHOWN} more such runs"
            hint = "wfe list --status suspended"
            shown.append(Finding(level="warning", topic="runs", text=text, hint=hint))
        return shown

    def _take(self, header: StoredInstance) -> None:
        self._counted[header.status] += 1
        if header.owner is not None:
            self.owned[header.owner] += 1
        trouble = _trouble(header)
        if trouble is not None:
            text = f"run {header.id} ({header.definition}) {trouble}"
            hint = f"wfe explain {header.id}"
            if header.status == WorkflowStatus.SUSPENDED.value:
                hint += f"; let it go on: wfe resume {header.id}"
            self._found.append(Finding(level="warning", topic="runs", text=text, hint=hint))


def _trouble(header: StoredInstance) -> str | None:
    """Return what is wrong with a run; ``None``: nothing."""
    if header.status == WorkflowStatus.SUSPENDED.value:
        error: Any = orjson.loads(header.error) if header.error else {}
        return f"is suspended: {error.get('message') or 'by hand'}"
    if header.takeovers > 1:
        return f"lost its host {header.takeovers} times in a row"
    return f"could not be driven {header.faults} times" if header.faults else None


async def _schedules(engine: Engine) -> list[Finding]:
    due, _ = await engine.store.due_schedules(100)
    now = engine.clock.now()
    late = [each for each in due if each.next_at is not None and now - each.next_at > _LATE]
    if not late:
        return []
    named = ", ".join(each.id for each in late[:_SHOWN])
    hint = "a worker that knows their definitions fires them: wfe worker FILE"
    text = f"{len(late)} schedule{'' if len(late) == 1 else 's'} late, and nobody fires: {named}"
    return [Finding(level="problem", topic="schedules", text=text, hint=hint)]
