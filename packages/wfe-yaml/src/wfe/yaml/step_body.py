"""The body of a step of a workflow file: it makes the step type's object and takes its outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, cast

from wfe.core.definition import Kind, Node, Value, WorkflowDefinition
from wfe.core.errors import WfeError
from wfe.core.lean import define, frozen
from wfe.core.rounds import round_field
from wfe.core.step_types import Role, Setting, StepType
from wfe.core.steps import ExecutionResult, StepExecutionContext
from wfe.yaml.event_wait import DESCRIBED
from wfe.yaml.keys import EVENT_WAIT
from wfe.yaml.reading import OUTPUT_NAME
from wfe.yaml.settings import setting_type
from wfe.yaml.step_kinds import Unusable, find_type, source_of
from wfe.yaml.step_outputs import RESERVED, StepOutputError
from wfe.yaml.value_types import ANY, UnfitValueError, ValueType

__all__ = ["StepConfigError", "StepTypeError", "step_bodies"]

_HOOKS: Final = ("is_retryable", "on_success", "on_failure")


@define(eq=False)
class StepTypeError(WfeError):
    """A step cannot run because its type is not to be had on this host."""

    problem: str
    hint: str

    errored: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"{self.problem}; {self.hint}"


@define(eq=False)
class StepConfigError(WfeError):
    """A value that an expression gave does not fit a key of a step's ``config``."""

    key: str
    problem: str

    def __str__(self) -> str:
        return f"`{self.key}`: {self.problem}"


def step_bodies(definition: WorkflowDefinition, workspace: Path) -> dict[str, Any]:
    """Return the code of a definition that was made from a file, for its ``code``.

    A type that this host does not have gives a body that fails: the run says what is wanting.

    Args:
        definition: Loaded from a file, or from the store.
        workspace: Where its steps run.
    """
    return {
        f"{node.name}/body": _body(node, workspace)
        for node in definition.walk()
        if node.kind is Kind.STEP and "type" in node.config
    }


def _body(node: Node, workspace: Path) -> Any:
    own = node.config["type"] == EVENT_WAIT
    kind = DESCRIBED if own else find_type(node.config["type"])
    if isinstance(kind, Unusable):
        return _unusable(kind)
    said = node.config if "key" in node.config else _said_in_inputs(node)
    declared = {name: ValueType.from_json(t) for name, t in said["outputs"].items()}
    step = _Step(kind=kind, key=said["key"], declared=declared, workspace=workspace)
    return _wrapper(kind)(step)


def _said_in_inputs(node: Node) -> Mapping[str, Any]:
    """Return what the first stores have among the inputs: ``key`` and ``outputs``."""
    return {name: expr.value for name, expr in node.inputs if isinstance(expr, Value)}


def _unusable(kind: Unusable) -> Callable[[], None]:
    def fail() -> None:
        raise StepTypeError(kind.message, kind.hint)

    return fail


@frozen(kw_only=True)
class _Step:
    """What does not change between the attempts of a step."""

    kind: StepType
    key: str
    declared: Mapping[str, ValueType]
    workspace: Path

    def make(self, given: Mapping[str, Any]) -> Any:
        """Return the step type's object for one attempt."""
        values: dict[str, Any] = {}
        for setting in self.kind.settings:
            if setting.role is Role.OUTPUTS:
                values[setting.name] = {n: kind.to_json() for n, kind in self.declared.items()}
            elif setting.role is Role.WORKSPACE:
                values[setting.name] = self.workspace
            elif setting.field in given:
                values[setting.name] = _converted(setting, given[setting.field])
        return self.kind.cls(**values)

    def finish(self, body: Any, result: Any, ctx: StepExecutionContext[Any]) -> ExecutionResult:
        """Return what becomes of the step: its outputs, or what *result* asks for."""
        if isinstance(result, ExecutionResult) and result.kind not in _ENDS:
            return result
        outputs = self._outputs(_made(body, result))
        record = {"outputs": outputs, "status": "complete"}
        field = round_field(f"steps.{self.key}", ctx.path)
        return ExecutionResult.output(**{**outputs, field: record})

    def _outputs(self, made: Mapping[Any, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        for name, value in made.items():
            if not (isinstance(name, str) and OUTPUT_NAME.fullmatch(name)) or name in RESERVED:
                raise StepOutputError(f"an output cannot be called {str(name)[:80]!r}")
            try:
                outputs[name] = self.declared.get(name, ANY).convert(value)
            except UnfitValueError as error:
                raise StepOutputError(f"output {name!r}: {error}") from None
        for name, kind in self.declared.items():
            if name not in outputs and not kind.optional and kind.kind != "any":
                raise StepOutputError(f"the step declares the output {name!r}, and did not make it")
        return {**dict.fromkeys(self.declared), **outputs}


_ENDS: Final = ("next", "output", "outcome")


def _made(body: Any, result: Any) -> Mapping[Any, Any]:
    found = result.fields if isinstance(result, ExecutionResult) else result
    if found is None:
        found = getattr(body, "results", None)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        what = type(found).__name__
        problem = f"{type(body).__name__}.run() returned {what}; a step returns a map of outputs"
        raise StepOutputError(problem)
    return cast("Mapping[Any, Any]", found)


def _converted(setting: Setting, value: Any) -> Any:
    if not setting.in_config:
        return value
    try:
        return setting_type(setting.type).convert(value)
    except UnfitValueError as error:
        raise StepConfigError(setting.name, str(error)) from None


def _wrapper(kind: StepType) -> type:
    """Return a class that the engine runs as it would run the step type's own.

    The engine looks at classes: whether ``run`` is async, and which hooks there are.
    """
    awaited = inspect.iscoroutinefunction(getattr(kind.cls, "run", None))
    base: type[_Attempt] = _AsyncAttempt if awaited else _BlockingAttempt
    hooks = {name: _forwarded(name) for name in _HOOKS if hasattr(kind.cls, name)}
    return type("StepOfFile", (base,), hooks)


class _Attempt:
    """One attempt; the engine sets the evaluated fields as attributes, so ours are private."""

    def __init__(self, step: _Step) -> None:
        self._step = step
        self._body: Any = None
        self.workspace = step.workspace

    def cache_identity(self) -> dict[str, Any]:
        """Return what besides its inputs decides what the step gives."""
        kind = self._step.kind
        own = getattr(kind.cls, "cache_identity", None)
        more = {} if own is None else {"own": own(self._begin())}
        return {"type": kind.name, "distribution": source_of(kind.name), **more}

    def _begin(self) -> Any:
        given = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        self._body = self._step.make(given)
        return self._body


class _AsyncAttempt(_Attempt):
    async def run(self, ctx: StepExecutionContext[Any]) -> ExecutionResult:
        body = self._begin()
        return self._step.finish(body, await body.run(ctx), ctx)


class _BlockingAttempt(_Attempt):
    def run(self, ctx: StepExecutionContext[Any]) -> ExecutionResult:
        body = self._begin()
        return self._step.finish(body, body.run(ctx), ctx)


def _forwarded(name: str) -> Callable[..., Any]:
    def forward(self: _Attempt, *args: Any) -> Any:
        body = vars(self)["_body"]
        if body is None:  # its config did not fit, so there is nobody to ask
            return name == "is_retryable" and getattr(args[0], "retryable", True)
        return getattr(body, name)(*args)

    return forward
