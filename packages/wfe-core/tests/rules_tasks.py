"""The tasks of the naive model of the rules: branches that wait, end and are cancelled."""

from __future__ import annotations

from typing import Any

from rules_parts import (
    CONTAINERS,
    Cancel,
    Failure,
    Frame,
    Key,
    Leaf,
    Nursery,
    Steps,
    Task,
)

__all__ = ["Tasks"]


class Tasks:
    """Branches that run at a time; one goes on whenever what it waits for has come.

    Attributes:
        leaves: What the outside has to act on.
        frames: Every node that is being executed.
    """

    def __init__(self) -> None:
        self.now = 0
        self.status = "runnable"
        self.error: Failure | None = None
        self.leaves: dict[Key, Leaf] = {}
        self.frames: list[Frame] = []
        self._running: list[Task] = []
        self._main: Task | None = None

    @property
    def final(self) -> bool:
        return self.status in ("complete", "failed", "terminated")

    def seen(self) -> dict[Key, str]:
        """Return what every leaf does now."""
        return {key: self._shown(leaf) for key, leaf in self.leaves.items()}

    def _shown(self, leaf: Leaf) -> str:
        due = leaf.state == "sleeping" and leaf.wake is not None and leaf.wake <= self.now
        return "ready" if due else leaf.state

    def _final(self, status: str, error: Failure | None = None) -> None:
        self.status, self.error = status, error
        self.leaves.clear()
        self.frames.clear()

    # -- one task

    def _task(self) -> Task:
        return self._running[-1]

    def _throw(self, task: Task, error: BaseException) -> None:
        self._step(task, error=error)

    def _step(self, task: Task, value: Any = None, error: BaseException | None = None) -> None:
        """Let *task* go on until it waits for something again, or ends."""
        task.waits = None
        self._running.append(task)
        try:
            task.waits = task.steps.throw(error) if error else task.steps.send(value)
        except StopIteration as end:
            self._over(task, end.value)
        except (Failure, Cancel) as raised:
            self._over(task, raised)
        finally:
            self._running.remove(task)

    def _over(self, task: Task, result: Any) -> None:
        """A task has ended: whoever waits for it goes on."""
        task.over, task.result = True, result
        nursery, owner = task.nursery, task.owner
        if nursery is not None and owner is not None:
            nursery.live.remove(task)
            nursery.ended.append(task)
            if owner.waits is nursery and not self.final:
                self._step(owner)

    # -- cancelling

    def _cancel_in(self, target: Frame | None, cancel: Cancel) -> None:
        """Cancel what is in *target*; what cleans up there goes on."""
        self._mark(target, cancel)
        task = self._main if target is None else target.task
        if task is not None:
            self._cancel(task, cancel)

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
            shown, asked = (
                self._shown(leaf),
                cancel.target is leaf.frame
                or (cancel.target is None and leaf.frame.parent is None),
            )
            leaf.frame.begun = leaf.frame.begun or asked
            runs = shown == "ready" and (leaf.frame.node.kind not in CONTAINERS or asked)
            runs = runs or (shown == "ready" and leaf.state == "sleeping")
            if runs or leaf.state == "stopping":
                leaf.state, leaf.cancel = "stopping", cancel
                return
        self._throw(task, cancel)

    # -- several tasks

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
