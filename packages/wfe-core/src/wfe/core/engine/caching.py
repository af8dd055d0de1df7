"""Takes the results of steps from the cache, and puts them there.

Trouble with the cache never fails a step: it runs then, and a line in its log says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import attrs
import orjson

from wfe.core.artifacts import ArtifactError
from wfe.core.cache_index import CacheEntry, CacheIndex
from wfe.core.engine.contexts import live_of
from wfe.core.engine.secrets import guarded
from wfe.core.errors import ProviderError
from wfe.core.lean import frozen
from wfe.core.rounds import PREFIX, round_field
from wfe.core.rules.inputs import Completed, Failed, Input, Writes

if TYPE_CHECKING:
    from wfe.core.engine.artifacts import ArtifactsOfStep
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.keys import Key
    from wfe.core.providers import LockProvider
    from wfe.core.steps import StepExecutionContext

__all__ = ["CacheMode", "Results", "Run"]

_LOG: Final = logging.getLogger("wfe.engine")
_SOONEST: Final = 20_000  # µs between looks at a result that another host makes
_LATEST: Final = 1_000_000
_STEPS_BETWEEN: Final = 3  # a claim is prolonged so many times within its lease

Context: TypeAlias = "StepExecutionContext[Any]"
CacheMode: TypeAlias = str
"""``on``; ``refresh``: results are made anew and kept; ``off``."""


@frozen(kw_only=True)
class Run:
    """One attempt of a step with a cache.

    Attributes:
        key: Of its result.
        call: Runs the body.
        read_more: Says whether the body read what the key does not have.
        changed: Says which files that count are not what they were for the key.
        put_back: Puts the files of declared artifacts where the body would have left them.
        ttl: µs; ``None``: no end.
    """

    ctx: Context
    key: Key
    call: Callable[[], Awaitable[Input]]
    read_more: Callable[[], bool]
    changed: Callable[[], Awaitable[str | None]]
    put_back: Callable[[], Awaitable[None]]
    ttl: int | None
    started: int


class Results:
    """The cache of one host."""

    def __init__(self, engine: Engine, lock: LockProvider, mode: CacheMode = "on") -> None:
        """Use the cache of *engine*'s store; *lock* says which hosts are dead."""
        self._engine = engine
        self._lock = lock
        self._mode = mode
        self._making: dict[str, asyncio.Event] = {}

    @property
    def index(self) -> CacheIndex | None:
        """Where results are; ``None``: the store keeps none."""
        store = self._engine.store
        return cast("CacheIndex", store) if "cache" in store.features else None

    @property
    def active(self) -> bool:
        """Whether results are looked up or kept at all."""
        return self._mode != "off" and self.index is not None

    async def run(self, run: Run) -> Input:
        """Return the outcome of an attempt, from the cache when it has one."""
        index = self.index
        if index is None:
            return await run.call()
        why = "it was to be made anew"
        if self._mode != "refresh":
            hit, why = await self._look(index, run)
            if hit is not None:
                return hit
        async with self._turn(index, run) as (mine, found):
            if found is not None:
                return found
            outcome = await run.call()
            return await self._keep(index, run, outcome, why, mine)

    # -- looking

    async def _look(self, index: CacheIndex, run: Run) -> tuple[Completed | None, str]:
        """Return the kept result, or why there is none."""
        try:
            entry = await index.cache_get(run.key.digest)
            if entry is None:
                return None, "there is no result for this key"
            now = self._engine.clock.now()
            if entry.expires is not None and entry.expires <= now:
                return None, "the result for this key has expired"
            return await self._restored(run, entry)
        except ProviderError as error:
            _LOG.warning("the cache cannot be read, so a step runs: %s", error)
            return None, f"the cache could not be read: {error}"

    async def _restored(self, run: Run, entry: CacheEntry) -> tuple[Completed | None, str]:
        result: dict[str, Any] = orjson.loads(entry.result)
        kept = result.get("artifacts")
        if kept:
            live = live_of(run.ctx)
            problem = await self._engine.artifacts.restore(run.ctx, live.n, kept)
            if problem is None:
                problem = await _put_back(run)
            if problem is not None:
                return None, f"the result cannot be used: {problem}"
        ctx = run.ctx
        saved = timedelta(microseconds=entry.duration).total_seconds()
        ctx.log.info("cached from run %s: nothing was run, which saved %.3g s", entry.run, saved)
        return Completed(
            ctx.pointer.id,
            ctx.pointer.attempt,
            result.get("outcome"),
            _writes(result, ctx),
            run.started,
            {
                "cached": {
                    "run": entry.run,
                    "step": entry.step,
                    "key": entry.key,
                    "at": entry.created,
                    "saved": entry.duration,
                }
            },
        ), ""

    # -- one at a time

    @contextlib.asynccontextmanager
    async def _turn(
        self, index: CacheIndex, run: Run
    ) -> AsyncGenerator[tuple[str | None, Completed | None], None]:
        """Wait until nobody makes this result; yield the claim on it, or the result.

        Who cannot claim it because of the store makes it all the same.
        """
        key, told = run.key.digest, False
        while (making := self._making.get(key)) is not None:
            told = told or _tell(run)
            await making.wait()
            found = await self._made(index, run)
            if found is not None:
                yield None, found
                return
        done = self._making[key] = asyncio.Event()
        try:
            async with self._claim(index, run) as claimed:
                yield claimed
        finally:
            del self._making[key]
            done.set()

    @contextlib.asynccontextmanager
    async def _claim(
        self, index: CacheIndex, run: Run
    ) -> AsyncGenerator[tuple[str | None, Completed | None], None]:
        """As :meth:`_turn`, among hosts."""
        key, holder = run.key.digest, f"{self._engine.epoch}:{secrets.token_hex(8)}"
        try:
            found = await self._claimed(index, run, holder)
        except ProviderError as error:
            _LOG.warning("the cache cannot be written, so a step runs: %s", error)
            yield None, None
            return
        if found is not None:
            yield None, found
            return
        renewing = asyncio.create_task(self._renew(index, key, holder))
        try:
            yield holder, None
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await self._release(index, key, holder)

    async def _claimed(self, index: CacheIndex, run: Run, holder: str) -> Completed | None:
        """Return once *holder* has the claim, or the result that somebody else made."""
        key, pause, told = run.key.digest, _SOONEST, False
        clock = self._engine.clock
        while (other := await index.cache_claim(key, holder, self._lease)) != holder:
            if await self._is_dead(other):
                await index.cache_release(key, other)
                continue
            told = told or _tell(run)
            await clock.sleep_until(clock.now() + pause)
            pause = min(pause * 3 // 2, _LATEST)
            found = await self._made(index, run)
            if found is not None:
                return found
        found = await self._made(index, run)  # right before the claim
        if found is not None:
            await index.cache_release(key, holder)
        return found

    async def _is_dead(self, holder: str) -> bool:
        """Whether the host that claims a result has died, so that it will never make it."""
        epoch = holder.partition(":")[0]
        if not epoch.isdecimal():
            return False
        try:
            return bool(await self._lock.dead([int(epoch)], self._lease))
        except ProviderError:  # nobody knows: its claim ends by itself
            return False

    async def _made(self, index: CacheIndex, run: Run) -> Completed | None:
        """Return a result that somebody made meanwhile."""
        if self._mode == "refresh":
            return None
        found, _ = await self._look(index, run)
        return found

    async def _release(self, index: CacheIndex, key: str, holder: str) -> None:
        try:
            await index.cache_release(key, holder)
        except ProviderError as error:
            _LOG.warning("a claim on a result was not released: %s", error)

    @property
    def _lease(self) -> int:
        return self._engine.settings.lease

    async def _renew(self, index: CacheIndex, key: str, holder: str) -> None:
        """Prolong a claim while its result is made; a lost one changes nothing here."""
        if self._engine.info is None or not self._engine.info.durable:
            return  # nobody else could see it
        while True:
            await asyncio.sleep(self._lease / _STEPS_BETWEEN / 1_000_000)
            try:
                if await index.cache_claim(key, holder, self._lease) != holder:
                    _LOG.warning("the claim on a result was lost; it may be made twice")
                    return
            except ProviderError as error:
                _LOG.warning("the claim on a result was not prolonged: %s", error)

    # -- keeping

    async def _keep(
        self, index: CacheIndex, run: Run, outcome: Input, why: str, holder: str | None
    ) -> Input:
        """Keep a success; return it with what is to be said of it in the history."""
        if not isinstance(outcome, Completed):
            return outcome
        told = {"key": run.key.digest, "miss": why}
        problem = self._unfit(run, outcome) or await run.changed()
        if problem is None:
            try:
                await index.cache_put(self._entry(run, outcome), holder)
            except ProviderError as error:
                _LOG.warning("the result of a step was not kept: %s", error)
                problem = f"the cache could not be written: {error}"
        if problem is not None:
            run.ctx.log.warning("the result is not kept in the cache: %s", problem)
            told["not_kept"] = problem
        return attrs.evolve(outcome, notes={"cache": told})

    def _unfit(self, run: Run, outcome: Completed) -> str | None:
        """Return why a success cannot be kept."""
        if run.read_more():
            return (
                "the step read the data of the run, which is no part of the key; name what it uses"
                " with `key`"
            )
        masks = live_of(run.ctx).masks
        if masks is not None:
            if isinstance(guarded(outcome, masks), Failed):
                return "it holds a secret"
            if masks.found_in(dict(run.key.document), "key") is not None:
                return "its key holds the value of a secret"
        return None

    def _entry(self, run: Run, outcome: Completed) -> CacheEntry:
        ctx, now = run.ctx, self._engine.clock.now()
        kept = cast("ArtifactsOfStep", ctx.artifacts).kept if ctx.has_artifacts else []
        result = _result(outcome, ctx)
        if kept:
            result["artifacts"] = [
                {
                    "name": each.name,
                    "digest": each.digest,
                    "manifest": each.manifest,
                    "size": each.size,
                    "files": each.files,
                    "media_type": each.media_type,
                }
                for each in kept
            ]
        return CacheEntry(
            key=run.key.digest,
            definition=ctx.instance.definition,
            step=ctx.pointer.step,
            run=ctx.instance.id,
            document=orjson.dumps(run.key.document, option=orjson.OPT_SORT_KEYS).decode(),
            result=orjson.dumps(result).decode(),
            created=now,
            expires=None if run.ttl is None else now + run.ttl,
            duration=max(now - run.started, 0),
            artifacts=tuple(sorted({each.manifest for each in kept})),
        )


def _tell(run: Run) -> bool:
    run.ctx.log.info("another step makes the same result: waiting for it")
    return True


async def _put_back(run: Run) -> str | None:
    try:
        await run.put_back()
    except ArtifactError as error:
        return str(error)
    return None


def _result(outcome: Completed, ctx: Context) -> dict[str, Any]:
    """Return what is kept of an outcome, so that another round of a loop can use it."""
    writes, path = outcome.writes, ctx.path
    mark = round_field("", path)
    fields: dict[str, Any] = {}
    rounds: list[str] = []
    for field, value in writes.fields.items():
        own = bool(mark) and field.startswith(PREFIX) and field.endswith(mark)
        name = field.removesuffix(mark) if own else field
        rounds += [name] if own else []
        fields[name] = value
    result: dict[str, Any] = {"fields": fields}
    if rounds:
        result["rounds"] = rounds
    if outcome.outcome is not None:
        result["outcome"] = outcome.outcome
    if writes.removed:
        result["removed"] = list(writes.removed)
    if writes.reduced:
        result["reduced"] = dict(writes.reduced)
    return result


def _writes(result: Mapping[str, Any], ctx: Context) -> Writes:
    rounds, path = set(result.get("rounds", ())), ctx.path
    fields = {
        round_field(name, path) if name in rounds else name: value
        for name, value in result["fields"].items()
    }
    removed = tuple(result.get("removed", ()))
    return Writes(fields, removed, result.get("reduced", {}), ctx.seq)
