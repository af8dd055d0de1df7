"""Steps that contain others: branches, loops, choices, sagas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeAlias, overload

from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.adding import Adding, BranchOf, OfBoth, OfData, call, filled
from wfe.core.builder.drafts import Draft
from wfe.core.definition import Cel, Kind
from wfe.core.equality import same
from wfe.core.errors import DefinitionError

if TYPE_CHECKING:
    from wfe.core.builder.chain import StepBuilder

__all__ = ["ContainersMixin", "Join", "ParallelBuilder"]

D = TypeVar("D", default=Any)

Join: TypeAlias = Literal["all", "any"] | int


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
        self._draft.branches.append(filled(branch, self._draft))
        return self


class ContainersMixin(Adding[D]):
    """Adds containers to the end of a block."""

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
        draft.branches.append(filled(branch, draft))
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
        draft.branches.append(filled(branch, draft))
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
        item_type: Any = None,
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
        item_type: Any = None,
    ) -> StepBuilder[D, None]: ...
    def for_each(
        self,
        items: Any,
        body: BranchOf[D],
        *,
        parallel: bool = True,
        max_concurrency: int | None = None,
        fail_fast: bool = True,
        item_type: Any = None,
    ) -> StepBuilder[D, None]:
        """Run *body* once per item; the steps in it see ``ctx.item`` and ``ctx.index``.

        Args:
            items: A callable, ``expr("...")`` or a list; evaluated once.
            body: The steps.
            parallel: Whether items run side by side, or one after the other.
            max_concurrency: How many at a time; ``None``: no limit of this step's own.
            fail_fast: Whether a failed item cancels the others, or they run to their end first.
            item_type: Class of the items, so that ``ctx.item`` is one of it; ``None``: plain data.

        Raises:
            DefinitionError: The body is empty, or an argument does not fit.
        """
        draft = Draft(kind=Kind.FOR_EACH, method="for_each()", base="for_each")
        if item_type is not None:
            from wfe.core.conversion import checker  # noqa: PLC0415 - as in whole.py

            draft.code["item_type"] = checker(item_type, strict=False)
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
        draft.branches.append(filled(body, draft))
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
        call(branches, ParallelBuilder[D](draft), "parallel()", hint)
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
            draft.branches.append(filled(branch, draft, label))
        if default is not None:
            draft.branches.append(filled(default, draft, default=True))
        return self._added(draft)

    # -- others ------------------------------------------------------------------------------------

    def saga(self, branch: BranchOf[D]) -> StepBuilder[D, None]:
        """Run *branch*; when it fails, undo its completed steps, the latest first.

        A step's undo is what its ``compensate_with`` says.

        Raises:
            DefinitionError: The branch is empty.
        """
        draft = Draft(kind=Kind.SAGA, method="saga()", base="saga")
        draft.branches.append(filled(branch, draft))
        return self._added(draft)

    @overload
    def recur(
        self,
        interval: timedelta | OfData[D] | Cel,
        branch: BranchOf[D],
        *,
        until: OfData[D] | str | Cel | bool = False,
    ) -> StepBuilder[D, None]: ...
    @overload
    def recur(
        self,
        interval: OfBoth[D],
        branch: BranchOf[D],
        *,
        until: OfData[D] | str | Cel | bool = False,
    ) -> StepBuilder[D, None]: ...
    @overload
    def recur(
        self, interval: OfBoth[D], branch: BranchOf[D], *, until: OfBoth[D]
    ) -> StepBuilder[D, None]: ...
    @overload
    def recur(
        self, interval: timedelta | OfData[D] | Cel, branch: BranchOf[D], *, until: OfBoth[D]
    ) -> StepBuilder[D, None]: ...
    def recur(
        self, interval: Any, branch: BranchOf[D], *, until: Any = False
    ) -> StepBuilder[D, None]:
        """Wait for *interval*, then run *branch*, again and again.

        Args:
            interval: A timedelta, a callable that gives one, or ``expr("...")``; computed anew
                each time.
            branch: The steps.
            until: Go on when this (callable or CEL) holds, which is looked at before and after
                each wait; without it, only ``cancel_when`` or an end of the run ends it.

        Raises:
            DefinitionError: The branch is empty, or an argument does not fit.
        """
        draft = Draft(kind=Kind.RECUR, method="recur()", base="recur")
        if isinstance(interval, Cel) or callable(interval):
            draft.compute("interval", args.computed(interval, "recur()", "a timedelta"))
        else:
            micros = args.micros(interval, "the interval of recur()", least=1)
            draft.exprs["interval"] = args.literal(micros, "interval")
        draft.compute("until", args.condition(until, "until of recur()"))
        draft.branches.append(filled(branch, draft))
        return self._added(draft)


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
