"""What every builder of a chain shares: adding a step to the end of its block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.bodies import body_name, check_body
from wfe.core.builder.drafts import Branch, Draft
from wfe.core.definition import Kind
from wfe.core.errors import DefinitionError
from wfe.core.steps import StepBody, StepExecutionContext

if TYPE_CHECKING:
    from wfe.core.builder.chain import BranchBuilder, StepBuilder
    from wfe.core.builder.whole import Whole

__all__ = ["Adding", "Body", "BranchOf", "OfBoth", "OfData", "call", "filled", "step_of"]

D = TypeVar("D", default=Any)

OfData: TypeAlias = "Callable[[D], Any]"
OfBoth: TypeAlias = "Callable[[D, StepExecutionContext[D]], Any]"
BranchOf: TypeAlias = "Callable[[BranchBuilder[D]], object]"
Body: TypeAlias = "StepBody | Callable[..., Any]"
"""What a step runs: a class with ``run(ctx)`` or an instance of one, or a function."""


class Adding(Generic[D]):
    """Adds steps to the end of a block."""

    def __init__(self, block: Branch, whole: Whole | None) -> None:
        """Add to *block*; *whole* is its workflow, ``None`` inside a branch."""
        self._block = block
        self._whole = whole

    def _added(self, draft: Draft) -> StepBuilder[D, Any]:
        from wfe.core.builder.chain import StepBuilder  # noqa: PLC0415 - it inherits from this

        self._block.drafts.append(draft)
        return StepBuilder(self._block, self._whole, draft)


def step_of(body: Any, method: str) -> Draft:
    """Return the draft of a step that runs *body*.

    Raises:
        DefinitionError: It is no step.
    """
    check_body(body, method)
    base = body_name(body, method.removesuffix("()"))
    return Draft(kind=Kind.STEP, method=method, base=base, body=body)


def filled(branch: Any, draft: Draft, label: Any = None, *, default: bool = False) -> Branch:
    """Return the steps that the function *branch* adds to the builder that it is given.

    Raises:
        DefinitionError: It is no such function, or adds nothing.
    """
    from wfe.core.builder.chain import BranchBuilder  # noqa: PLC0415 - it inherits from here

    made = Branch(label, default)
    builder: BranchBuilder[Any] = BranchBuilder(made, None)
    hint = "for example lambda b: b.then(A)"
    call(branch, builder, f"a branch of {draft.method}", hint)
    if not made.drafts:
        problem = f"a branch of {draft.method} is empty"
        raise DefinitionError(
            problem, None, "add steps to the builder that it gets: lambda b: b.then(A)"
        )
    return made


def call(function: Callable[[Any], object], argument: object, what: str, hint: str) -> None:
    """Call a function over a builder.

    Raises:
        DefinitionError: It is no function of one parameter.
    """
    problem = f"{what} must be a function over a builder, got "
    if not args.is_plain_function(function):
        raise DefinitionError(problem + args.got(function), None, hint)
    if not args.accepts(function, 1):
        raise DefinitionError(problem + args.signature_of(function), None, hint)
    function(argument)
