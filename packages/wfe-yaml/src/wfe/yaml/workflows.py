"""Check a file: its workflows, their inputs and outputs, and what they call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from wfe.core.definition import Block, Cel, Expr, Kind, Node, WorkflowDefinition
from wfe.yaml.children import fit
from wfe.yaml.context import Context, InputSpec, Signature
from wfe.yaml.declarations import read_type
from wfe.yaml.diagnostics import Problems, Source, Span, nearest
from wfe.yaml.keys import DEFAULTS, FILE, FILE_LATER, WORKFLOW, WORKFLOW_LATER, reserved_env
from wfe.yaml.modifiers import read_error_behavior, read_surroundings, read_timeout
from wfe.yaml.parsing import parse
from wfe.yaml.reading import ID, OUTPUT_NAME, Reader
from wfe.yaml.scope import Scope, cel_literal
from wfe.yaml.steps import check_list, collect_names
from wfe.yaml.tree import Entry, Limits, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import ANY, UnfitValueError, ValueType
from wfe.yaml.variables import Variables, expand, to_plain

__all__ = ["Checked", "check_source"]

_BEGIN: Final = "begin with `workflow:` and an `id`, a `version` and `steps`"


@attrs.frozen(kw_only=True)
class Checked:
    """The definitions of a file; incomplete when *problems* has errors.

    Attributes:
        definitions: In the order of the file, without callables.
        called: Ids of those that another one of them calls.
    """

    definitions: tuple[WorkflowDefinition, ...]
    called: frozenset[str]


def check_source(
    source: Source, variables: Variables, problems: Problems, limits: Limits
) -> Checked:
    """Check *source* and return its definitions; what is wrong goes to *problems*."""
    nothing = Checked(definitions=(), called=frozenset())
    try:
        root = parse(source, problems, limits)
        if root is None:
            return nothing
        expanded = expand(root, variables, problems)
        mapping = Reader(problems).mapping(expanded, "a workflow file", _BEGIN)
        return nothing if mapping is None else _File(problems, variables).check(mapping)
    except RecursionError:
        # The default limit of depth is far from this; a caller's own may not be.
        message = "the file is nested deeper than it can be read"
        problems.error("WFE002", Span(source, 1, 1), message)
        return nothing


@attrs.frozen
class _File:
    problems: Problems
    variables: Variables

    @property
    def reader(self) -> Reader:
        return Reader(self.problems)

    def check(self, root: MapNode) -> Checked:
        known = [name for name in root.entries if not name.startswith("_")]
        visible = attrs.evolve(root, entries={name: root.entries[name] for name in known})
        for _ in self.reader.keys(visible, "a workflow file", FILE, FILE_LATER):
            pass
        specs = self._specs(root)
        records = self._records(root.get("types"))
        signatures: dict[str, Signature] = {}
        for spec in specs:
            signature = self._signature(spec, records)
            if signature.id in signatures:
                first = signatures[signature.id].span.line
                message = f"the workflow id `{signature.id}` stands twice, first in line {first}"
                self.problems.error(
                    "WFE018", signature.span, message, "give one of them another id"
                )
                continue
            signatures[signature.id] = signature
        checked = [
            _Workflow(self.problems, self.variables, signatures, records).check(spec, signature)
            for spec, signature in zip(specs, signatures.values(), strict=False)
        ]
        calls = {definition.id: made for definition, made in checked}
        self._refuse_circles(calls)
        called = frozenset(child for made in calls.values() for child, _ in made)
        return Checked(definitions=tuple(d for d, _ in checked), called=called)

    def _specs(self, root: MapNode) -> list[MapNode]:
        one, several = root.entries.get("workflow"), root.entries.get("workflows")
        if one and several:
            message = "`workflow` and `workflows` stand in one file"
            self.problems.error(
                "WFE019", several.key.span, message, "put all of them under `workflows`"
            )
        if one is None and several is None:
            near = next((n for n in root.entries if nearest(n, ("workflow", "workflows"))), None)
            if near is None:
                self.reader.missing(root, "a workflow file", "workflow", _BEGIN)
            return []
        found: list[MapNode | None] = []
        if one is not None:
            found.append(self.reader.mapping(one.value, "`workflow`"))
        elif several is not None:
            listed = self.reader.sequence(several.value, "`workflows`")
            found += [
                self.reader.mapping(i, "a workflow") for i in (listed.items if listed else [])
            ]
        return [spec for spec in found if spec is not None]

    def _records(self, node: TreeNode | None) -> dict[str, ValueType]:
        """Read ``types``; a record may use those before it."""
        mapping = self.reader.mapping(node, "`types`") if node is not None else None
        records: dict[str, ValueType] = {}
        context = Context(workflow="", problems=self.problems, signatures={})
        for name, entry in (mapping.entries if mapping else {}).items():
            self.reader.named(entry.key, "a type", OUTPUT_NAME, "letters, digits, `_` and `-`")
            fields = self.reader.mapping(entry.value, f"the type `{name}`")
            typed = {
                field: read_type(inner.value, context, records)
                for field, inner in (fields.entries if fields else {}).items()
            }
            records[name] = ValueType("record", fields=tuple(typed.items()), name=name)
        return records

    def _signature(self, spec: MapNode, records: Mapping[str, ValueType]) -> Signature:
        reader = self.reader
        id_node, version_node = spec.get("id"), spec.get("version")
        id_ = None
        if id_node is None:
            reader.missing(spec, "a workflow", "id", "write `id: my-workflow`")
        else:
            id_ = reader.named(id_node, "`id`", ID, "letters, digits, `_`, `.` and `-`")
        version = None
        if version_node is None:
            reader.missing(spec, "a workflow", "version", "write `version: 1`")
        else:
            version = reader.integer(version_node, "`version`", 0)
        return Signature(
            id=id_ or f"?{spec.line}",
            version=version or 0,
            span=id_node.span if id_node is not None else spec.span,
            inputs=self._inputs(spec.get("inputs"), records),
            outputs=self._outputs(spec.get("outputs"), records),
        )

    def _inputs(
        self, node: TreeNode | None, records: Mapping[str, ValueType]
    ) -> dict[str, InputSpec]:
        mapping = self.reader.mapping(node, "`inputs`") if node is not None else None
        found: dict[str, InputSpec] = {}
        for name, entry in (mapping.entries if mapping else {}).items():
            if self.reader.output_name(entry.key, "an input") is None:
                continue
            if reserved_env(name.upper().replace("-", "_")):
                message = f"the input `{name}` does not become an environment variable"
                hint = f"programs know `{name.upper()}`; read it with `${{{{ inputs.{name} }}}}`"
                self.problems.warning("WFE050", entry.key.span, message, hint)
            found[name] = self._input(name, entry, records)
        return found

    def _input(self, name: str, entry: Entry, records: Mapping[str, ValueType]) -> InputSpec:
        context = Context(workflow="", problems=self.problems, signatures={})
        if not isinstance(entry.value, MapNode):
            kind = read_type(entry.value, context, records)
            return InputSpec(kind=kind, required=not kind.optional)
        keys = dict(
            self.reader.keys(
                entry.value, "an input", ("type", "default", "description", "required")
            )
        )
        kind = read_type(keys["type"].value, context, records) if "type" in keys else ANY
        description = keys.get("description")
        text = self.reader.source_text(description.value, "`description`") if description else None
        required = (
            self.reader.boolean(keys["required"].value, "`required`")
            if "required" in keys
            else None
        )
        if "default" in keys:
            if required:
                message = f"the input `{name}` is required, so its default is never used"
                self.problems.warning(
                    "WFE052", keys["default"].key.span, message, "remove one of the two"
                )
            default = self._default(name, kind, keys["default"].value)
            return InputSpec(kind=kind, required=bool(required), default=default, description=text)
        if required is False and not kind.optional:
            kind = attrs.evolve(kind, optional=True)
        return InputSpec(
            kind=kind,
            required=not kind.optional if required is None else required,
            description=text,
        )

    def _default(self, name: str, kind: ValueType, node: TreeNode) -> Any:
        value = to_plain(node)
        try:
            return kind.convert(value)
        except UnfitValueError as error:
            hint = None
            if (
                isinstance(node, Scalar)
                and kind.kind in {"string", "enum"}
                and not isinstance(value, str)
            ):
                hint = f'quote it: "{node.value}"'
            self.problems.error("WFE011", node.span, f"the default of `{name}`: {error}", hint)
            return value

    def _outputs(
        self, node: TreeNode | None, records: Mapping[str, ValueType]
    ) -> dict[str, ValueType]:
        mapping = self.reader.mapping(node, "`outputs`") if node is not None else None
        context = Context(workflow="", problems=self.problems, signatures={})
        found: dict[str, ValueType] = {}
        for name, entry in (mapping.entries if mapping else {}).items():
            if self.reader.output_name(entry.key, "an output") is None:
                continue
            written: TreeNode | None = entry.value
            if isinstance(entry.value, MapNode):
                keys = dict(
                    self.reader.keys(entry.value, "an output", ("type", "value", "description"))
                )
                written = keys["type"].value if "type" in keys else None
            found[name] = ANY if written is None else read_type(written, context, records)
        return found

    def _refuse_circles(self, calls: Mapping[str, Sequence[tuple[str, Span]]]) -> None:
        done: set[str] = set()
        for start in calls:
            path: list[str] = []
            self._follow(start, calls, path, done)

    def _follow(
        self,
        id_: str,
        calls: Mapping[str, Sequence[tuple[str, Span]]],
        path: list[str],
        done: set[str],
    ) -> None:
        if id_ in done or len(path) > 200:
            return
        path.append(id_)
        for child, span in calls.get(id_, ()):
            if child in path:
                circle = " -> ".join(f"`{name}`" for name in [*path[path.index(child) :], child])
                message = f"these workflows run each other without end: {circle}"
                self.problems.error("WFE041", span, message, "remove one of the calls")
            else:
                self._follow(child, calls, path, done)
        path.pop()
        done.add(id_)


@attrs.frozen
class _Workflow:
    problems: Problems
    variables: Variables
    signatures: Mapping[str, Signature]
    records: Mapping[str, ValueType]

    def check(
        self, spec: MapNode, signature: Signature
    ) -> tuple[WorkflowDefinition, list[tuple[str, Span]]]:
        reader = Reader(self.problems)
        for _ in reader.keys(spec, "a workflow", WORKFLOW, WORKFLOW_LATER):
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
        definition = WorkflowDefinition(
            id=signature.id,
            version=signature.version,
            root=Block(nodes),
            default_error=policy,
            timeout=None if timeout is None else read_timeout(timeout, context),
            meta=self._meta(spec, signature, reader),
        )
        return definition, context.calls

    def _context(self, spec: MapNode, signature: Signature, reader: Reader) -> Context:
        defaults = spec.get("defaults")
        mapping = reader.mapping(defaults, "`defaults`") if defaults is not None else None
        if mapping is not None:
            for _ in reader.keys(mapping, "`defaults`", DEFAULTS, ()):
                pass
        return Context(
            workflow=signature.id,
            problems=self.problems,
            signatures=self.signatures,
            records=self.records,
            defaults=mapping,
        )

    def _meta(self, spec: MapNode, signature: Signature, reader: Reader) -> dict[str, Any]:
        meta: dict[str, Any] = {
            "inputs": {name: _input_json(declared) for name, declared in signature.inputs.items()},
            "outputs": {name: kind.to_json() for name, kind in signature.outputs.items()},
            "source": spec.source.name,
            "records": True,
        }
        for key in ("name", "description"):
            node = spec.get(key)
            text = reader.source_text(node, f"`{key}`") if node is not None else None
            if text:
                meta[key] = text
        return meta

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
        found = context.expressions.value(value, scope)
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
