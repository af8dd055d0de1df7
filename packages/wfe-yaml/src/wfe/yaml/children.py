"""Check steps that run another workflow, of the file or of one that it includes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from wfe.core.cel_types import CelType
from wfe.core.definition import Cel, Expr, Kind, Node, Record, Value
from wfe.yaml.context import Context, InputSpec, Signature
from wfe.yaml.declarations import place_of_output, read_inputs, read_outputs
from wfe.yaml.diagnostics import nearest
from wfe.yaml.leaf import Leaf, config_timeout, read_config
from wfe.yaml.scope import Scope
from wfe.yaml.tree import Entry, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import UnfitValueError, ValueType, described

__all__ = ["check_child", "fit"]


def check_child(step: MapNode, name: str, key: str, context: Context, scope: Scope) -> Leaf:
    """Check a step with ``type: workflow``: the child, its version, inputs and outputs."""
    child, timeout = _child(step, context)
    if child is None:
        return Leaf(node=None, outputs=read_outputs(step, context), timeout=timeout)
    _check_child_outputs(step, child, context)
    data = _child_data(step, child, context, scope)
    config_json = {
        "definition": child.id,
        "version": child.version,
        "output": f"steps.{key}",
        "wrap": "outputs",
        "select": "outputs",
        "flatten": True,
    }
    exprs: tuple[tuple[str, Expr], ...] = (("data", Record((("inputs", data),))),)
    node = Node(name=name, kind=Kind.SUB_WORKFLOW, config=config_json, exprs=exprs)
    return Leaf(node=node, outputs=child.outputs, timeout=timeout)


def _child(step: MapNode, context: Context) -> tuple[Signature | None, int | None]:
    """Return the workflow that the step's ``config`` names, and the time-out beside it."""
    reader = context.reader
    config = read_config(step, context)
    known = dict(reader.keys(_without_version(config, context), _WHAT, _KEYS))
    timeout = config_timeout(step, known, context)
    if "workflow" not in known:
        if isinstance(step.get("config"), MapNode | None):
            hint = "write the id of the workflow to run"
            reader.missing(config, "a workflow step", "workflow", hint)
        return None, timeout
    at = known["workflow"].value
    id_ = reader.source_text(at, "`workflow`")
    if id_ is None:
        return None, timeout
    child = context.signatures.get(id_)
    if child is None:
        near = nearest(id_, context.signatures)
        hint = (
            f"did you mean `{near}`?" if near else f"workflows are {', '.join(context.signatures)}"
        )
        context.problems.error("WFE022", at.span, f"there is no workflow `{id_[:60]}`", hint)
        return None, timeout
    context.calls.append((child.id, at.span))
    return _of_version(known, child, context), timeout


_WHAT: Final = "the `config` of a workflow step"
_KEYS: Final = ("workflow", "workflow_version", "timeout")


def _without_version(config: MapNode, context: Context) -> MapNode:
    """Refuse WFE's own mistake: ``version`` does nothing there, whatever it says."""
    entry = config.entries.get("version")
    if entry is None:
        return config
    hint = "write `workflow_version`, or remove it: the highest version is taken"
    message = f"{_WHAT} has no key `version`"
    context.problems.error("WFE012", entry.key.span, message, hint)
    entries = {key: kept for key, kept in config.entries.items() if key != "version"}
    return attrs.evolve(config, entries=entries)


def _of_version(known: Mapping[str, Entry], child: Signature, context: Context) -> Signature | None:
    if "workflow_version" not in known:
        return child
    node = known["workflow_version"].value
    version = context.reader.integer(node, "`workflow_version`", 0)
    if version is None:
        return None
    found = context.signatures.find(child.id, version)
    if found is None:
        versions = context.signatures.versions(child.id)
        listed = " and ".join(map(str, versions))
        plural = "versions" if len(versions) > 1 else "version"
        message = f"the workflow `{child.id}` has {plural} {listed}, not {version}"
        context.problems.error(
            "WFE022", node.span, message, "remove `workflow_version`, or correct it"
        )
    return found


def _check_child_outputs(step: MapNode, child: Signature, context: Context) -> None:
    written = step.get("outputs")
    declared = read_outputs(step, context)
    for name, kind in declared.items():
        at = place_of_output(written, name) or step.span
        if name not in child.outputs:
            near = nearest(name, child.outputs)
            hint = f"did you mean `{near}`?" if near else None
            hint = hint or f"it gives {', '.join(child.outputs) or 'no outputs'}"
            message = f"the workflow `{child.id}` has no output `{name}`"
            context.problems.error("WFE042", at, message, hint)
        elif not kind.cel.accepts(child.outputs[name].cel):
            message = f"the output `{name}` of `{child.id}` is {child.outputs[name]}, not {kind}"
            context.problems.error("WFE042", at, message, "write the same type")


def _child_data(step: MapNode, child: Signature, context: Context, scope: Scope) -> Expr:
    given = read_inputs(step, context, scope)
    for name, entry in given.items():
        if name not in child.inputs:
            near = nearest(name, child.inputs)
            hint = f"did you mean `{near}`?" if near else None
            hint = hint or f"it takes {', '.join(child.inputs) or 'no inputs'}"
            message = f"the workflow `{child.id}` has no input `{name}`"
            context.problems.error("WFE042", entry.key.span, message, hint)
    fields: list[tuple[str, Expr]] = []
    for name, spec in child.inputs.items():
        if name in given:
            fields.append((name, _child_input(given[name], name, spec, context, scope)))
        elif spec.required:
            message = f"the workflow `{child.id}` needs the input `{name}` ({spec.kind})"
            context.problems.error(
                "WFE042", step.span, message, f"write `inputs: {{{name}: ...}}` on the step"
            )
        else:
            fields.append((name, Value(spec.default)))
    return Record(tuple(fields))


def _child_input(entry: Entry, name: str, spec: InputSpec, context: Context, scope: Scope) -> Expr:
    if spec.kind.kind == "secret":
        # What is handed on is the secret's name, never its value.
        return context.expressions.secret_name(entry.value, scope) or Value(None)
    sink = scope.into(f"the input `{name}` of a child workflow, which is not of type `secret`")
    found = context.expressions.value(entry.value, sink)
    if found is None:
        return Value(None)
    expr, kind = found
    return fit(expr, kind, spec.kind, f"the input `{name}`", entry.value, context)


def fit(
    expr: Expr, kind: CelType, wanted: ValueType, what: str, node: TreeNode, context: Context
) -> Expr:
    """Return *expr* as a value of the type *wanted*; what does not fit is recorded."""
    if isinstance(expr, Value):
        try:
            return Value(wanted.convert(expr.value))
        except UnfitValueError as error:
            hint = None
            text = node.value if isinstance(node, Scalar) else ""
            if text and wanted.kind == "string" and not isinstance(expr.value, str):
                hint = f'quote it: "{text}"'
            context.problems.error("WFE042", node.span, f"{what}: {error}", hint)
            return expr
    if wanted.kind == "number" and kind == CelType.INT and isinstance(expr, Cel):
        return Cel(f"double({expr.text})")
    if not wanted.cel.accepts(kind):
        message = f"{what} is of type {wanted}, this gives {described(kind)}"
        context.problems.error("WFE035", node.span, message, _conversion(wanted.cel, kind))
    return expr


def _conversion(wanted: CelType, kind: CelType) -> str | None:
    functions = {"string", "int", "double", "bool"}
    if wanted.signature in functions and kind.signature in functions:
        return f"convert it: `{wanted}(...)`"
    return None
