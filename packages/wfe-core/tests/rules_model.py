"""A naive model of the rules: structured concurrency by exceptions, as the documents describe it.

Every node is a generator, every branch a task, cancellation an exception that unwinds to its
target, a hook or an undo a part that is shielded from it.  Nothing in here looks at pointers,
rows or the rules: whoever drives both sees whether they agree on what runs, waits and stops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from rules_fates import handled, settled
from rules_parts import (
    AT_ONCE,
    CONTAINERS,
    HOOKS,
    BodySkipped,
    BranchOver,
    Cancel,
    Failure,
    Frame,
    Key,
    Leaf,
    Nursery,
    Path,
    Shield,
    Steps,
    Task,
    cleans_up,
    undo_policy,
)
from rules_tasks import Tasks

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


class Model(Tasks):
    """A run; ``leaves``, ``timed`` and ``status`` are what can be seen of it."""

    def __init__(self, root: Block) -> None:
        super().__init__()
        self._numbers = 0
        self._ending: str | None = None
        self._idle = False
        self._root = root
        self._main = Task(self._run(root), None, None)
        self._step(self._main)

    # -- what can be seen

    def timed(self) -> dict[Key, int]:
        """Return when each open container times out."""
        return {
            f.key: f.until
            for f in self.frames
            if f.until is not None and f.inside and f.phase == "open"
        }

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
            cleans_up(f.node)
            or f.phase == "hooks"
            or (undo and f.phase == "undoing")
            or (undo and f.saga and bool(f.log) and f not in left)
            for f in self.frames
        )

    # -- tasks

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
        policy = undo_policy(node.on_error) if undo else node.on_error or Fail()
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
        if not failure.stop and failure.recovers is frame and frame.node.on_error is None:
            policy = Compensate()  # what a step in the saga asked for, and the saga says nothing
        undoes = isinstance(policy, Retry) and policy.compensate
        if isinstance(policy, Retry):
            wanted = failure.wanted(frame.node, policy)
            if wanted and (policy.max_retries is None or tries < policy.max_retries):
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
        if saga is not None and isinstance(policy, Compensate):
            failure.recovers = saga
        if saga is not None and isinstance(policy, Fail | Terminate | Compensate):
            # The saga undoes it: first of all, for it may have had half its effect.
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
        named = "errored" if how == "failed" and detail.errs(frame.node) else how
        blocks = [b for b in map(frame.node.hook, HOOKS[named]) if b is not None and b.nodes]
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
        if node.kind in AT_ONCE:
            if frame.tried:
                yield from self._leaf(frame)
            self._opens(frame)
            yield from self._structure(frame)
        elif node.kind is Kind.WHILE:
            yield from self._turns(frame)
        elif node.kind in CONTAINERS:
            chosen: Any = yield from self._leaf(frame)
            if node.kind is Kind.FOR_EACH:
                yield from self._rounds(frame, chosen)
            else:
                blocks: Sequence[int] = chosen
                yield from self._chosen(frame, [node.blocks[i] for i in blocks])
        else:
            frame.begun = True
            answer = yield from self._leaf(frame)
            yield from self._chosen(frame, [b for b in node.blocks if b.label == answer])
            self._elsewhere(frame)

    def _chosen(self, frame: Frame, blocks: Sequence[Block]) -> Steps:
        chosen = [block.nodes for block in blocks if block.nodes]
        if chosen:
            self._opens(frame)
            yield from self._together(frame, chosen)

    def _turns(self, frame: Frame) -> Steps:
        nodes = frame.node.blocks[0].nodes
        while (yield from self._leaf(frame)):
            if not nodes:
                return
            self._opens(frame)
            yield from self._together(frame, [nodes])
            frame.inside = False

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
        if not count or not nodes:
            return
        self._opens(frame)
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

    # -- dependencies

    def _dag(self, frame: Frame) -> Steps:
        nodes, nursery = frame.node.blocks[0].nodes, Nursery()
        states: dict[str, str] = {}
        names: dict[Task, str] = {}
        first: Failure | None = None
        awaited = handled(nodes)
        while True:
            for node in settled(nodes, states):
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
                    frame, nursery, child.result, first, handled=name in awaited
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
            self._away(frame, Cancel("end", None, left=left, path=frame.tasks_with(left)))

    def _goto(self, frame: Frame) -> None:
        goal = frame.node.config["target"]
        left: list[Frame] = []
        inside = frame
        while goal not in self._beside(inside):
            assert inside.parent is not None, goal
            inside = inside.parent
            left.append(inside)
        path = frame.tasks_with(left)
        self._away(frame, Cancel("goto", inside, left=(frame, *left), path=path, goal=goal))

    def _beside(self, frame: Frame) -> list[str]:
        """Return the names of the block that a node stands in."""
        blocks = [self._root] if frame.parent is None else frame.parent.node.inner()
        names = [[n.name for n in block.nodes] for block in blocks]
        return next(each for each in names if frame.node.name in each)

    def _away(self, frame: Frame, cancel: Cancel) -> None:
        self._mark(cancel.target, cancel)
        for task in reversed(cancel.path):
            if task is not frame.task:
                self._cancel(task, cancel)
        raise cancel


_ENDS: Final = {"end": "complete", "expired": "failed", "terminate": "terminated"}
