"""A state machine that does the same to a store and to the memory store, and compares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.providers import (
    ActivityStart,
    Clock,
    Done,
    Event,
    HeaderChange,
    Hold,
    Item,
    Message,
    Outcome,
    PersistenceProvider,
    Snapshot,
    Subscription,
    WorkerInfo,
)
from wfe.testing.contracts.machine_sides import Side
from wfe.testing.contracts.runs import HOUR, header

__all__ = ["run_machine"]

T = TypeVar("T")

_few = st.integers(0, 3)
_keys = st.sampled_from(["a", "b"])
_changes = st.sampled_from(["none", "keep", "park", "sleep", "final", "retire"])
_waits = st.lists(st.tuples(_few, _keys, st.sampled_from([0, -HOUR])), max_size=2)
_pointers = st.lists(_few, max_size=1)
_limits = st.sampled_from([1, 1, 2])
_rates = st.sampled_from([False, False, True])
_turns = st.sampled_from(["hold", "hold", "hold", "free", "offer", "end"])
_wants = st.fixed_dictionaries(
    {
        "hold": st.lists(st.tuples(_few, _keys, _limits, _rates), max_size=2),
        "unhold": _pointers,
        "offer": st.lists(st.tuples(_few, _keys), max_size=1),
        "drop": _pointers,
    }
)
_wakes = st.sampled_from([None, -5, 0, HOUR])


def _hold(pointer: int, attempt: int, key: str, limit: int, *, rate: bool) -> Hold:
    per = HOUR if rate else None
    key = f"r:{key}" if rate else key
    return Hold(pointer=pointer, attempt=attempt, key=key, limit=limit, per=per)


async def _nobody(_: Side) -> None:
    return None


class _Machine(RuleBasedStateMachine):
    """Rules draw small numbers that pick workers and runs, good ones and bad ones."""

    def __init__(self, new_store: Callable[[Clock], PersistenceProvider]) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = VirtualClock()
        self.sides = [Side(MemoryStore(self.clock)), Side(new_store(self.clock))]
        self.runs: list[int] = []
        self.events = 0
        self.claims = 0
        for side in self.sides:
            self.wait(side.store.open())
        self.add_worker()
        for priority in (0, 0, 1):
            self.start(0, None, owned=True, key=None, dedup=None, priority=priority)

    def teardown(self) -> None:
        for side in self.sides:
            self.wait(side.store.close())
        self.loop.close()

    def wait(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def both(self, work: Callable[[Side], Awaitable[Any]]) -> Any:
        """Do *work* on both sides, and return what the memory store said."""
        said = [self.wait(work(side)) for side in self.sides]
        shown = [
            [side.comparable(entry) for entry in cast("list[object]", answer)]
            if isinstance(answer, list)
            else answer
            for side, answer in zip(self.sides, said, strict=True)
        ]
        assert shown[0] == shown[1]
        return said[0]

    def commit(
        self,
        worker: Callable[[Side], Awaitable[int | None]],
        make: Callable[[Side], Awaitable[Item]],
    ) -> Outcome:
        async def work(side: Side) -> list[Outcome]:
            return list(await side.store.commit(await worker(side), [await make(side)]))

        outcome: Outcome = self.both(work)[0]
        return outcome

    def run(self, k: int) -> int:
        return self.runs[k % len(self.runs)]

    async def acting(self, side: Side, n: int, usurper: int | None) -> int | None:
        """Return the owner of *n*, or the worker that takes it for its own."""
        if usurper is not None:
            return side.epoch(usurper)
        (loaded,) = await side.store.load([n])
        return loaded.header.owner

    async def base(self, side: Side, n: int) -> int:
        history = await side.store.history(n, -1, 1000)
        return len(history) - 1

    # -- rules ------------------------------------------------------------------------------------

    @rule(by=st.sampled_from([1, 1000, HOUR]))
    def time_passes(self, by: int) -> None:
        self.clock.move_to(self.clock.now() + by)

    @precondition(lambda self: len(self.sides[0].epochs) < 4)
    @rule()
    def add_worker(self) -> None:
        for side in self.sides:
            info = WorkerInfo(name="w", host="h", pid=1)
            side.epochs.append(self.wait(side.store.register(info)))

    @rule(
        worker=st.sampled_from([None, 0, 0, 1, 2]),
        wake=_wakes,
        owned=st.booleans(),
        key=st.sampled_from([None, None, "a", "b"]),
        dedup=st.sampled_from([None, None, "a"]),
        priority=st.sampled_from([0, 0, 1, -1]),
    )
    def start(
        self,
        worker: int | None,
        wake: int | None,
        *,
        owned: bool,
        key: str | None,
        dedup: str | None,
        priority: int,
    ) -> None:
        async def make(side: Side) -> Item:
            epoch = side.epoch(worker) if owned and worker is not None else None
            due = None if wake is None else self.clock.now() + wake
            new = await header(
                side.store,
                f"def {key}",
                wake=due,
                owner=epoch,
                name=key,
                idem=key,
                dedup=dedup,
                priority=priority,
            )
            numbers.append(new.n)
            return Item(n=new.n, new=new, rows=('"begin"',))

        async def starter(side: Side) -> int | None:
            return None if worker is None else side.epoch(worker)

        numbers: list[int] = []
        if isinstance(self.commit(starter, make), Done):
            self.runs.append(numbers[0])
        assert numbers[0] == numbers[1]

    @rule(run=_few, change=_changes, waits=_waits, wants=_wants)
    def go_on(self, run: int, **drawn: Any) -> None:
        """The owner writes, having seen everything; what is due has one."""
        self.claim(0, 1, [run])
        self.write(None, run, 0, sees=True, **drawn)

    @rule(turns=st.lists(st.tuples(_few, _turns, _limits), min_size=4, max_size=10))
    def compete(self, turns: list[tuple[int, str, int]]) -> None:
        """Owners want the same place and offer work, one after another."""
        for run, turn, limit in turns:
            wants: dict[str, Any] = {
                "hold": [(0, "a", limit, False)] if turn == "hold" else [],
                "unhold": [0] if turn == "free" else [],
                "offer": [(0, "a")] if turn == "offer" else [],
                "drop": [],
            }
            change = "final" if turn == "end" else "none"
            self.go_on(run, change=change, waits=[], wants=wants)

    @rule(run=_few, change=_changes)
    def overlook(self, run: int, change: str) -> None:
        """A message arrives between the owner's look and its write."""
        self.claim(0, 1, [run])
        self.tell(run, None, False, False)
        wants: dict[str, Any] = {"hold": [], "unhold": [], "offer": [], "drop": []}
        self.write(None, run, 0, change=change, sees=False, waits=[], wants=wants)

    @rule(
        usurper=st.sampled_from([None, None, 0, 1]),
        run=_few,
        off=st.sampled_from([0, 0, 0, 1, -1]),
        rows=st.integers(1, 3),
        change=_changes,
        sees=st.sampled_from([True, True, False]),
        fold=st.booleans(),
        alive=st.booleans(),
        waits=_waits,
        wants=_wants,
        ended=_pointers,
    )
    def go_wrong(self, usurper: int | None, run: int, off: int, **drawn: Any) -> None:
        """Somebody writes, who may be wrong about anything."""
        if usurper is None:
            self.claim(0, 1, [run])
        self.write(usurper, run, off, **drawn)

    @rule(
        writes=st.lists(st.tuples(_few, _changes, _waits, _wants), max_size=3),
        told=st.lists(_few, max_size=1),
        key=st.sampled_from([None, "a"]),
    )
    def batch(
        self,
        writes: list[tuple[int, str, list[tuple[int, str, int]], dict[str, Any]]],
        told: list[int],
        key: str | None,
    ) -> None:
        """One worker writes several runs at once, its own and others."""
        by_run = {self.run(run): (change, waits, wants) for run, change, waits, wants in writes}
        self.events += 1

        async def work(side: Side) -> list[Any]:
            items = [
                await self.item(side, n, 0, change=change, sees=True, waits=waits, wants=wants)
                for n, (change, waits, wants) in by_run.items()
            ]
            items += [Item(messages=(Message(target=self.run(k), kind="k"),)) for k in told]
            if key is not None:
                items.insert(0, Item(publish=(Event(id=f"e{self.events}", name="go", key=key),)))
            return list(await side.store.commit(side.epoch(0), items))

        self.both(work)

    def write(self, usurper: int | None, run: int, off: int, **drawn: Any) -> None:
        n = self.run(run)
        self.commit(
            lambda side: self.acting(side, n, usurper),
            lambda side: self.item(side, n, off, **drawn),
        )

    async def item(  # noqa: PLR0913 - as many as an item has
        self,
        side: Side,
        n: int,
        off: int,
        *,
        change: str,
        sees: bool,
        waits: list[tuple[int, str, int]],
        wants: dict[str, Any],
        rows: int = 1,
        fold: bool = False,
        alive: bool = False,
        ended: Sequence[int] = (),
    ) -> Item:
        base = await self.base(side, n)
        ((_, poke, messages),) = await side.store.inbox([n])
        # Mere rows with a wrong base ahead are the caller's fault; all else is checked.
        ahead = 1 if off == 1 and change != "none" else min(off, 0)
        return Item(
            n=n,
            base=base + ahead,
            rows=tuple(f'"{base} {k}"' for k in range(rows)),
            fold=Snapshot(base + rows, "{}", "{}") if fold else None,
            header=self.change(change),
            seen=poke if sees else poke - 1,
            consumed=tuple(row.i for row in messages) if sees else (),
            subscribe=tuple(
                Subscription(pointer=p, name="go", key=key, as_of=self.clock.now() + as_of)
                for p, key, as_of in waits
            ),
            unsubscribe=tuple(ended),
            alive=alive or change == "none",
            activities=tuple(
                ActivityStart(pointer=p, attempt=base, name=name) for p, name in wants["offer"]
            ),
            end_activities=tuple(wants["drop"]),
            hold=tuple(
                _hold(p, base, key, limit, rate=rate) for p, key, limit, rate in wants["hold"]
            ),
            unhold=tuple(wants["unhold"]),
        )

    def change(self, kind: str) -> HeaderChange | None:
        now = self.clock.now()
        return {
            "none": None,
            "keep": HeaderChange(status="suspended", error='"e"'),
            "park": HeaderChange(status="runnable", wake=now + HOUR, release=True),
            "sleep": HeaderChange(status="runnable", release=True),
            "final": HeaderChange(status="complete", final=True, retain_until=now),
            "retire": HeaderChange(status="failed", error='"e"', final=True, release=True),
        }[kind]

    @rule(run=_few, dedupe=st.none() | _keys, strict=st.booleans(), final=st.booleans())
    def tell(self, run: int, dedupe: str | None, strict: bool, final: bool) -> None:
        target = self.run(run)

        async def make(_: Side) -> Item:
            told = Message(
                target=target, kind="k", dedupe=dedupe, strict=strict, allow_final=final, actor="a"
            )
            return Item(messages=(told,))

        self.commit(_nobody, make)

    @rule(
        key=_keys,
        again=st.booleans(),
        at=st.sampled_from([None, 0, -10, HOUR]),
        lasts=st.sampled_from([None, None, 0, 1000]),
    )
    def publish(self, key: str, again: bool, at: int | None, lasts: int | None) -> None:
        self.events += 0 if again else 1
        now = self.clock.now()
        event = Event(
            id=f"e{self.events}",
            name="go",
            key=key,
            at=None if at is None else now + at,
            expires=None if lasts is None else now + lasts,
        )

        async def make(_: Side) -> Item:
            return Item(publish=(event,))

        self.commit(_nobody, make)

    @rule(worker=_few, limit=st.integers(1, 3), hinted=st.none() | st.lists(_few, max_size=2))
    def claim(self, worker: int, limit: int, hinted: list[int] | None) -> None:
        hints = None if hinted is None else [self.run(k) for k in hinted]

        async def work(side: Side) -> list[Any]:
            known = [row.d for row in await side.store.definitions()]
            claimed = await side.store.claim(side.epoch(worker), known, limit, hints)
            return [*claimed, *await side.store.owned(side.epoch(worker))]

        self.both(work)

    @rule(
        names=st.lists(_keys, min_size=1, max_size=2),
        lease=st.sampled_from([0, 1000, HOUR]),
        later=st.sampled_from([None, 0, 1000, 1001]),
    )
    def claim_activity(self, names: list[str], lease: int, later: int | None) -> None:
        self.claims += 1
        token = f"t{self.claims}"

        async def work(side: Side) -> list[Any]:
            return [await side.store.claim_activity(names, "w", token, lease)]

        self.both(work)
        if later is not None:
            self.clock.move_to(self.clock.now() + later)
            self.use_token(0, done=True, lease=0)

    @rule(back=_few, done=st.booleans(), lease=st.sampled_from([0, HOUR]))
    def use_token(self, back: int, done: bool, lease: int) -> None:
        """Somebody who claimed an activity says that it lives or that it is done."""
        token = f"t{self.claims - back}"

        async def work(side: Side) -> list[Any]:
            if done:
                return [await side.store.finish_activity(token, '{"result":1}')]
            return [await side.store.beat_activity(token, lease, str(lease))]

        self.both(work)

    @rule(worker=_few, run=_few, limit=st.integers(1, 2))
    def fault(self, worker: int, run: int, limit: int) -> None:
        wake = self.clock.now() + 7
        self.both(
            lambda side: side.store.fault(side.epoch(worker), self.run(run), wake, "1", limit)
        )

    @precondition(lambda self: len(self.sides[0].epochs) > 1)
    @rule(worker=_few, limit=st.integers(1, 2))
    def takeover(self, worker: int, limit: int) -> None:
        async def work(side: Side) -> list[Any]:
            fenced = await side.store.fence([side.mortal(worker)], lease=None)
            return [side.name_of(epoch) for epoch in fenced]

        self.both(work)
        # How many at a time is the same; which, when there are more, is the store's choice.
        while self.both(lambda side: side.store.orphans(limit)):
            pass

    @precondition(lambda self: len(self.sides[0].epochs) > 1)
    @rule(worker=_few)
    def stop(self, worker: int) -> None:
        self.both(lambda side: side.store.unregister(side.mortal(worker)))

    @invariant()
    def stores_are_equal(self) -> None:
        async def everything(side: Side) -> list[Any]:
            loaded = await side.store.load(self.runs)
            return sorted(loaded, key=lambda entry: entry.header.n)

        async def due(side: Side) -> list[Any]:
            known = await side.store.definitions()
            return [await side.store.due([row.d]) for row in known]

        async def histories(side: Side) -> list[Any]:
            return [list(await side.store.history(n, -1, 1000)) for n in self.runs]

        async def activities(side: Side) -> list[Any]:
            return list(await side.store.activities())

        self.both(everything)
        self.both(activities)
        self.both(due)
        self.both(histories)


def run_machine(
    new_store: Callable[[Clock], PersistenceProvider], *, examples: int, shrink: bool = True
) -> None:
    """Compare *examples* random histories of ``new_store(clock)`` with the memory store's.

    Args:
        new_store: As in the persistence contract.
        examples: How many histories of 30 steps.
        shrink: Look for a shorter history when one differs.
    """

    class Machine(_Machine):
        def __init__(self) -> None:
            super().__init__(new_store)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            database=None,
            phases=tuple(Phase) if shrink else (Phase.generate,),
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
        ),
    )
