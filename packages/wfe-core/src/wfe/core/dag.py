"""Workflows written as steps that depend on one another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, Generic, Literal, Self, TypeAlias, cast, overload

from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.assembly import assemble
from wfe.core.builder.bodies import check_body
from wfe.core.builder.drafts import Branch, Defaults, Draft
from wfe.core.builder.settings import input_value, set_output
from wfe.core.builder.whole import combined
from wfe.core.data import model_for
from wfe.core.definition import TRIGGERS, Kind, WorkflowDefinition
from wfe.core.errors import DefinitionError
from wfe.core.nearest import nearest
from wfe.core.policies import ErrorPolicy, Retry

__all__ = ["Dag", "Skip", "Trigger", "circle_in"]

D = TypeVar("D", default=Any)

Trigger: TypeAlias = Literal["all", "any", "all_done", "any_failed", "none_failed"]
"""When a step begins, by what became of the steps that it depends on."""

Skip: TypeAlias = Literal["satisfy", "propagate"]
"""What a skipped step means for one that depends on it."""

_SKIPS: Final = ("satisfy", "propagate")
_WHATEVER: Final = ("all_done", "any_failed")


class Dag(Generic[D]):
    """Writes a definition whose steps begin as soon as what they depend on is done."""

    @overload
    def __init__(
        self: Dag[dict[str, Any]],
        id: str,
        version: int = 1,
        data_type: None = None,
        *,
        description: str | None = None,
        fail_fast: bool = True,
    ) -> None: ...
    @overload
    def __init__(
        self,
        id: str,
        version: int = 1,
        data_type: type[D] = ...,
        *,
        description: str | None = None,
        fail_fast: bool = True,
    ) -> None: ...
    def __init__(
        self,
        id: str,
        version: int = 1,
        data_type: Any = None,
        *,
        description: str | None = None,
        fail_fast: bool = True,
    ) -> None:
        """Begin a definition.

        Args:
            id: With *version* it names the definition; at most 512 bytes.
            version: From 1.
            data_type: An attrs class, a dataclass or a ``TypedDict``; without it, a plain dict.
            description: For people.
            fail_fast: Whether a failed step cancels the others, or what does not depend on it
                runs to its end first.

        Raises:
            DefinitionError: An argument does not fit.
        """
        self._id = args.check_text("the id of a workflow", id, None)
        self._version = args.positive(version, "version", self._id)
        model_for(data_type)
        self._data_type = None if data_type is dict else data_type
        self._description = description
        self._fail_fast = fail_fast
        self._steps: dict[str, Draft] = {}

    def step(  # noqa: PLR0913 - one call says all of a step
        self,
        name: str,
        body: Any,
        *,
        depends_on: Sequence[str] = (),
        depends_on_any: Sequence[str] = (),
        trigger: Trigger = "all",
        skip: Skip | Mapping[str, Skip] = "satisfy",
        run_if: Callable[[D], Any] | str | bool | None = None,
        retry: int | Retry | None = None,
        timeout: timedelta | float | None = None,
        on_error: ErrorPolicy | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Callable[[Any], Any]] | str | None = None,
    ) -> Self:
        """Add a step.

        Args:
            name: Of the step; unique.
            body: A class with ``run(ctx)``, an instance of one, or a function.
            depends_on: Steps that must all be done before; they may be added later.
            depends_on_any: Steps of which one must be done before.
            trigger: When the step begins, by what became of *depends_on*: ``all`` are done,
                ``any`` is done, ``all_done``: all have ended, whatever became of them,
                ``any_failed``, ``none_failed``: all have ended and none failed.
            skip: What a skipped step means for this one: ``satisfy``: it counts as done,
                ``propagate``: this step is skipped too; or a mapping from steps to these.
            run_if: The step is skipped (and counts as done) unless this callable or CEL text holds.
            retry: Number of retries (2 retries are 3 attempts), or a policy.
            timeout: Of one attempt; a number is seconds.
            on_error: What happens when it fails, after the retries.
            inputs: Body field or parameter from callable over the data, CEL text or constant.
            outputs: Data field from callable over the body (or over what a function returned); a
                text: the data field for what the step returns.

        Raises:
            DefinitionError: An argument does not fit, or the name is taken.
        """
        where = f"{self._id}: {args.check_text('the name of a step', name, self._id)}"
        if name in self._steps:
            problem = f"two steps are called {name!r}"
            raise DefinitionError(problem, self._id, "names are unique in a definition")
        check_body(body, f"step {name!r}")
        draft = Draft(kind=Kind.STEP, method="step()", base=name, name=name, body=body)
        draft.needs = _names(depends_on, "depends_on", where)
        draft.needs_any = _names(depends_on_any, "depends_on_any", where)
        draft.trigger = _trigger(trigger, draft.needs, where)
        propagates = _propagates(skip, draft, where)
        if propagates:
            draft.config["propagates"] = propagates
        if run_if is not None:
            draft.run_if = draft.keep("run_if", args.condition(run_if, "run_if", where))
        if timeout is not None:
            draft.timeout = args.seconds(timeout, "timeout", where)
        if on_error is not None:
            draft.on_error = args.policy(on_error, "on_error", where)
        if retry is not None:
            given = args.retries(retry, "retry", where)
            draft.on_error = combined(given, draft.on_error, "retry", where)
        for field, value in (inputs or {}).items():
            args.check_text("the name of an input", field, where)
            draft.inputs[field] = draft.keep(f"input:{field}", input_value(field, value, where))
        _set_outputs(draft, outputs, where)
        self._steps[name] = draft
        return self

    def build(self) -> WorkflowDefinition:
        """Return the definition.

        Raises:
            DefinitionError: There is no step, a dependency is unknown, steps depend on one another
                in a circle, or something else does not fit together.
        """
        if not self._steps:
            hint = "add them with dag.step(name, body)"
            raise DefinitionError("the DAG has no steps", self._id, hint)
        for name, draft in self._steps.items():
            self._check_dependencies(name, draft)
        self._check_cycles()
        dag = Draft(kind=Kind.DAG, method="Dag", base="dag")
        dag.branches.append(Branch(drafts=list(self._steps.values())))
        dag.config["fail_fast"] = bool(self._fail_fast)
        return assemble(
            [dag],
            id=self._id,
            version=self._version,
            description=self._description,
            data_type=self._data_type,
            defaults=Defaults(),
        )

    def _check_dependencies(self, name: str, draft: Draft) -> None:
        where = f"{self._id}: {name}"
        for needed in (*draft.needs, *draft.needs_any):
            if needed == name:
                raise DefinitionError("the step depends on itself", where)
            if needed not in self._steps:
                others = [other for other in self._steps if other != name]
                problem = f"the step depends on {needed!r}, which is no step of the DAG"
                raise DefinitionError(f"{problem}{nearest(needed, others)}", where)

    def _check_cycles(self) -> None:
        graph = {name: (*d.needs, *d.needs_any) for name, d in self._steps.items()}
        circle = circle_in(graph)
        if circle:
            problem = f"steps depend on one another in a circle: {' -> '.join(circle)}"
            raise DefinitionError(problem, self._id, "remove one of these dependencies")


def circle_in(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a circle of names, its first one also last; empty when there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1][:-1]
        first = min(range(len(circle)), key=lambda i: list(graph).index(circle[i]))
        return [*circle[first:], *circle[:first], circle[first]]
    return []


def _names(given: object, what: str, where: str) -> tuple[str, ...]:
    if isinstance(given, str):
        problem = f"{what} takes a list of names, got the text {given!r}"
        raise DefinitionError(problem, where, f"write [{given!r}]")
    if not isinstance(given, list | tuple):
        raise DefinitionError(f"{what} takes a list of names, got {args.got(given)}", where)
    names = list(cast("Iterable[Any]", given))
    return tuple(dict.fromkeys(args.check_text(f"a name in {what}", each, where) for each in names))


def _trigger(given: object, needs: tuple[str, ...], where: str) -> str:
    if not isinstance(given, str) or given not in TRIGGERS:
        problem = f"trigger takes one of {', '.join(TRIGGERS)}; got {args.got(given)}"
        raise DefinitionError(problem, where)
    if given != "all" and not needs:
        problem = f"trigger={given!r} has no meaning without depends_on"
        raise DefinitionError(problem, where, "name the steps that it is about")
    return given


def _propagates(given: object, draft: Draft, where: str) -> list[str]:
    """Return the steps whose skipping skips this one."""
    known = (*draft.needs, *draft.needs_any)
    if isinstance(given, Mapping):
        by_need: dict[Any, Any] = dict(given)  # pyright: ignore[reportUnknownArgumentType]
    else:
        by_need = dict.fromkeys(known or ("",), given)
    for name, each in by_need.items():
        if each not in _SKIPS:
            problem = f"skip takes 'satisfy' or 'propagate', got {args.got(each)}"
            raise DefinitionError(problem, where, "or one of them by step")
        if name not in known and (name or each != "satisfy"):
            problem = f"skip={each!r} has no meaning without a dependency"
            if name:
                problem = f"skip says something of {name!r}, which is no dependency of the step"
            raise DefinitionError(problem, where, "name it in depends_on or depends_on_any")
        if each == "propagate" and name in draft.needs and draft.trigger in _WHATEVER:
            problem = f"skip='propagate' contradicts trigger={draft.trigger!r}"
            raise DefinitionError(problem, where, "leave one of them out")
    return [name for name in known if by_need.get(name) == "propagate"]


def _set_outputs(draft: Draft, outputs: Any, where: str) -> None:
    if outputs is None:
        return
    if isinstance(outputs, str):
        set_output(draft, args.check_text("outputs", outputs, where), None)
        return
    if not isinstance(outputs, Mapping):
        problem = f"outputs takes callables by data field, got {args.got(outputs)}"
        raise DefinitionError(problem, where, "or one data field, for what the step returns")
    for field, mapper in cast("Mapping[str, Any]", outputs).items():
        args.check_text("a field of outputs", field, where)
        if mapper is None:
            problem = f"output {field!r} has no callable over the step"
            raise DefinitionError(problem, where, "for example lambda s: s.result")
        set_output(draft, field, mapper)
