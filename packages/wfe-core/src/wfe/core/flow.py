"""Flows: tasks one after the other, each with what the one before returned."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

import attrs

from wfe.core.builder import arguments as args
from wfe.core.builder.assembly import assemble
from wfe.core.builder.drafts import Defaults, Draft
from wfe.core.codec import decode
from wfe.core.context_names import context_hint, hint_for, meant_for_context
from wfe.core.definition import Kind, WorkflowDefinition
from wfe.core.errors import DefinitionError, StepFailedError, WorkflowTerminatedError
from wfe.core.models import WorkflowInstance, WorkflowStatus
from wfe.core.nearest import nearest
from wfe.core.steps import StepExecutionContext
from wfe.core.tasks import Parameter, Task, converted, result_field, task_of, values_of

__all__ = ["Flow", "arun_in_memory", "check_inputs", "input_names_of", "run_in_memory"]


class Flow:
    """Tasks that run one after the other: ``Flow("x", a, b)`` or ``Flow("x") >> a >> b``.

    A parameter of a task is, by name, what the mapping that the task before returned says, else an
    input of the run, else its default.  If exactly one required parameter is left, it is the whole
    result of the task before.
    """

    def __init__(
        self,
        id: str,
        /,
        *tasks: Callable[..., Any],
        version: int = 1,
        description: str | None = None,
        inputs: Iterable[str] = (),
    ) -> None:
        """Begin a flow.

        Args:
            id: With *version* it names the definition; at most 512 bytes.
            *tasks: Functions, with or without ``@task``.
            version: From 1.
            description: For people.
            inputs: Names of the run's inputs besides the parameters of the first task.

        Raises:
            DefinitionError: An argument does not fit.
        """
        self._id = args.check_text("the id of a flow", id, None)
        self._version = args.positive(version, "version", self._id)
        self._description = description
        self._inputs = input_names_of(inputs, self._id)
        self._tasks = tuple(task_of(each, self._id) for each in tasks)

    def __rshift__(self, task: Callable[..., Any]) -> Flow:
        """Return a flow that ends with one more task; this one stays as it is."""
        return self.then(task)

    def then(self, task: Callable[..., Any]) -> Flow:
        """Return a flow that ends with one more task; this one stays as it is.

        Raises:
            DefinitionError: It is no function.
        """
        made = Flow(
            self._id,
            version=self._version,
            description=self._description,
            inputs=self._inputs,
        )
        made._tasks = (*self._tasks, task_of(task, self._id))
        return made

    def build(self) -> WorkflowDefinition:
        """Return the definition; its result is that of the last task.

        Raises:
            DefinitionError: There is no task, or a parameter can get no value.
        """
        return self._built(self._inputs)

    def run(self, /, **inputs: Any) -> Any:
        """Run it in memory, blocking, and return what the last task returned.

        Called where an event loop runs, it blocks that loop: use :meth:`arun` there.

        Raises:
            DefinitionError: An input is missing or unknown, or a parameter can get no value.
            DataTypeError: An input cannot be stored.
            StepFailedError: A task failed for good.
        """
        return run_in_memory(lambda: self.arun(**inputs))

    async def arun(self, /, **inputs: Any) -> Any:
        """Run it in memory and return what the last task returned.

        Raises:
            DefinitionError: An input is missing or unknown, or a parameter can get no value.
            DataTypeError: An input cannot be stored.
            StepFailedError: A task failed for good.
        """
        definition = self._built(dict.fromkeys((*self._inputs, *inputs)))
        known = {p.name: p for each in reversed(self._tasks) for p in each.parameters}
        needed = [p.name for p in self._tasks[0].parameters if p.required]
        check_inputs(inputs, known, needed, self._id)
        result = await arun_in_memory(definition, inputs)
        return converted(result, self._tasks[-1].returns, "result")

    def _built(self, inputs: Iterable[str]) -> WorkflowDefinition:
        if not self._tasks:
            hint = "write Flow(id, task, ...) or Flow(id) >> task"
            raise DefinitionError("the flow has no tasks", self._id, hint)
        names = _names(self._tasks)
        known = {*inputs, *(p.name for p in self._tasks[0].parameters)}
        drafts: list[Draft] = []
        previous: tuple[str, Task] | None = None
        for name, each in zip(names, self._tasks, strict=True):
            if previous is not None:
                _check(each, name, previous, known, self._id)
            drafts.append(_draft(each, name, previous))
            previous = (name, each)
        definition = assemble(
            drafts,
            id=self._id,
            version=self._version,
            description=self._description,
            data_type=None,
            defaults=Defaults(),
        )
        return attrs.evolve(definition, result=result_field(names[-1]))


def _names(tasks: Iterable[Task]) -> list[str]:
    names: list[str] = []
    for each in tasks:
        name, count = each.base, 1
        while name in names:
            count += 1
            name = f"{each.base}-{count}"
        names.append(name)
    return names


def _draft(each: Task, name: str, previous: tuple[str, Task] | None) -> Draft:
    draft = Draft(kind=Kind.STEP, method="Flow", base=name, name=name, body=each.function)
    draft.config["result"] = result_field(name)
    before = None if previous is None else previous[0]
    for parameter in each.parameters:
        role = f"input:{parameter.name}"
        picker = _picker(each, parameter, before)
        draft.inputs[parameter.name] = draft.keep(role, (args.CALL, picker))
    return draft


def _check(
    each: Task, name: str, previous: tuple[str, Task], inputs: Iterable[str], where: str
) -> None:
    """Refuse a task whose parameters can surely get no value."""
    before, task = previous
    if task.keys is None:
        return
    known = {*task.keys, *inputs}
    left = [p.name for p in each.parameters if p.required and p.name not in known]
    if len(left) > 1:
        problem = f"{before!r} leaves more than one parameter without a value: {', '.join(left)}"
        hint = f"have it return a mapping with these names, or write Flow(..., inputs={left})"
        raise DefinitionError(problem, f"{where}: {name}", hint)


def _picker(
    each: Task, parameter: Parameter, before: str | None
) -> Callable[[Any, StepExecutionContext[Any]], Any]:
    """Return what computes the value of *parameter* from what is stored."""

    def pick(_data: Any, ctx: StepExecutionContext[Any]) -> Any:
        values = _bound(each, before, ctx)
        if parameter.name not in values:
            return parameter.default
        path = f"parameter {parameter.name!r}"
        return converted(values[parameter.name], parameter.type, path)

    return pick


def _bound(each: Task, before: str | None, ctx: StepExecutionContext[Any]) -> dict[str, Any]:
    """Return the parameters' values, without those that are left to their defaults.

    Raises:
        DefinitionError: A required one has none.
    """
    inputs = values_of(ctx)
    previous: Any = None if before is None else decode(ctx.before.get(result_field(before)))
    named = cast("dict[str, Any]", previous) if isinstance(previous, dict) else {}
    found: dict[str, Any] = {
        p.name: named[p.name] if p.name in named else inputs[p.name]
        for p in each.parameters
        if p.name in named or p.name in inputs
    }
    left = [p for p in each.parameters if p.required and p.name not in found]
    if before is not None and len(left) == 1:
        found[left[0].name] = previous
    elif left:
        raise DefinitionError(*_unbound(each, left, before, previous, inputs))
    return found


def _unbound(
    each: Task, left: Iterable[Parameter], before: str | None, previous: Any, inputs: Iterable[str]
) -> tuple[str, str]:
    names = ", ".join(p.name for p in left)
    given = f"inputs: {', '.join(inputs) or 'none'}"
    if isinstance(previous, dict):
        given += f"; names that {before!r} returned: {', '.join(map(str, previous)) or 'none'}"  # pyright: ignore[reportUnknownArgumentType]
    elif before is not None:
        given += f"; {before!r} returned no mapping: {args.got(previous)}"
    hint = context_hint(each.function)
    return f"there is no value for {names} ({given})" + (f"; {hint}" if hint else ""), each.base


# -- running ---------------------------------------------------------------------------------------


def input_names_of(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Return the declared names of inputs.

    Raises:
        DefinitionError: One can be no parameter's name.
    """
    if isinstance(names, str):
        raise DefinitionError(f"inputs takes names, got {names!r}", where, f"write [{names!r}]")
    found = tuple(args.check_text("the name of an input", name, where) for name in names)
    for name in found:
        if not name.isidentifier():
            raise DefinitionError(f"no parameter can be called {name!r}", where)
    return found


def check_inputs(
    given: Mapping[str, Any], known: Iterable[str], needed: Iterable[str], where: str
) -> None:
    """Refuse inputs that no task takes, and the lack of those that one needs.

    Raises:
        DefinitionError: One is unknown or missing.
    """
    for name in given:
        if name not in known:
            raise DefinitionError(f"no task takes an input {name!r}{nearest(name, known)}", where)
    missing = [name for name in needed if name not in given]
    if missing:
        hint = f"run({', '.join(f'{name}=...' for name in missing)})"
        hint += "".join(f"; {hint_for(name)}" for name in missing if meant_for_context(name))
        raise DefinitionError(f"inputs are missing: {', '.join(missing)}", where, hint)


async def arun_in_memory(definition: WorkflowDefinition, inputs: Mapping[str, Any]) -> Any:
    """Run *definition* in a store of its own and return its result.

    Raises:
        DataTypeError: An input cannot be stored.
        StepFailedError: A step failed for good (or suspended the run, which nobody could resume).
        WorkflowTerminatedError: A step's policy ended the run.
    """
    from wfe.core.engine.engine import Engine  # noqa: PLC0415 - building needs no engine
    from wfe.core.engine.starts import StartOptions  # noqa: PLC0415
    from wfe.core.memory import MemoryStore  # noqa: PLC0415

    store = MemoryStore()
    engine = Engine(store, queue=store, lock=store)
    engine.register(definition)
    await engine.start()
    try:
        version = definition.version
        id, _ = await engine.starter.start(definition.id, version, dict(inputs), StartOptions())
        instance = await engine.waits.ended(id, suspended=True)
    finally:
        await engine.stop(_GRACE)
    return _result(instance, definition.result)


_GRACE: Final = 0.0  # seconds: the run is over, or whoever waited for it is gone


def _result(instance: WorkflowInstance[Any], field: str | None) -> Any:
    error = instance.error
    if instance.status is WorkflowStatus.TERMINATED:
        raise WorkflowTerminatedError(instance.id, None if error is None else error.message)
    if instance.status is not WorkflowStatus.COMPLETE:
        if error is None:
            raise StepFailedError(None, "Error", str(instance.status), instance.id)
        raise StepFailedError(error.step, error.type, error.message, instance.id)
    return instance.data if field is None else instance.data.get(field)


def run_in_memory(run: Callable[[], Any]) -> Any:
    """Run what the coroutine function *run* does, blocking; in a thread where a loop runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="wfe-flow") as thread:
        return thread.submit(context.run, lambda: asyncio.run(run())).result()
