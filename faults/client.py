"""Starts runs and talks to them: ``python -m faults.client SETTINGS NAME``.

It writes down what it was told is done, and nothing else; the next process of the same name reads
that, and goes on.  SIGTERM: begin nothing new, bring what was begun to its end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random  # noqa: TID251 - what a case does is drawn from its number
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs

from faults.hosting import make_host
from faults.settings import Settings, append, end_with_parent
from faults.workload import data_of, kind_of
from wfe.core import InvalidStateTransitionError, ProviderError
from wfe.host import WorkflowHost

__all__ = ["Ledger"]

_GROUP = 8
"""Cases that wait for the same news."""
_LOG = logging.getLogger("faults")


@attrs.define
class Ledger:
    """What was tried and what was acknowledged.

    Attributes:
        done: What was acknowledged, by (what, its name): the fact.
        tries: How often it was tried, and nobody knows what came of it.
        facts: All of it, in order.
    """

    path: Path
    done: dict[tuple[str, str], dict[str, Any]] = attrs.field(factory=dict)
    tries: dict[tuple[str, str], int] = attrs.field(factory=dict)
    facts: list[dict[str, Any]] = attrs.field(factory=list)

    @staticmethod
    def read(path: Path) -> Ledger:
        """Return what is in a file."""
        ledger = Ledger(path)
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            ledger.take(json.loads(line))
        return ledger

    def take(self, fact: dict[str, Any]) -> None:
        """Remember one line."""
        self.facts.append(fact)
        key = (fact["what"], fact["name"])
        if fact["sure"]:
            self.done[key] = fact
        else:
            self.tries[key] = self.tries.get(key, 0) + 1

    def write(self, fact: dict[str, Any]) -> None:
        """Remember a line, also on the disk."""
        append(self.path, fact)
        self.take(fact)


@attrs.define
class Client:
    """One process of a client."""

    settings: Settings
    name: str
    host: WorkflowHost
    ledger: Ledger
    draining: bool = False
    groups: dict[int, list[asyncio.Future[None]]] = attrs.field(factory=dict)

    async def work(self) -> None:
        """Begin one case after the other until told to end; end when all of them are done."""
        waits: set[asyncio.Task[None]] = set()
        number = 0
        begun = sum(1 for what, _ in self.ledger.tries if what == "case")
        while not self.draining or number < begun or number % _GROUP:
            if number >= begun:
                self.ledger.write({"what": "case", "name": str(number), "sure": False})
                await asyncio.sleep(1 / self.settings.rate)
            if ("case", str(number)) not in self.ledger.done:
                waits.add(asyncio.create_task(self._case(number)))
            number += 1
            while len(waits) >= self.settings.together:
                done, waits = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
        await asyncio.gather(*waits)

    async def _case(self, number: int) -> None:
        rng = random.Random(f"{self.settings.seed}/{self.name}/{number}")
        kind, name = kind_of(number), f"{self.name}-{number}"
        topic = f"{self.name}-{number // _GROUP}"
        data = data_of(kind, number, name, topic)

        async def start() -> str:
            run = await self.host.start_workflow(
                kind, data, idempotency_key=name, reference=self.name, actor=f"{name} starts"
            )
            return run.id

        run = await self._surely("start", name, start, kind=kind, number=number)
        follow = {"order": self._order, "errand": self._errand, "doomed": self._doomed}
        if kind in follow:
            await follow[kind](name, run, rng)
        if rng.random() < 0.15:
            await self._pause(name, run, rng)
        if number % _GROUP == _GROUP - 1:
            await self._news(topic, number)
        self.ledger.write({"what": "case", "name": str(number), "sure": True, "got": run})

    async def _news(self, topic: str, number: int) -> None:
        """Publish what a group waits for, when all of them are begun."""
        names = [f"{self.name}-{each}" for each in range(number - _GROUP + 1, number + 1)]
        while any(("start", name) not in self.ledger.done for name in names):
            await asyncio.sleep(0.1)
        await self._publish("news", topic, f"news {topic}")

    async def _order(self, name: str, run: str, rng: random.Random) -> None:
        await asyncio.sleep(rng.choice([0, 0, 0.3, 1.5]))
        await self._publish("paid", name, f"paid {name}", twice=rng.random() < 0.2)
        await asyncio.sleep(rng.choice([0, 1.0, 1.2, 2.5]))
        await self._publish("maybe", name, f"maybe {name}")
        await self._intend("signal", f"{name} nudges", run)

    async def _errand(self, name: str, _run: str, rng: random.Random) -> None:
        await asyncio.sleep(rng.choice([0, 0.5, 2.0]))
        await self._publish("paid", name, f"paid {name}")

    async def _doomed(self, name: str, run: str, rng: random.Random) -> None:
        await asyncio.sleep(rng.choice([0, 0.2, 1.0]))
        await self._intend("terminate", f"{name} terminates", run)

    async def _pause(self, name: str, run: str, rng: random.Random) -> None:
        """Suspend a run, and resume it."""
        await asyncio.sleep(rng.random())
        await self._intend("suspend", f"{name} suspends", run)
        await asyncio.sleep(rng.random())
        await self._intend("resume", f"{name} resumes", run)

    async def _publish(self, event: str, key: str, id: str, *, twice: bool = False) -> None:
        async def publish() -> str:
            return await self.host.publish_event(event, key, {"of": key}, id=id)

        await self._surely("event", id, publish)
        if twice:
            await self._surely("event", f"{id} again", publish, same=id)

    async def _intend(self, what: str, actor: str, run: str) -> None:
        """Ask something of a run; whoever got no answer asks anew under another name."""
        asked: dict[str, Callable[[str], Awaitable[object]]] = {
            "signal": lambda who: self.host.signal(run, "nudge", {"by": who}, actor=who),
            "suspend": lambda who: self.host.suspend(run, actor=who),
            "resume": lambda who: self.host.resume(run, actor=who),
            "terminate": lambda who: self.host.terminate(run, "enough", actor=who),
        }
        if (what, actor) in self.ledger.done:
            return
        while True:
            who = f"{actor} #{self.ledger.tries.get((what, actor), 0)}"
            fact = {"what": what, "name": actor, "actor": who, "run": run}
            self.ledger.write({**fact, "sure": False})
            try:
                await asked[what](who)
            except InvalidStateTransitionError:
                if what == "resume" and not await self._final(run):
                    await asyncio.sleep(0.2)  # it was not suspended yet
                    continue
                self.ledger.write({**fact, "sure": True, "refused": True})
                return
            except ProviderError as error:
                _LOG.warning("%s: %s", actor, error)
                await asyncio.sleep(0.3)
            else:
                self.ledger.write({**fact, "sure": True, "refused": False})
                return

    async def _final(self, run: str) -> bool:
        while True:
            try:
                return (await self.host.get(run)).status.final
            except ProviderError:
                await asyncio.sleep(0.3)

    async def _surely(
        self, what: str, name: str, call: Callable[[], Awaitable[str]], **more: Any
    ) -> str:
        """Call until it is acknowledged; return what the call did."""
        known = self.ledger.done.get((what, name))
        while known is None:
            fact = {"what": what, "name": name, **more}
            try:
                known = {**fact, "sure": True, "got": await call()}
                self.ledger.write(known)
            except ProviderError as error:
                _LOG.warning("%s %s: %s", what, name, error)
                self.ledger.write({**fact, "sure": False, "unknown": error.unknown})
                await asyncio.sleep(0.3)
        return str(known["got"])


async def _serve(settings: Settings, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    ledger = Ledger.read(Path(settings.folder) / f"ledger-{name}.jsonl")
    while True:
        try:
            async with make_host(settings, name, drives=False) as host:
                client = Client(settings, name, host, ledger)

                async def drain(client: Client = client) -> None:
                    await stop.wait()
                    client.draining = True

                watch = asyncio.ensure_future(drain())
                await client.work()
                watch.cancel()
                return
        except ProviderError as error:
            _LOG.warning("%s could not start: %s", name, error)
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    end_with_parent()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s"
    )
    asyncio.run(_serve(Settings.read(sys.argv[1]), sys.argv[2]))
