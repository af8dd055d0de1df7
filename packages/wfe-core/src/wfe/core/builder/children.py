"""Steps that run another workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.adding import Adding, OfBoth, OfData
from wfe.core.builder.drafts import Draft
from wfe.core.definition import Cel, Kind
from wfe.core.errors import DefinitionError

if TYPE_CHECKING:
    from wfe.core.builder.chain import StepBuilder

__all__ = ["ChildrenMixin", "ParentEnd"]

D = TypeVar("D", default=Any)

ParentEnd: TypeAlias = Literal["terminate", "abandon"]


class ChildrenMixin(Adding[D]):
    """Adds sub-workflows to the end of a block."""

    @overload
    def sub_workflow(
        self,
        id: str,
        *,
        version: int | None = None,
        data: OfData[D] | Mapping[str, Any] | Cel | None = None,
        output: str | None = None,
        name: OfData[D] | Cel | str | None = None,
        reference: OfData[D] | Cel | str | None = None,
        detached: bool = False,
        on_parent_end: ParentEnd | None = None,
    ) -> StepBuilder[D, None]: ...
    @overload
    def sub_workflow(
        self,
        id: str,
        *,
        version: int | None = None,
        data: OfBoth[D],
        output: str | None = None,
        name: OfData[D] | Cel | str | None = None,
        reference: OfData[D] | Cel | str | None = None,
        detached: bool = False,
        on_parent_end: ParentEnd | None = None,
    ) -> StepBuilder[D, None]: ...
    def sub_workflow(  # noqa: PLR0913 - what a start needs
        self,
        id: str,
        *,
        version: int | None = None,
        data: Any = None,
        output: str | None = None,
        name: Any = None,
        reference: Any = None,
        detached: bool = False,
        on_parent_end: ParentEnd | None = None,
    ) -> StepBuilder[D, None]:
        """Run another workflow and wait for its end.

        Args:
            id: Of its definition.
            version: ``None``: the highest that is registered then.
            data: What it starts with: a callable, a mapping or ``expr("...")``.
            output: Data field for its final data; of a detached one for the id of its run.
            name: Of its run, unique: a callable, a text or ``expr("...")``.
            reference: Of its run, as *name* but free.
            detached: Whether to go on at once instead of waiting for its end.
            on_parent_end: ``"terminate"`` it when this run ends before it, or ``"abandon"``: let
                it go on.  ``None``: terminate, but abandon a detached one.

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
        for role, given in (("name", name), ("reference", reference)):
            found_text = args.text(given, f"the {role} of sub_workflow()")
            if found_text is not None:
                draft.compute(role, found_text)
        _set_tie(draft, on_parent_end, detached=bool(detached))
        return self._added(draft)


def _set_tie(draft: Draft, on_parent_end: object, *, detached: bool) -> None:
    """Set whether the parent waits for the child, and what its end means for the child."""
    if on_parent_end not in (None, "terminate", "abandon"):
        problem = f"got {args.got(on_parent_end)}"
        wanted = 'on_parent_end of sub_workflow() must be "terminate" or "abandon"'
        raise DefinitionError(f"{wanted}, {problem}")
    if detached:
        draft.config["detached"] = True
    if detached or on_parent_end is not None:
        draft.config["on_parent_end"] = on_parent_end or "abandon"
