"""Makes a definition of drafts: gives names, checks everything across steps, collects the code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from wfe.core.builder.arguments import check_text, got, positive
from wfe.core.builder.bodies import input_names, needed_values
from wfe.core.builder.drafts import Branch, Defaults, Draft
from wfe.core.builder.expressions import CelCheck
from wfe.core.context_names import context_hint
from wfe.core.data import DataModel, model_for
from wfe.core.definition import HOOKS, Block, Json, Kind, Node, Value, WorkflowDefinition
from wfe.core.errors import DefinitionError
from wfe.core.fields import data_fields
from wfe.core.micros import to_micros
from wfe.core.nearest import nearest
from wfe.core.step_settings import settings_of

__all__ = ["assemble"]


def assemble(
    root: Sequence[Draft],
    *,
    id: object,
    version: object,
    description: str | None,
    data_type: type | None,
    defaults: Defaults,
) -> WorkflowDefinition:
    """Return the definition that *root* describes.

    Raises:
        DefinitionError: Something does not fit; the first problem in the order of the steps.
    """
    name = check_text("the id of a workflow", id, None)
    number = positive(version, "version", name)
    if description is not None and not isinstance(description, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users may
        raise DefinitionError(f"description must be a text, got {got(description)}", name)
    assembly = _Assembly(name, model_for(data_type), _names(root, name))
    assembly.whole(defaults)
    nodes = assembly.nodes(root, (), item=False)
    return WorkflowDefinition(
        id=name,
        version=number,
        root=Block(nodes),
        default_error=defaults.error,
        default_timeout=defaults.timeout,
        timeout=defaults.run_timeout,
        limits=tuple(defaults.limits),
        retention=defaults.retention,
        requires=defaults.requires,
        handlers=defaults.handlers,
        meta={} if description is None else {"description": description},
        code=assembly.code,
        data_type=data_type,
    )


def _names(root: Iterable[Draft], where: str) -> dict[int, str]:
    """Return the final name of each draft, by the draft's identity; given names are kept."""
    drafts = [draft for top in root for draft in top.walk()]
    names: dict[int, str] = {}
    taken: set[str] = set()
    for draft in drafts:
        given = draft.name or draft.id
        if given is None:
            continue
        if given in taken:
            problem = f"two steps are called {given!r}"
            raise DefinitionError(problem, where, "names and ids are unique in a definition")
        taken.add(given)
        names[id(draft)] = given
    for draft in drafts:
        if id(draft) not in names:
            name, count = draft.base, 1
            while name in taken:
                count += 1
                name = f"{draft.base}-{count}"
            taken.add(name)
            names[id(draft)] = check_text("the name of a step", name, where)
    return names


class _Assembly:
    def __init__(self, where: str, model: DataModel, names: Mapping[int, str]) -> None:
        self.code: dict[str, Any] = {}
        self._where = where
        self._model = model
        self._names = names
        self._cel = CelCheck(model)

    def whole(self, defaults: Defaults) -> None:
        """Check what is said of the whole workflow, and collect its callables."""
        self._cel.check_limits(defaults.limits, self._where)
        self.code.update((f"/{role}", function) for role, function in defaults.code.items())

    def nodes(
        self, drafts: Sequence[Draft], around: tuple[Sequence[Draft], ...], *, item: bool
    ) -> tuple[Node, ...]:
        """Return the nodes of one block; *around* are the drafts of the blocks that hold it."""
        scope = (*around, drafts)
        return tuple(self._node(draft, scope, item=item) for draft in drafts)

    def _node(self, draft: Draft, scope: tuple[Sequence[Draft], ...], *, item: bool) -> Node:
        name = self._names[id(draft)]
        where = f"{self._where}: {name}"
        self._check_fields(draft, where)
        self._cel.check(draft, where, item=item)
        inside = item or draft.kind is Kind.FOR_EACH
        settings = settings_of(draft.body)
        timeout = draft.timeout
        if timeout is None and settings.timeout is not None:
            timeout = to_micros(settings.timeout)
        node = Node(
            name=name,
            kind=draft.kind,
            blocks=tuple(self._block(b, scope, item=inside) for b in draft.branches),
            undo=None if draft.undo is None else self._block(draft.undo, scope, item=item),
            hooks=tuple(
                (key, self._block(draft.hooks[key], scope, item=item))
                for key in HOOKS
                if key in draft.hooks
            ),
            limits=tuple(draft.limits),
            cancel_when=draft.cancel_when,
            trigger=draft.trigger,
            cache=draft.cache,
            secrets=tuple(Value(name) for name in draft.secrets),
            needs=draft.needs,
            needs_any=draft.needs_any,
            run_if=draft.run_if,
            inputs=tuple(draft.inputs.items()),
            outputs=tuple(draft.outputs.items()),
            exprs=tuple(draft.exprs.items()),
            config=self._config(draft, scope, where),
            on_error=draft.on_error if draft.on_error is not None else settings.retry,
            timeout=timeout,
        )
        self._keep(draft, name)
        return node

    def _block(self, branch: Branch, scope: tuple[Sequence[Draft], ...], *, item: bool) -> Block:
        nodes = self.nodes(branch.drafts, scope, item=item)
        return Block(nodes, branch.label, branch.default)

    def _keep(self, draft: Draft, name: str) -> None:
        code = dict(draft.code)
        if draft.kind is Kind.STEP and "uses" not in draft.config:  # built-in ones need no code
            code["body"] = draft.body
        for role, function in code.items():
            key = f"{name}/{role}"
            if key in self.code:  # only when a name itself contains a slash
                problem = f"the name {name!r} collides with another step's callables ({key})"
                raise DefinitionError(problem, self._where, "leave the slash out of the name")
            self.code[key] = function

    # -- goto --------------------------------------------------------------------------------------

    def _config(
        self, draft: Draft, scope: tuple[Sequence[Draft], ...], where: str
    ) -> Mapping[str, Json]:
        if draft.kind is not Kind.GOTO:
            return draft.config
        return {"target": self._target(draft, scope, where)}

    def _target(self, draft: Draft, scope: tuple[Sequence[Draft], ...], where: str) -> str:
        wanted: str = draft.config["target"]
        for block in reversed(scope):
            for each in block:
                if wanted in (each.id, self._names[id(each)]):
                    if each is draft:
                        raise DefinitionError("goto() leads to itself", where, "name another step")
                    return self._names[id(each)]
        drafts = [each for top in scope[0] for each in top.walk()]
        after = [a for each in drafts for branch in each.around() for a in branch.drafts]
        if wanted in {name for each in after for name in self._callable(each)}:
            problem = f"goto({wanted!r}) leads to a step that undoes or follows another"
            raise DefinitionError(problem, where, "it has no place of its own to go on from")
        if wanted in {name for each in drafts for name in self._callable(each)}:
            problem = f"goto({wanted!r}) leads into a container that it does not stand in"
            hint = "a goto may lead to steps of its own block and of those around it"
            raise DefinitionError(problem, where, hint)
        others = [each for block in scope for each in block if each is not draft]
        reachable = [name for each in others for name in self._callable(each)]
        problem = f"goto({wanted!r}) leads to no step"
        raise DefinitionError(f"{problem}{nearest(wanted, reachable)}", where)

    def _callable(self, draft: Draft) -> Iterator[str]:
        """Yield what a goto may call *draft*."""
        yield self._names[id(draft)]
        if draft.id is not None and draft.id != self._names[id(draft)]:
            yield draft.id

    # -- fields ------------------------------------------------------------------------------------

    def _check_fields(self, draft: Draft, where: str) -> None:
        for name in draft.outputs:
            self._check_output(name, where)
        if "output" in draft.config:
            self._check_output(draft.config["output"], where)
        if draft.kind is not Kind.STEP or draft.body is None:
            return
        known = input_names(draft.body)
        if known is not None:
            for name in draft.inputs:
                if name not in known:
                    shown = _shown(draft.body)
                    problem = f"{shown} has no field or parameter {name!r} for input()"
                    raise DefinitionError(f"{problem}{nearest(name, known)}", where)
        self._check_parameters(draft, where)

    def _check_output(self, name: str, where: str) -> None:
        declared = self._model.declared
        data_type = self._model.data_type
        if declared is None or data_type is None or name in declared:
            return
        fields = data_fields(data_type) or ()
        if any(field.name == name and field.transient for field in fields):
            problem = f"{data_type.__name__}.{name} is transient, so no step can output to it"
            raise DefinitionError(problem, where, "choose a field that is stored")
        problem = f"{data_type.__name__} has no field {name!r} for output()"
        raise DefinitionError(f"{problem}{nearest(name, declared)}", where)

    def _check_parameters(self, draft: Draft, where: str) -> None:
        declared, data_type = self._model.declared, self._model.data_type
        if declared is None or data_type is None:
            return
        for name in needed_values(draft.body):
            if name not in draft.inputs and name not in declared:
                shown = _shown(draft.body)
                problem = (
                    f"parameter {name!r} of {shown} has no value: it is no field of"
                    f" {data_type.__name__}, has no input() and no default"
                )
                hint = context_hint(draft.body) or f"add .input({name!r}, ...)"
                if draft.method in _AROUND:  # nobody can add one there
                    hint = "take ctx instead, or pass an instance of a class"
                raise DefinitionError(problem, where, hint)


_AROUND: Final = frozenset({"compensate_with()", *(f"{name}()" for name in HOOKS)})


def _shown(body: Any) -> str:
    name = getattr(body, "__name__", None) or type(body).__name__
    return "the function" if name == "<lambda>" else str(name)
