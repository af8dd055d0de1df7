"""One seed, one cluster, from its start to its rest; many seeds, one report."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import random  # noqa: TID251 - the one source of a simulation
from collections import Counter
from collections.abc import Coroutine, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final
from unittest.mock import patch

import attrs

from wfe.core.engine import live
from wfe.core.rules.plan import make_plan
from wfe.core.steps import StepExecutionContext
from wfe.testing.simulator.chance import drawn_from
from wfe.testing.simulator.chaos import Chaos, Rates
from wfe.testing.simulator.cluster import Cluster, Host, World
from wfe.testing.simulator.judge import Judge
from wfe.testing.simulator.laws import Broken, Law
from wfe.testing.simulator.ledger import Account, Ledger
from wfe.testing.simulator.loop import Deadlock, Livelock, SimClock, new_loop
from wfe.testing.simulator.trace import Trace
from wfe.testing.simulator.truth import Truth
from wfe.testing.simulator.users import Users
from wfe.testing.simulator.watch import Watch
from wfe.testing.simulator.workload import Maker, Spec

__all__ = ["Failure", "Report", "simulate"]

_LEASE: Final = 6_000_000  # µs
_SKEW: Final = 90_000_000  # µs
_PATIENCE: Final = 1800  # virtual seconds in which everything must settle once all is calm


@attrs.frozen(kw_only=True)
class Failure:
    """A seed that broke a law."""

    seed: int
    law: Law
    detail: str

    def __str__(self) -> str:
        again = f"python -m wfe.testing.simulator --seed {self.seed} --trace"
        return f"{again}  # {self.law}: {self.detail[:300]}"


@attrs.frozen(kw_only=True)
class Report:
    """What was simulated, and what it found.

    Attributes:
        faults: How many, by kind.
        digest: Of the trace; of one seed only.
        lines: The trace, when it was asked for.
    """

    seeds: int = 0
    hosts: int = 0
    runs: int = 0
    steps: int = 0
    commits: int = 0
    seconds: float = 0.0
    faults: Counter[str] = attrs.field(factory=Counter[str])
    failures: tuple[Failure, ...] = ()
    digest: str = ""
    lines: tuple[str, ...] = ()

    def __add__(self, other: Report) -> Report:
        return Report(
            seeds=self.seeds + other.seeds,
            hosts=self.hosts + other.hosts,
            runs=self.runs + other.runs,
            steps=self.steps + other.steps,
            commits=self.commits + other.commits,
            seconds=self.seconds + other.seconds,
            faults=self.faults + other.faults,
            failures=self.failures + other.failures,
        )

    def __str__(self) -> str:
        faults = ", ".join(f"{kind}: {number}" for kind, number in sorted(self.faults.items()))
        return (
            f"{self.seeds} seeds: {self.hosts} hosts, {self.runs} runs, {self.steps} steps, "
            f"{self.commits} commits in {self.seconds:.0f} virtual seconds; {len(self.failures)} "
            f"failed; faults: {faults}"
        )


class _Errors(logging.Handler):
    """Takes what the engine itself calls an error for one."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(logging.ERROR)
        self._trace = trace

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._trace.broken(Law.INTERNAL, f"{record.getMessage()}: {error!r}")


class _Simulation:
    """One cluster and its users."""

    def __init__(self, seed: int, *, keep: bool) -> None:
        rng = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self.rng = rng
        self.loop = new_loop(rng, shuffle=rng.random() < 0.7)
        clock = SimClock(self.loop)
        self.trace = Trace(lambda: self.loop.micros, keep=keep)
        skewed = rng.random() < 0.2
        machines = rng.choice([1, 2, 2, 3, 4])
        skews = tuple(rng.randrange(-_SKEW, _SKEW) if skewed else 0 for _ in range(machines))
        maker = Maker(rng, self._body)
        definitions = maker.definitions(rng.randrange(1, 4))
        plans = {id: make_plan(definition) for id, definition in definitions.items()}
        self.ledger = Ledger(plans, max(skews) - min(*skews, 0) if skewed else 0)
        self.watch = Watch(self.ledger, self.trace, rng)
        self.chaos = Chaos(rng, Rates.drawn(rng), _LEASE)
        world = World(
            loop=self.loop,
            rng=rng,
            truth=Truth(clock, self.ledger, self.trace),
            chaos=self.chaos,
            ledger=self.ledger,
            trace=self.trace,
            definitions=definitions,
            skews=skews,
            lease=_LEASE,
        )
        self.cluster = Cluster(world)
        self.users = Users(self.cluster, rng)
        self.judge = Judge(self.cluster, self.users)
        self._tasks: set[asyncio.Task[None]] = set()

    async def _body(self, ctx: StepExecutionContext[Any], spec: Spec) -> Any:
        return await self.watch.body(ctx, spec)

    async def run(self) -> None:
        machines = range(len(self.cluster.hosts))
        await asyncio.gather(*(self.cluster.start(k) for k in machines))
        end = self.loop.time() + self.rng.choice([20, 40, 60])
        trouble = [asyncio.create_task(self._trouble(k, end)) for k in machines]
        if self.rng.random() < 0.6:
            trouble.append(asyncio.create_task(self._quick(end)))
        acts = self.rng.randrange(5, 30)
        while acts and self.loop.time() < end:
            await asyncio.sleep(self.rng.random() * 3)
            for _ in range(min(acts, self.rng.choice([1, 1, 1, 4]))):
                self._soon(self.users.act())
                acts -= 1
        await asyncio.gather(*trouble)
        self._last_words()
        await asyncio.sleep(0.5)
        self.chaos.calm = True
        self.trace.add("calm")
        await self._settle()

    async def _quick(self, end: float) -> None:
        """Publish soon what runs begin to wait for, while these are in memory still."""
        seen: set[tuple[int, int]] = set()
        while self.loop.time() < end:
            await asyncio.sleep(self.rng.random())
            for n, wanted in self.ledger.topics.waiting:
                if (n, wanted.pointer) not in seen and self.rng.random() < 0.5:
                    self._soon(self.users.answer(n, wanted))
                seen.add((n, wanted.pointer))

    def _last_words(self) -> None:
        """Send something to runs that are under way, as long as hints can still get lost."""
        owned = [account for account in self.judge.open if account.owner is not None]
        for account in self.rng.sample(owned, min(3, len(owned))):
            hosts = self.cluster.well
            if hosts:
                self._soon(self.users.signal(self.rng.choice(hosts), account.new.id))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _trouble(self, k: int, end: float) -> None:
        """Freeze, crash, stop and start the hosts of machine *k* until *end*."""
        rng, cluster, rates = self.rng, self.cluster, self.chaos.rates
        while self.loop.time() < end:
            await asyncio.sleep(0.2 + rng.random())
            cluster.down(k)
            host = cluster.hosts[k]
            if host is None:
                await asyncio.sleep(rng.random() * 10)
                await cluster.start(k)
            elif rng.random() < rates.crashes:
                self.chaos.counts["crash at a step"] += 1
                host.fuse = rng.randrange(0, 200)
            elif rng.random() < rates.pauses:
                self.chaos.counts["pause"] += 1
                self.trace.add("freeze", host.name)
                host.freeze()
                await asyncio.sleep(rng.random() * rng.choice([1, 3 * _LEASE / 1e6]))
                self.trace.add("thaw", host.name)
                host.thaw()
            elif rng.random() < rates.stops:
                self.chaos.counts["stop"] += 1
                await cluster.stop(k, rng.choice([0.0, 0.5, 5.0]))

    async def _settle(self) -> None:
        """Nothing goes wrong any more: every run must come to its end."""
        for host in self.cluster.hosts:
            if host is not None:
                host.fuse = None
        await self._restart()
        # A call that was slow already may last eight leases more, four on its way and four on its
        # way back, and a takeover waits for another.
        await asyncio.sleep(11 * _LEASE / 1e6)
        await self._answered()
        self.judge.at_rest()
        await asyncio.sleep(20)
        self.judge.at_rest()
        self.watch.calm = True
        await self._finish()
        await asyncio.sleep(5)
        self.judge.at_the_end()

    async def _restart(self) -> None:
        """Have at least one host; which others stay down is drawn."""
        machines = list(range(len(self.cluster.hosts)))
        self.rng.shuffle(machines)
        for k in machines:
            self.cluster.down(k)
            while self.cluster.hosts[k] is None and (
                not self.cluster.well or self.rng.random() < 0.5
            ):
                await self.cluster.start(k)

    async def _answered(self) -> None:
        """Whoever asked a living host gets an answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.gather(*self._tasks)
        if self._tasks:
            raise Broken(Law.SETTLES, f"{len(self._tasks)} callers never got an answer")

    async def _finish(self) -> None:
        """Publish what is waited for, resume what is suspended, until nothing is open."""
        end = self.loop.time() + _PATIENCE
        asked: Counter[str] = Counter()
        while waiting := self.judge.open:
            if self.loop.time() > end:
                account = waiting[0]
                shown = f"{account.name} did not end: {account.state.status}, owner {account.owner}"
                raise Broken(Law.SETTLES, f"{shown}, {list(account.state.pointers.values())}")
            host = self.cluster.well[0]
            for account in waiting:
                await self._answer(host, account)
                tired = self.loop.time() > end - _PATIENCE * 0.7
                idle = not account.inbox or account.owner is None
                if (account.state.status == "suspended" or tired) and idle:
                    asked[account.new.id] += 1
                    what = "resume" if asked[account.new.id] < 4 and not tired else "terminate"
                    await self.users.ask(host, account.new.id, what)
            await asyncio.sleep(10)
            self.judge.at_rest()

    async def _answer(self, host: Host, account: Account) -> None:
        """Give a run what it waits for."""
        for wanted in self.ledger.topics.of(account.new.n):
            await self.users.publish(self.users.near(account, host), wanted.name, wanted.key)
        for pointer in list(account.state.pointers.values()):
            if "signal" in pointer.extra:
                await self.users.signal(host, account.new.id)
            elif "approval" in pointer.extra:
                await self.users.approve(host, account.new.id, pointer.id)
            elif "activity" in pointer.extra:
                await self.users.work(host)


@contextmanager
def _quiet(trace: Trace) -> Generator[None]:
    """Hand the engine's log to *trace*; collect no garbage, so that time is the only order."""
    errors = _Errors(trace)
    logs = [logging.getLogger(name) for name in ("wfe.engine", "wfe.lifecycle")]
    before = [(log.level, log.propagate) for log in logs]
    for log in logs:
        log.addHandler(errors)
        log.setLevel(logging.ERROR)
        log.propagate = False
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        for log, (level, propagate) in zip(logs, before, strict=True):
            log.removeHandler(errors)
            log.setLevel(level)
            log.propagate = propagate


def simulate(seed: int, *, trace: bool = False) -> Report:
    """Simulate the cluster that *seed* draws, until it has settled or a law is broken.

    Args:
        seed: The same seed gives the same trace, in every process.
        trace: Keep the trace's lines in the report.
    """
    return contextvars.Context().run(_simulate, seed, trace)


def _simulate(seed: int, keep: bool) -> Report:
    simulation = _Simulation(seed, keep=keep)
    loop, log = simulation.loop, simulation.trace
    loop.stop_when(lambda: log.found)
    # Snapshots are for long runs; here short ones have some, too.
    folds = patch.object(live, "_FOLD_FROM", simulation.rng.choice([0, 500, 4000]))
    with _quiet(log), folds, drawn_from(seed, SimClock(loop).now):
        try:
            loop.run_until_complete(simulation.run())
        except Broken as broken:
            log.broken(broken.law, broken.detail)
        except Deadlock:
            log.broken(Law.SETTLES, "nothing can happen any more")
        except Livelock as livelock:
            log.broken(Law.SETTLES, f"it goes on for ever, now with {livelock}")
        if loop.problems:
            log.broken(Law.INTERNAL, loop.problems[0])
        loop.close()
    found = log.found
    failures = () if found is None else (Failure(seed=seed, law=found.law, detail=found.detail),)
    return Report(
        seeds=1,
        hosts=simulation.cluster.born,
        runs=len(simulation.ledger.accounts),
        steps=simulation.ledger.steps,
        commits=simulation.ledger.commits,
        seconds=loop.time(),
        faults=simulation.chaos.counts,
        failures=failures,
        digest=log.digest,
        lines=tuple(log.lines),
    )
