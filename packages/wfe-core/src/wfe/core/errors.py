"""Every error that ``wfe.*`` raises on purpose.

The tree::

    WfeError
    ├── DefinitionError ── DefinitionConflictError
    ├── NotFoundError ── WorkflowNotFoundError, DefinitionNotFoundError,
    │                     ScheduleNotFoundError
    ├── DuplicateNameError
    ├── InvalidStateTransitionError
    ├── DataTypeError
    ├── StepFailedError ── StepTimeoutError
    ├── WorkflowTerminatedError
    ├── HostStoppingError
    ├── HttpError
    ├── LeaseLostError
    ├── ActivityTokenError
    ├── DeterminismError
    ├── TransactionError ── TransactionTimeoutError
    ├── PluginNotFoundError, PluginConflictError
    └── ProviderError ── StoreUnavailableError, StoreVersionError, StoreCorruptError, StoreFullError
                       (and UnreadableTextError)
"""

from __future__ import annotations

from typing import ClassVar

from wfe.core.lean import define

__all__ = [
    "ActivityTokenError",
    "DataTypeError",
    "DefinitionConflictError",
    "DefinitionError",
    "DefinitionNotFoundError",
    "DeterminismError",
    "DuplicateNameError",
    "HostStoppingError",
    "HttpError",
    "InvalidStateTransitionError",
    "LeaseLostError",
    "NotFoundError",
    "PluginConflictError",
    "PluginNotFoundError",
    "ProviderError",
    "ScheduleNotFoundError",
    "StepCrashedError",
    "StepFailedError",
    "StepTimeoutError",
    "StoreCorruptError",
    "StoreFullError",
    "StoreUnavailableError",
    "StoreVersionError",
    "TransactionError",
    "TransactionTimeoutError",
    "UnreadableTextError",
    "UpdateRejectedError",
    "WfeError",
    "WorkflowNotFoundError",
    "WorkflowTerminatedError",
]


class WfeError(Exception):
    """Base of all errors raised by ``wfe.*`` distributions."""

    retryable: ClassVar[bool] = False


@define(eq=False)
class DefinitionError(WfeError):
    """A definition cannot be built: what is wrong, at which step, and what to do.

    Attributes:
        problem: What is wrong, one sentence without a full stop.
        where: The definition or step it concerns, ``None`` when it concerns neither.
        hint: What to do about it, ``None`` when the problem says it.
    """

    problem: str
    where: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{where}{self.problem}{hint}"


@define(eq=False)
class DefinitionConflictError(DefinitionError):
    """The same id and version was registered with other contents."""


class NotFoundError(WfeError, LookupError):
    """Something named does not exist."""


@define(eq=False)
class WorkflowNotFoundError(NotFoundError):
    """No workflow instance has this id or name (in this store)."""

    id: str

    def __str__(self) -> str:
        return f"no workflow run has the id or name {self.id!r} in this store"


@define(eq=False)
class DefinitionNotFoundError(NotFoundError):
    """No definition of this id (and version) is registered."""

    id: str
    version: int | None = None
    known: tuple[str, ...] = ()

    def __str__(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        known = ", ".join(self.known) or "none"
        return (
            f"no workflow definition {self.id!r}{version} is registered on this host"
            f" (registered: {known}); register it with host.register(definition)"
        )


@define(eq=False)
class ScheduleNotFoundError(NotFoundError):
    """No schedule has this id (in this store)."""

    id: str

    def __str__(self) -> str:
        return f"no schedule has the id {self.id!r} in this store"


@define(eq=False)
class DuplicateNameError(WfeError):
    """Another run has this name already; names are unique in a store."""

    name: str

    def __str__(self) -> str:
        return f"a workflow run named {self.name!r} exists already; names are unique in a store"


@define(eq=False)
class UpdateRejectedError(WfeError):
    """A run refused an update: its validator or its handler raised an error."""

    id: str
    update: str
    error_type: str
    message: str

    def __str__(self) -> str:
        return f"run {self.id} refused update {self.update!r}: {self.error_type}: {self.message}"


@define(eq=False)
class InvalidStateTransitionError(WfeError):
    """The run is in a state that does not allow the operation."""

    id: str
    operation: str
    status: str

    def __str__(self) -> str:
        return f"cannot {self.operation} run {self.id!r}: it is {self.status}"


@define(eq=False)
class DataTypeError(WfeError, TypeError):
    """A value cannot be stored, or does not fit the type that was declared for it.

    Attributes:
        path: Where the value stands, for example ``data.items[3].price``.
        problem: What is wrong with it.
    """

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


@define(eq=False)
class StepFailedError(WfeError):
    """A step failed for good.

    Attributes:
        step: Name of the step, ``None`` when no single step is to blame.
        error_type: Class name of the original error.
        message: Its text.
        instance_id: The run, ``None`` before it is known.
    """

    retryable: ClassVar[bool] = True

    step: str | None
    error_type: str
    message: str
    instance_id: str | None = None

    def __str__(self) -> str:
        where = f"step {self.step!r}" if self.step else "workflow"
        run = f" of run {self.instance_id!r}" if self.instance_id else ""
        return f"{where}{run} failed: {self.error_type}: {self.message}"


class StepTimeoutError(StepFailedError):
    """A step or a wait took longer than it may."""


class StepCrashedError(StepFailedError):
    """The worker process that ran a ``process=True`` body died."""


@define(eq=False)
class WorkflowTerminatedError(WfeError):
    """The run was terminated before it had a result."""

    id: str
    reason: str | None = None

    def __str__(self) -> str:
        return f"run {self.id!r} was terminated" + (f": {self.reason}" if self.reason else "")


class HostStoppingError(WfeError):
    """The host is not running (not started yet, stopping or stopped) and takes no new work."""

    def __str__(self) -> str:
        return self.args[0] if self.args else "the host is stopping and takes no new work"


@define(eq=False)
class HttpError(WfeError):
    """An HTTP request did not get a usable answer.

    Attributes:
        method: GET and so on.
        url: Without what looks like a secret.
        problem: What happened.
        status: Of the answer, ``None`` without one.
        transient: Whether the same request may succeed later.
    """

    method: str
    url: str
    problem: str
    status: int | None = None
    transient: bool = True

    def __str__(self) -> str:
        return f"{self.method} {self.url} {self.problem}"


class LeaseLostError(WfeError):
    """Another host took over; nothing that this host still tries to write is accepted."""

    def __str__(self) -> str:
        return "this host lost its lease; its runs were handed to another host"


@define(eq=False)
class ActivityTokenError(WfeError):
    """An activity token is unknown, expired, used, or belongs to a finished run."""

    token: str

    def __str__(self) -> str:
        return f"activity token {self.token!r} is unknown, expired or used"


@define(eq=False)
class DeterminismError(WfeError):
    """A durable function made other calls than its history says."""

    recorded: str
    made: str

    def __str__(self) -> str:
        return (
            f"history has {self.recorded}, but the function now calls {self.made}; deploy code that"
            " makes the recorded call (ctx.patched() tells old runs from new ones), then resume"
        )


@define(eq=False)
class TransactionError(WfeError):
    """A step's transaction was rolled back, or is used in a way that it cannot be.

    Attributes:
        problem: What happened and what to do.
    """

    problem: str

    def __str__(self) -> str:
        return self.problem


@define(eq=False)
class TransactionTimeoutError(TransactionError):
    """A step's transaction was open for too long, and was rolled back."""

    retryable: ClassVar[bool] = True


@define(eq=False)
class PluginNotFoundError(WfeError):
    """No installed distribution offers the wanted name in an entry-point group.

    Attributes:
        install: The ``pip`` line that brings it, ``None`` when we do not know one.
    """

    errored: ClassVar[bool] = True

    group: str
    name: str
    installed: tuple[str, ...]
    install: str | None = None

    def __str__(self) -> str:
        have = ", ".join(self.installed) or "none"
        cure = f"; install it with: {self.install}" if self.install else ""
        return f"no {self.group!r} plugin named {self.name!r} (installed: {have}){cure}"


@define(eq=False)
class PluginConflictError(WfeError):
    """Two distributions offer the same name in one entry-point group."""

    group: str
    name: str
    distributions: tuple[str, ...]

    def __str__(self) -> str:
        who = " and ".join(self.distributions)
        return f"{self.group!r} plugin {self.name!r} is offered by {who}; uninstall one of them"


@define(eq=False)
class ProviderError(WfeError):
    """A backend failed or refused; the driver's own exception is ``__cause__``.

    Attributes:
        provider: Which one, for example ``sqlite``.
        problem: What happened and what to do.
        transient: Whether the same call may succeed later.
        unknown: Whether the call may have taken effect all the same (its answer was lost).
    """

    retryable: ClassVar[bool] = True
    errored: ClassVar[bool] = True  # a step that it ends errored: it did not say no itself

    provider: str
    problem: str
    transient: bool = True
    unknown: bool = False

    def __str__(self) -> str:
        return f"{self.provider}: {self.problem}"


@define(eq=False)
class StoreUnavailableError(ProviderError):
    """The store cannot be reached, opened or written now (locked, read-only, gone)."""


@define(eq=False)
class UnreadableTextError(ProviderError):
    """A stored text cannot be read: its codec or its blob is not there, or does not fit."""

    transient: bool = False


@define(eq=False)
class StoreVersionError(ProviderError):
    """The store was made by a version that this one cannot read."""

    transient: bool = False


@define(eq=False)
class StoreCorruptError(ProviderError):
    """The store's contents are damaged."""

    transient: bool = False


@define(eq=False)
class StoreFullError(ProviderError):
    """No space is left for the store; what was acknowledged is safe, and writing goes on later."""
