"""The fluent builder: what is typed in a definition, step by step."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Self, overload

from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.adding import BranchOf, filled, step_of
from wfe.core.builder.around import AroundMixin
from wfe.core.builder.bodies import inline
from wfe.core.builder.children import ChildrenMixin
from wfe.core.builder.containers import ContainersMixin, ParallelBuilder
from wfe.core.builder.drafts import Branch, Draft
from wfe.core.builder.settings import StepSettingsMixin
from wfe.core.builder.waiting import WaitingMixin
from wfe.core.builder.web import WebMixin
from wfe.core.builder.whole import Buildable, Whole
from wfe.core.definition import Cel, Kind
from wfe.core.errors import DefinitionError
from wfe.core.steps import StepBody, StepExecutionContext

__all__ = ["BranchBuilder", "ParallelBuilder", "StepBuilder", "WorkflowBuilder"]

D = TypeVar("D", default=Any)
B = TypeVar("B", default=Any)
S = TypeVar("S", bound=StepBody)
R = TypeVar("R")


class _Chain(ContainersMixin[D], WaitingMixin[D], ChildrenMixin[D], WebMixin[D]):
    """What adds steps to the end of a block."""

    # -- steps -------------------------------------------------------------------------------------

    @overload
    def then(self, body: type[S]) -> StepBuilder[D, S]: ...
    @overload
    def then(self, body: S) -> StepBuilder[D, S]: ...
    @overload
    def then(self, body: Callable[..., Awaitable[R]]) -> StepBuilder[D, R]: ...
    @overload
    def then(self, body: Callable[..., R]) -> StepBuilder[D, R]: ...
    def then(self, body: Any) -> StepBuilder[D, Any]:
        """Add a step.

        Args:
            body: A class with ``run(ctx)``, an instance of one (copied for each attempt), or a
                function, whose parameters come from ``input``, then from the data by name.

        Raises:
            DefinitionError: It is none of these.
        """
        return self._body("then()", body)

    def then_fn(self, function: Callable[[StepExecutionContext[D]], Any]) -> StepBuilder[D, Any]:
        """Add an inline function of the context, for example ``lambda ctx: print(ctx.data)``.

        Raises:
            DefinitionError: It is no function, or takes more than the context.
        """
        if not args.is_plain_function(function) and not inspect.iscoroutinefunction(function):
            problem = f"then_fn() takes a function of the context, got {args.got(function)}"
            raise DefinitionError(problem, None, "use then() for other steps")
        return self._body("then_fn()", inline(function))

    # -- leaving -----------------------------------------------------------------------------------

    def goto(self, target: str) -> StepBuilder[D, None]:
        """Go on at the step with this id or name, in this block or one around it.

        Raises:
            DefinitionError: *target* is no text; at ``build``: there is no such step.
        """
        name = args.check_text("the target of goto()", target)
        draft = Draft(kind=Kind.GOTO, method="goto()", base="goto")
        draft.config["target"] = name
        return self._added(draft)

    def end_workflow(self) -> StepBuilder[D, None]:
        """Complete the run here; whatever else still runs in it is cancelled."""
        return self._added(Draft(kind=Kind.END, method="end_workflow()", base="end_workflow"))

    def _body(self, method: str, body: Any) -> StepBuilder[D, Any]:
        return self._added(step_of(body, method))


class BranchBuilder(_Chain[D]):
    """An empty branch of a container, to add steps to."""


class StepBuilder(_Chain[D], StepSettingsMixin[D, B], AroundMixin[D], Buildable[D]):
    """The step added last: say more of it, or go on with the next.

    ``D`` is the type of the data, ``B`` what an output mapping looks at: the body of a class step,
    the result of a function.
    """

    def __init__(self, block: Branch, whole: Whole | None, draft: Draft) -> None:
        """Stand at *draft*, the last of *block*."""
        super().__init__(block, whole)
        self._draft = draft

    def when(self, value: object, branch: BranchOf[D]) -> Self:
        """Run *branch* when the step's outcome equals *value*; several may match.

        The outcome of an approval is the chosen option.

        Raises:
            DefinitionError: The branch is empty, *value* is no option of the approval, or this is
                neither a step with a body nor an approval.
        """
        draft = self._choosing("when()")
        label = args.label(value, "the value of when()", draft.shown)
        if draft.kind is Kind.APPROVAL and label not in draft.config["options"]:
            problem = f"when({value!r}) is no option of the approval"
            hint = f"it has {', '.join(map(repr, draft.config['options']))}"
            raise DefinitionError(problem, draft.shown, hint)
        return self._branch(branch, label=label)

    def otherwise(self, branch: BranchOf[D]) -> Self:
        """Run *branch* when no ``when`` matched the step's outcome.

        Raises:
            DefinitionError: The branch is empty, or there is no ``when``.
        """
        draft = self._choosing("otherwise()")
        if not draft.branches:
            problem = "otherwise() without when()"
            raise DefinitionError(problem, draft.shown, "add .when(value, branch) before it")
        if draft.branches[-1].default:
            raise DefinitionError("otherwise() is given twice", draft.shown, "leave one out")
        return self._branch(branch, default=True)

    def else_do(self, branch: BranchOf[D]) -> Self:
        """Run *branch* when the condition of the ``if_do`` before it does not hold.

        Raises:
            DefinitionError: The branch is empty, or there is no ``if_do`` right before it.
        """
        draft = self._draft
        if draft.kind is not Kind.IF:
            hint = "write it right after .if_do(condition, branch)"
            raise DefinitionError(f"else_do() after {draft.method}", draft.shown, hint)
        if len(draft.branches) > 1:
            raise DefinitionError("else_do() is given twice", draft.shown, "leave one out")
        return self._branch(branch)

    def _choosing(self, method: str) -> Draft:
        return self._draft if self._draft.kind is Kind.APPROVAL else self._step(method)

    def _branch(self, branch: BranchOf[D], *, label: Any = None, default: bool = False) -> Self:
        self._draft.branches.append(filled(branch, self._draft, label, default=default))
        return self


class WorkflowBuilder(_Chain[D], Buildable[D]):
    """Writes a definition, step by step, ending with ``build``.

    Steps are added at the end, whichever builder of the chain they are added to.
    """

    @overload
    def __init__(self: WorkflowBuilder[dict[str, Any]]) -> None: ...
    @overload
    def __init__(self, data_type: type[D]) -> None: ...
    def __init__(self, data_type: Any = None) -> None:
        """Begin a definition.

        Args:
            data_type: An attrs class, a dataclass or a ``TypedDict``; without it, a plain dict.

        Raises:
            DefinitionError: It is something else.
        """
        from wfe.core.data import model_for  # noqa: PLC0415 - as in whole.py

        model_for(data_type)
        whole = Whole(None if data_type is dict else data_type)
        super().__init__(whole.block, whole)

    @overload
    def start_with(self, body: type[S]) -> StepBuilder[D, S]: ...
    @overload
    def start_with(self, body: S) -> StepBuilder[D, S]: ...
    @overload
    def start_with(self, body: Callable[..., Awaitable[R]]) -> StepBuilder[D, R]: ...
    @overload
    def start_with(self, body: Callable[..., R]) -> StepBuilder[D, R]: ...
    def start_with(self, body: Any) -> StepBuilder[D, Any]:
        """Add the first step; the same as :meth:`then`.

        Raises:
            DefinitionError: There are steps before it, or *body* is no step.
        """
        if self._block.drafts:
            problem = "start_with() after another step"
            raise DefinitionError(problem, None, "use then() for all steps but the first")
        return self._body("start_with()", body)

    def concurrency(self, key: Callable[[D], Any] | Cel | str | None = None, *, limit: int) -> Self:
        """Let at most *limit* runs of the workflow run at a time, over all hosts.

        The same as :meth:`workflow_concurrency`; after a step it is about that step.

        Raises:
            DefinitionError: An argument does not fit.
        """
        return self.workflow_concurrency(key, limit=limit)

    def rate_limit(
        self,
        key: Callable[[D], Any] | Cel | str | None = None,
        *,
        limit: int,
        per: timedelta = timedelta(seconds=1),
    ) -> Self:
        """Let at most *limit* runs of the workflow begin within *per*, over all hosts.

        The same as :meth:`workflow_rate_limit`; after a step it is about that step.

        Raises:
            DefinitionError: An argument does not fit.
        """
        return self.workflow_rate_limit(key, limit=limit, per=per)
