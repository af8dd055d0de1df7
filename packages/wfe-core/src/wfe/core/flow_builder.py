"""Flows as graphs: what a task returns is connected with parameters of others, port by port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

import attrs

from wfe.core.builder import arguments as args
from wfe.core.builder.assembly import assemble
from wfe.core.builder.drafts import Branch, Defaults, Draft
from wfe.core.codec import decode
from wfe.core.dag import circle_in
from wfe.core.definition import Kind, WorkflowDefinition
from wfe.core.errors import DefinitionError
from wfe.core.flow import arun_in_memory, check_inputs, input_names_of, run_in_memory
from wfe.core.lean import frozen
from wfe.core.nearest import nearest
from wfe.core.steps import StepExecutionContext
from wfe.core.tasks import Parameter, Task, converted, result_field, task_of, values_of

__all__ = ["FlowBuilder", "FlowNode"]

_OUTPUT: Final = "output"
_RESULTS: Final = "results."  # no parameter and no task's field is called so


@frozen
class FlowNode:
    """A task of a :class:`FlowBuilder`, as it was added."""

    name: str


@frozen(kw_only=True)
class _Port:
    """Where a parameter gets its value from: a task, and names in what it returned."""

    node: str
    path: tuple[str, ...]

    @property
    def shown(self) -> str:
        return f"{self.node!r}.{'.'.join((_OUTPUT, *self.path))}"

    def read(self, ctx: StepExecutionContext[Any]) -> Any:
        """Return the value.

        Raises:
            DefinitionError: The task returned nothing of that name.
        """
        value: Any = decode(ctx.before.get(result_field(self.node)))
        for name in self.path:
            if not isinstance(value, dict) or name not in value:
                raise DefinitionError(f"{self.shown} has no value: {name!r} was not returned")
            value = cast("dict[str, Any]", value)[name]
        return value


class FlowBuilder:
    """Connects tasks; each runs as soon as all that is connected with its parameters is there.

    A task without connections gets its parameters from the run's inputs.  In the others a
    parameter without a connection is an input of the run if one is called so, else its default.
    """

    def __init__(
        self,
        id: str,
        *,
        version: int = 1,
        description: str | None = None,
        inputs: Iterable[str] = (),
        fail_fast: bool = True,
    ) -> None:
        """Begin a flow.

        Args:
            id: With *version* it names the definition; at most 512 bytes.
            version: From 1.
            description: For people.
            inputs: Names of the run's inputs besides the parameters of tasks without connections.
            fail_fast: Whether a failed task cancels the others, or what does not depend on it runs
                to its end first.

        Raises:
            DefinitionError: An argument does not fit.
        """
        self._id = args.check_text("the id of a flow", id, None)
        self._version = args.positive(version, "version", self._id)
        self._description = description
        self._inputs = input_names_of(inputs, self._id)
        self._fail_fast = fail_fast
        self._tasks: dict[str, Task] = {}
        self._ports: dict[str, dict[str, _Port]] = {}

    def add(self, task: Callable[..., Any], name: str | None = None) -> FlowNode:
        """Add a task.

        Args:
            task: A function, with or without ``@task``.
            name: Unique; ``None``: the function's, with ``-2``, ``-3`` for repeats.

        Raises:
            DefinitionError: It is no function, or the name is taken.
        """
        found = task_of(task, self._id)
        if name is None:
            name, count = found.base, 1
            while name in self._tasks:
                count += 1
                name = f"{found.base}-{count}"
        elif args.check_text("the name of a task", name, self._id) in self._tasks:
            raise DefinitionError(f"two tasks are called {name!r}", self._id)
        self._tasks[name] = found
        self._ports[name] = {}
        return FlowNode(name)

    def connect(
        self, source: FlowNode | str, output: str, target: FlowNode | str, parameter: str
    ) -> FlowBuilder:
        """Connect what *source* returns with a parameter of *target*.

        Args:
            source: A task that was added, or its name.
            output: ``"output"`` for the whole result, ``"output.total"`` for a name in it.
            target: A task that was added, or its name.
            parameter: One of its parameters.

        Raises:
            DefinitionError: A task or port is unknown, or the parameter is connected already.
        """
        before, after = self._known(source), self._known(target)
        where = f"{self._id}: connect({before!r}, {output!r}, {after!r}, {parameter!r})"
        port = _Port(node=before, path=self._path(before, output, where))
        parameters = [p.name for p in self._tasks[after].parameters]
        if parameter not in parameters:
            problem = (
                f"{after!r} has no parameter {parameter!r}{nearest(str(parameter), parameters)}"
            )
            raise DefinitionError(problem, where)
        taken = self._ports[after].get(parameter)
        if taken is not None:
            problem = (
                f"parameter {parameter!r} of {after!r} is connected with {taken.shown} already"
            )
            raise DefinitionError(problem, where, "leave one of the two out")
        self._ports[after][parameter] = port
        return self

    def build(self) -> WorkflowDefinition:
        """Return the definition.

        Its result is that of the one task that nothing is connected with, or a mapping of the
        results of all such tasks by name.

        Raises:
            DefinitionError: There is no task, tasks wait for one another in a circle, or a
                parameter gets no value.
        """
        return self._built(self._inputs)

    def run(self, /, **inputs: Any) -> Any:
        """Run it in memory, blocking, and return its result; see :meth:`arun`."""
        return run_in_memory(lambda: self.arun(**inputs))

    async def arun(self, /, **inputs: Any) -> Any:
        """Run it in memory and return its result.

        Raises:
            DefinitionError: An input is missing or unknown, or :meth:`build` would raise.
            DataTypeError: An input cannot be stored.
            StepFailedError: A task failed for good.
        """
        definition = self._built(dict.fromkeys((*self._inputs, *inputs)))
        free = {name: list(self._free(name)) for name in self._tasks}
        known = [p.name for each in free.values() for p in each]
        needed = dict.fromkeys(p.name for each in free.values() for p in each if p.required)
        check_inputs(inputs, known, needed, self._id)
        result = await arun_in_memory(definition, inputs)
        sinks = self._sinks()
        if len(sinks) == 1:
            return converted(result, self._tasks[sinks[0]].returns, "result")
        return {name: converted(result[name], self._tasks[name].returns, name) for name in sinks}

    # -- checking ----------------------------------------------------------------------------------

    def _known(self, node: object) -> str:
        name = node.name if isinstance(node, FlowNode) else node
        if not isinstance(name, str) or name not in self._tasks:
            raise DefinitionError(
                f"connect() got {args.got(node)}, which is no task of the flow", self._id
            )
        return name

    def _path(self, node: str, output: object, where: str) -> tuple[str, ...]:
        parts = output.split(".") if isinstance(output, str) else [""]
        if parts[0] != _OUTPUT or "" in parts:
            problem = f"{node!r} has no port {output!r}"
            hint = f"use {_OUTPUT!r} for what it returns, '{_OUTPUT}.name' for a name in that"
            raise DefinitionError(problem, where, hint)
        path = tuple(parts[1:])
        keys = self._tasks[node].keys
        if path and keys is not None and path[0] not in keys:
            problem = f"{node!r} returns nothing called {path[0]!r}{nearest(path[0], keys)}"
            raise DefinitionError(problem, where)
        return path

    def _free(self, name: str) -> Iterator[Parameter]:
        """Yield the parameters of a task that are not connected."""
        ports = self._ports[name]
        return (p for p in self._tasks[name].parameters if p.name not in ports)

    def _sinks(self) -> list[str]:
        used = {port.node for ports in self._ports.values() for port in ports.values()}
        return [name for name in self._tasks if name not in used]

    def _check(self, inputs: Iterable[str]) -> None:
        if not self._tasks:
            raise DefinitionError("the flow has no tasks", self._id, "add them with add(task)")
        needs = {n: [port.node for port in ports.values()] for n, ports in self._ports.items()}
        circle = circle_in(needs)
        if circle:
            problem = f"tasks wait for one another in a circle: {' -> '.join(circle)}"
            raise DefinitionError(problem, self._id, "remove one of these connections")
        sources = [name for name in self._tasks if not self._ports[name]]
        known = {*inputs, *(p.name for name in sources for p in self._tasks[name].parameters)}
        for name in self._tasks:
            for each in self._free(name):
                if each.required and each.name not in known:
                    problem = f"parameter {each.name!r} of {name!r} is not connected"
                    hint = f"connect it, or name an input: FlowBuilder(..., inputs=[{each.name!r}])"
                    raise DefinitionError(problem, self._id, hint)

    # -- building ----------------------------------------------------------------------------------

    def _built(self, inputs: Iterable[str]) -> WorkflowDefinition:
        self._check(inputs)
        dag = Draft(kind=Kind.DAG, method="FlowBuilder", base="flow")
        dag.branches.append(Branch(drafts=[self._draft(name) for name in self._tasks]))
        dag.config["fail_fast"] = bool(self._fail_fast)
        sinks = self._sinks()
        drafts = [dag] if len(sinks) == 1 else [dag, _results(sinks)]
        definition = assemble(
            drafts,
            id=self._id,
            version=self._version,
            description=self._description,
            data_type=None,
            defaults=Defaults(),
        )
        field = result_field(sinks[0]) if len(sinks) == 1 else _RESULTS
        return attrs.evolve(definition, result=field)

    def _draft(self, name: str) -> Draft:
        task, ports = self._tasks[name], self._ports[name]
        draft = Draft(kind=Kind.STEP, method="add()", base=name, name=name, body=task.function)
        draft.config["result"] = result_field(name)
        draft.needs = tuple(dict.fromkeys(port.node for port in ports.values()))
        if ports:
            draft.config["ports"] = {
                each: [port.node, *port.path] for each, port in sorted(ports.items())
            }
        for parameter in task.parameters:
            picker = _picker(parameter, ports.get(parameter.name), name)
            role = f"input:{parameter.name}"
            draft.inputs[parameter.name] = draft.keep(role, (args.CALL, picker))
        return draft


def _picker(
    parameter: Parameter, port: _Port | None, task: str
) -> Callable[[Any, StepExecutionContext[Any]], Any]:
    """Return what computes the value of *parameter* from what is stored."""

    def pick(_data: Any, ctx: StepExecutionContext[Any]) -> Any:
        if port is not None:
            value = port.read(ctx)
        else:
            inputs = values_of(ctx)
            if parameter.name not in inputs:
                if parameter.required:
                    problem = f"the run has no input {parameter.name!r}{nearest('', inputs)}"
                    raise DefinitionError(problem, task)
                return parameter.default
            value = inputs[parameter.name]
        return converted(value, parameter.type, f"parameter {parameter.name!r}")

    return pick


def _results(sinks: Iterable[str]) -> Draft:
    """Return a step that puts the results of the last tasks together."""
    draft = Draft(kind=Kind.SET, method="FlowBuilder", base="results")
    draft.config["field"] = _RESULTS
    for name in sinks:
        draft.compute(name, (args.CALL, _reader(result_field(name))))
    return draft


def _reader(field: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda data: data.get(field)
