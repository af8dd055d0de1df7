"""What the naive model of the rules is made of: tasks, frames, and the exceptions between them."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Final, TypeAlias

import attrs

from wfe.core.definition import Kind, Node
from wfe.core.policies import Continue, ErrorPolicy, Retry, Suspend, Terminate

__all__ = [
    "AT_ONCE",
    "CONTAINERS",
    "HOOKS",
    "BodySkipped",
    "BranchOver",
    "Cancel",
    "Failure",
    "Frame",
    "Key",
    "Leaf",
    "Nursery",
    "Path",
    "Shield",
    "Steps",
    "Task",
    "cleans_up",
    "undo_policy",
]

Path: TypeAlias = tuple[int, ...]
Key: TypeAlias = tuple[str, Path]
"""Name of a node and the numbers of the for-each items around it."""

Steps: TypeAlias = Generator[Any, Any, Any]

CONTAINERS: Final = frozenset(
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

AT_ONCE: Final = frozenset({Kind.SEQUENCE, Kind.SAGA, Kind.PARALLEL, Kind.DAG})
HOOKS: Final = {
    "done": ("on_success", "ensure"),
    "failed": ("on_failure", "ensure"),
    "errored": ("on_error", "ensure"),
    "cancelled": ("on_abort", "ensure"),
    "given_up": ("on_abort", "ensure"),
    "left": ("ensure",),
    "skipped": ("ensure",),
}


@attrs.define(eq=False)
class Failure(Exception):  # noqa: N818 - of the run, not of the model
    """A node failed.

    Attributes:
        stop: The run is to be terminated.
        recovers: The saga that the run is to go on after.
        errored: It did not say no itself.
    """

    step: str
    kind: str = "E"
    retryable: bool = True
    stop: bool = False
    recovers: Frame | None = None
    errored: bool = False

    def errs(self, node: Node) -> bool:
        """Whether the hooks of an error run; a node that has none takes it for a failure."""
        return self.errored and "on_error" in dict(node.hooks)

    def wanted(self, node: Node, policy: Retry) -> bool:
        """Whether *policy* tries *node* again; of its own errors a body has said so already."""
        named = {"timeout", "error"}.intersection(policy.retry_on)
        label = "timeout" if self.kind == "StepTimeoutError" else "error"
        return self.retryable and (node.kind is Kind.STEP or not named or label in named)


@attrs.define(eq=False)
class Cancel(Exception):  # noqa: N818 - no error
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

    def tasks_with(self, others: Iterable[Frame]) -> tuple[Task, ...]:
        """Return its task and those of *others*, each once."""
        return tuple(dict.fromkeys([self.task, *(frame.task for frame in others)]))


def cleans_up(node: Node) -> bool:
    """Whether something runs when *node* is cancelled."""
    return any(name in ("on_abort", "ensure") and block.nodes for name, block in node.hooks)


def undo_policy(given: ErrorPolicy | None) -> ErrorPolicy:
    """What cannot be undone suspends the run, unless its own policy goes on."""
    if isinstance(given, Retry):
        goes_on = isinstance(given.then, Continue | Terminate)
        return given if goes_on else attrs.evolve(given, then=Suspend())
    return given if isinstance(given, Continue | Terminate) else Suspend()
