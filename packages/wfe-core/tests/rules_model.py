"""A naive model of the rules: structured concurrency by exceptions, as the documents describe it.

Every node is a generator, every branch a task, cancellation an exception that unwinds to its
target, a hook or an undo a part that is shielded from it.  Nothing in here looks at pointers,
rows or the rules: whoever drives both sees whether they agree on what runs, waits and stops.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final, TypeAlias

import attrs

from wfe.core.definition import Block, Kind, Node
from wfe.core.policies import (
    Compensate,
    CompensateThenSuspend,
    Continue,
    ErrorPolicy,
    Fail,
    Retry,
    Suspend,
    Terminate,
)

__all__ = ["Key", "Model"]

Path: TypeAlias = tuple[int, ...]
Key: TypeAlias = tuple[str, Path]
"""Name of a node and the numbers of the for-each items around it."""

Steps: TypeAlias = Generator[Any, Any, Any]

_CONTAINERS: Final = frozenset(
    {
        Kind.SEQUENCE,
        Kind.IF,
        Kind.WHILE,
        Kind.FOR_EACH,
        Kind.PARALLEL,
        Kind.DECIDE,
        Kind.DAG,
        Kind.SAGA,
    }
)
_AT_ONCE: Final = frozenset({Kind.SEQUENCE, Kind.SAGA, Kind.PARALLEL, Kind.DAG})
_HOOKS: Final = {
    "done": ("on_success", "ensure"),
    "failed": ("on_failure", "ensure"),
    "cancelled": ("on_abort", "ensure"),
    "given_up": ("on_abort", "ensure"),
    "left": ("ensure",),
    "skipped": ("ensure",),
}


@attrs.define(eq=False)
class Failure(Exception):
    """A node failed; *stop*: the run is to be terminated."""

    step: str
    kind: str = "E"
    retryable: bool = True
    stop: bool = False


@attrs.define(eq=False)
class Cancel(Exception):
    """Unwinds a task up to *target*, ``None``: all of the run.

    Attributes:
        kind: ``lost``, ``timeout``, ``skipped``, ``given_up``, ``goto``, ``end``, ``expired``,
            ``terminate``.
        undo: Whether sagas on the way are undone.
        left: What the one who goes elsewhere stood in: left, not cancelled.
        path: The tasks that go elsewhere themselves.
        goal: Of a goto.
    """

    kind: str
    target: Frame | None
    undo: bool = True
    left: tuple[Frame, ...] = ()
    path: tuple[Task, ...] = ()
    goal: str = ""


class BodySkipped(Exception):  # noqa: N818 - no error
    """The body said that there is nothing to do."""


class BranchOver(Exception):  # noqa: N818 - no error
    """The rest of the block is not run."""


@attrs.define(eq=False)
class Leaf:
    """What the outside has to act on: a body, a condition, a pause, a wait."""

    key: Key
    frame: Frame
    state: str
    wake: int | None = None
    delay: bool = False
    cancel: Cancel | None = None


@attrs.define(eq=False)
class Nursery:
    """Tasks that run at a time, and those that have ended and were not looked at yet."""

    live: list[Task] = attrs.field(factory=list["Task"])
    ended: list[Task] = attrs.field(factory=list["Task"])


@attrs.define(eq=False)
class Shield:
    """Hooks or an undo of *frame*: what wants to cancel that is held back until they are over."""

    frame: Frame
    hooks: bool
    pending: Cancel | None = None

    def holds(self, cancel: Cancel) -> bool:
        """Whether *cancel* is about the frame or what is around it, not about what it runs."""
        outside = cancel.target is None or cancel.target in (self.frame, *self.frame.around())
        return outside and (self.hooks or cancel.undo)


@attrs.define(eq=False)
class Task:
    """One branch."""

    steps: Steps
    nursery: Nursery | None
    owner: Task | None
    waits: Leaf | Nursery | None = None
    shields: list[Shield] = attrs.field(factory=list[Shield])
    over: bool = False
    result: Any = None


@attrs.define(eq=False)
class Frame:
    """One execution of a node, through all its attempts.

    Attributes:
        begun: Whether there is something to clean up.
        inside: Whether what it contains runs now.
        log: (number, node, path) of what completed in it and can be undone.
        until: When what it contains times out.
    """

    node: Node
    path: Path
    parent: Frame | None
    task: Task
    policy: ErrorPolicy
    phase: str = "open"
    begun: bool = False
    inside: bool = False
    log: list[tuple[int, Node, Path]] = attrs.field(factory=list[tuple[int, Node, Path]])
    until: int | None = None
    state: str = "ready"
    wake: int | None = None
    tried: bool = False

    @property
    def key(self) -> Key:
        return self.node.name, self.path

    @property
    def saga(self) -> bool:
        return self.node.kind is Kind.SAGA

    def around(self) -> Iterable[Frame]:
        """Yield what it stands in, innermost first."""
        frame = self.parent
        while frame is not None:
            yield frame
            frame = frame.parent


def _cleans_up(node: Node) -> bool:
    return any(name in ("on_abort", "ensure") and block.nodes for name, block in node.hooks)


def _undo_policy(given: ErrorPolicy | None) -> ErrorPolicy:
    """What cannot be undone suspends the run, unless its own policy goes on."""
    if isinstance(given, Retry):
        goes_on = isinstance(given.then, Continue | Terminate)
        return given if goes_on else attrs.evolve(given, then=Suspend())
    return given if isinstance(given, Continue | Terminate) else Suspend()


class Model:
    """A run; ``leaves``, ``timed`` and ``status`` are what can be seen of it."""

    def __init__(self, root: Block) -> None:
        self.now = 0
        self.status = "runnable"
        self.error: Failure | None = None
        self.leaves: dict[Key, Leaf] = {}
        self.frames: list[Frame] = []
        self._numbers = 0
        self._ending: str | None = None
        self._idle = False
        self._root = root
        self._running: list[Task] = []
        self._main = Task(self._run(root), None, None)
        self._step(self._main)

    # -- what can be seen

    @property
    def final(self) -> bool:
        return self.status in ("complete", "failed", "terminated")

    def seen(self) -> dict[Key, str]:
        """Return what every leaf does now."""
        return {key: self._shown(leaf) for key, leaf in self.leaves.items()}

    def timed(self) -> dict[Key, int]:
        """Return when each open container times out."""
        return {
            f.key: f.until
            for f in self.frames
            if f.until is not None and f.inside and f.phase == "open"
        }

    def _shown(self, leaf: Leaf) -> str:
        due = leaf.state == "sleeping" and leaf.wake is not None and leaf.wake <= self.now
        return "ready" if due else leaf.state

    # -- what happens to it

    def body(self, key: Key, outcome: Any) -> None:
        """The body of a leaf ended: ``ok``, ``skip``, an answer, or a failure."""
        leaf = self.leaves[key]
        task = leaf.frame.task
        if leaf.frame.node.kind is Kind.END and self.status == "suspended":
            return  # the end waits for resume
        if leaf.state == "stopping":
            assert leaf.cancel is not None
            self._throw(task, leaf.cancel)
        elif isinstance(outcome, Failure):
            self._throw(task, outcome)
        elif outcome == "skip":
            self._throw(task, BodySkipped())
        else:
            self._step(task, outcome)

    def pause(self, key: Key, state: str, wake: int | None = None) -> None:
        """A leaf sleeps or waits from here on."""
        leaf = self.leaves[key]
        leaf.state, leaf.wake = state, wake

    def time_out(self, key: Key) -> None:
        """An open container takes too long."""
        (frame,) = (f for f in self.frames if f.key == key and f.inside and f.phase == "open")
        self._cancel_in(frame, Cancel("timeout", frame))

    def skip(self, key: Key) -> bool:
        """Somebody skips a node; ``False``: it is ending already."""
        found = [f for f in self.frames if f.key == key and f.phase == "open"]
        if not found or self._is_stopping(key):
            return False
        self._cancel_in(found[0], Cancel("skipped", found[0]))
        if self.status == "suspended":
            self._resume()
        return True

    def give_up(self, key: Key) -> None:
        """The ``cancel_when`` of a node holds."""
        found = [f for f in self.frames if f.key == key and f.phase == "open"]
        if found and not self._is_stopping(key):
            self._cancel_in(found[0], Cancel("given_up", found[0]))

    def suspend(self) -> None:
        if not self.final:
            self.status = "suspended"

    def resume(self) -> None:
        if self.status == "suspended":
            self._resume()

    def expire(self) -> None:
        """The run took too long."""
        self._end("expired", undo=True)

    def terminate(self) -> None:
        self._end("terminate", undo=False)

    def _is_stopping(self, key: Key) -> bool:
        return key in self.leaves and self.leaves[key].state == "stopping"

    def _resume(self) -> None:
        self.status = "runnable"
        for leaf in self.leaves.values():
            if leaf.state == "failed":
                leaf.state = "ready"
        if self._idle:
            self._final("complete")

    def _end(self, kind: str, *, undo: bool) -> None:
        asked = self._ending is not None and (undo or self._ending == kind)
        if asked and self.status != "suspended":
            return
        if asked or not self._must_wait(undo=undo):
            self._final(_ENDS[kind])
            return
        self._ending = kind
        undoing = undo and any(f.parent is None and f.phase == "undoing" for f in self.frames)
        suspended = self.status == "suspended" and not undoing
        if suspended:  # ending is stronger than a suspension
            self.status = "runnable"
        self._cancel_in(None, Cancel(kind, None, undo=undo))
        if suspended and not self.final:
            self._resume()

    def _must_wait(self, *, undo: bool, left: Sequence[Frame] = ()) -> bool:
        """Whether a hook or an undo runs before the run can end."""
        return any(
            _cleans_up(f.node)
            or f.phase == "hooks"
            or (undo and f.phase == "undoing")
            or (undo and f.saga and bool(f.log) and f not in left)
            for f in self.frames
        )

    def _final(self, status: str, error: Failure | None = None) -> None:
        self.status, self.error = status, error
        self.leaves.clear()
        self.frames.clear()

    # -- tasks

    def _throw(self, task: Task, error: BaseException) -> None:
        self._step(task, error=error)

    def _step(self, task: Task, value: Any = None, error: BaseException | None = None) -> None:
        """Let *task* go on until it waits for something again, or ends."""
        task.waits = None
        self._running.append(task)
        try:
            task.waits = task.steps.throw(error) if error else task.steps.send(value)
            return
        except StopIteration as end:
            task.result = end.value
        except (Failure, Cancel) as raised:
            task.result = raised
        finally:
            self._running.pop()
        task.over = True
        nursery, owner = task.nursery, task.owner
        if nursery is not None and owner is not None:
            nursery.live.remove(task)
            nursery.ended.append(task)
            if owner.waits is nursery and not self.final:
                self._step(owner)

    def _cancel_in(self, target: Frame | None, cancel: Cancel) -> None:
        """Cancel what is in *target*; what cleans up there goes on."""
        self._mark(target, cancel)
        self._cancel(self._main if target is None else target.task, cancel)

    def _mark(self, target: Frame | None, cancel: Cancel) -> None:
        for frame in self.frames:
            inside = [frame, *frame.around()]
            if target is not None:
                if target not in inside:
                    continue
                inside = inside[: inside.index(target) + 1]
            shields = ("hooks",) if not cancel.undo else ("hooks", "undoing")
            if not any(f.phase in shields for f in inside):
                frame.phase = "closing"

    def _cancel(self, task: Task, cancel: Cancel) -> None:
        if task.over:
            return
        held = next((shield for shield in task.shields if shield.holds(cancel)), None)
        if held is not None:
            held.pending = cancel
            return
        leaf = task.waits
        if isinstance(leaf, Leaf):
            # Asked for itself, or as all that there is of the run, it may have begun.
            shown, asked = self._shown(leaf), cancel.target is leaf.frame or (
                cancel.target is None and leaf.frame.parent is None
            )
            leaf.frame.begun = leaf.frame.begun or asked
            runs = shown == "ready" and (leaf.frame.node.kind not in _CONTAINERS or asked)
            runs = runs or (shown == "ready" and leaf.state == "sleeping")
            if runs or leaf.state == "stopping":
                leaf.state, leaf.cancel = "stopping", cancel
                return
        self._throw(task, cancel)

    def _task(self) -> Task:
        return self._running[-1]

    # -- blocks and nodes

    def _run(self, root: Block) -> Steps:
        try:
            yield from self._block(root.nodes, None, ())
        except Failure as failure:
            self._final("terminated" if failure.stop else "failed", failure)
        except Cancel as cancel:
            self._final(_ENDS[cancel.kind])
        else:
            if self.status == "suspended":
                self._idle = True
            else:
                self._final("complete")

    def _block(
        self, nodes: Sequence[Node], parent: Frame | None, path: Path, *, undo: bool = False
    ) -> Steps:
        position = 0
        while position < len(nodes):
            node = nodes[position]
            position += 1
            try:
                yield from self._node(node, parent, path, undo=undo)
            except BranchOver:
                return
            except Cancel as cancel:
                names = [each.name for each in nodes]
                if cancel.kind != "goto" or cancel.goal not in names:
                    raise
                position = names.index(cancel.goal)

    def _node(self, node: Node, parent: Frame | None, path: Path, *, undo: bool = False) -> Steps:
        """Run one node; return its state as in a DAG."""
        policy = _undo_policy(node.on_error) if undo else node.on_error or Fail()
        frame = Frame(node, path, parent, self._task(), policy)
        self.frames.append(frame)
        try:
            how, detail = yield from self._outcome(frame)
            if how == "body_skipped":
                return "s"
            return (yield from self._leave(frame, how, detail))
        finally:
            if frame in self.frames:
                self.frames.remove(frame)

    def _outcome(self, frame: Frame) -> Steps:
        """Try until it is decided what became of the node: (word, what belongs to it)."""
        tries = 0
        while True:
            failure: Failure
            try:
                yield from self._work(frame)
            except BodySkipped:
                return "body_skipped", None
            except Failure as raised:
                failure = raised
            except Cancel as cancel:
                if cancel.target is not frame or cancel.kind != "timeout":
                    return (yield from self._cancelled(frame, cancel))
                failure = Failure(frame.node.name, "StepTimeoutError")
            else:
                return "done", None
            frame.phase, frame.inside, frame.until = "open", False, None
            frame.begun = True
            try:
                again = yield from self._failed(frame, failure, tries)
            except Cancel as cancel:
                return "cancelled", cancel
            if again is None:
                return "failed", failure
            tries = again
            frame.tried = True

    def _cancelled(self, frame: Frame, cancel: Cancel) -> Steps:
        frame.inside, frame.until = False, None
        if frame in cancel.left:
            return "left", cancel
        if cancel.target is frame and cancel.kind == "skipped":
            return "skipped", cancel
        if frame.saga and cancel.undo and frame.log:
            try:
                cancel = (yield from self._undo(frame)) or cancel
            except Cancel as worse:
                return "cancelled", worse
        if cancel.target is frame and cancel.kind == "given_up":
            return "given_up", cancel
        return "cancelled", cancel

    def _failed(self, frame: Frame, failure: Failure, tries: int) -> Steps:
        """Follow the policy; return the retries used so far, ``None``: it failed for good."""
        policy: ErrorPolicy = Terminate() if failure.stop else frame.policy
        undoes = isinstance(policy, Retry) and policy.compensate
        if isinstance(policy, Retry):
            if failure.retryable and (policy.max_retries is None or tries < policy.max_retries):
                pause = policy.delay(tries, 0)
                yield from self._undo_first(frame, undoes=undoes)
                frame.state, frame.wake = "sleeping", self.now + pause
                return tries + 1
            policy = policy.then
        if isinstance(policy, Suspend | CompensateThenSuspend):
            alone = undoes or isinstance(policy, CompensateThenSuspend)
            yield from self._undo_first(frame, undoes=alone)
            frame.state, self.status = "failed", "suspended"
            return 0
        yield from self._give_up(frame, failure, policy, undoes=undoes)
        return None

    def _give_up(
        self, frame: Frame, failure: Failure, policy: ErrorPolicy, *, undoes: bool
    ) -> Steps:
        saga = None if frame.saga else self._saga(frame)
        undoes = undoes or isinstance(policy, Compensate)
        if saga is not None and isinstance(policy, Fail | Terminate | Compensate):
            # The saga undoes it: first of all, for it may have had half its effect.
            if frame.node.kind not in _CONTAINERS:
                self._remember(saga, frame)
        else:
            yield from self._undo_first(frame, undoes=undoes)
        failure.stop = isinstance(policy, Terminate)
        failure.retryable = True  # so much for the node; what is around it has its own policy
        passes = isinstance(policy, Continue) or (isinstance(policy, Compensate) and saga is None)
        frame.state = ("c" if isinstance(policy, Continue) else "d") if passes else "f"

    def _saga(self, frame: Frame) -> Frame | None:
        return next((f for f in frame.around() if f.saga and f.phase != "undoing"), None)

    def _remember(self, saga: Frame, frame: Frame) -> None:
        if frame.node.undo is not None:
            self._numbers += 1
            saga.log.append((self._numbers, frame.node, frame.path))

    def _hand_over(self, frame: Frame) -> None:
        """What completed in a saga that is over is the business of the saga around it."""
        saga = self._saga(frame)
        if saga is not None and frame.log:
            saga.log = sorted([*saga.log, *frame.log], key=lambda entry: entry[0])
            frame.log = []

    # -- how a node ends

    def _leave(self, frame: Frame, how: str, detail: Any) -> Steps:
        blocks = [b for b in map(frame.node.hook, _HOOKS[how]) if b is not None and b.nodes]
        if blocks and (frame.begun or how not in ("cancelled", "given_up")):
            how, detail = yield from self._hooks(frame, blocks, how, detail)
        self._completed(frame, how)
        if how in ("done", "skipped"):
            return how[0]
        if how == "failed":
            if frame.state == "f":
                raise detail
            return frame.state
        if how == "given_up":
            if frame.node.config.get("proceed"):
                return "s"
            raise BranchOver
        if how == "left":
            self._hand_over(frame)
        raise detail

    def _hooks(self, frame: Frame, blocks: Sequence[Block], how: str, detail: Any) -> Steps:
        """Run hooks to their end, whatever happens around them."""
        frame.phase, shield = "hooks", Shield(frame, hooks=True)
        frame.task.shields.append(shield)
        for block in blocks:
            try:
                yield from self._block(block.nodes, frame, frame.path)
            except Failure as failure:
                if how in ("done", "skipped") and shield.pending is None:
                    if not frame.saga:
                        self._completed(frame, how)
                    how, detail, frame.state = "failed", failure, "f"
        frame.task.shields.remove(shield)
        done = how == "done"
        if shield.pending is not None:
            if done or not shield.pending.undo:
                self._completed(frame, how)
            how, detail = "cancelled", shield.pending
        undoes = not isinstance(detail, Cancel) or detail.undo
        if shield.pending is not None and frame.parent is None:
            undoes = False  # the run ends when its last hooks have run
        if frame.saga and frame.log and not done and how in ("failed", "cancelled") and undoes:
            # Its own hook failed, or it was cancelled before it was done.
            worse = yield from self._undo(frame)
            how, detail = ("cancelled", worse) if worse else (how, detail)
        return how, detail

    def _completed(self, frame: Frame, how: str) -> None:
        """Note in the saga around it what it did."""
        if how in ("done", "skipped"):
            self._hand_over(frame)
        saga = self._saga(frame)
        if how == "done" and saga is not None:
            self._remember(saga, frame)

    # -- undo

    def _undo_first(self, frame: Frame, *, undoes: bool) -> Steps:
        if frame.saga:
            if not frame.log and frame.node.undo is None:
                return
        elif undoes and frame.node.undo is not None:
            self._remember(frame, frame)
        else:
            return
        pending = yield from self._undo(frame)
        if pending is not None:
            raise pending

    def _undo(self, frame: Frame) -> Steps:
        """Undo what is in the log; return a cancellation that came meanwhile."""
        frame.phase, shield = "undoing", Shield(frame, hooks=False)
        frame.task.shields.append(shield)
        own = not frame.saga
        try:
            while frame.log or not own:
                if not frame.log:
                    own = True
                    self._remember(frame, frame)
                    continue
                _, node, path = frame.log[-1]
                undo = node.undo
                yield from self._block(undo.nodes if undo else (), frame, path, undo=True)
                frame.log.pop()
        finally:
            frame.task.shields.remove(shield)
            frame.phase = "open"
        return shield.pending

    # -- what a node does

    def _work(self, frame: Frame) -> Steps:
        node = frame.node
        if node.kind in _AT_ONCE:
            if frame.tried:
                yield from self._leaf(frame)
            self._opens(frame)
            yield from self._structure(frame)
            return
        match node.kind:
            case Kind.STEP:
                frame.begun = True
                answer = yield from self._leaf(frame)
                chosen = [b for b in node.blocks if b.nodes and b.label == answer]
                if chosen:
                    frame.inside = True
                    yield from self._together(frame, [b.nodes for b in chosen])
            case Kind.IF | Kind.DECIDE:
                chosen = yield from self._leaf(frame)
                blocks = [node.blocks[i].nodes for i in chosen if node.blocks[i].nodes]
                if blocks:
                    self._opens(frame)
                    yield from self._together(frame, blocks)
            case Kind.WHILE:
                while (yield from self._leaf(frame)):
                    if not node.blocks[0].nodes:
                        return
                    self._opens(frame)
                    yield from self._together(frame, [node.blocks[0].nodes])
                    frame.inside = False
            case Kind.FOR_EACH:
                count = yield from self._leaf(frame)
                if count and node.blocks[0].nodes:
                    self._opens(frame)
                    yield from self._rounds(frame, count)
            case _:
                frame.begun = True
                yield from self._leaf(frame)
                self._elsewhere(frame)

    def _opens(self, frame: Frame) -> None:
        frame.begun = frame.inside = True
        if frame.until is None and frame.node.timeout is not None:
            frame.until = self.now + frame.node.timeout

    def _leaf(self, frame: Frame) -> Steps:
        leaf = Leaf(frame.key, frame, frame.state, frame.wake)
        frame.state, frame.wake = "ready", None
        assert frame.key not in self.leaves, frame.key
        self.leaves[frame.key] = leaf
        try:
            return (yield leaf)
        finally:
            self.leaves.pop(frame.key, None)

    def _structure(self, frame: Frame) -> Steps:
        node = frame.node
        if node.kind is Kind.DAG:
            yield from self._dag(frame)
        elif node.kind is Kind.PARALLEL:
            join = node.config.get("join", "all")
            wanted = len(node.blocks) if join == "all" else 1 if join == "any" else join
            branches = [self._branch(frame, b.nodes, frame.path) for b in node.blocks]
            yield from self._at_a_time(frame, branches, node.config.get("limit"), wanted)
        else:
            yield from self._together(frame, [b.nodes for b in node.blocks if b.nodes])

    def _branch(self, frame: Frame, nodes: Sequence[Node], path: Path) -> Callable[[], Steps]:
        return lambda: self._block(nodes, frame, path)

    def _together(self, frame: Frame, blocks: Sequence[Sequence[Node]]) -> Steps:
        branches = [self._branch(frame, nodes, frame.path) for nodes in blocks]
        yield from self._at_a_time(frame, branches, None, len(branches))

    def _rounds(self, frame: Frame, count: int) -> Steps:
        config, nodes = frame.node.config, frame.node.blocks[0].nodes
        limit = 1 if config.get("sequential") else config.get("limit")
        branches = [self._branch(frame, nodes, (*frame.path, i)) for i in range(count)]
        yield from self._at_a_time(frame, branches, limit, count)

    def _at_a_time(
        self,
        frame: Frame,
        branches: Sequence[Callable[[], Steps]],
        limit: int | None,
        wanted: int,
    ) -> Steps:
        """Run *branches*, at most *limit* at a time, until *wanted* of them are done."""
        nursery = Nursery()
        waiting, done = list(branches), 0
        first: Failure | None = None
        while waiting or nursery.live or nursery.ended:
            while waiting and (limit is None or len(nursery.live) < limit) and not nursery.ended:
                self._spawn(nursery, waiting.pop(0)())
            child = yield from self._next(frame, nursery)
            if isinstance(child.result, Failure):
                first = yield from self._child_failed(frame, nursery, child.result, first)
                continue
            done += 1
            if done >= wanted < len(branches):
                yield from self._close(frame, nursery, Cancel("lost", frame))
                return
        if first is not None:
            raise first

    def _child_failed(
        self,
        frame: Frame,
        nursery: Nursery,
        failure: Failure,
        first: Failure | None,
        *,
        handled: bool = False,
    ) -> Steps:
        goes_on = handled or frame.node.config.get("fail_fast", True) is False
        if goes_on and not failure.stop:
            return first or failure
        yield from self._close(frame, nursery, Cancel("lost", frame))
        raise failure if failure.stop or first is None else first

    def _spawn(self, nursery: Nursery, steps: Steps) -> Task:
        task = Task(steps, nursery, self._task())
        nursery.live.append(task)
        self._step(task)
        return task

    def _next(self, frame: Frame, nursery: Nursery) -> Steps:
        """Return a task that has ended; a cancellation first lets all of them end."""
        while not nursery.ended:
            try:
                yield nursery
            except Cancel as cancel:
                raise (yield from self._drain(nursery, cancel)) from None
        return nursery.ended.pop(0)

    def _close(self, frame: Frame, nursery: Nursery, cancel: Cancel) -> Steps:
        if nursery.live:
            self._mark(frame, cancel)
        worse = yield from self._drain(nursery, cancel)
        if worse is not cancel:
            raise worse
        frame.phase = "open"

    def _drain(self, nursery: Nursery, cancel: Cancel) -> Steps:
        """Cancel all tasks and wait for their end; return the last cancellation that came."""
        fresh = True
        while True:
            if fresh:
                for task in list(nursery.live):
                    if task not in cancel.path:
                        self._cancel(task, cancel)
            if not nursery.live:
                return cancel
            fresh = False
            try:
                yield nursery
            except Cancel as worse:
                cancel, fresh = worse, True

    # -- dependencies

    def _dag(self, frame: Frame) -> Steps:
        nodes, nursery = frame.node.blocks[0].nodes, Nursery()
        states: dict[str, str] = {}
        names: dict[Task, str] = {}
        first: Failure | None = None
        handled = _handled(nodes)
        while True:
            for node in _settled(nodes, states):
                states[node.name] = "r"
                task = self._spawn(nursery, self._dag_node(node, frame))
                names[task] = node.name
            if not nursery.live and not nursery.ended:
                break
            child = yield from self._next(frame, nursery)
            name = names[child]
            if isinstance(child.result, Failure):
                states[name] = "f"
                first = yield from self._child_failed(
                    frame, nursery, child.result, first, handled=name in handled
                )
            else:
                states[name] = child.result
        if first is not None:
            raise first

    def _dag_node(self, node: Node, frame: Frame) -> Steps:
        try:
            return (yield from self._node(node, frame, frame.path))
        except BranchOver:
            return "s"

    # -- going elsewhere

    def _elsewhere(self, frame: Frame) -> None:
        if frame.node.kind is Kind.GOTO:
            self._goto(frame)
        elif frame.node.kind is Kind.END:
            left = tuple(frame.around())
            self.frames.remove(frame)
            if not self._must_wait(undo=True, left=left):
                self._final("complete")
            self._ending = "end"
            self._away(frame, Cancel("end", None, left=left, path=self._tasks(frame, left)))

    def _goto(self, frame: Frame) -> None:
        goal = frame.node.config["target"]
        left: list[Frame] = []
        inside = frame
        while goal not in self._beside(inside):
            assert inside.parent is not None, goal
            inside = inside.parent
            left.append(inside)
        path = self._tasks(frame, left)
        self._away(frame, Cancel("goto", inside, left=(frame, *left), path=path, goal=goal))

    def _beside(self, frame: Frame) -> list[str]:
        """Return the names of the block that a node stands in."""
        blocks = [self._root] if frame.parent is None else frame.parent.node.inner()
        names = [[n.name for n in block.nodes] for block in blocks]
        return next(each for each in names if frame.node.name in each)

    def _tasks(self, frame: Frame, left: Sequence[Frame]) -> tuple[Task, ...]:
        return tuple(dict.fromkeys([frame.task, *(f.task for f in left)]))

    def _away(self, frame: Frame, cancel: Cancel) -> None:
        self._mark(cancel.target, cancel)
        for task in reversed(cancel.path):
            if task is not frame.task:
                self._cancel(task, cancel)
        raise cancel


_ENDS: Final = {"end": "complete", "expired": "failed", "terminate": "terminated"}


# -- triggers, as the reference of the builder has them -------------------------------------------


def _handled(nodes: Sequence[Node]) -> set[str]:
    """Return whose failure somebody waits for, so that it does not cancel the others."""
    needs = {n.name: {*n.needs, *n.needs_any} for n in nodes}
    found = {
        name for n in nodes if n.trigger in ("all_done", "any_failed") for name in n.needs
    }
    while True:
        more = found.union(*(needs[name] for name in found))
        if more == found:
            return found
        found = more


def _settled(nodes: Sequence[Node], states: dict[str, str]) -> list[Node]:
    """Note what can never begin; return what can begin now."""
    while True:
        fates = {n.name: _fate(n, states) for n in nodes if n.name not in states}
        never = {name: fate for name, fate in fates.items() if fate in ("s", "x")}
        if not never:
            return [n for n in nodes if fates.get(n.name) == "run"]
        name = next(iter(never))
        states[name] = never[name]


def _fate(node: Node, states: dict[str, str]) -> str:
    """``run``, ``wait``, ``s``: skipped, ``x``: never because of a failure."""
    propagates = node.config.get("propagates", ())

    def seen(names: Sequence[str]) -> list[str]:
        found = [states.get(name, "r") for name in names]
        return [
            "p" if state == "s" and name in propagates else state
            for name, state in zip(names, found, strict=True)
        ]

    fates = [_one_fate(node.trigger, seen(node.needs))] if node.needs else []
    if node.needs_any:
        fates.append(_one_fate("any", seen(node.needs_any)))
    return next((fate for fate in ("x", "wait", "s") if fate in fates), "run")


def _one_fate(trigger: str, seen: Sequence[str]) -> str:
    ended = "r" not in seen
    failed = any(state in ("c", "f", "x") for state in seen)
    lost = any(state in ("f", "x") for state in seen)
    if trigger == "any":
        done = any(state in ("d", "c", "s") for state in seen)
        return "run" if done else "wait" if not ended else "x" if lost else "s"
    if trigger == "all_done":
        return "run" if ended else "wait"
    if trigger == "any_failed":
        return "run" if failed else "s" if ended else "wait"
    if failed if trigger == "none_failed" else lost:
        return "x"
    return "wait" if not ended else "s" if "p" in seen else "run"
