"""What workflows take and give: their ids, versions, inputs and outputs, and record types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from wfe.core.lean import frozen
from wfe.yaml.context import Context, InputSpec, Signature, Signatures
from wfe.yaml.declarations import read_type
from wfe.yaml.diagnostics import Problems, Span
from wfe.yaml.keys import reserved_env
from wfe.yaml.reading import ID, OUTPUT_NAME, Reader
from wfe.yaml.tree import Entry, ListNode, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import ANY, UnfitValueError, ValueType
from wfe.yaml.variables import to_plain

__all__ = ["SignatureReader"]


@frozen
class SignatureReader:
    """Reads signatures and record types; what is wrong goes to *problems*."""

    problems: Problems

    @property
    def reader(self) -> Reader:
        """Reads constants."""
        return Reader(self.problems)

    @property
    def _context(self) -> Context:
        return Context(workflow="", problems=self.problems, signatures=Signatures())

    def records(
        self, node: TreeNode | None, known: Mapping[str, ValueType]
    ) -> dict[str, tuple[Span, ValueType]]:
        """Read ``types``; a record may use those before it, and *known* ones."""
        mapping = self.reader.mapping(node, "`types`") if node is not None else None
        found: dict[str, tuple[Span, ValueType]] = {}
        records = dict(known)
        for name, entry in (mapping.entries if mapping else {}).items():
            self.reader.named(entry.key, "a type", OUTPUT_NAME, "letters, digits, `_` and `-`")
            fields = self.reader.mapping(entry.value, f"the type `{name}`")
            typed = {
                field: self._not_secret(inner, records, "a field of a record")
                for field, inner in (fields.entries if fields else {}).items()
                if not self._too_early(inner, name, records, mapping)
            }
            records[name] = ValueType("record", fields=tuple(typed.items()), name=name)
            found[name] = (entry.key.span, records[name])
        return found

    def _too_early(
        self, field: Entry, name: str, known: Mapping[str, ValueType], types: MapNode | None
    ) -> bool:
        """Report a field of the record itself, or of one that is read later."""
        written = field.value.value.rstrip("?") if isinstance(field.value, Scalar) else ""
        if types is None or written not in types.entries or written in known:
            return False
        message = f"the type `{written}` stands below `{name}`, which uses it"
        hint = "move it above"
        if written == name:
            message, hint = f"the type `{name}` contains itself", "use `any` for what is in it"
        self.problems.error("WFE017", field.value.span, message, hint)
        return True

    def signature(self, spec: MapNode, records: Mapping[str, ValueType]) -> Signature:
        """Read the id, version, inputs and outputs of a workflow."""
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
            id=id_ or f"?{spec.source.name}:{spec.line}",
            version=version or 0,
            span=id_node.span if id_node is not None else spec.span,
            inputs=self._inputs(spec.get("inputs"), records),
            outputs=self._outputs(spec.get("outputs"), records),
        )

    def _named(self, node: TreeNode | None, what: str, one: str) -> Iterator[tuple[str, Entry]]:
        """Yield what *node* declares, but for names that are none."""
        mapping = self.reader.mapping(node, what) if node is not None else None
        for name, entry in (mapping.entries if mapping else {}).items():
            if self.reader.output_name(entry.key, one) is not None:
                yield name, entry

    def _inputs(
        self, node: TreeNode | None, records: Mapping[str, ValueType]
    ) -> dict[str, InputSpec]:
        found: dict[str, InputSpec] = {}
        for name, entry in self._named(node, "`inputs`", "an input"):
            if reserved_env(name.upper().replace("-", "_")):
                message = f"the input `{name}` does not become an environment variable"
                hint = f"programs know `{name.upper()}`; read it with `${{{{ inputs.{name} }}}}`"
                self.problems.warning("WFE050", entry.key.span, message, hint)
            found[name] = self._input(name, entry, records)
        return found

    def _input(self, name: str, entry: Entry, records: Mapping[str, ValueType]) -> InputSpec:
        if not isinstance(entry.value, MapNode):
            kind = read_type(entry.value, self._context, records)
            return InputSpec(kind=kind, required=not kind.optional)
        known = ("type", "default", "description", "required")
        keys = dict(self.reader.keys(entry.value, "an input", known))
        kind = read_type(keys["type"].value, self._context, records) if "type" in keys else ANY
        text = self._text(keys, "description")
        required = (
            self.reader.boolean(keys["required"].value, "`required`")
            if "required" in keys
            else None
        )
        if "default" in keys:
            if required:
                message = f"the input `{name}` is required, so its default is never used"
                at = keys["default"].key.span
                self.problems.warning("WFE052", at, message, "remove one of the two")
            default = self._default(name, kind, keys["default"].value)
            return InputSpec(kind=kind, required=bool(required), default=default, description=text)
        if required is False and not kind.optional:
            kind = attrs.evolve(kind, optional=True)
        needed = not kind.optional if required is None else required
        return InputSpec(kind=kind, required=needed, description=text)

    def _text(self, keys: Mapping[str, Entry], key: str) -> str | None:
        return self.reader.text(keys[key].value, f"`{key}`") if key in keys else None

    def _default(self, name: str, kind: ValueType, node: TreeNode) -> Any:
        value = to_plain(node)
        if not self._written_out(node, f"the default of `{name}`"):
            return value
        try:
            return kind.convert(value)
        except UnfitValueError as error:
            hint = None
            text = kind.kind in {"string", "enum"} and not isinstance(value, str)
            if isinstance(node, Scalar) and text:
                hint = f'quote it: "{node.value}"'
            self.problems.error("WFE011", node.span, f"the default of `{name}`: {error}", hint)
            return value

    def _written_out(self, node: TreeNode, what: str) -> bool:
        """Whether there is no expression in *node*: a default is there before the run."""
        match node:
            case Scalar():
                return self.reader.constant(node, what) is not None
            case ListNode():
                return all(self._written_out(item, what) for item in node.items)
            case MapNode():
                inner = [entry.value for entry in node.entries.values()]
                return all(self._written_out(item, what) for item in inner)

    def _outputs(
        self, node: TreeNode | None, records: Mapping[str, ValueType]
    ) -> dict[str, ValueType]:
        found: dict[str, ValueType] = {}
        for name, entry in self._named(node, "`outputs`", "an output"):
            written: TreeNode | None = entry.value
            if isinstance(entry.value, MapNode):
                keys = dict(
                    self.reader.keys(entry.value, "an output", ("type", "value", "description"))
                )
                written = keys["type"].value if "type" in keys else None
            if written is not None:
                entry = attrs.evolve(entry, value=written)  # noqa: PLW2901 - its type alone
                found[name] = self._not_secret(entry, records, "an output")
            else:
                found[name] = ANY
        return found

    def _not_secret(self, entry: Entry, records: Mapping[str, ValueType], what: str) -> ValueType:
        kind = read_type(entry.value, self._context, records)
        if kind.kind == "secret":
            message = f"{what} cannot be a secret: its value would be stored"
            hint = "name the secret in an input of type `secret`"
            self.problems.error("WFE017", entry.value.span, message, hint)
            return ANY
        return kind
