"""The fluent builder: what is typed in a definition, step by step."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Generic, Literal, Self, TypeAlias, overload

from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.bodies import body_name, check_body, inline
from wfe.core.builder.drafts import Branch, Draft
from wfe.core.builder.settings import StepSettingsMixin
from wfe.core.builder.whole import Buildable, Whole
from wfe.core.data import model_for, same
from wfe.core.definition import Cel, Kind
from wfe.core.errors import DefinitionError
from wfe.core.steps import StepBody, StepExecutionContext

__all__ = ["BranchBuilder", "ParallelBuilder", "StepBuilder", "WorkflowBuilder"]

D = TypeVar("D", default=Any)
B = TypeVar("B", default=Any)
S = TypeVar("S", bound=StepBody)
R = TypeVar("R")

OfData: TypeAlias = "Callable[[D], Any]"
OfBoth: TypeAlias = "Callable[[D, StepExecutionContext[D]], Any]"
BranchOf: TypeAlias = "Callable[[BranchBuilder[D]], object]"
Join: TypeAlias = Literal["all", "any"] | int


class _Chain(Generic[D]):
    """What adds steps to the end of a block."""

    def __init__(self, block: Branch, whole: Whole | None) -> None:
        self._block = block
        self._whole = whole

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

    @overload
    def if_do(
        self, condition: OfData[D] | str | Cel | bool, branch: BranchOf[D]
    ) -> StepBuilder[D, None]: ...
    @overload
    def if_do(self, condition: OfBoth[D], branch: BranchOf[D]) -> StepBuilder[D, None]: ...
    def if_do(self, condition: Any, branch: BranchOf[D]) -> StepBuilder[D, None]:
        """Run *branch* when *condition* (callable or CEL) holds; ``else_do`` may follow.

        Raises:
            DefinitionError: The branch is empty, or *condition* is neither.
        """
        draft = Draft(kind=Kind.IF, method="if_do()", base="if_do")
        draft.compute("condition", args.condition(condition, "if_do()"))
        draft.branches.append(_filled(branch, draft))
        return self._added(draft)

    @overload
    def while_do(
        self, condition: OfData[D] | str | Cel | bool, branch: BranchOf[D]
    ) -> StepBuilder[D, None]: ...
    @overload
    def while_do(self, condition: OfBoth[D], branch: BranchOf[D]) -> StepBuilder[D, None]: ...
    def while_do(self, condition: Any, branch: BranchOf[D]) -> StepBuilder[D, None]:
        """Run *branch* again and again while *condition* (callable or CEL) holds.

        Raises:
            DefinitionError: The branch is empty, or *condition* is neither.
        """
        draft = Draft(kind=Kind.WHILE, method="while_do()", base="while_do")
        draft.compute("condition", args.condition(condition, "while_do()"))
        draft.branches.append(_filled(branch, draft))
        return self._added(draft)

    @overload
    def for_each(
        self,
        items: OfData[D] | list[Any] | Cel,
        body: BranchOf[D],
        *,
        parallel: bool = True,
        max_concurrency: int | None = None,
        fail_fast: bool = True,
    ) -> StepBuilder[D, None]: ...
    @overload
    def for_each(
        self,
        items: OfBoth[D],
        body: BranchOf[D],
        *,
        parallel: bool = True,
        max_concurrency: int | None = None,
        fail_fast: bool = True,
    ) -> StepBuilder[D, None]: ...
    def for_each(
        self,
        items: Any,
        body: BranchOf[D],
        *,
        parallel: bool = True,
        max_concurrency: int | None = None,
        fail_fast: bool = True,
    ) -> StepBuilder[D, None]:
        """Run *body* once per item; the steps in it see ``ctx.item`` and ``ctx.index``.

        Args:
            items: A callable, ``expr("...")`` or a list; evaluated once.
            body: The steps.
            parallel: Whether items run side by side, or one after the other.
            max_concurrency: How many at a time; ``None``: no limit of this step's own.
            fail_fast: Whether a failed item cancels the others, or they run to their end first.

        Raises:
            DefinitionError: The body is empty, or an argument does not fit.
        """
        draft = Draft(kind=Kind.FOR_EACH, method="for_each()", base="for_each")
        if isinstance(items, list):
            draft.exprs["items"] = args.literal(items, "the items of for_each()")  # pyright: ignore[reportUnknownArgumentType]
        else:
            wanted = 'a callable over the data, a list or expr("...")'
            draft.compute("items", args.computed(items, "for_each()", wanted))
        limit = None
        if max_concurrency is not None:
            limit = args.positive(max_concurrency, "max_concurrency")
            if not parallel:
                problem = "max_concurrency has no meaning with parallel=False"
                raise DefinitionError(problem, None, "leave one of them out")
        draft.config.update(limit=limit, sequential=not parallel, fail_fast=bool(fail_fast))
        draft.branches.append(_filled(body, draft))
        return self._added(draft)

    def parallel(
        self,
        branches: Callable[[ParallelBuilder[D]], object],
        *,
        join: Join = "all",
        fail_fast: bool = True,
    ) -> StepBuilder[D, None]:
        """Run several branches side by side: ``lambda p: p.branch(...).branch(...)``.

        Args:
            branches: Adds the branches.
            join: Go on when ``"all"``, ``"any"`` or so many are done; the rest is cancelled.
            fail_fast: Whether a failed branch cancels the others, or they run to their end first.

        Raises:
            DefinitionError: There is no branch, one is empty, or *join* does not fit.
        """
        draft = Draft(kind=Kind.PARALLEL, method="parallel()", base="parallel")
        hint = "for example parallel(lambda p: p.branch(lambda b: b.then(A)))"
        _call(branches, ParallelBuilder[D](draft), "parallel()", hint)
        if not draft.branches:
            raise DefinitionError("parallel() got no branches", None, hint)
        draft.config.update(
            join=_join(join, len(draft.branches)), limit=None, fail_fast=bool(fail_fast)
        )
        return self._added(draft)

    @overload
    def decide(
        self,
        value: OfData[D] | str | Cel,
        branches: Mapping[Any, BranchOf[D]],
        *,
        default: BranchOf[D] | None = None,
    ) -> StepBuilder[D, None]: ...
    @overload
    def decide(
        self,
        value: OfBoth[D],
        branches: Mapping[Any, BranchOf[D]],
        *,
        default: BranchOf[D] | None = None,
    ) -> StepBuilder[D, None]: ...
    def decide(
        self,
        value: Any,
        branches: Mapping[Any, BranchOf[D]],
        *,
        default: BranchOf[D] | None = None,
    ) -> StepBuilder[D, None]:
        """Run the branch whose label equals *value* (callable or CEL), else *default*, else none.

        Raises:
            DefinitionError: There is no branch, one is empty, or two labels are the same.
        """
        draft = Draft(kind=Kind.DECIDE, method="decide()", base="decide")
        wanted = "a callable over the data or a CEL text"
        given_value = args.cel_text(value, "decide()") if isinstance(value, str) else value
        draft.compute("value", args.computed(given_value, "decide()", wanted))
        if not args.is_filled_mapping(branches):
            problem = f"decide() takes branches by label, got {args.got(branches)}"
            raise DefinitionError(problem, None, 'for example {"a": lambda b: b.then(A)}')
        for given, branch in branches.items():
            label = args.label(given, "the label of a branch")
            if any(same(known.label, label) for known in draft.branches):
                raise DefinitionError(f"two branches of decide() have the label {label!r}")
            draft.branches.append(_filled(branch, draft, label))
        if default is not None:
            draft.branches.append(_filled(default, draft, default=True))
        return self._added(draft)

    # -- waiting -----------------------------------------------------------------------------------

    @overload
    def delay(self, duration: timedelta | OfData[D] | Cel) -> StepBuilder[D, None]: ...
    @overload
    def delay(self, duration: OfBoth[D]) -> StepBuilder[D, None]: ...
    def delay(self, duration: Any) -> StepBuilder[D, None]:
        """Wait, without holding a worker.

        Args:
            duration: A timedelta, or a callable that gives one.

        Raises:
            DefinitionError: It is neither, or negative.
        """
        draft = Draft(kind=Kind.DELAY, method="delay()", base="delay")
        if isinstance(duration, Cel) or callable(duration):
            draft.compute("duration", args.computed(duration, "delay()", "a timedelta"))
        else:
            micros = args.micros(duration, "the duration of delay()")
            draft.exprs["duration"] = args.literal(micros, "duration")
        return self._added(draft)

    @overload
    def wait_for(
        self,
        name: str,
        *,
        key: OfData[D] | str | int | Cel | None = None,
        timeout: timedelta | float | None = None,
        output: str | None = None,
        as_of: OfData[D] | Cel | None = None,
    ) -> StepBuilder[D, None]: ...
    @overload
    def wait_for(
        self,
        name: str,
        *,
        key: OfBoth[D],
        timeout: timedelta | float | None = None,
        output: str | None = None,
        as_of: OfData[D] | OfBoth[D] | Cel | None = None,
    ) -> StepBuilder[D, None]: ...
    def wait_for(
        self,
        name: str,
        *,
        key: Any = None,
        timeout: timedelta | float | None = None,
        output: str | None = None,
        as_of: Any = None,
    ) -> StepBuilder[D, None]:
        """Wait for the event *name* with *key*.

        Args:
            name: Of the event.
            key: A callable, a constant or ``expr("...")``; ``None``: the empty key.
            timeout: The step fails with ``StepTimeoutError`` after this (a number is seconds);
                ``None``: it waits without end.
            output: Data field for the event's data.
            as_of: A callable that gives a time: earlier events do not count; ``None``: the run's
                start.

        Raises:
            DefinitionError: An argument does not fit.
        """
        draft = Draft(kind=Kind.WAIT_FOR, method="wait_for()", base="wait_for")
        draft.config["event"] = args.check_text("the event of wait_for()", name)
        if isinstance(key, str | int) and not isinstance(key, bool):
            draft.exprs["key"] = args.literal(key, "the key of wait_for()")
        elif key is not None:
            wanted = 'a callable, a text, a number or expr("...")'
            found = args.computed(key, "the key of wait_for()", wanted)
            draft.compute("key", found)
        if as_of is not None:
            wanted = 'a callable that gives a time or expr("...")'
            draft.compute("as_of", args.computed(as_of, "as_of of wait_for()", wanted))
        if timeout is not None:
            draft.config["timeout"] = args.seconds(timeout, "the timeout of wait_for()")
        if output is not None:
            draft.config["output"] = args.check_text("the output of wait_for()", output)
        return self._added(draft)

    @overload
    def sub_workflow(
        self,
        id: str,
        *,
        version: int | None = None,
        data: OfData[D] | Mapping[str, Any] | Cel | None = None,
        output: str | None = None,
    ) -> StepBuilder[D, None]: ...
    @overload
    def sub_workflow(
        self,
        id: str,
        *,
        version: int | None = None,
        data: OfBoth[D],
        output: str | None = None,
    ) -> StepBuilder[D, None]: ...
    def sub_workflow(
        self,
        id: str,
        *,
        version: int | None = None,
        data: Any = None,
        output: str | None = None,
    ) -> StepBuilder[D, None]:
        """Run another workflow and wait for its end.

        Args:
            id: Of its definition.
            version: ``None``: the highest that is registered then.
            data: What it starts with: a callable, a mapping or ``expr("...")``.
            output: Data field for its final data.

        Raises:
            DefinitionError: An argument does not fit.
        """
        draft = Draft(kind=Kind.SUB_WORKFLOW, method="sub_workflow()", base="sub_workflow")
        draft.config["definition"] = args.check_text("the id of sub_workflow()", id)
        draft.config["version"] = (
            None if version is None else args.positive(version, "the version of sub_workflow()")
        )
        if isinstance(data, Mapping):
            draft.exprs["data"] = args.record(data, "the data of sub_workflow()")  # pyright: ignore[reportUnknownArgumentType]
        elif data is not None:
            wanted = 'a callable, a mapping or expr("...")'
            found = args.computed(data, "the data of sub_workflow()", wanted)
            draft.compute("data", found)
        if output is not None:
            draft.config["output"] = args.check_text("the output of sub_workflow()", output)
        return self._added(draft)

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
        check_body(body, method)
        base = body_name(body, method.removesuffix("()"))
        return self._added(Draft(kind=Kind.STEP, method=method, base=base, body=body))

    def _added(self, draft: Draft) -> StepBuilder[D, Any]:
        self._block.drafts.append(draft)
        return StepBuilder(self._block, self._whole, draft)


class BranchBuilder(_Chain[D]):
    """An empty branch of a container, to add steps to."""


class ParallelBuilder(Generic[D]):
    """What :meth:`WorkflowBuilder.parallel` gives to its function."""

    def __init__(self, draft: Draft) -> None:
        """Add branches to *draft*."""
        self._draft = draft

    def branch(self, branch: BranchOf[D]) -> Self:
        """Add a branch.

        Raises:
            DefinitionError: It is empty.
        """
        self._draft.branches.append(_filled(branch, self._draft))
        return self


class StepBuilder(_Chain[D], StepSettingsMixin[D, B], Buildable):
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

        Raises:
            DefinitionError: The branch is empty, or this is no step with a body.
        """
        draft = self._step("when()")
        return self._branch(branch, label=args.label(value, "the value of when()", draft.shown))

    def otherwise(self, branch: BranchOf[D]) -> Self:
        """Run *branch* when no ``when`` matched the step's outcome.

        Raises:
            DefinitionError: The branch is empty, or there is no ``when``.
        """
        draft = self._step("otherwise()")
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

    def _branch(self, branch: BranchOf[D], *, label: Any = None, default: bool = False) -> Self:
        self._draft.branches.append(_filled(branch, self._draft, label, default=default))
        return self


class WorkflowBuilder(_Chain[D], Buildable):
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


def _filled(branch: Any, draft: Draft, label: Any = None, *, default: bool = False) -> Branch:
    made = Branch(label, default)
    builder: BranchBuilder[Any] = BranchBuilder(made, None)
    hint = "for example lambda b: b.then(A)"
    _call(branch, builder, f"a branch of {draft.method}", hint)
    if not made.drafts:
        problem = f"a branch of {draft.method} is empty"
        raise DefinitionError(
            problem, None, "add steps to the builder that it gets: lambda b: b.then(A)"
        )
    return made


def _call(function: Callable[[Any], object], argument: object, what: str, hint: str) -> None:
    problem = f"{what} must be a function over a builder, got "
    if not args.is_plain_function(function):
        raise DefinitionError(problem + args.got(function), None, hint)
    if not args.accepts(function, 1):
        raise DefinitionError(problem + args.signature_of(function), None, hint)
    function(argument)


def _join(join: Join, branches: int) -> Join:
    if isinstance(join, int) and not isinstance(join, bool):
        if 1 <= join <= branches:
            return join
        problem = f"join of parallel() must be from 1 to {branches}, its number of branches"
        raise DefinitionError(f"{problem}, got {join}")
    if join not in ("all", "any"):
        problem = f'join of parallel() must be "all", "any" or a number, got {args.got(join)}'
        raise DefinitionError(problem)
    return join
