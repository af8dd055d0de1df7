"""What a durable function does its work with."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Final, Literal, ParamSpec, TypeVar, overload
from uuid import UUID

import attrs
import orjson

from wfe.core.codec import decode, encode
from wfe.core.definition import Kind, Node, WorkflowDefinition
from wfe.core.durable.saga import Saga
from wfe.core.engine.contexts import call_context
from wfe.core.engine.gathering import gather
from wfe.core.engine.live import dumps
from wfe.core.engine.sizes import check_index
from wfe.core.engine.strands import STRAND, call_key
from wfe.core.engine.work import Work, do, shape_of
from wfe.core.errors import DataTypeError, DefinitionError
from wfe.core.models import from_micros, to_micros
from wfe.core.policies import Compensate, CompensateThenSuspend, ErrorPolicy, Fail, Retry
from wfe.core.rules.calls import (
    CallDone,
    CallOffers,
    CallSleeps,
    CallStarts,
    CallWaits,
    CallWaitsSignal,
)
from wfe.core.rules.inputs import Writes
from wfe.core.rules.state import Pointer
from wfe.core.steps import InstanceRef, StepExecutionContext, StepLog

if TYPE_CHECKING:
    from wfe.core.durable.functions import DurableFunction
    from wfe.core.engine.calls import Calls, Made
    from wfe.core.engine.nodes import StepMiddleware
    from wfe.core.engine.registry import Registered

__all__ = ["Options", "WorkflowContext"]

P = ParamSpec("P")
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
Ctx = StepExecutionContext[Any]

_OWN: Final = frozenset({"input", "result"})


@attrs.frozen(kw_only=True)
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

    async def _step(  # noqa: PLR0913, PLR0917 - what is known of a call
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        site: str,
        policy: ErrorPolicy | None = None,
        undone: tuple[str, str | None] | None = None,
    ) -> Any:
        shape, options = shape_of(function), self._options
        settings = shape.settings
        name = options.name or shape.name
        if undone is not None:
            name = f"undo {undone[0]}"
        made = await self._calls.enter(name, _hash(args, kwargs), site)
        timeout = options.timeout
        if timeout is None and settings.timeout is not None:
            timeout = to_micros(settings.timeout)
        work = Work(
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
        return await do(self._calls, made, work)

    # -- waiting

    def sleep(self, duration: timedelta) -> Coroutine[Any, Any, None]:
        """Go on after *duration*; meanwhile the run costs nothing, and needs no process."""
        return self._sleep(duration, None, _site(2))

    def sleep_until(self, when: datetime) -> Coroutine[Any, Any, None]:
        """Go on at *when* (aware)."""
        return self._sleep(None, when, _site(2))

    async def _sleep(self, duration: timedelta | None, when: datetime | None, site: str) -> None:
        given = to_micros(duration if when is None else when) if duration or when else 0
        calls = self._calls
        made = await calls.enter(self._options.name or "sleep", _hash((given,), {}), site)
        if made.record is None:
            until = given if when is not None else calls.engine.clock.now() + max(given, 0)
            calls.feed(
                CallSleeps(
                    pointer=calls.pointer,
                    attempt=calls.attempt,
                    name=made.name,
                    info=made.info(),
                    until=until,
                )
            )
        await calls.outcome(made)

    def wait_for(
        self,
        event: str,
        key: str = "",
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
        return self._wait_for(event, key, timeout, as_of, _site(2))

    async def _wait_for(
        self, event: str, key: str, timeout: timedelta | None, as_of: datetime | None, site: str
    ) -> Any:
        calls, key = self._calls, str(key)
        check_index("event name", event)
        check_index("event key", key)
        since = calls.run.created_at if as_of is None else to_micros(as_of)
        name = self._options.name or f"wait for {event}"
        made = await calls.enter(name, _hash((event, key), {}), site)
        topic = f"{event}\n{key}"
        if made.record is None:
            calls.feed(
                CallWaits(
                    pointer=calls.pointer,
                    attempt=calls.attempt,
                    name=name,
                    info=made.info(),
                    event=event,
                    key=key,
                    as_of=since,
                    after=made.strand.cursors.get(topic, (-1, -1)),
                    until=self._until(timeout),
                )
            )
        info = (await calls.outcome(made)).info
        if "at" in info:
            made.strand.cursors[topic] = (info["at"][0], info["at"][1])
        return decode(info.get("result"))

    def _until(self, timeout: timedelta | None) -> int | None:
        return None if timeout is None else self._calls.engine.clock.now() + to_micros(timeout)

    def wait_signal(self, name: str, timeout: timedelta | None = None) -> Coroutine[Any, Any, Any]:
        """Return what ``host.signal(run, name, data)`` sent; signals are kept until asked for.

        Raises:
            StepTimeoutError: It took longer than *timeout*.
        """
        return self._wait_signal(name, timeout, _site(2))

    async def _wait_signal(self, signal: str, timeout: timedelta | None, site: str) -> Any:
        calls = self._calls
        name = self._options.name or f"signal {signal}"
        made = await calls.enter(name, _hash((signal,), {}), site)
        if made.record is None:
            calls.feed(
                CallWaitsSignal(
                    pointer=calls.pointer,
                    attempt=calls.attempt,
                    name=name,
                    info=made.info(),
                    signal=signal,
                    until=self._until(timeout),
                )
            )
        return decode((await calls.outcome(made)).info.get("result"))

    def activity(
        self, activity: str, parameters: Any = None, timeout: timedelta | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Offer work to external workers (``host.activities``) and return their result.

        Raises:
            StepFailedError: The worker failed it.
            StepTimeoutError: It took longer than *timeout*.
        """
        return self._activity(activity, parameters, timeout, _site(2))

    async def _activity(
        self, activity: str, parameters: Any, timeout: timedelta | None, site: str
    ) -> Any:
        calls = self._calls
        check_index("activity name", activity)
        stored = encode(parameters, "parameters")
        name = self._options.name or f"activity {activity}"
        made = await calls.enter(name, _hash((activity, stored), {}), site)
        if made.record is None:
            calls.engine.sizes.check("parameters", dumps(stored))
            calls.feed(
                CallOffers(
                    pointer=calls.pointer,
                    attempt=calls.attempt,
                    name=name,
                    info=made.info(),
                    activity=activity,
                    parameters=dumps(stored),
                    until=self._until(timeout),
                )
            )
        return decode((await calls.outcome(made)).info.get("result"))

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
        return self._child(definition, data, version, reference, timeout, _site(2))

    async def _child(  # noqa: PLR0913, PLR0917 - what is known of a call
        self,
        definition: str | WorkflowDefinition | DurableFunction[..., Any],
        data: Any,
        version: int | None,
        reference: str | None,
        timeout: timedelta | None,
        site: str,
    ) -> Any:
        calls = self._calls
        ready = await self._registered(definition, version)
        stored = ready.model.start(data)
        id_ = ready.definition.id
        name = self._options.name or f"child {id_}"
        made = await calls.enter(name, _hash((id_, stored), {}), site)
        field = ready.definition.result
        if made.record is None:
            await calls.may_work()
            start = await self._start(ready, made, data, reference, detached=False)
            calls.feed(
                CallStarts(
                    pointer=calls.pointer,
                    attempt=calls.attempt,
                    name=name,
                    info=made.info(),
                    start=start,
                    select=field,
                    until=self._until(timeout),
                )
            )
        result = (await calls.outcome(made)).info.get("result")
        if field is None:
            return ready.model.load(result or {})
        return ready.model.load({field: result}).get(field)

    def start_workflow(
        self,
        definition: str | WorkflowDefinition | DurableFunction[..., Any],
        data: Any = None,
        *,
        version: int | None = None,
        reference: str | None = None,
    ) -> Coroutine[Any, Any, str]:
        """Start another workflow, once, and return its run's id; it goes its own way."""
        return self._detached(definition, data, version, reference, _site(2))

    async def _detached(
        self,
        definition: str | WorkflowDefinition | DurableFunction[..., Any],
        data: Any,
        version: int | None,
        reference: str | None,
        site: str,
    ) -> str:
        calls = self._calls
        ready = await self._registered(definition, version)
        stored = ready.model.start(data)
        id_ = ready.definition.id
        name = self._options.name or f"start {id_}"
        made = await calls.enter(name, _hash((id_, stored), {}), site)
        if made.record is not None:
            return str(calls.ended(made, made.record).info["result"])
        await calls.may_work()
        start = await self._start(ready, made, data, reference, detached=True)
        run_id = start.new.id if start.new else ""
        done = CallDone(
            pointer=calls.pointer,
            attempt=calls.attempt,
            name=name,
            info=made.info(result=run_id),
            start=start,
        )
        calls.feed(done)
        calls.ended(made, calls.record(made, await calls.answer(made.key)))
        return run_id

    async def _registered(
        self,
        definition: str | WorkflowDefinition | DurableFunction[..., Any],
        version: int | None,
    ) -> Registered:
        registry = self._calls.engine.registry
        if isinstance(definition, str):
            return registry.find(definition, version)
        built = definition if isinstance(definition, WorkflowDefinition) else definition.build()
        if not any(known is built for known in registry.given):
            registry.add(built)
        if registry.pending:
            await registry.sync(self._calls.engine.store)
        return registry.find(built.id, built.version)

    async def _start(
        self, ready: Registered, made: Made, data: Any, reference: str | None, *, detached: bool
    ) -> Any:
        calls, found = self._calls, ready.definition
        config = {"definition": found.id, "version": found.version, "detached": detached}
        node = Node(name=made.name, kind=Kind.SUB_WORKFLOW, config=config)
        shown = Pointer(calls.pointer, made.name, None, "", 0, None, {})
        ctx = call_context(calls.run, shown, made.key)
        item = await calls.engine.starter.child(ctx, node, data, None, reference)
        key = hashlib.blake2b(made.key.encode(), digest_size=16).hexdigest()
        idem = f"child:{calls.run.n}:{calls.pointer}:{key}"
        return (
            item if item.new is None else attrs.evolve(item, new=attrs.evolve(item.new, idem=idem))
        )

    # -- data

    def set(self, **fields: Any) -> Coroutine[Any, Any, None]:
        """Set fields of the run's data, which queries, ``host.get`` and ``find`` see.

        Raises:
            DataTypeError: A value cannot be stored, or a field is ``input`` or ``result``.
        """
        return self._set(fields, _site(2))

    async def _set(self, fields: dict[str, Any], site: str) -> None:
        calls = self._calls
        for name in fields:
            if name in _OWN:
                problem = "is the function's own; give the field another name"
                raise DataTypeError(f"data.{name}", problem)
        stored = {name: encode(value, f"data.{name}") for name, value in fields.items()}
        for name, value in stored.items():
            calls.engine.sizes.check(f"data.{name}", dumps(value))
        made = await calls.enter(self._options.name or "set", _hash((stored,), {}), site)
        if made.record is not None:
            calls.ended(made, made.record)
            return
        done = CallDone(
            pointer=calls.pointer,
            attempt=calls.attempt,
            name=made.name,
            info=made.info(),
            kind="data_set",
            writes=Writes(stored, base=calls.run.state.seq),
        )
        calls.feed(done)
        calls.ended(made, calls.record(made, await calls.answer(made.key)))

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


def _hash(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return what tells the arguments of a call from others."""
    if not args and not kwargs:
        return ""
    stored = encode([args, kwargs], "arguments")
    text = orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=8).hexdigest()


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
