"""``@workflow``: makes an async function a durable one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.errors import DefinitionError
from wfe.core.micros import to_micros

if TYPE_CHECKING:
    from wfe.core.durable.context import WorkflowContext

__all__ = ["DurableFunction", "workflow"]

P = ParamSpec("P")
T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Any])


class DurableFunction(Generic[P, T]):
    """A durable function; give it to ``host.register`` and ``host.start_workflow``.

    Attributes:
        id: Of the workflow; with *version* it names the definition.
        version: Of the workflow.
        function: The function itself.
    """

    def __init__(
        self,
        function: Callable[Concatenate[WorkflowContext, P], Coroutine[Any, Any, T]],
        id: str,
        version: int,
        *,
        timeout: timedelta | None = None,
        retention: timedelta | None = None,
    ) -> None:
        """Make *function* durable; use :func:`workflow`."""
        if not inspect.iscoroutinefunction(function):
            problem = f"{function!r} is no async function"
            raise DefinitionError(problem, id, "write async def f(ctx: WorkflowContext, ...)")
        self.id: str = id
        self.version: int = version
        self.function: Callable[Concatenate[WorkflowContext, P], Coroutine[Any, Any, T]] = function
        self.__doc__ = function.__doc__
        self.__name__: str = function.__name__
        self.__module__ = function.__module__
        self._timeout = timeout
        self._retention = retention
        self._handlers: dict[str, Callable[..., Any]] = {}
        self._built: WorkflowDefinition | None = None

    def __call__(
        self, ctx: WorkflowContext, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Call the function as part of another durable function, in the same run."""
        return self.function(ctx, *args, **kwargs)

    def __repr__(self) -> str:
        """Return what it is, and where it was written."""
        return f"<workflow {self.id!r} version {self.version}: {self.__module__}.{self.__name__}>"

    def query(self, name: str) -> Callable[[H], H]:
        """Answer ``host.query(run, name, payload)`` with a function of (data, payload).

        It sees a copy of the run's data and changes nothing.
        """
        return self._handler(f"query:{name}")

    def update(self, name: str) -> Callable[[H], H]:
        """Answer ``host.update(run, name, payload)`` with a function of (data, payload).

        What it changes in the data is kept, what it returns is the answer.
        """
        return self._handler(f"update:{name}")

    def validate(self, name: str) -> Callable[[H], H]:
        """Check an update before it is taken: a function of (data, payload) that raises."""
        return self._handler(f"validate:{name}")

    def _handler(self, role: str) -> Callable[[H], H]:
        def mark(handler: H) -> H:
            if role in self._handlers:
                problem = f"there are two handlers for {role.partition(':')[2]!r}"
                raise DefinitionError(problem, self.id, "give each a name of its own")
            self._handlers[role] = handler
            self._built = None
            return handler

        return mark

    def build(self) -> WorkflowDefinition:
        """Return the definition; the same one until a handler is added.

        Raises:
            DefinitionError: The function's signature does not fit.
        """
        if self._built is None:
            from wfe.core.durable.data import function_model  # noqa: PLC0415 - not to define it

            function_model(self.function)  # shows early what is wrong with the signature
            code: dict[str, Any] = {f"{self.id}/body": self.function}
            code.update({f"/{role}": handler for role, handler in self._handlers.items()})
            self._built = WorkflowDefinition(
                id=self.id,
                version=self.version,
                root=Block((Node(name=self.id, kind=Kind.FUNCTION),)),
                timeout=None if self._timeout is None else to_micros(self._timeout),
                retention=None if self._retention is None else to_micros(self._retention),
                handlers=tuple(sorted(self._handlers)),
                result="result",
                code=code,
            )
        return self._built


def workflow(
    id: str,
    *,
    version: int = 1,
    timeout: timedelta | None = None,
    retention: timedelta | None = None,
) -> Callable[
    [Callable[Concatenate[WorkflowContext, P], Coroutine[Any, Any, T]]], DurableFunction[P, T]
]:
    """Make an async function a workflow whose state survives the process.

    The function is run again from its start when its process died, or when it waited for long:
    each call that its context made before gives at once what it gave then.  So whatever the
    function itself does between the calls must be the same each time; everything else belongs
    into a step (``ctx.step``).

    Args:
        id: Of the workflow, at most 512 bytes.
        version: Give a changed function a new one, and keep the old one for runs under way.
        timeout: Of a whole run; ``None``: none.
        retention: How long a finished run is kept; ``None``: as the host says.

    Raises:
        DefinitionError: The function is not async, or *id* or *version* does not fit.
    """
    name: object = id
    if not isinstance(name, str) or not name or len(name.encode()) > _LONGEST:  # pyright: ignore[reportUnnecessaryIsInstance] - users may
        problem = f"a workflow's id is a text of 1 to {_LONGEST} bytes, got {id!r:.80}"
        hint = 'write @workflow("name")'
        raise DefinitionError(problem, None, hint)
    number: object = version
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:  # pyright: ignore[reportUnnecessaryIsInstance] - users may
        raise DefinitionError(f"version must be a whole number from 1, got {version!r}", id)
    for what, given in (("timeout", timeout), ("retention", retention)):
        if given is not None and not timedelta(0) < given <= _FOREVER:
            problem = f"{what} must be positive and at most {_FOREVER.days:,} days"
            raise DefinitionError(problem, id, f"got {given!r}")

    def mark(
        function: Callable[Concatenate[WorkflowContext, P], Coroutine[Any, Any, T]],
    ) -> DurableFunction[P, T]:
        return DurableFunction(function, id, version, timeout=timeout, retention=retention)

    return mark


_FOREVER = timedelta(days=365_000)
_LONGEST = 512
