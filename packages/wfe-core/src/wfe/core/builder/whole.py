"""What is said of a whole workflow, and the end of the chain: ``build``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, Generic, Self, overload

import attrs
from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.drafts import Branch, Defaults
from wfe.core.definition import Cel, Limit, WorkflowDefinition
from wfe.core.errors import DefinitionError
from wfe.core.lean import define
from wfe.core.policies import CompensateThenSuspend, ErrorPolicy, Fail, Retry

__all__ = ["Buildable", "Whole", "combined"]

D = TypeVar("D", default=Any)

FOR_EVER: Final = -1
_UPDATE: Final = "the name of on_update()"
_QUERY: Final = "the name of on_query()"
_HANDLER: Final = "it must take (data, payload) or (data), for example lambda d, payload: ..."


@define(eq=False)
class Whole:
    """The workflow that a chain belongs to."""

    data_type: type | None
    block: Branch = attrs.field(factory=Branch)
    defaults: Defaults = attrs.field(factory=Defaults)


class Buildable(Generic[D]):
    """A builder that knows its workflow."""

    _whole: Whole | None

    def default_error(self, policy: ErrorPolicy) -> Self:
        """Say what happens when a step without its own ``on_error`` fails.

        With ``default_retry`` it is what follows when the retries are used up.

        Raises:
            DefinitionError: *policy* is none.
        """
        defaults = self._of_workflow("default_error()").defaults
        given = args.policy(policy, "default_error()", None)
        defaults.error = combined(given, defaults.error, "default_error()")
        return self

    def default_retry(self, retry: int | Retry) -> Self:
        """Say how steps without their own ``on_error`` are tried again; 2 retries are 3 attempts.

        Raises:
            DefinitionError: *retry* is neither a number nor a ``Retry``.
        """
        defaults = self._of_workflow("default_retry()").defaults
        given = args.retries(retry, "default_retry()", None)
        defaults.error = combined(given, defaults.error, "default_retry()")
        return self

    def default_timeout(self, timeout: timedelta | float) -> Self:
        """Limit each attempt of a step without its own ``timeout``; a number is seconds.

        Raises:
            DefinitionError: It is not positive.
        """
        defaults = self._of_workflow("default_timeout()").defaults
        defaults.timeout = args.seconds(timeout, "default_timeout()", None)
        return self

    def definition_timeout(self, timeout: timedelta | float) -> Self:
        """Fail a run that takes longer than this; a number is seconds.

        Raises:
            DefinitionError: It is not positive.
        """
        defaults = self._of_workflow("definition_timeout()").defaults
        defaults.run_timeout = args.seconds(timeout, "definition_timeout()", None)
        return self

    def workflow_concurrency(
        self, key: Callable[[D], Any] | Cel | str | None = None, *, limit: int
    ) -> Self:
        """Let at most *limit* runs of the workflow run at a time, over all hosts.

        Args:
            key: Only runs with the same key count together: a callable over the data, a text or
                ``expr("...")``; ``None``: all runs of this workflow.
            limit: From 1.

        Raises:
            DefinitionError: An argument does not fit.
        """
        return self._limit_runs("workflow_concurrency()", key, limit, None)

    def workflow_rate_limit(
        self,
        key: Callable[[D], Any] | Cel | str | None = None,
        *,
        limit: int,
        per: timedelta = timedelta(seconds=1),
    ) -> Self:
        """Let at most *limit* runs of the workflow begin within *per*, over all hosts.

        Args:
            key: As in :meth:`workflow_concurrency`.
            limit: From 1.
            per: Length of the window.

        Raises:
            DefinitionError: An argument does not fit.
        """
        what = "per of workflow_rate_limit()"
        micros = args.micros(per, what, least=1)
        return self._limit_runs("workflow_rate_limit()", key, limit, micros)

    def retention(self, retention: timedelta | None) -> Self:
        """Keep finished runs for this long, whatever the host says; ``None``: for ever.

        Raises:
            DefinitionError: It is not positive.
        """
        defaults = self._of_workflow("retention()").defaults
        defaults.retention = (
            FOR_EVER if retention is None else args.micros(retention, "retention()", least=1)
        )
        return self

    def requires(self, *labels: str) -> Self:
        """Run only on hosts that have all of these labels.

        Raises:
            DefinitionError: There is none, or one is no text.
        """
        defaults = self._of_workflow("requires()").defaults
        if not labels:
            raise DefinitionError("requires() got no label", None, 'for example requires("gpu")')
        checked = [args.check_text("a label of requires()", label) for label in labels]
        defaults.requires = tuple(dict.fromkeys((*defaults.requires, *checked)))
        return self

    @overload
    def on_update(
        self,
        name: str,
        handler: Callable[[D, Any], Any],
        validator: Callable[[D, Any], Any] | None = None,
    ) -> Self: ...
    @overload
    def on_update(
        self, name: str, handler: Callable[[D], Any], validator: Callable[[D], Any] | None = None
    ) -> Self: ...
    def on_update(self, name: str, handler: Any, validator: Any = None) -> Self:
        """Answer ``host.update(run, name, payload)``: *handler* may change the data.

        Args:
            name: Of the update.
            handler: Takes ``(data, payload)`` or ``(data)``; what it returns is the result.
            validator: Takes the same; the update is rejected when it raises, and leaves no trace.

        Raises:
            DefinitionError: The name is taken, or one of them is no such function.
        """
        self._handler("on_update()", f"update:{args.check_text(_UPDATE, name)}", handler)
        if validator is not None:
            self._handler("the validator of on_update()", f"validate:{name}", validator)
        return self

    @overload
    def on_query(self, name: str, handler: Callable[[D], Any]) -> Self: ...
    @overload
    def on_query(self, name: str, handler: Callable[[D, Any], Any]) -> Self: ...
    def on_query(self, name: str, handler: Any) -> Self:
        """Answer ``host.query(run, name, payload)``; what *handler* changes is not kept.

        Args:
            name: Of the query.
            handler: Takes ``(data, payload)`` or ``(data)``; what it returns is the result.

        Raises:
            DefinitionError: The name is taken, or it is no such function.
        """
        self._handler("on_query()", f"query:{args.check_text(_QUERY, name)}", handler)
        return self

    def build(
        self, id: str, version: int = 1, description: str | None = None
    ) -> WorkflowDefinition:
        """Return the definition.

        Args:
            id: With *version* it names the definition; at most 512 bytes.
            version: From 1.
            description: For people.

        Raises:
            DefinitionError: Something in it does not fit together.
        """
        from wfe.core.builder.assembly import (  # noqa: PLC0415 - importing the builder loads no more than declaring needs
            assemble,
        )

        whole = self._of_workflow("build()")
        if not whole.block.drafts:
            name = args.check_text("the id of a workflow", id, None)
            hint = "begin with start_with(...) or then(...)"
            raise DefinitionError("the workflow has no steps", name, hint)
        return assemble(
            whole.block.drafts,
            id=id,
            version=version,
            description=description,
            data_type=whole.data_type,
            defaults=whole.defaults,
        )

    def _limit_runs(self, method: str, key: Any, limit: int, per: int | None) -> Self:
        defaults = self._of_workflow(method).defaults
        count = args.positive(limit, f"limit of {method}")
        what = f"the key of {method}"
        found = args.text(key, what)
        if found is None:
            defaults.limits.append(Limit(None, count, per))
            return self
        expression, function = found
        if function is not None:
            if not args.accepts(function, 1):
                problem = f"{what} got {args.signature_of(function)}"
                hint = "it is computed when the run starts, from the data alone: lambda d: ..."
                raise DefinitionError(problem, None, hint)
            defaults.code[f"limit:{len(defaults.limits)}"] = function
        defaults.limits.append(Limit(expression, count, per))
        return self

    def _handler(self, method: str, role: str, function: Any) -> None:
        defaults = self._of_workflow(method).defaults
        if role in defaults.handlers:
            kind, _, name = role.partition(":")
            problem = f"{method} has a handler for {kind} {name!r} already"
            raise DefinitionError(problem, None, "leave one of them out")
        if not args.is_plain_function(function):
            found = args.got(function)
            if inspect.iscoroutinefunction(function):
                found = f"the async function {args.name_of(function)}"
            problem = f"{method} takes a plain function, got {found}"
            raise DefinitionError(problem, None, _HANDLER)
        if not args.accepts(function, 2) and not args.accepts(function, 1):
            problem = f"{method} got {args.signature_of(function)}"
            raise DefinitionError(problem, None, _HANDLER)
        defaults.handlers = (*defaults.handlers, role)
        defaults.code[role] = function

    def _of_workflow(self, method: str) -> Whole:
        if self._whole is None:
            problem = f"{method} was called inside a branch"
            raise DefinitionError(problem, None, "call it on the workflow's own builder")
        return self._whole


def combined(
    given: ErrorPolicy, known: ErrorPolicy | None, what: str, where: str | None = None
) -> ErrorPolicy:
    """Return one policy of two: a retry, and what follows when it is used up.

    Raises:
        DefinitionError: Both are retries, or both are what follows, or it follows no retry.
    """
    if known is None:
        return given
    retry, then = (given, known) if isinstance(given, Retry) else (known, given)
    if isinstance(then, CompensateThenSuspend):
        problem = f"{what}: CompensateThenSuspend() cannot follow a retry"
        raise DefinitionError(problem, where, "use Suspend() or Compensate() there")
    if not isinstance(retry, Retry) or isinstance(then, Retry) or retry.then != Fail():
        problem = f"{what} contradicts an error policy that was given before"
        raise DefinitionError(problem, where, "give one of them, or Retry(..., then=...)")
    return attrs.evolve(retry, then=then)
