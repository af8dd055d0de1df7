"""Check one workflow: from its map to a definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from wfe.core.definition import Block, Cel, Expr, Kind, Node, WorkflowDefinition
from wfe.core.lean import frozen
from wfe.yaml.children import fit
from wfe.yaml.concurrency import read_concurrency
from wfe.yaml.context import Context, InputSpec, Signature, Signatures
from wfe.yaml.defaults import check_defaults
from wfe.yaml.diagnostics import Problems, Span, nearest
from wfe.yaml.findings import look_over
from wfe.yaml.keys import WORKFLOW
from wfe.yaml.labels import read_labels
from wfe.yaml.modifiers import read_error_behavior, read_surroundings, read_timeout
from wfe.yaml.reading import Reader
from wfe.yaml.retention import read_retention
from wfe.yaml.scope import Scope, cel_literal
from wfe.yaml.steps import check_list, collect_names
from wfe.yaml.tree import Entry, MapNode
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import ValueType
from wfe.yaml.variables import Variables

__all__ = ["WorkflowCheck"]


@frozen
class WorkflowCheck:
    """Checks one workflow.

    Attributes:
        signatures: Of all workflows that it may run.
        records: The record types that its file sees.
        source: Name of the main file, which is read again to go on with a run.
    """

    problems: Problems
    variables: Variables
    signatures: Signatures
    records: Mapping[str, ValueType]
    source: str

    def check(
        self, spec: MapNode, signature: Signature
    ) -> tuple[WorkflowDefinition, list[tuple[str, Span]]]:
        """Return the definition, and the id and place of each workflow that its steps run."""
        reader = Reader(self.problems)
        for _ in reader.keys(spec, "a workflow", WORKFLOW):
            pass
        context = self._context(spec, signature, reader)
        steps = spec.get("steps")
        every = collect_names(steps, context) if steps is not None else {}
        scope = Scope(
            inputs={name: declared.kind for name, declared in signature.inputs.items()},
            every=every,
            variables=self.variables,
        )
        scope = read_surroundings(spec, context, scope)
        block = Block()
        if steps is None:
            reader.missing(
                spec, "a workflow", "steps", "write a list of steps, each beginning with `- `"
            )
        else:
            block, after = check_list(steps, "`steps`", signature.id, context, scope)
            scope = attrs.evolve(after, env=scope.env)
        outputs = self._outputs(spec, signature, context, scope)
        nodes = block.nodes if outputs is None else (*block.nodes, outputs)
        timeout, behavior = spec.get("timeout"), spec.get("error_behavior")
        policy = read_error_behavior(behavior, context) if behavior is not None else None
        first = Scope(inputs=scope.inputs, variables=self.variables)
        retention = read_retention(spec.get("retention"), context)
        read_labels(spec.get("runs_on"), context)
        definition = WorkflowDefinition(
            id=signature.id,
            version=signature.version,
            root=Block(nodes),
            default_error=policy,
            timeout=None if timeout is None else read_timeout(timeout, context),
            limits=read_concurrency(spec.get("concurrency"), context, first),
            retention=retention.always,
            retentions=retention.by_status,
            requires=tuple(sorted(context.labels)),
            meta=self._meta(spec, signature, context),
        )
        look_over(spec, definition, scope, context)
        return definition, context.calls

    def _context(self, spec: MapNode, signature: Signature, reader: Reader) -> Context:
        defaults = spec.get("defaults")
        context = Context(
            workflow=signature.id,
            problems=self.problems,
            signatures=self.signatures,
            records=self.records,
            defaults=reader.mapping(defaults, "`defaults`") if defaults is not None else None,
        )
        check_defaults(context)
        return context

    def _meta(self, spec: MapNode, signature: Signature, context: Context) -> dict[str, Any]:
        meta: dict[str, Any] = {
            "inputs": {name: _input_json(declared) for name, declared in signature.inputs.items()},
            "outputs": {name: kind.to_json() for name, kind in signature.outputs.items()},
            "source": self.source,
            "records": True,
        }
        for key in ("name", "description"):
            node = spec.get(key)
            text = context.reader.text(node, f"`{key}`") if node is not None else None
            if text:
                meta[key] = text
        if spec.source.name != self.source:
            meta["file"] = spec.source.name
        further = self._beside(spec, signature, context)
        return meta | {key: value for key, value in further.items() if value}

    def _beside(self, spec: MapNode, signature: Signature, context: Context) -> dict[str, Any]:
        """Return what others than the engine do for the workflow."""
        found: dict[str, Any] = {}
        if (triggers := spec.get("triggers")) is not None:
            from wfe.yaml.triggers import read_triggers  # noqa: PLC0415

            found["triggers"] = read_triggers(triggers, signature, context, self.variables)
        services, volume = spec.get("services"), spec.get("shared_volume")
        if services is not None or volume is not None:
            from wfe.yaml.services import read_services, read_shared_volume  # noqa: PLC0415

            found["services"] = read_services(services, context)
            found["shared_volume"] = read_shared_volume(volume, context)
        return found

    def _outputs(
        self, spec: MapNode, signature: Signature, context: Context, scope: Scope
    ) -> Node | None:
        node = spec.get("outputs")
        if not isinstance(node, MapNode) or not signature.outputs:
            return None
        exprs: list[tuple[str, Expr]] = []
        for name, kind in signature.outputs.items():
            entry = node.entries[name]
            value = entry.value.get("value") if isinstance(entry.value, MapNode) else None
            expr = (
                self._made(name, kind, entry, scope)
                if value is None
                else self._valued(name, kind, value, context, scope)
            )
            if expr is not None:
                exprs.append((name, expr))
        return Node(
            name=context.free("outputs"),
            kind=Kind.SET,
            exprs=tuple(exprs),
            config={"field": "outputs"},
        )

    def _valued(
        self, name: str, kind: ValueType, value: TreeNode, context: Context, scope: Scope
    ) -> Expr | None:
        found = context.expressions.value(value, scope.into(f"the output `{name}`"))
        if found is None:
            return None
        return fit(*found, kind, f"the output `{name}`", value, context)

    def _made(self, name: str, kind: ValueType, entry: Entry, scope: Scope) -> Expr | None:
        """Return the expression for an output without ``value``: what a step makes of that name."""
        makers = {step: visible for step, visible in scope.steps.items() if name in visible.outputs}
        if not makers:
            made = sorted(
                {output for visible in scope.steps.values() for output in visible.outputs}
            )
            near = nearest(name, made)
            hint = (
                f"did you mean `{near}`?"
                if near
                else "declare it in the `outputs` of a step, or give it a `value`"
            )
            self.problems.error(
                "WFE034", entry.key.span, f"no step makes the output `{name}`", hint
            )
            return None
        sure = [step for step, visible in makers.items() if visible.sure]
        step = (sure or list(makers))[-1]
        made_kind = makers[step].outputs[name]
        at = entry.key.span
        if not kind.cel.accepts(made_kind.cel):
            message = f"the output `{name}` is {kind}, the step `{step}` makes {made_kind}"
            self.problems.error("WFE035", at, message, "write the same type in both places")
        field = f"data.{name}" if name.isidentifier() else f"data[{cel_literal(name)}]"
        if sure:
            return Cel(field)
        if not kind.optional and kind.kind != "any":
            message = f"the output `{name}` may be missing: {makers[step].doubt}"
            hint = f"write the type `{kind}?`, or a `value` with `.orValue(...)`"
            self.problems.error("WFE033", at, message, hint)
        access = f"data.?{name}" if name.isidentifier() else f"data[?{cel_literal(name)}]"
        return Cel(f"{access}.orValue(null)")


def _input_json(declared: InputSpec) -> dict[str, Any]:
    stored: dict[str, Any] = {"type": declared.kind.to_json(), "required": declared.required}
    if not declared.required:
        stored["default"] = declared.default
    if declared.description:
        stored["description"] = declared.description
    return stored
