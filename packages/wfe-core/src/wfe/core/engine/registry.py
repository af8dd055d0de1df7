"""The definitions that a host can run, compiled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from attrs import evolve

from wfe.core.builtins import builtin_body
from wfe.core.data import DataModel, model_for
from wfe.core.definition import Block, Call, Expr, Kind, Node, WorkflowDefinition
from wfe.core.engine.bodies import Pools, StepFactory, make_body
from wfe.core.engine.nodes import ChildStart, NodeRunner, StepMiddleware
from wfe.core.engine.secrets import Vault
from wfe.core.errors import DefinitionConflictError, DefinitionError, DefinitionNotFoundError
from wfe.core.expressions import Evaluate, compile_expr
from wfe.core.lean import frozen
from wfe.core.rules import decide
from wfe.core.rules.plan import CONTAINERS, WHOLE, Plan, make_plan

if TYPE_CHECKING:
    from wfe.core.engine.artifacts import Artifacts
    from wfe.core.engine.caching import Results
    from wfe.core.engine.kept import Around
    from wfe.core.providers import Clock, DefinitionRow, PersistenceProvider
    from wfe.core.rules.inputs import Input
    from wfe.core.steps import StepExecutionContext

__all__ = ["Registered", "Registry", "Surroundings"]


@frozen(kw_only=True)
class Surroundings:
    """What runners get from the host."""

    clock: Clock
    pools: Pools
    factory: StepFactory | None
    middleware: Sequence[StepMiddleware]
    start_child: ChildStart
    vault: Vault
    results: Callable[[], Results]
    artifacts: Callable[[], Artifacts]


@frozen(kw_only=True)
class Registered:
    """A definition ready to run.

    Attributes:
        d: Its number in the store.
        runners: By step name.
    """

    d: int
    plan: Plan
    model: DataModel
    runners: Mapping[str, NodeRunner]

    @property
    def definition(self) -> WorkflowDefinition:
        """The definition itself."""
        return self.plan.definition


def compiled(definition: WorkflowDefinition, d: int, around: Surroundings) -> Registered:
    """Return *definition* with its expressions and bodies made callable.

    Raises:
        DefinitionError: A callable is missing, a body is no step, or a CEL text is wrong.
    """
    missing = definition.missing()
    if missing:
        problem = f"no code is registered for {', '.join(missing)}"
        raise DefinitionError(problem, definition.id, "register a definition that has it")
    model = _model(definition)
    plan = make_plan(definition, model.reducers)
    decide.load(plan)
    runners = {
        node.name: _runner(plan, node, model, names, around)
        for node, names in _nodes(plan.root, ())
    }
    return Registered(d=d, plan=plan, model=model, runners=runners)


def _nodes(block: Block, names: tuple[str, ...]) -> Iterator[tuple[Node, tuple[str, ...]]]:
    """Yield each node with the ``as`` names of the for-each steps around it, outermost first."""
    for node in block.nodes:
        yield node, names
        inside = (*names, node.config.get("as") or "item") if node.kind is Kind.FOR_EACH else names
        for inner in node.inner():
            around = inside if any(inner is block for block in node.blocks) else names
            yield from _nodes(inner, around)


def _runner(
    plan: Plan,
    node: Node,
    model: DataModel,
    names: tuple[str, ...],
    around: Surroundings,
) -> NodeRunner:
    body = None
    definition = plan.definition
    if node.kind is Kind.STEP:
        uses = "uses" in node.config
        target = builtin_body(node) if uses else definition.code[f"{node.name}/body"]
        body = make_body(target, around.factory, around.pools)
    timeout = node.timeout
    if timeout is None and node.kind not in CONTAINERS and node.kind is Kind.STEP:
        timeout = definition.default_timeout
    exprs = _exprs(definition, node, names)
    return NodeRunner(
        node=node,
        model=model,
        clock=around.clock,
        body=body,
        exprs=exprs,
        inputs=tuple((name, exprs[f"input:{name}"]) for name, _ in node.inputs),
        timeout=timeout if node.kind is Kind.STEP else None,
        middleware=around.middleware,
        start_child=around.start_child,
        vault=around.vault,
        secrets=tuple(exprs[f"secret:{k}"] for k in range(len(node.secrets))),
        policy=plan.places[node.name].policy,
        function=_function(definition, node, around) if node.kind is Kind.FUNCTION else None,
        around=None if body is None else _kept(definition, node, exprs, around),
    )


def _kept(
    definition: WorkflowDefinition,
    node: Node,
    exprs: Mapping[str, Evaluate],
    around: Surroundings,
) -> Around | None:
    if node.cache is None and node.artifacts is None:
        return None
    from wfe.core.engine.kept import around_of  # noqa: PLC0415 - most definitions have neither

    code = definition.code
    target = code.get(f"{node.name}/body") or builtin_body(node)
    mappers = {name: code[f"{node.name}/output:{name}"] for name, _ in node.outputs}
    return around_of(node, target, mappers, exprs, around.results(), around.artifacts())


def _function(
    definition: WorkflowDefinition, node: Node, around: Surroundings
) -> Callable[[StepExecutionContext[Any]], Awaitable[Input]]:
    from wfe.core.durable.running import runner_of  # noqa: PLC0415 - most hosts have no functions

    return runner_of(definition.code[f"{node.name}/body"], node, around.clock, around.middleware)


def _model(definition: WorkflowDefinition) -> DataModel:
    nodes = definition.root.nodes
    if len(nodes) == 1 and nodes[0].kind is Kind.FUNCTION:
        from wfe.core.durable.data import function_model  # noqa: PLC0415 - as above

        return function_model(definition.code[f"{nodes[0].name}/body"])
    return model_for(definition.data_type)


def _exprs(
    definition: WorkflowDefinition, node: Node, names: tuple[str, ...]
) -> dict[str, Evaluate]:
    pairs = [("run_if", node.run_if)] if node.run_if is not None else []
    if node.cancel_when is not None:
        pairs.append(("cancel_when", node.cancel_when))
    keys = [(f"limit:{k}", limit.key) for k, limit in enumerate(node.limits)]
    pairs += [(role, key) for role, key in keys if key is not None]
    pairs += [(f"secret:{k}", expr) for k, expr in enumerate(node.secrets)]
    pairs += [(f"input:{name}", expr) for name, expr in node.inputs]
    pairs += list(node.exprs)
    if node.cache is not None or node.artifacts is not None:
        from wfe.core.engine.kept import kept_exprs  # noqa: PLC0415 - most have neither

        pairs += kept_exprs(node)
    step = "" if node.name == WHOLE else node.name
    exprs = {
        role: compile_expr(expr, definition.code.get(f"{step}/{role}"), names)
        for role, expr in pairs
    }
    for name, expr in node.outputs:
        exprs[f"output:{name}"] = _mapper(definition, node, name, expr)
    return exprs


def _mapper(
    definition: WorkflowDefinition, node: Node, name: str, expr: Expr
) -> Callable[[Any], Any]:
    """Return an output mapping: it looks at the body, not at the context."""
    if not isinstance(expr, Call):
        problem = f"output {name!r} must be a callable over the step"
        raise DefinitionError(problem, f"{definition.id}: {node.name}")
    mapper: Callable[[Any], Any] = definition.code[f"{node.name}/output:{name}"]
    return mapper


class Registry:
    """Definitions by (id, version), and every stored one of them that the code here can run."""

    def __init__(self, around: Surroundings, *, strict: bool = False) -> None:
        """Make an empty registry; *strict*: refuse other contents for a known version."""
        self._around = around
        self._strict = strict
        self._given: dict[tuple[str, int], WorkflowDefinition] = {}
        self._ready: dict[tuple[str, int], Registered] = {}  # but not stored yet
        self._current: dict[tuple[str, int], Registered] = {}
        self._by_number: dict[int, Registered] = {}
        self._syncing = asyncio.Lock()

    def add(self, definition: WorkflowDefinition) -> None:
        """Take *definition*; it is compiled here, so that errors show at once.

        Raises:
            DefinitionError: It cannot run.
            DefinitionConflictError: Strict, and this id and version has other contents here.
        """
        key = (definition.id, definition.version)
        known = self._given.get(key)
        if known is not None and self._strict and known.hash != definition.hash:
            problem = f"version {definition.version} is registered with other contents"
            raise DefinitionConflictError(problem, definition.id, "give it a new version")
        self._ready[key] = compiled(definition, 0, self._around)
        self._given[key] = definition
        self._current.pop(key, None)

    @property
    def given(self) -> tuple[WorkflowDefinition, ...]:
        """What was registered."""
        return tuple(self._given.values())

    @property
    def pending(self) -> bool:
        """Whether something was registered since the last :meth:`sync`."""
        return len(self._current) != len(self._given)

    @property
    def all(self) -> tuple[Registered, ...]:
        """Every stored definition that the code here can run."""
        return tuple(self._by_number.values())

    @property
    def demanding(self) -> bool:
        """Whether any of them asks for labels."""
        return any(ready.definition.requires for ready in self._by_number.values())

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the stored definitions that this host can run."""
        return tuple(self._by_number)

    async def sync(self, store: PersistenceProvider) -> None:
        """Store what was registered, and find older stored forms that its code can run.

        Of those who call it together one does it, and the others wait for that.

        Raises:
            DefinitionConflictError: Strict, and an id and version is stored with other contents.
        """
        async with self._syncing:
            while self.pending:
                for key, definition in list(self._given.items()):
                    if key not in self._current:
                        await self._store(key, definition, store)

    async def _store(
        self, key: tuple[str, int], definition: WorkflowDefinition, store: PersistenceProvider
    ) -> None:
        rows = await store.definitions(definition.id)
        current = [r for r in rows if r.version == definition.version and r.current]
        if self._strict and current and current[0].hash != definition.hash:
            problem = f"version {definition.version} is stored with other contents"
            raise DefinitionConflictError(problem, definition.id, "give it a new version")
        body = definition.body
        d = await store.put_definition(definition.id, definition.version, definition.hash, body)
        if self._given[key] is definition:  # else another was registered meanwhile
            self._by_number[d] = self._current[key] = evolve(self._ready.pop(key), d=d)
        else:
            self._by_number[d] = compiled(definition, d, self._around)
        for row in rows:
            self._adopt(row, definition)

    def _adopt(self, row: DefinitionRow, definition: WorkflowDefinition) -> None:
        """Use *definition*'s code for an older stored form, when it has all that it needs."""
        if row.d in self._by_number or row.version != definition.version:
            return
        stored = WorkflowDefinition.from_json(
            orjson.loads(row.body), code=definition.code, data_type=definition.data_type
        )
        if not stored.missing():
            self._by_number[row.d] = compiled(stored, row.d, self._around)

    def number(self, d: int) -> Registered | None:
        """Return the definition with store number *d*, ``None`` when this host cannot run it."""
        return self._by_number.get(d)

    def find(self, id: str, version: int | None) -> Registered:
        """Return the registered definition; without *version* the highest.

        Raises:
            DefinitionNotFoundError: It is not registered.
        """
        versions = [v for (known, v) in self._current if known == id]
        wanted = max(versions, default=None) if version is None else version
        found = self._current.get((id, wanted)) if wanted is not None else None
        if found is None:
            known = tuple(sorted(f"{name} v{number}" for name, number in self._given))
            raise DefinitionNotFoundError(id, version, known)
        return found

    def result_field(self, id: str, version: int) -> str | None:
        """Return the data field that is a run's result; ``None``: all data, or it is not known."""
        found = self._current.get((id, version))
        return None if found is None else found.definition.result

    def any_named(self, id: str) -> Registered | None:
        """Return the newest registered definition called *id*, ``None`` when there is none."""
        versions = [v for (known, v) in self._current if known == id]
        return self._current[id, max(versions)] if versions else None
