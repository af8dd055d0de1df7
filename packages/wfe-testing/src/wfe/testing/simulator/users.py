"""Users: they start runs, publish events and interfere, through whichever host answers."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - only its type: the source is a parameter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import attrs

from wfe.core.engine.starts import StartOptions
from wfe.core.errors import (
    ActivityTokenError,
    DefinitionError,
    DuplicateNameError,
    HostStoppingError,
    InvalidStateTransitionError,
    LeaseLostError,
    ProviderError,
)
from wfe.core.providers import Subscription
from wfe.testing.simulator.cluster import Cluster, Gone, Host
from wfe.testing.simulator.laws import Law
from wfe.testing.simulator.ledger import Account
from wfe.testing.simulator.workload import KEYS, TOPICS

__all__ = ["Users"]

_UNSURE: Final = (Gone, ProviderError, HostStoppingError, LeaseLostError)
_INTENTS: Final = ("suspend", "resume", "resume", "terminate")
_LATE: Final = ("retry", "rewind", "skip", "patch")


@attrs.define(eq=False)
class Intent:
    """Something that a user asked of a run; *sure*: the answer was yes."""

    run: str
    what: str
    sure: bool


class Users:
    """All users.

    Attributes:
        runs: Ids of the runs that they know of.
        intents: By the name that each was asked under.
        events: Ids of published events; ``True``: acknowledged.
    """

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        """Use *cluster*."""
        self.runs: list[str] = []
        self.intents: dict[str, Intent] = {}
        self.events: dict[str, bool] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self._cluster = cluster
        self._rng = rng
        self._trace = cluster.world.trace

    async def act(self) -> None:
        """Do one thing."""
        hosts = self._cluster.well
        if not hosts:
            return
        host = self._rng.choice(hosts)
        draw = self._rng.random()
        if draw < 0.45 or not self.runs:
            await self.start(host)
        elif draw < 0.6:
            await self._tell(host)
        elif draw < 0.7:
            await self.work(host)
        elif draw < 0.8:
            run = self._rng.choice(self.runs)
            await self._rng.choice([self.signal, self.approve])(host, run)
        elif draw < 0.88:
            await self.mend(host, self._rng.choice(self.runs), self._rng.choice(_LATE))
        else:
            await self.ask(host, self._rng.choice(self.runs), self._rng.choice(_INTENTS))

    async def start(self, host: Host) -> None:
        """Start a run, now and then under a key or a name that was used before."""
        rng = self._rng
        definition = rng.choice(list(self._cluster.world.definitions))
        key = f"k{rng.randrange(4)}" if rng.random() < 0.2 else None
        name = f"n{rng.randrange(6)}" if rng.random() < 0.1 else None
        options = StartOptions(idempotency_key=key, name=name)
        try:
            run, _ = await host.call(host.engine.starter.start(definition, None, {}, options))
        except _UNSURE as error:
            self._trace.add("user", host.name, "start", definition, type(error).__name__)
            return
        except DuplicateNameError:
            return
        self._trace.add("user", host.name, "started", definition, run, key, name)
        if run not in self._cluster.world.ledger.by_id:
            self._trace.broken(Law.KEPT, f"the start of {run} was acknowledged, but not stored")
        if key is not None and self.keys.setdefault((definition, key), run) != run:
            problem = f"starts of {definition} with the key {key} gave two runs"
            self._trace.broken(Law.ONCE, problem)
        if run not in self.runs:
            self.runs.append(run)

    async def _tell(self, host: Host) -> None:
        """Publish an event or several of a topic, mostly one that somebody waits for."""
        rng, ledger = self._rng, self._cluster.world.ledger
        name, key = rng.choice(TOPICS), rng.choice(KEYS)
        waiting = ledger.topics.waiting
        if waiting and rng.random() < 0.8:
            n, wanted = rng.choice(waiting)
            name, key = wanted.name, wanted.key
            host = self.near(ledger.accounts[n], host)
        for _ in range(rng.choice([1, 1, 3])):
            await self.publish(host, name, key)

    async def answer(self, n: int, wanted: Subscription) -> None:
        """Publish what run *n* waits for."""
        if hosts := self._cluster.well:
            host = self.near(self._cluster.world.ledger.accounts[n], self._rng.choice(hosts))
            await self.publish(host, wanted.name, wanted.key)

    def near(self, account: Account, host: Host) -> Host:
        """Return mostly the host that drives a run, if it answers, else *host*."""
        drives = None if account.owner is None else self._cluster.owner(account.owner)
        if drives is None or drives not in self._cluster.well or self._rng.random() < 0.2:
            return host
        return drives

    async def publish(self, host: Host, name: str, key: str) -> None:
        """Publish an event, now and then one that was published before."""
        # An id that the engine made is nobody's to use until it is acknowledged.
        known = [id for id, done in self.events.items() if done or _is_own(id)]
        again = bool(known) and self._rng.random() < 0.15
        id = self._rng.choice(known) if again else f"e{len(self.events)}"
        self.events.setdefault(id, False)
        control = host.engine.control
        event = control.event(name, key, {"id": id}, id, None)
        try:
            await host.call(control.publish(event, fresh=not again and not _is_own(id)))
        except _UNSURE as error:
            self._trace.add("user", host.name, "publish", name, key, id, type(error).__name__)
            return
        self._trace.add("user", host.name, "published", name, key, id)
        self.events[id] = True

    async def ask(self, host: Host, run: str, what: str) -> None:
        """Ask for something."""
        control = host.engine.control
        await self._intend(host, run, what, lambda actor: control.ask(run, what, actor=actor))

    async def signal(self, host: Host, run: str) -> None:
        """Send a signal."""
        control = host.engine.control
        await self._intend(
            host, run, "signal", lambda actor: control.signal(run, "go", 1, actor=actor)
        )

    async def mend(self, host: Host, run: str, what: str) -> None:
        """Change the course of a run."""
        control = host.engine.control
        account = self._cluster.world.ledger.by_id[run]
        steps = list(account.journal.entered) or ["none"]
        step = self._rng.choice(steps)
        back = step if self._rng.random() < 0.5 else None
        pointer = self._rng.choice([*account.state.pointers, 1])
        asked: dict[str, Callable[[str], Coroutine[Any, Any, Any]]] = {
            "retry": lambda actor: control.retry(run, back, actor=actor),
            "rewind": lambda actor: control.rewind(run, step, {"x": 0}, actor=actor),
            "skip": lambda actor: control.skip(run, pointer, reason=None, actor=actor),
            "patch": lambda actor: control.patch(run, {"y": 1}, actor=actor),
        }
        await self._intend(host, run, what, asked[what])

    async def approve(self, host: Host, run: str, pointer: int | None = None) -> None:
        """Answer a question, if the run asks one."""
        control = host.engine.control
        await self._intend(
            host,
            run,
            "approve",
            lambda actor: control.approve(run, "yes", pointer=pointer, actor=actor),
        )

    async def work(self, host: Host) -> None:
        """Claim an activity and, mostly, complete or fail it."""
        rng, activities = self._rng, host.engine.activities
        lease = rng.choice([1_000_000, 30_000_000])
        try:
            claimed = await host.call(activities.claim(["review"], "worker", 0, lease))
            if claimed is None:
                return
            self._trace.add("user", host.name, "claimed", claimed.run_id, claimed.pointer)
            await asyncio.sleep(rng.choice([0.0, 0.0, 2.0]))
            if rng.random() < 0.7 or self._cluster.world.chaos.calm:
                await host.call(activities.complete(claimed.token, {"n": 1}))
            elif rng.random() < 0.7:
                await host.call(activities.fail(claimed.token, "Sick", "sick", retryable=True))
        except (*_UNSURE, ActivityTokenError) as error:
            self._trace.add("user", host.name, "work", type(error).__name__)

    async def _intend(
        self, host: Host, run: str, what: str, ask: Callable[[str], Coroutine[Any, Any, Any]]
    ) -> None:
        """Ask under a name of its own, so that its row is known again."""
        actor = f"u{len(self.intents)}"
        intent = self.intents[actor] = Intent(run, what, sure=False)
        try:
            await host.call(ask(actor))
        except (InvalidStateTransitionError, DefinitionError):
            del self.intents[actor]
            self.intents[f"-{actor}"] = intent  # keeps the count, so that names stay different
            return
        except _UNSURE as error:
            self._trace.add("user", host.name, what, run, actor, type(error).__name__)
            return
        self._trace.add("user", host.name, what, run, actor)
        intent.sure = True

    async def help(self, host: Host, runs: Sequence[str], what: str) -> None:
        """Ask the same of several runs."""
        for run in runs:
            await self.ask(host, run, what)


def _is_own(id: str) -> bool:
    """Whether the user made the id of an event, and may publish it once more at any time."""
    return int(id.removeprefix("e")) % 3 == 0
