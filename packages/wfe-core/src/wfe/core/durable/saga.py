"""Steps that are undone when what follows them fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import attrs

from wfe.core.engine.strands import STRAND
from wfe.core.errors import StepFailedError
from wfe.core.lean import define
from wfe.core.policies import Continue, Retry, Suspend, Terminate

if TYPE_CHECKING:
    from wfe.core.durable.context import WorkflowContext
    from wfe.core.policies import ErrorPolicy

__all__ = ["Saga"]

T = TypeVar("T")


@define(eq=False)
class _Undo:
    """Something to undo; it is due after *seq*, the row that ended what it undoes."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    seq: int = -1
    path: str = ""
    number: int = 0
    key: str | None = None


class Saga:
    """What ``async with ctx.saga() as saga`` gives.

    When an exception leaves the block, what was done in it is undone, the last one first; then
    the exception goes on.  The undo steps are steps as any other: they run once, also when the
    process dies between them.
    """

    def __init__(self, ctx: WorkflowContext, retry: int | Retry | None) -> None:
        """Make one; use ``ctx.saga()``."""
        self._ctx = ctx
        self._policy = _policy(retry)
        self._undos: list[_Undo] = []

    @overload
    def step(
        self,
        function: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        undo: Callable[..., Any] | tuple[Any, ...] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def step(
        self,
        function: Callable[..., T],
        /,
        *args: Any,
        undo: Callable[..., Any] | tuple[Any, ...] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, T]: ...
    def step(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        undo: Callable[..., Any] | tuple[Any, ...] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, Any]:
        """Run a step as ``ctx.step`` does, and say how it is undone.

        Args:
            function: The step.
            args: Its arguments.
            undo: ``(function, argument, ...)``: it also undoes the step when the step itself
                failed, which may have had half of its effect.  A function alone is called with
                the step's result, so only when there is one.
            kwargs: Its arguments by name.
        """
        return self._step(self._ctx.begin_step(function, args, kwargs), undo)

    async def _step(
        self, call: Coroutine[Any, Any, Any], undo: Callable[..., Any] | tuple[Any, ...] | None
    ) -> Any:
        entry: _Undo | None = None
        strand = STRAND.get()
        if undo is not None and not callable(undo):
            entry = self._add(undo[0], undo[1:], {})
        try:
            result = await call
        except StepFailedError as error:
            if entry is not None:
                self._ended(entry, error.step or entry.name, error.__dict__.get("__wfe_call__"))
            raise
        except BaseException:
            if entry is not None:  # it was cancelled, or never began
                self._undos.remove(entry)
            raise
        if entry is None and callable(undo):
            entry = self._add(undo, (result,), {})
        if entry is not None:
            name, key = strand.answered or (entry.name, None)
            self._ended(entry, name, key)
        return result

    def compensate(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Run this step too when the saga is undone."""
        entry = self._add(function, args, kwargs)
        self._ended(entry, entry.name, None)

    def _add(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Undo:
        name = getattr(function, "__name__", type(function).__name__)
        entry = _Undo(name, function, args, kwargs)
        self._undos.append(entry)
        return entry

    def _ended(self, entry: _Undo, name: str, key: str | None) -> None:
        strand = STRAND.get()
        entry.name, entry.key = name, key
        entry.seq, entry.path, entry.number = strand.seq, strand.path, strand.returned

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Undo, if an exception leaves the block."""
        if error is None or not self._undos or self._ctx.over:
            return
        strand = STRAND.get()
        strand.undoing += 1
        try:
            await self._undo(error)
        finally:
            strand.undoing -= 1
            self._ctx.moved()

    async def _undo(self, error: BaseException) -> None:
        shown = {"type": type(error).__name__, "message": str(error), "step": None}
        await self._ctx.begin_note("saga", "saga_compensating", error=shown)
        order = list(enumerate(self._undos))
        order.sort(key=lambda each: (each[1].seq, each[1].path, each[1].number, each[0]))
        for _, undo in reversed(order):
            await self._ctx.begin_undo(
                undo.function, undo.args, undo.kwargs, self._policy, undone=(undo.name, undo.key)
            )


def _policy(retry: int | Retry | None) -> ErrorPolicy:
    """Return the policy of undo steps: what cannot be undone suspends the run."""
    if retry is None:
        return Suspend()
    policy = Retry(max_retries=retry) if isinstance(retry, int) else retry
    then = policy.then if isinstance(policy.then, Terminate | Continue) else Suspend()
    return attrs.evolve(policy, then=then)
