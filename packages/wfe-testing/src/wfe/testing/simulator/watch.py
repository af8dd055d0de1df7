"""Watches over bodies: when they may begin, how often, and beside which others."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - only its type: the source is a parameter
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs

from wfe.core.definition import Kind
from wfe.core.models import PointerStatus
from wfe.core.steps import StepExecutionContext
from wfe.testing.simulator.laws import Broken, Law
from wfe.testing.simulator.ledger import Account, Ledger
from wfe.testing.simulator.loop import HOST
from wfe.testing.simulator.trace import Trace
from wfe.testing.simulator.workload import Spec, behave

if TYPE_CHECKING:
    from wfe.core.engine.live import LiveRun
    from wfe.testing.simulator.cluster import Host

__all__ = ["Watch"]

Context = StepExecutionContext[Any]
_CONCURRENT: Final = frozenset({Kind.PARALLEL, Kind.FOR_EACH, Kind.DAG})
_SEVERAL: Final = frozenset({"items", "closing"})
"""Extras of a container in which several branches may run: rounds, or cancelled ones that end."""
_MAY_RUN: Final = frozenset({PointerStatus.PENDING.value, PointerStatus.SLEEPING.value})


@attrs.frozen(eq=False)
class _Running:
    """A body that runs; *run* is what drives it."""

    ctx: Context
    run: LiveRun | None
    spec: Spec


class Watch:
    """Runs the bodies of all hosts.

    Attributes:
        calm: Whether bodies stop to fail and to block.
        began: How many bodies began.
    """

    def __init__(self, ledger: Ledger, trace: Trace, rng: random.Random) -> None:
        """Compare with what *ledger* knows."""
        self.calm = False
        self.began: int = 0
        self._ledger = ledger
        self._trace = trace
        self._rng = rng
        self._executions: Counter[tuple[int, int, int, int]] = Counter()

    async def body(self, ctx: Context, spec: Spec) -> Any:
        """Run the body of a step."""
        host: Host = HOST.get()
        self.began += 1
        mark = self.began
        self._trace.add("begin", host.name, ctx.instance.id[-6:], ctx.pointer, spec.kind)
        with self._trace.watched():
            self._begin(host, mark, ctx, spec)
        ended = "raised"
        try:
            result = await behave(ctx, spec, self._rng, lambda: self.calm)
            ended = "returned"
        except asyncio.CancelledError:
            ended = "cancelled"
            if spec.kind == "stubborn":
                await asyncio.sleep(self._rng.random() * 2)
            raise
        finally:
            host.running.pop(mark, None)
            if not host.dead:
                self._trace.add("end", host.name, ctx.instance.id[-6:], ctx.pointer.id, ended)
        return result

    def _begin(self, host: Host, mark: int, ctx: Context, spec: Spec) -> None:
        account = self._ledger.by_id[ctx.instance.id]
        run = host.engine.live.get(account.new.n)
        running = _Running(ctx, run, spec)
        others = [each for each in host.running.values() if each.run is run and run is not None]
        host.running[mark] = running
        epoch = host.engine.epoch
        if epoch in self._ledger.fenced or account.owner != epoch:
            return  # it does not know yet that it lost the run: nothing that it says will count
        self._check_pointer(account, run, ctx)
        self._check_times(account, ctx)
        for other in others:
            self._check_beside(account, ctx, other.ctx)

    def _check_pointer(self, account: Account, run: LiveRun | None, ctx: Context) -> None:
        pointer = account.state.pointers.get(ctx.pointer.id)
        what = f"{ctx.pointer.step} (pointer {ctx.pointer.id}) of {account.name}"
        if account.final or pointer is None or pointer.attempt != ctx.attempt:
            if _behind(run, account):
                return  # what ends it is being committed now
            problem = f"{what} began attempt {ctx.attempt}, but its run says {pointer}"
            raise Broken(Law.COMPLETED, problem)
        late = ctx.cancelled.is_set() or _behind(run, account)
        if pointer.status not in _MAY_RUN and not late:
            raise Broken(Law.COMPLETED, f"{what} began while it is {pointer.status}")
        now = 0 if self._ledger.truths is None else self._ledger.truths.now()
        early = pointer.status == PointerStatus.SLEEPING and pointer.wake is not None
        if early and (pointer.wake or 0) > now + self._ledger.tolerance:
            raise Broken(Law.TIMERS, f"{what} began {(pointer.wake or 0) - now} µs early")

    def _check_times(self, account: Account, ctx: Context) -> None:
        n, pointer = account.new.n, ctx.pointer.id
        key = (n, pointer, ctx.attempt, account.journal.turns[pointer])
        self._executions[key] += 1
        if self._executions[key] > 1 + account.upsets:
            problem = (
                f"attempt {ctx.attempt} of {ctx.pointer.step} of {account.name} ran "
                f"{self._executions[key]} times, though it was interrupted {account.upsets} times"
            )
            raise Broken(Law.ATTEMPTS, problem)

    def _check_beside(self, account: Account, ctx: Context, other: Context) -> None:
        """Bodies of one run may run at the same time only in different branches."""
        shared = [a for a, b in zip(ctx.pointer.scope, other.pointer.scope, strict=False) if a == b]
        container = account.state.pointers.get(shared[-1]) if shared else None
        if container is not None:
            node = account.journal.plan.places[container.step].node
            if node.kind in _CONCURRENT or _SEVERAL & container.extra.keys():
                return
        run = self._ledger.live(account.owner or 0, account.new.n)
        ending = account.journal.rewritten and other.cancelled.is_set()  # taken back: not awaited
        if ctx.cancelled.is_set() or ending or _behind(run, account):
            return
        problem = f"{ctx.pointer.step} of {account.name} began while {other.pointer.step} runs"
        raise Broken(Law.SCOPES, problem)


def _behind(run: LiveRun | None, account: Account) -> bool:
    """Whether a run's owner does not know yet how its last commit ended."""
    return run is not None and (run.in_flight or run.state.seq != account.state.seq)
