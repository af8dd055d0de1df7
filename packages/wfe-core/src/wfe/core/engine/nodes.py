"""Runs one attempt of a node and says what came of it, as an input for the rules."""

from __future__ import annotations

import asyncio
import functools
import random  # noqa: TID251 - the shell draws the jitter; the rules get it
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import attrs

from wfe.core.codec import encode
from wfe.core.definition import Kind, Node
from wfe.core.engine.bodies import Body
from wfe.core.engine.control_nodes import CONTROL
from wfe.core.engine.moments import after
from wfe.core.engine.sizes import as_key, check_index, storable_text, text_of
from wfe.core.errors import StepTimeoutError, WfeError
from wfe.core.expressions import Evaluate
from wfe.core.lean import frozen
from wfe.core.models import to_micros
from wfe.core.policies import ErrorPolicy, Retry
from wfe.core.rules.inputs import (
    NO_WRITES,
    AsksPlaces,
    Completed,
    Failed,
    Input,
    Items,
    Skipped,
    Slept,
    StartsChild,
    Waits,
    Writes,
)
from wfe.core.rules.plan import WHOLE
from wfe.core.steps import ExecutionResult, StepExecutionContext

if TYPE_CHECKING:
    from wfe.core.data import DataModel
    from wfe.core.engine.secrets import Vault
    from wfe.core.providers import Clock, Item

__all__ = ["CallNext", "NodeRunner", "StepMiddleware", "failed"]

Context: TypeAlias = StepExecutionContext[Any]
CallNext: TypeAlias = Callable[[], Awaitable[Any]]
StepMiddleware: TypeAlias = Callable[[Context, CallNext], Awaitable[Any]]
"""``handle`` of a step middleware: wraps each call of a body."""

ChildStart: TypeAlias = "Callable[[Context, Node, Any, str | None, str | None], Awaitable[Item]]"
"""Builds the first item of a sub-workflow from its start data, name and reference."""


_NOTHING: Final[Mapping[str, Any]] = {}


def _is_plain(runner: NodeRunner) -> bool:
    node = runner.node
    around = runner.inputs or runner.middleware or "run_if" in runner.exprs or node.limits
    given = node.secrets or runner.around
    return runner.timeout is None and not around and not given


@frozen(kw_only=True)
class NodeRunner:
    """A node with everything that it needs from the host.

    Attributes:
        exprs: The node's expressions, by role as in ``WorkflowDefinition.code``.
        plain: Whether nothing but the body must be called.
        timeout: Of one attempt, µs; ``None``: none.
        policy: What happens when an attempt fails.
        vault: Gives attempts their secrets.
        secrets: Each computes the name of one.
        function: Runs a durable function; ``None``: the node is none.
        around: Runs an attempt of a step with a cache or artifacts; ``None``: it has neither.
    """

    node: Node
    model: DataModel
    clock: Clock
    body: Body | None
    exprs: Mapping[str, Evaluate]
    inputs: tuple[tuple[str, Evaluate], ...]
    timeout: int | None
    middleware: Sequence[StepMiddleware]
    start_child: ChildStart
    policy: ErrorPolicy
    vault: Vault
    secrets: tuple[Evaluate, ...] = ()
    function: Callable[[Context], Awaitable[Input]] | None = None
    around: Callable[[NodeRunner, Context, int], Awaitable[Input]] | None = None
    plain: bool = attrs.field(
        default=attrs.Factory(_is_plain, takes_self=True),
        init=False,
    )

    async def __call__(self, ctx: Context) -> Input:
        """Run one attempt; every exception of user code becomes a ``Failed``."""
        started = self.clock.now()
        try:
            if self.plain and self.body is not None:  # the usual step: no detours
                seen, result = await self.body(ctx, _NOTHING)
                return self._interpreted(ctx, seen, result, started)
            if self.timeout is not None:
                return await self._limited(ctx, started, self.timeout)
            return await self._attempt(ctx, started)
        except asyncio.CancelledError as error:
            if self.function is not None or _is_cancelled(ctx):  # a function that is parked, too
                raise
            own = error if error.args else asyncio.CancelledError("the body cancelled itself")
            return self._failed(ctx, own, started)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a step may raise anything
            return self._failed(ctx, error, started)

    def _failed(self, ctx: Context, error: BaseException, started: int) -> Failed:
        retryable = ctx.retryable
        policy = self.policy
        if retryable is None and isinstance(policy, Retry) and not policy.wants(error):
            retryable = False
        return failed(ctx, error, started, retryable=retryable)

    async def _limited(self, ctx: Context, started: int, timeout: int) -> Input:
        work = asyncio.ensure_future(self._without_exit(ctx, started))
        alarm = asyncio.ensure_future(self.clock.sleep_until(started + timeout))
        try:
            await asyncio.wait({work, alarm}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                ctx.cancelled.set()
                message = f"took longer than {timeout / 1_000_000:g} s"
                raise StepTimeoutError(ctx.pointer.step, "StepTimeoutError", message)
            return work.result()
        finally:
            alarm.cancel()
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
            elif not work.cancelled():
                work.exception()  # it failed as this was cancelled: nobody else asks for it

    async def _without_exit(self, ctx: Context, started: int) -> Input:
        """Run one attempt in a task of its own, which must not end with ``SystemExit``."""
        try:
            return await self._attempt(ctx, started)
        except SystemExit as error:  # it would end the event loop
            return self._failed(ctx, error, started)

    async def _attempt(self, ctx: Context, started: int) -> Input:
        ctx.raise_if_cancelled()  # before its task had its first turn
        skip = self.exprs.get("run_if")
        if skip is not None and not skip(ctx):
            return Skipped(ctx.pointer.id, ctx.pointer.attempt)
        if self.node.limits and not ctx.held:
            return self._places(ctx)
        if self.secrets:
            await self.vault.open(ctx, [name(ctx) for name in self.secrets])
        if self.body is None:
            return await self._control(ctx)
        if self.around is not None:
            return await self.around(self, ctx, started)
        return await self.called(ctx, self.arguments(ctx), started)

    async def called(self, ctx: Context, inputs: Mapping[str, Any], started: int) -> Input:
        """Call the body and return what came of it."""
        if self.middleware:
            seen, result = await self._wrapped(ctx, inputs)
        else:
            seen, result = await cast("Body", self.body)(ctx, inputs)
        return self._interpreted(ctx, seen, result, started)

    def _places(self, ctx: Context) -> AsksPlaces:
        """Return which places the node needs before it may begin."""
        wanted: list[tuple[str, int, int | None]] = []
        conflicts: dict[str, str] = {}
        for position, limit in enumerate(self.node.limits):
            computed = self.value(ctx, f"limit:{position}")
            key = None if computed is None else as_key("limit key", computed)
            name = limit_key(ctx, self.node.name, key, rate=limit.per is not None)
            check_index("limit key", name)
            wanted.append((name, limit.limit, limit.per))
            if limit.on_conflict != "queue":
                conflicts[name] = limit.on_conflict
        return AsksPlaces(ctx.pointer.id, ctx.pointer.attempt, tuple(wanted), conflicts)

    async def _control(self, ctx: Context) -> Input:
        if self.function is not None:
            return await self.function(ctx)
        if self.node.kind is Kind.SUB_WORKFLOW:
            name, reference = (self._text(ctx, what) for what in ("name", "reference"))
            data = self.value(ctx, "data")
            start = await self.start_child(ctx, self.node, data, name, reference)
            config = self.node.config
            return StartsChild(
                ctx.pointer.id,
                ctx.pointer.attempt,
                start,
                detached=bool(config.get("detached")),
                abandon=config.get("on_parent_end") == "abandon",
            )
        return CONTROL[self.node.kind](self, ctx)

    def until(self) -> int | None:
        """Return when a wait that begins now times out, µs; ``None``: never."""
        timeout = self.node.config.get("timeout", self.node.timeout)
        return None if timeout is None else after(self.clock.now(), timeout, "the timeout")

    async def _wrapped(self, ctx: Context, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Call the body inside the middleware, which sees and may change what it returned."""
        body = cast("Body", self.body)
        seen: list[Any] = [None]

        async def innermost() -> Any:
            seen[0], result = await body(ctx, inputs)
            return result

        call: CallNext = innermost
        for each in reversed(self.middleware):
            call = functools.partial(each, ctx, call)
        result = await call()
        return seen[0], result

    def arguments(self, ctx: Context) -> Mapping[str, Any]:
        """Return what the body is given: its inputs, evaluated."""
        if not self.inputs:
            return _NOTHING
        return {name: evaluate(ctx) for name, evaluate in self.inputs}

    def value(self, ctx: Context, name: str) -> Any:
        """Return what the expression *name* gives, ``None`` when the node has none."""
        evaluate = self.exprs.get(name)
        return None if evaluate is None else evaluate(ctx)

    def _text(self, ctx: Context, what: str) -> str | None:
        value = self.value(ctx, what)
        return None if value is None else as_key(what, value)

    def _interpreted(self, ctx: Context, seen: Any, result: Any, started: int) -> Input:
        key, attempt = ctx.pointer.id, ctx.pointer.attempt
        if not isinstance(result, ExecutionResult):
            if "result" in self.node.config:  # a task: what it returns is kept whole
                result = {self.node.config["result"]: result}
            if result is None and not ctx.touched and not self.node.outputs:
                return Completed(key, attempt, None, NO_WRITES, started)
            silent = result is None or isinstance(result, dict)
            outcome = None if silent else encode(cast("object", result), "result")
            return Completed(key, attempt, outcome, self._writes(ctx, seen, result), started)
        return self._asked(ctx, seen, result, started)

    def _asked(self, ctx: Context, seen: Any, result: ExecutionResult, started: int) -> Input:
        key, attempt = ctx.pointer.id, ctx.pointer.attempt
        writes = self._writes(ctx, seen, result.fields)
        memory = None if result.memory is None else encode(result.memory, "persistence_data")
        match result.kind:
            case "next" | "output":
                return Completed(key, attempt, None, writes, started)
            case "outcome":
                return Completed(key, attempt, encode(result.value, "outcome"), writes, started)
            case "persist":
                return Slept(key, attempt, self.clock.now(), memory, writes)
            case "sleep":
                micros = to_micros(result.duration or timedelta())
                until = after(self.clock.now(), micros, "sleep()")
                return Slept(key, attempt, until, memory, writes)
            case "sleep_until" if result.when is not None:
                return Slept(key, attempt, to_micros(result.when), memory, writes)
            case "wait" if result.event is not None:
                return self._waits(ctx, result, writes)
            case "branch":
                return Items(key, attempt, encode(result.value, "branch"), writes)
            case "skip":
                return Skipped(key, attempt)
            case _:
                error = result.error or WfeError(str(result.value))
                return failed(ctx, error, started, retryable=result.retryable)

    def _waits(self, ctx: Context, result: ExecutionResult, writes: Writes) -> Waits:
        name, event_key = result.event or ("", "")
        return self.wait(ctx, name, event_key, result.when, result.duration, writes)

    def wait(
        self,
        ctx: Context,
        name: str,
        key: Any,
        as_of: Any,
        timeout: timedelta | None,
        writes: Writes = NO_WRITES,
    ) -> Waits:
        """Return the wait for an event, from *as_of* on (``None``: since the run was created)."""
        limit = None if timeout is None else to_micros(timeout)
        return Waits(
            pointer=ctx.pointer.id,
            attempt=ctx.pointer.attempt,
            name=as_key("event name", name),
            key="" if key is None else as_key("event key", key),
            as_of=ctx.created_at if as_of is None else to_micros(as_of),
            until=None if limit is None else after(self.clock.now(), limit, "the timeout"),
            writes=writes,
        )

    def _writes(self, ctx: Context, seen: Any, returned: Any) -> Writes:
        """Return what the attempt changed: data, then returned fields, then output mappings."""
        data = ctx.loaded_data() if ctx.touched else None
        changed = self.model.changes(ctx.before, data, ctx.seq) if ctx.touched else None
        fields: dict[str, Any] = {}
        if isinstance(returned, Mapping):
            fields.update(returned)  # pyright: ignore[reportUnknownArgumentType]
        elif returned is not None and "output" in self.node.config:
            fields[self.node.config["output"]] = returned
        for name, _ in self.node.outputs:
            fields[name] = self.exprs["output:" + name](seen)
        if not fields:
            return changed or NO_WRITES
        written = self.model.returned(fields, ctx.seq)
        return written if changed is None else _merged(changed, written)


def _merged(first: Writes, then: Writes) -> Writes:
    return Writes(
        {**first.fields, **then.fields},
        tuple(name for name in first.removed if name not in then.fields),
        {**first.reduced, **then.reduced},
        first.base,
    )


def failed(
    ctx: Context, error: BaseException, started: int = 0, *, retryable: bool | None = None
) -> Failed:
    """Return *error* as an input for the rules."""
    if retryable is None:
        retryable = bool(getattr(error, "retryable", True))
    return Failed(
        pointer=ctx.pointer.id,
        attempt=ctx.pointer.attempt,
        type=_own_text(error, "error_type") or type(error).__name__,
        message=_own_text(error, "message") or text_of(error) or type(error).__name__,
        retryable=retryable,
        spread=random.uniform(-1, 1),  # noqa: S311 - jitter, not a secret
        started=started,
        errored=bool(getattr(error, "errored", False)),
        labels=_own_labels(error),
    )


def _is_cancelled(ctx: Context) -> bool:
    """Whether a ``CancelledError`` is not the body's own: somebody asked it to stop."""
    task = asyncio.current_task()
    return ctx.cancelled.is_set() or task is None or bool(task.cancelling())


def _own_text(error: BaseException, name: str) -> str:
    """Return a text that an error carries; exceptions of others may hold anything there."""
    found: object = getattr(error, name, None)
    return storable_text(found) if isinstance(found, str) else ""


def _own_labels(error: BaseException) -> tuple[str, ...]:
    found: object = getattr(error, "retry_labels", ())
    if not isinstance(found, tuple):
        return ()
    many = cast("tuple[object, ...]", found)
    return tuple(storable_text(label) for label in many if isinstance(label, str))


def limit_key(ctx: Context, step: str, key: str | None, *, rate: bool) -> str:
    """Return the store's name of a limit.

    A definition's are its own.  A step's key is shared by all that name it, in any definition;
    without a key it is the step's own.
    """
    mark = "r:" if rate else ""
    if step == WHOLE:
        return f"{mark}w:{ctx.instance.definition}:{key or ''}"
    return f"{mark}{key}" if key else f"{mark}s:{ctx.instance.definition}:{step}"
