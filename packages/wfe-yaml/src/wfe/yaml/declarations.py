"""Read what steps declare: their inputs, their outputs and types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from wfe.yaml.context import Context
from wfe.yaml.diagnostics import Span
from wfe.yaml.scope import Scope
from wfe.yaml.tree import Entry, ListNode, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import ANY, TypeTextError, ValueType, parse_type

__all__ = ["place_of_output", "read_inputs", "read_outputs", "read_type"]


def read_inputs(step: MapNode, context: Context, scope: Scope) -> dict[str, Entry]:
    """Return the step's ``inputs``: a map, or WFE's list of names, which are workflow inputs."""
    node = step.get("inputs")
    if node is None:
        return {}
    if isinstance(node, ListNode):
        return _listed_inputs(node, context, scope)
    mapping = context.reader.mapping(node, "`inputs`")
    return {
        name: entry
        for name, entry in (mapping.entries if mapping else {}).items()
        if context.reader.output_name(entry.key, "an input")
    }


def _listed_inputs(node: ListNode, context: Context, scope: Scope) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for item in node.items:
        mapping = context.reader.mapping(item, "an item of `inputs`")
        if mapping is None:
            continue
        keys = dict(context.reader.keys(mapping, "an item of `inputs`", ("name", *_UNUSED)))
        _warn_of_unused(keys, context)
        if "name" not in keys:
            context.reader.missing(mapping, "an item of `inputs`", "name")
            continue
        name = keys["name"].value
        text = context.reader.source_text(name, "`name`")
        if text is None or not isinstance(name, Scalar):
            continue
        root = "inputs" if text in scope.inputs else "data"
        expression = f"${{{{ {root}.{text} }}}}"
        found[text] = Entry(key=name, value=attrs.evolve(name, value=expression, style='"'))
    return found


_UNUSED: Final = ("path", "json_path")


def _warn_of_unused(keys: Mapping[str, Entry], context: Context) -> None:
    """WFE knows these keys, and does nothing with them either."""
    for name in _UNUSED:
        if name in keys:
            message = f"`{name}` has no effect"
            hint = "remove it: a step writes its outputs under their names"
            context.problems.warning("WFE052", keys[name].key.span, message, hint)


def read_type(node: TreeNode, context: Context, records: Mapping[str, ValueType]) -> ValueType:
    """Read a type; ``any`` stands for one that is wrong."""
    scalar = context.reader.constant(node, "a type")
    if scalar is None:
        return ANY
    try:
        return parse_type(scalar.value, records)
    except TypeTextError as error:
        at = scalar.locate(error.offset, error.width)
        context.problems.error("WFE017", at, str(error), error.hint)
        return ANY


def read_outputs(step: MapNode, context: Context) -> dict[str, ValueType]:
    """Return the declared ``outputs``: a map of types, or WFE's list of ``{name, type?}``."""
    node = step.get("outputs")
    if node is None:
        return {}
    found: dict[str, ValueType] = {}
    if isinstance(node, ListNode):
        for item in node.items:
            _listed_output(item, context, found)
        return found
    mapping = context.reader.mapping(node, "`outputs`")
    for name, entry in (mapping.entries if mapping else {}).items():
        if context.reader.output_name(entry.key, "an output"):
            found[name] = read_type(entry.value, context, context.records)
    return found


def _listed_output(item: TreeNode, context: Context, found: dict[str, ValueType]) -> None:
    reader = context.reader
    if isinstance(item, Scalar):
        name = reader.output_name(item, "an output")
        kind = ANY
    else:
        mapping = reader.mapping(item, "an item of `outputs`")
        if mapping is None:
            return
        keys = dict(reader.keys(mapping, "an item of `outputs`", ("name", "type", *_UNUSED)))
        _warn_of_unused(keys, context)
        if "name" not in keys:
            reader.missing(mapping, "an item of `outputs`", "name")
            return
        name = reader.output_name(keys["name"].value, "an output")
        kind = read_type(keys["type"].value, context, context.records) if "type" in keys else ANY
    if name is not None and name in found:
        context.problems.error(
            "WFE018", item.span, f"the output `{name}` is listed twice", "keep one"
        )
    elif name is not None:
        found[name] = kind


def place_of_output(written: TreeNode | None, name: str) -> Span | None:
    """Return where the declared ``outputs`` *written* name the output *name*."""
    if isinstance(written, MapNode):
        return written.entries[name].key.span
    for item in written.items if isinstance(written, ListNode) else []:
        scalar = item.get("name") if isinstance(item, MapNode) else item
        if isinstance(scalar, Scalar) and scalar.value == name:
            return scalar.span
    return None
