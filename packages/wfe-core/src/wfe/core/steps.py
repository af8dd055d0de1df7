"""What authors of steps write against: bodies, their context, what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, runtime_checkable

from typing_extensions import TypeVar

from wfe.core.errors import TransactionError
from wfe.core.lean import frozen, lean

if TYPE_CHECKING:
    import asyncio

    from wfe.core.artifacts import StepArtifacts
    from wfe.core.masking import Masker
    from wfe.core.step_services import Services
    from wfe.core.transaction_provider import StepTransaction

__all__ = [
    "CancelToken",
    "ExecutionResult",
    "InstanceRef",
    "PointerRef",
    "StepBody",
    "StepExecutionContext",
    "StepLog",
]

D = TypeVar("D", default=Any)
T = TypeVar("T")


@frozen(kw_only=True)
class ExecutionResult:
    """What a body wants to happen next; made by the class methods.

    Attributes:
        kind: ``next``, ``outcome``, ``output``, ``persist``, ``branch``, ``sleep``,
            ``sleep_until``, ``wait``, ``fail`` or ``skip``.
        value: Outcome, branch values or error text, by kind.
        fields: Data fields to set.
        memory: Becomes ``ctx.persistence_data`` of the next call.
    """

    kind: str
    value: Any = None
    fields: Mapping[str, Any] | None = None
    memory: Any = None
    duration: timedelta | None = None
    when: datetime | None = None
    event: tuple[str, str] | None = None
    error: BaseException | None = None
    retryable: bool = True

    @classmethod
    def next(cls) -> ExecutionResult:
        """Go on with the next step."""
        return cls(kind="next")

    @classmethod
    def outcome(cls, value: Any) -> ExecutionResult:
        """Go on, by way of the ``.when(value, ...)`` branches that fit."""
        return cls(kind="outcome", value=value)

    @classmethod
    def output(cls, **fields: Any) -> ExecutionResult:
        """Set data fields and go on."""
        return cls(kind="output", fields=fields)

    @classmethod
    def persist(cls, data: Any) -> ExecutionResult:
        """Keep *data* as ``ctx.persistence_data`` and run this body again at once."""
        return cls(kind="persist", memory=data)

    @classmethod
    def branch(cls, values: Sequence[Any]) -> ExecutionResult:
        """Run this step's inner block once per value, then go on."""
        return cls(kind="branch", value=list(values))

    @classmethod
    def sleep(cls, duration: timedelta, data: Any = None) -> ExecutionResult:
        """Run this body again after *duration*, with *data* as ``ctx.persistence_data``."""
        return cls(kind="sleep", duration=duration, memory=data)

    @classmethod
    def sleep_until(cls, when: datetime, data: Any = None) -> ExecutionResult:
        """Run this body again at *when* (aware), with *data* as ``ctx.persistence_data``."""
        return cls(kind="sleep_until", when=when, memory=data)

    @classmethod
    def wait_for_event(
        cls,
        name: str,
        key: str,
        as_of: datetime | None = None,
        timeout: timedelta | None = None,
    ) -> ExecutionResult:
        """Run this body again, with ``ctx.event``, when the event was published.

        Args:
            name: Of the event.
            key: Of the event.
            as_of: Events published before this time do not count; ``None``: the run's start.
            timeout: The step fails with ``StepTimeoutError`` after this; ``None``: never.
        """
        return cls(kind="wait", event=(name, key), when=as_of, duration=timeout)

    @classmethod
    def fail(
        cls,
        error: BaseException | str,
        retryable: bool = True,
    ) -> ExecutionResult:
        """Fail this attempt."""
        if isinstance(error, str):
            return cls(kind="fail", value=error, retryable=retryable)
        return cls(kind="fail", value=str(error), error=error, retryable=retryable)

    @classmethod
    def skip(cls) -> ExecutionResult:
        """Record this step as skipped and go on."""
        return cls(kind="skip")


@runtime_checkable
class StepBody(Protocol):
    """A unit of work; ``run`` may be sync or async.

    A class may have more: ``is_retryable(error) -> bool`` says whether another attempt makes sense
    after ``run`` raised; ``on_success(ctx)`` and ``on_failure(ctx, error)`` are called after each
    attempt (they too may be sync or async, and what ``on_success`` raises fails the attempt).

    It may run more than once (after a crash in the middle, or a retry), so make its effects
    idempotent: ``ctx.idempotency_key`` stays the same over all attempts of one step execution.
    """

    def run(self, ctx: StepExecutionContext[Any]) -> Any:
        """Do the work; ``None`` means :meth:`ExecutionResult.next`."""
        ...


class CancelToken:
    """Tells a body that its result is not wanted any more; safe to ask from any thread."""

    __slots__ = ("_set", "_waiters")

    def __init__(self) -> None:
        """Make a token that is not set."""
        self._set = False
        self._waiters: tuple[tuple[asyncio.AbstractEventLoop, asyncio.Event], ...] = ()

    def is_set(self) -> bool:
        """Return whether the body should stop."""
        return self._set

    async def wait(self) -> None:
        """Return when the body should stop."""
        import asyncio  # noqa: PLC0415 - what only declares workflows needs none

        event = asyncio.Event()
        # First listen, then look: a set() in another thread between the two is not missed.
        self._waiters = (*self._waiters, (asyncio.get_running_loop(), event))
        if not self._set:
            await event.wait()

    def set(self) -> None:
        """Ask the body to stop (the engine does this)."""
        self._set = True
        for loop, event in self._waiters:
            loop.call_soon_threadsafe(event.set)


@lean(kw_only=True)
class InstanceRef:
    """The run that a body belongs to; without a name of its own it is ``<definition>-<n>``."""

    id: str
    name: str
    definition: str
    version: int
    reference: str | None
    parent_id: str | None
    root_id: str


@lean
class PointerRef:
    """The place in the run that a body stands at; *scope* are the containers' pointer ids."""

    id: int
    step: str
    attempt: int
    scope: tuple[int, ...]


class StepLog:
    """Writes lines to the run's log; every call returns at once, from any thread."""

    __slots__ = ("_write",)

    def __init__(self, write: Callable[[str, str], None]) -> None:
        """Log through *write*, which takes a stream and a line."""
        self._write = write

    def line(self, stream: str, text: str) -> None:
        """Write one line of output; *stream* is ``stdout``, ``stderr`` or a level."""
        self._write(stream, text)

    def debug(self, message: str, *args: object) -> None:
        """Write a message for developers; *args* are put in with ``%``."""
        self._write("debug", message % args if args else message)

    def info(self, message: str, *args: object) -> None:
        """Write a message; *args* are put in with ``%``."""
        self._write("info", message % args if args else message)

    def warning(self, message: str, *args: object) -> None:
        """Write a warning; *args* are put in with ``%``."""
        self._write("warning", message % args if args else message)

    def error(self, message: str, *args: object) -> None:
        """Write an error message; *args* are put in with ``%``."""
        self._write("error", message % args if args else message)


_UNSET: Any = object()
_NO_SECRETS: Mapping[str, str] = MappingProxyType({})


class StepExecutionContext(Generic[D]):
    """What a body knows and can do.

    Attributes:
        instance: The run.
        pointer: The place in it.
        persistence_data: What an earlier call of this body kept; ``None`` at first.
        event: ``name, key, id, data`` of the event that woke this body; ``None`` otherwise.
        secrets: Name to value, of the secrets that the step declares; never stored.
        cancelled: Set when the result is not wanted any more.
    """

    __slots__ = (
        "_artifacts",
        "_data",
        "_item",
        "_services",
        "asked",
        "before",
        "cancelled",
        "created_at",
        "event",
        "held",
        "instance",
        "joined",
        "persistence_data",
        "pointer",
        "retryable",
        "secrets",
        "seq",
        "starts",
    )

    def __init__(
        self,
        services: Services,
        instance: InstanceRef,
        pointer: PointerRef,
        before: Mapping[str, Any],
        seq: int,
        extra: Mapping[str, Any],
        created_at: int,
    ) -> None:
        """Make the context of one attempt over the stored data *before*, as of row *seq*."""
        self._services = services
        self._data: Any = _UNSET
        self._item: Any = _UNSET
        self._artifacts: StepArtifacts | None = None
        self.asked: bool = False  # whether data was read other than for parameters
        self.instance: InstanceRef = instance
        self.pointer: PointerRef = pointer
        self.before: Mapping[str, Any] = before
        self.seq: int = seq
        self.created_at: int = created_at  # of the run, µs
        self.persistence_data: Any = extra.get("memory")
        self.event: Mapping[str, Any] | None = extra.get("event")
        self.retryable: bool | None = None  # what the body's is_retryable said of its error
        self.secrets: Mapping[str, str] = _NO_SECRETS
        self.joined: Any = None  # the transaction that the body opened
        self.starts: int = 0  # runs that this attempt has started
        self.held: bool = "held" in extra  # whether it has its places under limits
        self.cancelled: CancelToken = CancelToken()

    @property
    def data(self) -> D:
        """The workflow's data as of the start of this attempt; changes are merged at its end."""
        self.asked = True
        return self.loaded_data()

    def loaded_data(self) -> D:
        """Return :attr:`data` without counting it as read by the body (the engine does this)."""
        if self._data is _UNSET:
            self._data = self._services.load_data(self)
        data: D = self._data
        return data

    @property
    def touched(self) -> bool:
        """Whether :attr:`data` was read, so that it may have been changed."""
        return self._data is not _UNSET

    @property
    def index(self) -> int | None:
        """Number of the innermost for-each item, from 0; ``None`` outside of one."""
        return self._innermost()[0]

    @property
    def item(self) -> Any:
        """The innermost for-each item; ``None`` outside of one."""
        return self._innermost()[1]

    def _innermost(self) -> tuple[int | None, Any]:
        if self._item is _UNSET:
            self._item = self._services.item(self, 0)
        found: tuple[int | None, Any] = self._item
        return found

    @property
    def path(self) -> tuple[int, ...]:
        """Numbers of the for-each items around the step, outermost first; empty outside of one."""
        return self._services.path(self)

    def enclosing_item(self, level: int) -> Any:
        """Return the item of a for-each around the step; level 0 is the innermost."""
        return self.item if level == 0 else self._services.item(self, level)[1]

    @property
    def failed(self) -> bool:
        """Whether something failed that this step comes after.

        In a hook that is its step; in a DAG a step that this one needs, by way of others too.
        """
        return self._services.failed(self)

    @property
    def hooked(self) -> Mapping[str, Any] | None:
        """What became of the step whose hook this is; ``None`` outside of a hook.

        It has ``name``, ``status`` (``complete``, ``failed``, ``errored``, ``aborted`` or
        ``skipped``), ``error`` (``type`` and ``message``, or ``None``) and ``outputs``.
        """
        return self._services.hooked(self)

    @property
    def artifacts(self) -> StepArtifacts:
        """Keeps files for later steps, and gets those of earlier ones; its methods are awaited."""
        if self._artifacts is None:
            self._artifacts = self._services.artifacts(self)
        return self._artifacts

    @property
    def has_artifacts(self) -> bool:
        """Whether :attr:`artifacts` was used."""
        return self._artifacts is not None

    @property
    def environment(self) -> Mapping[str, Any]:
        """The environment that the definition declares for this step, without the machine's."""
        return self._services.environment(self)

    @property
    def masks(self) -> Masker | None:
        """Masks the secrets that this run was given, for what does not go through :attr:`log`.

        Whoever reads the output of a process uses its ``stream()`` on the bytes, before lines are
        cut.  ``None``: there are no secrets.
        """
        return self._services.masks()

    def give_secrets(self, secrets: Mapping[str, str]) -> None:
        """Take the secrets of this attempt and mask them from now on (the engine does this)."""
        self.secrets = secrets
        self._services.mask(secrets)

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 0."""
        return self.pointer.attempt

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt of this step execution, unique over all runs."""
        return f"{self.instance.id}:{self.pointer.id}"

    @property
    def app(self) -> Any:
        """The object given to ``WorkflowHost(app=...)``; never stored."""
        return self._services.app

    @property
    def log(self) -> StepLog:
        """Writes to the run's log."""
        return StepLog(lambda stream, line: self._services.write_log(self, stream, line))

    def now(self) -> datetime:
        """Return the time, aware, UTC; in a ``WorkflowTest`` that of its clock."""
        return self._services.now()

    def shared(self, key: str, make: Callable[[], T]) -> T:
        """Return an object that all steps of this host share, for example a client.

        Args:
            key: Of the object; begin it with your package's name.
            make: Makes it at the first call; must not block.  When the host stops, its ``aclose()``
                or ``close()`` is called.
        """
        return self._services.shared(key, make)

    def raise_if_cancelled(self) -> None:
        """Raise ``asyncio.CancelledError`` when the result is not wanted any more."""
        if self.cancelled.is_set():
            import asyncio  # noqa: PLC0415 - what only declares workflows needs none

            raise asyncio.CancelledError

    def emit(self, name: str, payload: Any = None) -> None:
        """Add an item to the run's stream, for ``host.stream``; from any thread.

        It is stored before the step's completion is, and stays if the attempt fails after it.
        Observers get a ``progress`` lifecycle event at once.

        Raises:
            DataTypeError: *payload* cannot be stored, or *name* is longer than 512 bytes.
        """
        self._services.emit(self, name, payload)

    async def start_workflow(
        self,
        definition: str,
        data: Any = None,
        *,
        version: int | None = None,
        name: str | None = None,
        reference: str | None = None,
        key: str | None = None,
    ) -> str:
        """Start another run, which nobody waits for; return its id.

        A further attempt of this step finds the run that an earlier one started: the n-th start
        of each attempt is the same run, or the one with the same *key*.

        Args:
            definition: Id of a definition that this host knows.
            data: What it starts with.
            version: ``None``: the highest that is registered.
            name: Unique in the store.
            reference: The caller's own key.
            key: What makes it the same run in every attempt; ``None``: its number in the attempt.

        Raises:
            DefinitionNotFoundError: The definition is not registered.
            DataTypeError: The data cannot be stored, or does not fit its type.
            DuplicateNameError: The name is taken.
        """
        return await self._services.start_workflow(
            self, definition, data, version, name, reference, key
        )

    def transaction(self) -> StepTransaction:
        """Return a transaction of the store, in which the body changes its own tables.

        The step's completion is committed in the same transaction, when the body has returned:
        the changes are made exactly once, however often the body begins::

            async with ctx.transaction() as tx:
                await tx.connection.execute("UPDATE accounts SET ...")

        Sync bodies write ``with``.  It is rolled back if the block or what comes after it in the
        body raises, and if the attempt is cancelled, times out, sleeps, waits or is skipped.
        While it is open on a SQLite file nobody else can write to that file: it is rolled back
        after 5 seconds, and what follows the block in the body counts, so make the block the end.

        Raises:
            ProviderError: The store has no transactions (in memory, for example).
            TransactionError: The body had one already, or its step has a cache or artifacts.
        """
        if self.joined is not None:
            text = "the body has had a transaction already: put all that it changes into one"
            raise TransactionError(text)
        self.joined = self._services.transaction(self)
        opened: StepTransaction = self.joined
        return opened

    def heartbeat(self, progress: Any = None) -> None:
        """Say that the body lives, with an optional *progress* for observers."""
        self._services.progress(self, "heartbeat", progress)
