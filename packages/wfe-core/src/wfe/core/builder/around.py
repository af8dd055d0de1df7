"""What is said of a step beyond itself: undo, hooks, and how many may run at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Generic, Self, overload

import attrs
from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.adding import Body, OfBoth, OfData, step_of
from wfe.core.builder.drafts import Branch, Draft
from wfe.core.definition import Cel, Kind, Limit
from wfe.core.errors import DefinitionError
from wfe.core.policies import Compensate, CompensateThenSuspend, ErrorPolicy, Retry

__all__ = ["AroundMixin"]

D = TypeVar("D", default=Any)


class AroundMixin(Generic[D]):
    """Undo, hooks and limits of the step added last, which may be a container."""

    _draft: Draft

    def compensate_with(self, *steps: Body, on_error: ErrorPolicy | None = None) -> Self:
        """Undo the step with *steps*, in this order, when the saga around it fails.

        Outside of a saga they run when the step's own policy is ``Compensate()``,
        ``CompensateThenRetry(...)`` or ``CompensateThenSuspend()``.

        Args:
            steps: Classes with ``run(ctx)``, instances of one, or functions.
            on_error: What happens when an undo step fails; ``None``: the run is SUSPENDED, and
                ``resume`` tries the undo again.

        Raises:
            DefinitionError: There is no step, or they were given before.
        """
        draft = self._lasting("compensate_with()")
        if draft.undo is not None:
            raise _twice("compensate_with()", draft)
        policy = None if on_error is None else _undo_policy(on_error, draft.shown)
        undo = _steps(steps, "compensate_with()", draft)
        for each in undo.drafts:
            each.on_error = policy
        draft.undo = undo
        return self

    def on_success(self, *steps: Body) -> Self:
        """Run *steps*, in this order, after the step completed.

        Raises:
            DefinitionError: There is no step, or they were given before.
        """
        return self._hook("on_success", steps)

    def on_failure(self, *steps: Body) -> Self:
        """Run *steps*, in this order, after the step failed for good.

        Raises:
            DefinitionError: There is no step, or they were given before.
        """
        return self._hook("on_failure", steps)

    def on_abort(self, *steps: Body) -> Self:
        """Run *steps*, in this order, after the step was cancelled or the run terminated.

        Raises:
            DefinitionError: There is no step, or they were given before.
        """
        return self._hook("on_abort", steps)

    def ensure(self, *steps: Body) -> Self:
        """Run *steps*, in this order, after the step, whatever became of it.

        Raises:
            DefinitionError: There is no step, or they were given before.
        """
        return self._hook("ensure", steps)

    @overload
    def concurrency(self, key: OfData[D] | Cel | str | None = None, *, limit: int) -> Self: ...
    @overload
    def concurrency(self, key: OfBoth[D], *, limit: int) -> Self: ...
    def concurrency(self, key: Any = None, *, limit: int) -> Self:
        """Run the step at most *limit* times at a time, over all runs and hosts.

        Args:
            key: Only those with the same key count together: a callable, a text or
                ``expr("...")``; whatever steps use a key share it.  ``None``: this step alone.
            limit: From 1.

        Raises:
            DefinitionError: An argument does not fit.
        """
        return self._limit_step("concurrency()", key, limit, None)

    @overload
    def rate_limit(
        self,
        key: OfData[D] | Cel | str | None = None,
        *,
        limit: int,
        per: timedelta = timedelta(seconds=1),
    ) -> Self: ...
    @overload
    def rate_limit(
        self, key: OfBoth[D], *, limit: int, per: timedelta = timedelta(seconds=1)
    ) -> Self: ...
    def rate_limit(
        self, key: Any = None, *, limit: int, per: timedelta = timedelta(seconds=1)
    ) -> Self:
        """Begin the step at most *limit* times within *per*, over all runs and hosts.

        Args:
            key: As in :meth:`concurrency`.
            limit: From 1.
            per: Length of the window.

        Raises:
            DefinitionError: An argument does not fit.
        """
        micros = args.micros(per, "per of rate_limit()", self._draft.shown, least=1)
        return self._limit_step("rate_limit()", key, limit, micros)

    def _hook(self, name: str, steps: tuple[Body, ...]) -> Self:
        draft = self._lasting(f"{name}()")
        if name in draft.hooks:
            raise _twice(f"{name}()", draft)
        draft.hooks[name] = _steps(steps, f"{name}()", draft)
        return self

    def _limit_step(self, method: str, key: Any, limit: int, per: int | None) -> Self:
        draft = self._lasting(method)
        count = args.positive(limit, f"limit of {method}", draft.shown)
        found = args.text(key, f"the key of {method}", draft.shown)
        kept = None if found is None else draft.keep(f"limit:{len(draft.limits)}", found)
        draft.limits.append(Limit(kept, count, per))
        return self

    def _lasting(self, method: str) -> Draft:
        """Return the draft; a step that only leads elsewhere is refused."""
        draft = self._draft
        if draft.kind in _PASSING:
            problem = f"{method} has no meaning after {draft.method}"
            raise DefinitionError(problem, draft.shown, "leave it out")
        return draft


_PASSING: Final = (Kind.GOTO, Kind.END)


def _twice(method: str, draft: Draft) -> DefinitionError:
    hint = f"name all steps in one call: {method.removesuffix('()')}(A, B)"
    return DefinitionError(f"{method} is given twice", draft.shown, hint)


def _steps(steps: tuple[Body, ...], method: str, draft: Draft) -> Branch:
    if not steps:
        hint = "pass a class or an instance with a method run(ctx), or a function"
        raise DefinitionError(f"{method} got no step", draft.shown, hint)
    try:
        return Branch(drafts=[step_of(each, method) for each in steps])
    except DefinitionError as error:
        raise attrs.evolve(error, where=draft.shown) from None


def _undo_policy(given: object, where: str) -> ErrorPolicy:
    policy = args.policy(given, "on_error of compensate_with()", where)
    undoes = isinstance(policy, Retry) and policy.compensate
    last = policy.then if isinstance(policy, Retry) else policy
    if undoes or isinstance(last, Compensate | CompensateThenSuspend):
        problem = "on_error of compensate_with() asks to compensate: it is an undo itself"
        hint = "use Retry(...), Suspend(), Fail(), Terminate() or Continue()"
        raise DefinitionError(problem, where, hint)
    return policy
