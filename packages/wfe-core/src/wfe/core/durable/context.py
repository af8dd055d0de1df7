"""What a durable function does its work with."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Final, Literal, ParamSpec, TypeVar, overload
from uuid import UUID

from wfe.core.durable.saga import Saga
from wfe.core.engine.strands import STRAND, call_key
from wfe.core.errors import DefinitionError
from wfe.core.lean import frozen
from wfe.core.micros import from_micros, to_micros
from wfe.core.policies import Compensate, CompensateThenSuspend, ErrorPolicy, Fail, Retry
from wfe.core.steps import StepExecutionContext, StepLog

# What makes calls is imported by the methods that do: it is a part of the engine, which a program
# that only has functions to register need not load.  Where one runs it is there already.
if TYPE_CHECKING:
    from wfe.core.definition import WorkflowDefinition
    from wfe.core.durable.functions import DurableFunction
    from wfe.core.engine.calls import Calls
    from wfe.core.engine.nodes import StepMiddleware
    from wfe.core.steps import InstanceRef

__all__ = ["Options", "WorkflowContext"]

P = ParamSpec("P")
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
Ctx = StepExecutionContext[Any]

_OWN: Final = frozenset({"input", "result"})


@frozen(kw_only=True)
class Options:
    """How the next calls are made.

    Attributes:
        policy: ``None``: as the step says, else fail.
        timeout: Of one attempt of a step, µs; ``None``: as the step says.
    """

    name: str | None = None
    policy: ErrorPolicy | None = None
    timeout: int | None = None


class WorkflowContext:
    """The context of a durable function: every call of it is recorded and never made twice.

    The function may run many times, from its start; calls that it made before give at once what
    they gave then.  Between the calls it must do the same each time: ask :meth:`now` for the
    time, :meth:`random` and :meth:`uuid` for chance, and do everything else in steps.
    """

    def __init__(
        self,
        calls: Calls,
        middleware: Sequence[StepMiddleware] = (),
        options: Options | None = None,
    ) -> None:
        """Make one; the engine does this."""
        self._calls = calls
        self._middleware = middleware
        self._options = options or Options()

    # -- what it knows

    @property
    def instance(self) -> InstanceRef:
        """The run."""
        return self._calls.run.ref

    @property
    def app(self) -> Any:
        """The object given to ``WorkflowHost(app=...)``; never stored."""
        return self._calls.engine.app

    @property
    def replaying(self) -> bool:
        """Whether the next call has its answer already: nothing here is new."""
        return STRAND.get().replaying

    @property
    def over(self) -> bool:
        """Whether the function is being stopped, to go on later or never."""
        return self._calls.over

    @property
    def log(self) -> StepLog:
        """Writes to the run's log; what was written before is not written again."""
        from wfe.core.engine.contexts import call_context  # noqa: PLC0415
        from wfe.core.rules.state import Pointer  # noqa: PLC0415

        calls = self._calls
        shown = Pointer(calls.pointer, calls.step, None, "", 0, None, {})
        log = call_context(calls.run, shown, "log").log

        def write(stream: str, line: str) -> None:
            if not STRAND.get().replaying:
                log.line(stream, line)

        return StepLog(write)

    def now(self) -> datetime:
        """Return the time, aware, UTC: when the last call was answered."""
        self._calls.check()
        return from_micros(STRAND.get().now)

    def random(self) -> float:
        """Return a number from 0 up to 1, the same one each time that the function runs."""
        return (int.from_bytes(self._digest("random")[:8], "big") >> 11) / (1 << 53)

    def uuid(self) -> UUID:
        """Return a UUID, the same one each time that the function runs."""
        return UUID(bytes=self._digest("uuid")[:16], version=4)

    def _digest(self, what: str) -> bytes:
        self._calls.check()
        strand = STRAND.get()
        drawn = strand.uses[f"@{what}"] = strand.uses.get(f"@{what}", 0) + 1
        text = f"{self.instance.id}:{self._calls.pointer}:{call_key(what, drawn, strand.path)}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    def options(
        self,
        *,
        name: str | None = None,
        retry: int | ErrorPolicy | None = None,
        timeout: timedelta | float | None = None,
    ) -> WorkflowContext:
        """Return a context whose calls are made otherwise.

        Args:
            name: What a call is called, instead of the step's name; a call is known by it.
            retry: Number of retries, or a policy; ``None``: as the step says.
            timeout: Of one attempt of a step; a number is seconds; ``None``: as the step says.

        Raises:
            DefinitionError: The policy undoes, which ``ctx.saga()`` does here.
        """
        policy = Retry(max_retries=retry) if isinstance(retry, int) else retry
        end = policy.then if isinstance(policy, Retry) else policy
        undoes = isinstance(policy, Retry) and policy.compensate
        if undoes or isinstance(end, Compensate | CompensateThenSuspend):
            problem = "a policy of a durable function's call cannot undo"
            raise DefinitionError(problem, self._calls.step, "use `async with ctx.saga()`")
        given = Options(
            name=self._options.name if name is None else name,
            policy=self._options.policy if policy is None else policy,
            timeout=self._options.timeout if timeout is None else _micros(timeout),
        )
        return WorkflowContext(self._calls, self._middleware, given)

    # -- steps

    @overload
    def step(
        self,
        function: Callable[Concatenate[Ctx, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def step(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def step(
        self, function: Callable[Concatenate[Ctx, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def step(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...
    def step(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """Run a function as a step: once it has ended, its result is recorded for good.

        It may be sync (it runs in a thread) or async; ``@step`` and ``@task`` settings apply.  A
        first parameter called ``ctx`` gets the step's context, with an ``idempotency_key`` that
        stays the same over all attempts.

        Args:
            function: What to run.
            args: Its arguments, which must be storable.
            kwargs: Its arguments by name.

        Raises:
            StepFailedError: It failed, with all its retries.
            DataTypeError: An argument cannot be stored.
        """
        return self.begin_step(function, args, kwargs)

    def begin_step(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """Return the coroutine of a step, called by the caller's caller."""
        return self._step(function, args, kwargs, _site(3))

    def begin_undo(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        policy: ErrorPolicy,
        undone: tuple[str, str | None],
    ) -> Coroutine[Any, Any, Any]:
        """Return the coroutine of a step that undoes (name, key of the call)."""
        site = f"the saga in {self._calls.step}"
        return self._step(function, args, kwargs, site, policy, undone)

    def moved(self) -> None:
        """Tell whoever waits for it that an undo has ended."""
        self._calls.moved()

    async def begin_note(self, name: str, kind: str, **info: Any) -> None:
        """Record that something begins."""
        made = await self._calls.enter(name, "", f"the saga in {self._calls.step}")
        self._calls.note(made, kind, **info)

    async def _step(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        site: str,
        policy: ErrorPolicy | None = None,
        undone: tuple[str, str | None] | None = None,
    ) -> Any:
        from wfe.core.durable import making  # noqa: PLC0415

        shape, options = making.shape_of(function), self._options
        settings = shape.settings
        name = options.name or shape.name
        if undone is not None:
            name = f"undo {undone[0]}"
        made = await self._calls.enter(name, making.hash_of(args, kwargs), site)
        timeout = options.timeout
        if timeout is None and settings.timeout is not None:
            timeout = to_micros(settings.timeout)
        work = making.Work(
            function=function,
            args=args,
            kwargs=kwargs,
            shape=shape,
            policy=policy or options.policy or settings.retry or Fail(),
            timeout=timeout,
            middleware=self._middleware,
            undone=undone[0] if undone else None,
            undoes=undone[1] if undone else None,
        )
        return await making.do(self._calls, made, work)

    # -- waiting

    def sleep(self, duration: timedelta) -> Coroutine[Any, Any, None]:
        """Go on after *duration*; meanwhile the run costs nothing, and needs no process."""
        from wfe.core.durable import making  # noqa: PLC0415

        return making.sleep(self._calls, self._options.name, duration, None, _site(2))

    def sleep_until(self, when: datetime) -> Coroutine[Any, Any, None]:
        """Go on at *when* (aware)."""
        from wfe.core.durable import making  # noqa: PLC0415

        return making.sleep(self._calls, self._options.name, None, when, _site(2))

    def wait_for(
        self,
        event: str,
        key: str | int = "",
        timeout: timedelta | None = None,
        *,
        as_of: datetime | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Return the payload of an event, as ``host.publish_event`` was given it.

        Args:
            event: Its name.
            key: Which one of that name.
            timeout: Longest wait; ``None``: no limit.
            as_of: Events before this time do not count; ``None``: the run's start.  An event that
                this strand waited for and got counts no second time.

        Raises:
            StepTimeoutError: It took longer.
        """
        from wfe.core.durable import making  # noqa: PLC0415

        return making.wait_for(
            self._calls, self._options.name, event, key, timeout, as_of, _site(2)
        )

    def wait_signal(self, name: str, timeout: timedelta | None = None) -> Coroutine[Any, Any, Any]:
        """Return what ``host.signal(run, name, data)`` sent; signals are kept until asked for.

        Raises:
            StepTimeoutError: It took longer than *timeout*.
        """
        from wfe.core.durable import making  # noqa: PLC0415

        return making.wait_signal(self._calls, self._options.name, name, timeout, _site(2))

    def activity(
        self, activity: str, parameters: Any = None, timeout: timedelta | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Offer work to external workers (``host.activities``) and return their result.

        Raises:
            StepFailedError: The worker failed it.
            StepTimeoutError: It took longer than *timeout*.
        """
        from wfe.core.durable import making  # noqa: PLC0415

        return making.activity(
            self._calls, self._options.name, activity, parameters, timeout, _site(2)
        )

    # -- other runs

    @overload
    def child(
        self,
        definition: DurableFunction[..., T],
        data: Any = None,
        *,
        version: int | None = None,
        reference: str | None = None,
        timeout: timedelta | None = None,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def child(
        self,
        definition: str | WorkflowDefinition,
        data: Any = None,
        *,
        version: int | None = None,
        reference: str | None = None,
        timeout: timedelta | None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    def child(
        self,
        definition: str | WorkflowDefinition | DurableFunction[..., Any],
        data: Any = None,
        *,
        version: int | None = None,
        reference: str | None = None,
        timeout: timedelta | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run another workflow as part of this one and return its result.

        Args:
            definition: Id of a registered definition, or what can be registered.
            data: What it starts with.
            version: ``None``: the highest registered.
            reference: The caller's own key, for ``host.find``.
            timeout: It is terminated after this; ``None``: no limit.

        Raises:
            StepFailedError: It failed or was terminated (``StepTimeoutError``: it took longer).
        """
        from wfe.core.durable import making  # noqa: PLC0415

        return making.child(
            self._calls, self._options.name, definition, data, version, reference, timeout, _site(2)
        )

    def start_workflow(
        self,
        definition: str | WorkflowDefinition | DurableFunction[..., Any],
        data: Any = None,
        *,
        version: int | None = None,
        reference: str | None = None,
    ) -> Coroutine[Any, Any, str]:
        """Start another workflow, once, and return its run's id; it goes its own way."""
        from wfe.core.durable import making  # noqa: PLC0415

        return making.detached(
            self._calls, self._options.name, definition, data, version, reference, _site(2)
        )

    # -- data

    def set(self, **fields: Any) -> Coroutine[Any, Any, None]:
        """Set fields of the run's data, which queries, ``host.get`` and ``find`` see.

        Raises:
            DataTypeError: A value cannot be stored, or a field is ``input`` or ``result``.
        """
        from wfe.core.durable import making  # noqa: PLC0415

        return making.set_fields(self._calls, self._options.name, fields, _site(2))

    # -- order

    @overload
    def gather(self, one: Awaitable[T1], /) -> Coroutine[Any, Any, tuple[T1]]: ...
    @overload
    def gather(
        self, one: Awaitable[T1], two: Awaitable[T2], /
    ) -> Coroutine[Any, Any, tuple[T1, T2]]: ...
    @overload
    def gather(
        self, one: Awaitable[T1], two: Awaitable[T2], three: Awaitable[T3], /
    ) -> Coroutine[Any, Any, tuple[T1, T2, T3]]: ...
    @overload
    def gather(
        self, one: Awaitable[T1], two: Awaitable[T2], three: Awaitable[T3], four: Awaitable[T4], /
    ) -> Coroutine[Any, Any, tuple[T1, T2, T3, T4]]: ...
    @overload
    def gather(self, *calls: Awaitable[T]) -> Coroutine[Any, Any, tuple[T, ...]]: ...
    def gather(self, *calls: Awaitable[Any]) -> Coroutine[Any, Any, tuple[Any, ...]]:
        """Do several things at a time and return their results in order.

        Each argument (a call of the context, or a coroutine that makes calls) is a line of calls
        of its own.  When one fails, the others are cancelled and awaited, then its error is
        raised.
        """
        return self._gather(calls, _site(2))

    async def _gather(self, calls: tuple[Awaitable[Any], ...], site: str) -> tuple[Any, ...]:
        from wfe.core.engine.gathering import gather  # noqa: PLC0415

        if not calls:
            return ()
        return tuple(await gather(self._calls, calls, site))

    def saga(self, retry: int | Retry | None = None) -> Saga:
        """Return a block whose steps are undone when an exception leaves it.

        ``async with ctx.saga() as saga: await saga.step(reserve, 1, undo=(release, 1))``

        Args:
            retry: Of the undo steps; when they are used up the run is suspended with the reason,
                and ``resume`` tries the undo again.
        """
        return Saga(self, retry)

    def patched(self, change: str) -> bool:
        """Return whether the run is to go the new way at a change of the function.

        ``True`` for runs that come here first with the changed function; it is recorded.  For
        those that passed this place before the change, ``False``: keep the old way for them.
        """
        calls = self._calls
        strand = STRAND.get()
        if change in strand.patches:
            return strand.patches[change]
        recorded = strand.records.get(strand.calls)
        name = f"patch {change}"
        passed = strand.replaying and (recorded is None or recorded.name != name)
        made = None if passed else calls.try_enter(name, "", _site(2))
        if made is None:
            calls.check()
        else:
            calls.note(made, "patched", change=change)
        strand.patches[change] = made is not None
        return made is not None


def _micros(timeout: timedelta | float) -> int:
    micros = to_micros(timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout))
    if micros <= 0:
        raise DefinitionError("timeout must be positive", None, f"got {timeout!r}")
    return micros


_SITES: Final[dict[tuple[Any, int], str]] = {}
_MOST_SITES: Final = 10_000


def _site(depth: Literal[2, 3]) -> str:
    """Return where a call stands: ``orders.py:12 in checkout``."""
    frame = sys._getframe(depth)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    key = (frame.f_code, frame.f_lineno)
    known = _SITES.get(key)
    if known is None:
        if len(_SITES) >= _MOST_SITES:
            _SITES.clear()
        code = frame.f_code
        file = code.co_filename.replace("\\", "/").rpartition("/")[2]
        known = _SITES[key] = f"{file}:{frame.f_lineno} in {code.co_name}"
    return known
