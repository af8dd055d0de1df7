"""Check steps that run another workflow of the file."""

from __future__ import annotations

from collections.abc import Mapping

from wfe.core.cel import CelType
from wfe.core.definition import Cel, Expr, Kind, Node, Record, Value
from wfe.yaml.context import Context, InputSpec, Signature
from wfe.yaml.declarations import read_inputs, read_outputs
from wfe.yaml.diagnostics import Span, nearest
from wfe.yaml.leaf import Leaf, read_config
from wfe.yaml.scope import Scope
from wfe.yaml.tree import Entry, ListNode, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import UnfitValueError, ValueType

__all__ = ["check_child", "fit"]


def check_child(step: MapNode, name: str, key: str, context: Context, scope: Scope) -> Leaf:
    config = read_config(step, context)
    known = dict(
        context.reader.keys(
            config, "the `config` of a workflow step", ("workflow", "workflow_version")
        )
    )
    if "workflow" not in known:
        context.reader.missing(
            config, "a workflow step", "workflow", "write the id of the workflow to run"
        )
        return Leaf(node=None, outputs=read_outputs(step, context))
    id_ = context.reader.source_text(known["workflow"].value, "`workflow`")
    child = context.signatures.get(id_) if id_ is not None else None
    if child is None:
        if id_ is not None:
            near = nearest(id_, context.signatures)
            hint = (
                f"did you mean `{near}`?"
                if near
                else f"workflows are {', '.join(context.signatures)}"
            )
            at = known["workflow"].value.span
            context.problems.error("WFE022", at, f"there is no workflow `{id_[:60]}`", hint)
        return Leaf(node=None, outputs=read_outputs(step, context))
    _check_version(known, child, context)
    context.calls.append((child.id, known["workflow"].value.span))
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
    return Leaf(node=node, outputs=child.outputs)


def _check_version(known: Mapping[str, Entry], child: Signature, context: Context) -> None:
    if "workflow_version" not in known:
        return
    node = known["workflow_version"].value
    version = context.reader.integer(node, "`workflow_version`", 0)
    if version is not None and version != child.version:
        message = f"the workflow `{child.id}` has version {child.version}, not {version}"
        context.problems.error(
            "WFE022", node.span, message, "remove `workflow_version`, or correct it"
        )


def _check_child_outputs(step: MapNode, child: Signature, context: Context) -> None:
    written = step.get("outputs")
    declared = read_outputs(step, context)
    for name, kind in declared.items():
        at = _place_of_output(written, name) or step.span
        if name not in child.outputs:
            near = nearest(name, child.outputs)
            hint = f"did you mean `{near}`?" if near else None
            hint = hint or f"it gives {', '.join(child.outputs) or 'no outputs'}"
            message = f"the workflow `{child.id}` has no output `{name}`"
            context.problems.error("WFE042", at, message, hint)
        elif not kind.cel.accepts(child.outputs[name].cel):
            message = f"the output `{name}` of `{child.id}` is {child.outputs[name]}, not {kind}"
            context.problems.error("WFE042", at, message, "write the same type")


def _place_of_output(written: TreeNode | None, name: str) -> Span | None:
    if isinstance(written, MapNode):
        return written.entries[name].key.span
    for item in written.items if isinstance(written, ListNode) else []:
        scalar = item.get("name") if isinstance(item, MapNode) else item
        if isinstance(scalar, Scalar) and scalar.value == name:
            return scalar.span
    return None


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
    found = context.expressions.value(entry.value, scope)
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
            if wanted.kind in {"string", "enum"} and not isinstance(expr.value, str | list | dict):
                hint = "quote it" if expr.value is not None else None
            context.problems.error("WFE042", node.span, f"{what}: {error}", hint)
            return expr
    if wanted.kind == "number" and kind == CelType.INT and isinstance(expr, Cel):
        return Cel(f"double({expr.text})")
    if not wanted.cel.accepts(kind):
        message = f"{what} is {wanted}, this gives {kind}"
        context.problems.error("WFE035", node.span, message, _conversion(wanted.cel, kind))
    return expr


def _conversion(wanted: CelType, kind: CelType) -> str | None:
    functions = {"string", "int", "double", "bool"}
    if wanted.signature in functions and kind.signature in functions:
        return f"convert it: `{wanted}(...)`"
    return None
