"""An instance that this host owns: its state in memory, its running bodies, its next transition.

Outcomes, timers and messages are collected; the committer asks for one transition at a time
(:meth:`LiveRun.prepare`) and says what became of it (:meth:`LiveRun.settled`).  What the rows
make of the state is folded in only after the commit, by the same code that reads a journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import orjson

from wfe.core.engine.attempts import is_function
from wfe.core.engine.branches import Branch
from wfe.core.engine.endings import header_of, to_parent
from wfe.core.engine.json_text import dumps
from wfe.core.engine.refusals import RESTORES, without
from wfe.core.engine.secrets import guarded
from wfe.core.engine.views import instance_of
from wfe.core.engine.watching import unwanted
from wfe.core.lean import define
from wfe.core.models import PointerStatus, WorkflowInstance, WorkflowStatus
from wfe.core.providers import Item, Message, Snapshot
from wfe.core.rules.decide import decide
from wfe.core.rules.inputs import (
    Decision,
    Due,
    Exceeded,
    Expired,
    Input,
    Received,
    Recovered,
    Stopped,
)
from wfe.core.rules.state import Pointer, State, apply, folded, state_to_json
from wfe.core.rules.straight import Passed, straight

if TYPE_CHECKING:
    from wfe.core.engine.calls import Calls
    from wfe.core.engine.owner import Owner
    from wfe.core.engine.registry import Registered
    from wfe.core.masking import Masker
    from wfe.core.providers import Done, InboxRow
    from wfe.core.steps import InstanceRef

__all__ = ["LiveRun"]

_RUNNABLE: Final = WorkflowStatus.RUNNABLE.value
_PENDING: Final = PointerStatus.PENDING.value
_SLEEPING: Final = PointerStatus.SLEEPING.value
_WAITING: Final = PointerStatus.WAITING_FOR_EVENT.value
_CANCELLED: Final = PointerStatus.CANCELLED.value
_MAKES_RUNNABLE: Final = frozenset({"p", "t"})
_LOOKED_UP: Final = RESTORES | {"update"}
"""Messages that mean something only with what the shell looks up or asks for them."""
_FOLD_FROM: Final = 32 * 1024  # bytes of tail below which no snapshot is worth it


@define(eq=False, kw_only=True)
class LiveRun:
    """One owned instance.

    Attributes:
        seen: ``poke`` up to which the inbox was read.
        poked: How often it was told of rows in its inbox that were not read yet.
        fresh: Whether no progress was committed since the claim.
        parking: Whether it is being given up: nothing is decided any more.
        held_back: Whether a step's transaction is about to go: nothing else is decided until then.
        draining: Whether the host stops, or its definition is paused: no body starts any more.
        looking_up: Messages for which something is being looked up, by number.
        final_at: When it became final, µs; ``None`` before.
        masks: Of the secrets that its attempts were given here; ``None``: none were.
        leaving: Tasks of bodies that were stopped because the run went back.
    """

    owner: Owner
    ready: Registered
    ref: InstanceRef
    n: int
    parent: int | None
    parent_pointer: int | None
    created_at: int
    state: State
    seen: int = 0
    poked: int = 0
    fresh: bool = False
    parking: bool = False
    held_back: bool = False
    draining: bool = False
    looking_up: dict[int, Received] = attrs.field(factory=dict[int, Received])
    closed: bool = False
    final_at: int | None = None
    in_flight: bool = False
    tail_bytes: int = 0
    snapshot_bytes: int = 0
    idle_since: int = 0
    inputs: list[Input] = attrs.field(factory=list[Input], init=False)
    branches: dict[int, Branch] = attrs.field(factory=dict[int, Branch], init=False)
    leaving: frozenset[asyncio.Task[None]] = attrs.field(default=frozenset(), init=False)
    services: Any = attrs.field(default=None, init=False)
    turns: asyncio.Lock | None = attrs.field(default=None, init=False)
    masks: Masker | None = attrs.field(default=None, init=False)
    calls: dict[int, Calls] = attrs.field(factory=dict[int, "Calls"], init=False)
    _taken: Sequence[Input] = attrs.field(default=(), init=False)
    _decision: Decision | Passed | None = attrs.field(default=None, init=False)
    _folded: State | None = attrs.field(default=None, init=False)
    _folded_bytes: int = attrs.field(default=0, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _known: set[int] | None = attrs.field(default=None, init=False)
    _woken: tuple[int, ...] = attrs.field(default=(), init=False)
    _held: bool = attrs.field(default=False, init=False)

    # -- beginning and going on

    def begin(self) -> None:
        """Start what is runnable: after a start, a claim, a resume."""
        # What was asked of it before (to suspend, to terminate …) is decided before a body begins.
        self._held = bool(self.inputs)
        for key in list(self.state.pointers):
            self._launch(key, [])
        if self.deadline is not None:
            self.owner.timer(self, self.deadline, None)

    def go_on(self) -> None:
        """Start what is runnable, after it was held back."""
        for each in self.calls.values():
            each.go_on()
        for key in list(self.state.pointers):
            self._launch(key, [])

    def recover(self) -> None:
        """Record that bodies may have been interrupted by the death of another host."""
        live = self.state.pointers.values()
        keys = tuple(p.id for p in live if self._runnable(p) and "joined" not in p.extra)
        if keys:
            self.feed(Recovered(keys))

    @property
    def runnable(self) -> bool:
        """Whether the run's status lets bodies start."""
        return self.state.status == _RUNNABLE

    @property
    def idle(self) -> bool:
        """Whether nothing happens here until a timer, an event or a message."""
        busy = self.inputs or self.in_flight or self.poked or self.looking_up
        if busy or self.parking or self.closed:
            return False
        return not self.branches or (bool(self.calls) and self._only_waits())

    def _only_waits(self) -> bool:
        """Whether what is under way are functions that wait for what comes from outside."""
        return all(key in self.calls and self.calls[key].parked for key in self.branches)

    @property
    def working(self) -> list[asyncio.Task[None]]:
        """The tasks that run a body now."""
        found = (
            each.task
            for key, each in self.branches.items()
            if each.ctx is not None and not (key in self.calls and self.calls[key].parked)
        )
        return [task for task in found if task is not None]

    @property
    def deadline(self) -> int | None:
        """When the run times out, µs; ``None``: never."""
        timeout = self.ready.definition.timeout
        return None if timeout is None else (self.state.since or self.created_at) + timeout

    @property
    def error_text(self) -> str | None:
        """JSON of the run's error, ``None``: none."""
        return None if self.state.error is None else dumps(self.state.error)

    def view(self) -> WorkflowInstance[Any]:
        """Return the run as users see it."""
        return instance_of(self.ref, self.state, self.ready.model, self.created_at, self.final_at)

    @property
    def next_wake(self) -> int | None:
        """When the earliest timer of the run is due, µs; ``None``: never by itself."""
        if not self.runnable:
            return None
        wakes = [p.wake for p in self.state.pointers.values() if p.wake is not None]
        if self.deadline is not None:
            wakes.append(self.deadline)
        return min(wakes, default=None)

    def feed(self, each: Input) -> None:
        """Add something that happened; it is decided with whatever else arrives."""
        if not self.closed:
            self.take(each)
            self.owner.changed(self)

    def take(self, each: Input) -> None:
        """Add what happened; whoever calls this sees to it that it is decided."""
        if self.masks is not None:
            each = guarded(each, self.masks)
        self.inputs.append(each)

    def timer(self, key: int | None) -> None:
        """A time has come: a sleeping body runs again, a delay or wait is over."""
        if self.closed or not self.runnable:
            return
        if key is None:
            if self.deadline is not None and self.deadline <= self.owner.clock.now():
                self.feed(Expired())
            return
        pointer = self.state.pointers.get(key)
        now = self.owner.clock.now()
        if pointer is None or pointer.wake is None or pointer.wake > now:
            return
        if pointer.status == _WAITING or "slept" in pointer.extra or "live" in pointer.extra:
            self.feed(Due(key))
        elif pointer.status == _SLEEPING and key not in self.branches and not self.parking:
            self._launch(key, [])  # being given up: whoever claims it next begins the body

    # -- one transition

    def read(self, poke: int, rows: Iterable[InboxRow]) -> None:
        """Take in the inbox as read together with *poke*."""
        self.seen = max(self.seen, poke)
        known = self._known = self._known or set()
        for row in rows:
            if row.i not in known:
                known.add(row.i)
                message = Received(
                    i=row.i,
                    kind=row.kind,
                    payload=orjson.loads(row.payload),
                    actor=row.actor,
                    reason=row.reason,
                )
                if row.kind in _LOOKED_UP:
                    self._look_up(message)
                else:
                    self.inputs.append(message)

    def _look_up(self, message: Received) -> None:
        self.looking_up[message.i] = message
        self.owner.look_up(self, message)

    def looked_up(self, message: Received) -> None:
        """Take a message with what was looked up for it."""
        if self.looking_up.pop(message.i, None) is not None:  # else the run ended meanwhile
            self.feed(message)

    @property
    def size(self) -> int:
        """Bytes of the transition that was prepared last."""
        return self._bytes + (self._folded_bytes if self._folded is not None else 0)

    def prepare(self) -> Item | None:
        """Decide on what arrived; return what to commit, ``None`` when nothing follows."""
        if self.parking or self.held_back:
            return None
        taken, self.inputs = self.inputs, []
        if not taken or self.closed:
            self._wake([])
            return None
        if len(taken) == 1:
            usual = self._straight(taken)
            if usual is not None:
                return usual
        if self.state.seq >= self.owner.sizes.history:
            most = self.owner.sizes.history
            taken.append(Exceeded(f"its history is longer than {most} rows (max_history)"))
        decision = decide(self.ready.plan, self.state, taken, self.owner.clock.now())
        if decision.final and self.looking_up:
            # What is being looked up comes too late: it is journalled with the end, not lost.
            taken.extend(self.looking_up.values())
            self.looking_up.clear()
            decision = decide(self.ready.plan, self.state, taken, self.owner.clock.now())
        if not decision.rows:
            self._wake([])
            self._free(taken)
            return None
        self._taken, self._decision, self.in_flight = taken, decision, True
        rows = tuple([dumps(row) for row in decision.rows])
        self._bytes = sum(map(len, rows))
        refused = self.owner.sizes.refused(self, taken, decision, self._bytes)
        if refused is not None:  # something is too big: its step fails instead
            self.inputs, self.in_flight = [*refused, *self.inputs], False
            return self.prepare()
        fold = self._fold(decision)
        progress = self.fresh and any(not isinstance(i, Recovered) for i in taken)
        return Item(
            n=self.n,
            base=self.state.seq,
            rows=rows,
            fold=fold,
            starts=decision.starts,
            header=header_of(self, decision) if decision.changed else None,
            seen=self.seen,
            consumed=decision.consumed,
            subscribe=decision.subscribe,
            unsubscribe=decision.unsubscribe,
            messages=self._messages(decision) if decision.final else decision.messages,
            alive=progress,
            hold=decision.hold,
            unhold=decision.unhold,
            activities=decision.activities,
            end_activities=decision.end_activities,
        )

    def _straight(self, taken: list[Input]) -> Item | None:
        """Return what to commit when a step is done and the next one begins, as mostly."""
        state, sizes = self.state, self.owner.sizes
        passed = straight(self.ready.plan, state, taken[0])
        if passed is None or state.seq >= sizes.history:
            return None
        text = passed.text
        size = len(text)
        if self.tail_bytes + size > max(_FOLD_FROM, self.snapshot_bytes):
            return None
        if not sizes.small(self, size):
            return None
        self._taken, self._decision, self.in_flight = taken, passed, True
        self._bytes, self._folded = size, None
        return Item(n=self.n, base=state.seq, rows=(text,), seen=self.seen, alive=self.fresh)

    def _fold(self, decision: Decision) -> Snapshot | None:
        self._folded = None
        tail = self.tail_bytes + self._bytes
        if not decision.final and tail <= max(_FOLD_FROM, self.snapshot_bytes):
            return None
        self._folded = after = folded(self.state, decision.rows)
        state, data = dumps(state_to_json(after)), dumps(after.data)
        self._folded_bytes = len(state) + len(data)
        return Snapshot(after.seq, state, data)

    def _messages(self, decision: Decision) -> tuple[Message, ...]:
        if self.parent is None or self._folded is None:
            return decision.messages
        return (*decision.messages, to_parent(self, decision, self._folded.data))

    def refused(self, problem: Exception) -> None:
        """Something in the transition can never be: the step that wanted it fails.

        And a retry comes to nothing when another run has taken its place meanwhile.
        """
        self.inputs = [without(each, problem) for each in [*self._taken, *self.inputs]]
        self._taken, self._decision, self.in_flight = (), None, False

    def again(self) -> None:
        """The transition was not committed: its inputs are decided on anew."""
        taken, self._taken = self._taken, ()
        self._decision, self.in_flight = None, False
        kept: list[Input] = []
        for each in taken:
            if isinstance(each, Received) and each.kind in _LOOKED_UP and each.found is None:
                self._look_up(each)  # it was taken without what it needs, as the run was to end
            else:
                kept.append(each)
        self.inputs = [*kept, *self.inputs]

    def alone(self, each: Input) -> tuple[Item, Decision]:
        """Decide on *each* alone, while everything else is held back; nothing is folded."""
        decision = decide(self.ready.plan, self.state, [each], self.owner.clock.now())
        rows = tuple([dumps(row) for row in decision.rows])
        self._folded, self._bytes = None, sum(map(len, rows))
        return Item(n=self.n, base=self.state.seq, rows=rows, alive=True), decision

    def went_alone(self, each: Input, decision: Decision, done: Done) -> None:
        """What :meth:`alone` decided is committed."""
        self._taken, self._decision = [each], decision
        self.settled(done)

    def settled(self, done: Done) -> None:
        """The transition is committed: fold it, tell observers, start what is runnable."""
        decision, taken = self._decision, self._taken
        self._taken, self._decision, self.in_flight = (), None, False
        if decision is None:
            return
        if isinstance(decision, Passed):
            self._passed(decision, taken, done)
        else:
            self._decided(decision, taken, done)

    def _decided(self, decision: Decision, taken: Sequence[Input], done: Done) -> None:
        if self._folded is not None:
            self.state, self._folded = self._folded, None
            self.snapshot_bytes, self.tail_bytes = self._folded_bytes, 0
        else:
            for row in decision.rows:
                apply(self.state, row)
            self.tail_bytes += self._bytes
        # Taking note of the takeover alone is no progress: a run that kills its hosts is found.
        self.fresh = self.fresh and all(isinstance(each, Recovered) for each in taken)
        for each in self.calls.values():
            each.committed(decision.rows, done.at, self.state.seq - len(decision.rows) + 1)
        if self._known:
            self._known.difference_update(decision.consumed)
        self.owner.report.happened(self, decision.rows, done.at)
        if decision.consumed:
            self._tell(decision, taken)
        if decision.final:
            self.final_at = done.at
            self.close()
            self.owner.ended(self)
            return
        self._go_on(decision, taken)
        if decision.changed:
            self.owner.turned(self)
        if self.idle:
            self.owner.idled(self)

    def _passed(self, passed: Passed, taken: Sequence[Input], done: Done) -> None:
        """As :meth:`settled`: a step is done, and the next one begins."""
        passed.fold(self.state)
        self.tail_bytes += self._bytes
        self.fresh = False
        if self.owner.report.watched:
            self.owner.report.happened(self, [passed.row], done.at)
        free = self._free(taken)
        if self.ready.plan.cancellable:
            for each in unwanted(self):
                self.feed(each)
        if self.draining or self._held:
            self._launch(passed.next, free)
        else:
            self._start(passed.next, free)
        if self._woken or self._held:
            self._wake(free)
        if not self.branches and self.idle:
            self.owner.idled(self)

    def _tell(self, decision: Decision, taken: Iterable[Input]) -> None:
        """Act on messages that are journalled now."""
        for each in taken:
            if isinstance(each, Received) and each.kind == "update":
                self.owner.answered(each.payload["id"])
        if any(op[0] == "z" for row in decision.rows for op in row[6]):
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Stop what still runs: it was begun in a state that is no more."""
        for branch in self.branches.values():
            self.owner.at_work.discard(branch)
            if not branch.waits:
                branch.cancel()
                if branch.task is not None:
                    self.leaving |= {branch.task}
                    branch.task.add_done_callback(self._left)
        self.branches.clear()

    def _left(self, task: asyncio.Task[None]) -> None:
        self.leaving -= {task}

    def _go_on(self, decision: Decision, taken: Sequence[Input]) -> None:
        free = self._free(taken)
        if self.ready.plan.cancellable:
            for each in unwanted(self):
                self.feed(each)
        if decision.changed and self.runnable:  # resumed: everything may be runnable
            for key in list(self.state.pointers):
                self._launch(key, free)
        else:
            for row in decision.rows:
                for op in row[6]:
                    if op[0] in _MAKES_RUNNABLE:
                        self._launch(op[1], free)
        self._wake(free)

    def _free(self, taken: Iterable[Input]) -> list[Branch]:
        """Return the branches whose outcomes were decided on: they can go on elsewhere."""
        free: list[Branch] = []
        for each in taken:
            key = getattr(each, "pointer", 0)
            branch = self.branches.get(key)
            if branch is not None and branch.waits:
                del self.branches[key]
                free.append(branch)
        return free

    # -- branches

    def _runnable(self, pointer: Pointer) -> bool:
        if pointer.status == _PENDING:
            return True
        if pointer.status != _SLEEPING or pointer.wake is None or "slept" in pointer.extra:
            return False
        return pointer.wake <= self.owner.clock.now()

    def _launch(self, key: int, free: list[Branch]) -> None:
        """Start, cancel or set the timer of a pointer, as its status says; safe to repeat."""
        pointer = self.state.pointers.get(key)
        if pointer is None:
            return
        if pointer.status == _CANCELLED:
            self._cancel(key)
        elif not self.runnable:
            return
        elif self._runnable(pointer):
            if self.in_flight and pointer.status == _SLEEPING:
                # It slept yet when what is being committed was decided.
                self._woken = (*self._woken, key)
            elif key not in self.branches and not self.draining and not self._held:
                self._start(key, free)
        elif pointer.wake is not None:
            self.owner.timer(self, pointer.wake, key)

    def _wake(self, free: list[Branch]) -> None:
        """Start what woke up during a commit, unless that ended it or is tried again."""
        if self._held:
            self._held, self._woken = False, (*self.state.pointers,)
        woken, self._woken = self._woken, ()
        for key in woken if not self.closed else ():
            self._launch(key, free)

    def _start(self, key: int, free: list[Branch]) -> None:
        """Hand a pointer to a branch that is free, else to a new one."""
        pointer = self.state.pointers[key]
        if "call" in pointer.extra:
            if pointer.parent in self.calls:
                self.calls[pointer.parent].wake(pointer)
            return
        branch = self.branches[key] = free.pop() if free else Branch()
        branch.waits = False
        self.owner.carriers.put(branch, self, key)
        if not is_function(self, pointer):  # it may last for days, and its calls end meanwhile
            self.owner.at_work.add(branch)

    def _cancel(self, key: int) -> None:
        branch = self.branches.get(key)
        if branch is None:
            self.feed(Stopped(key))
        elif branch.ctx is not None:
            branch.cancel()
        elif not branch.waits:  # else its outcome waits to be decided on, and ends it
            # It was handed the pointer and has not begun: nothing would say that it stopped.
            del self.branches[key]
            self.owner.at_work.discard(branch)
            branch.cancel()
            self.feed(Stopped(key))

    def close(self) -> None:
        """Stop everything; nothing that still comes from here is wanted."""
        self.closed = True
        working: dict[int, Branch] = {}
        for key, branch in self.branches.items():
            self.owner.at_work.discard(branch)
            if not branch.waits:
                branch.cancel()
                working[key] = branch
        for each in self.calls.values():
            self.owner.at_work.discard(each)
        # Nothing that is over points back to the run: it goes away at once, not by the collector.
        self.branches, self.services = working, None
