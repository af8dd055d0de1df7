"""WFE's ``when`` trees: all, any, none, one_of and not over comparisons, as one expression."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from wfe.core.definition import Cel, Expr
from wfe.core.lean import frozen
from wfe.yaml.context import Context
from wfe.yaml.diagnostics import nearest
from wfe.yaml.scalars import kind_of, resolve
from wfe.yaml.scope import Scope, cel_literal
from wfe.yaml.tree import ListNode, MapNode, Node, Scalar
from wfe.yaml.value_types import ANY, UnfitValueError, ValueType
from wfe.yaml.variables import to_plain

__all__ = ["read_tree", "shown_tree"]

_MANY: Final = ("all", "any", "none", "one_of")
_COMBINED: Final = (*_MANY, "not")
_ORDER: Final[Mapping[str, str]] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_NULLS: Final = ("is_null", "is_not_null")
_OPERATORS: Final = ("equals", "not_equals", *_ORDER, "contains", *_NULLS)
_FIELD: Final = re.compile(r"\.?(inputs|outputs)\.([A-Za-z_][A-Za-z0-9_-]*)((?:\.[A-Za-z0-9_-]+)*)")
_PLAIN: Final = re.compile(r"\.?[A-Za-z_][A-Za-z0-9_.-]*")
_HINT: Final = "write `all`, `any`, `none`, `one_of`, `not`, or `field` with a comparison"


def read_tree(node: MapNode, context: Context, scope: Scope) -> Expr | None:
    """Return the condition that a tree writes; ``None`` when it is wrong.

    A comparison of a field that is missing is false, and so is one inside ``not``.
    """
    found = _Tree(context, scope).read(node)
    return None if found is None else Cel(found.text)


def shown_tree(node: MapNode) -> str:
    """Return a tree as it was written, on one line."""
    return _flow(to_plain(node))[1:-1]


def _flow(value: object) -> str:
    match value:
        case dict():
            pairs = cast("dict[str, object]", value).items()
            return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in pairs) + "}"
        case list():
            return "[" + ", ".join(map(_flow, cast("list[object]", value))) + "]"
        case str() if _PLAIN.fullmatch(value) and isinstance(resolve(value), str):
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


@frozen
class _Part:
    """A condition: its text, which is false where it lacks something.

    Attributes:
        present: Tests that all it reads is there; its opposite needs them.
    """

    text: str
    present: tuple[str, ...]


@frozen
class _Tree:
    context: Context
    scope: Scope

    def read(self, node: Node) -> _Part | None:
        problems = self.context.problems
        mapping = self.context.reader.mapping(node, "a condition", _HINT)
        if mapping is None:
            return None
        combined = [key for key in _COMBINED if key in mapping.entries]
        if "field" in mapping.entries and not combined:
            return self._comparison(mapping)
        for _ in self.context.reader.keys(mapping, "a condition", (*_COMBINED, "field")):
            pass
        if len(combined) != 1 or "field" in mapping.entries:
            names = " and ".join(f"`{key}`" for key in mapping.entries)
            message = f"a condition is one of several things, not {names or 'nothing'}"
            if len(mapping.entries) != 1 or combined:
                problems.error("WFE015", mapping.span, message, _HINT)
            return None
        key = combined[0]
        value = mapping.entries[key].value
        if key == "not":
            inner = self.read(value)
            return None if inner is None else _Part(_negated(inner), inner.present)
        listed = self.context.reader.sequence(value, f"`{key}`", "write a list of conditions")
        return None if listed is None else self._many(key, listed)

    def _many(self, key: str, listed: ListNode) -> _Part | None:
        found = [self.read(item) for item in listed.items]
        parts = [part for part in found if part is not None]
        if len(parts) < len(found):
            return None
        present = tuple(dict.fromkeys(test for part in parts for test in part.present))
        texts = [f"({_negated(part) if key == 'none' else part.text})" for part in parts]
        match key:
            case "all" | "none":
                return _Part(" && ".join(texts), present)
            case "any":
                return _Part(" || ".join(texts), present)
            case _:
                return _Part(f"[{', '.join(texts)}].filter(__t, __t).size() == 1", present)

    def _comparison(self, mapping: MapNode) -> _Part | None:
        keys = dict(self.context.reader.keys(mapping, "a comparison", ("field", *_OPERATORS)))
        operators = [key for key in _OPERATORS if key in keys]
        if len(operators) != 1:
            names = " and ".join(f"`{key}`" for key in operators)
            message = (
                f"a comparison has one operator, not {names}"
                if operators
                else "a comparison needs an operator"
            )
            hint = f"write one of {', '.join(_OPERATORS)}"
            if operators or len(keys) == len(mapping.entries):
                self.context.problems.error("WFE015", mapping.span, message, hint)
            return None
        field = self._field(keys["field"].value)
        if field is None:
            return None
        path, kind, present = field
        operator = operators[0]
        text = self._compared(path, kind, operator, keys[operator].value)
        if text is None:
            return None
        return _Part(" && ".join([*present, f"({text})"]), present)

    # -- fields

    def _field(self, node: Node) -> tuple[str, ValueType, tuple[str, ...]] | None:
        """Return what a field is in expressions, its type, and the tests that it is there."""
        problems = self.context.problems
        text = self.context.reader.source_text(node, "`field`")
        if text is None:
            return None
        found = _FIELD.fullmatch(text)
        if found is None:
            message = f"`field` cannot be `{text[:60]}`"
            problems.error("WFE020", node.span, message, "write `inputs.NAME` or `outputs.NAME`")
            return None
        root, name = found[1], found[2]
        known = dict(self.scope.inputs) if root == "inputs" else self._outputs()
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean `{root}.{near}`?" if near else None
            where = "`inputs` of the workflow" if root == "inputs" else "`outputs` of a step"
            hint = hint or (f"there is {', '.join(known)}" if known else f"declare it in {where}")
            message = (
                f"there is no input `{name}`"
                if root == "inputs"
                else f"no step before this one makes the output `{name}`"
            )
            problems.error("WFE032", node.span, message, hint)
            return None
        names = [name, *filter(None, found[3].split("."))]
        base = "inputs" if root == "inputs" else "data"
        return self._walked(base, names, known[name], sure=root == "inputs")

    def _outputs(self) -> dict[str, ValueType]:
        """Return the outputs of all steps that may have run before."""
        found: dict[str, ValueType] = {}
        for visible in self.scope.steps.values():
            found.update(visible.outputs)
        return found

    def _walked(
        self, base: str, names: list[str], kind: ValueType, *, sure: bool
    ) -> tuple[str, ValueType, tuple[str, ...]]:
        path, present = base, list[str]()
        for position, name in enumerate(names):
            if position or not sure:
                present.append(f"{cel_literal(name)} in {path}")
            path = f"{path}.{name}" if name.isidentifier() else f"{path}[{cel_literal(name)}]"
            if position:
                kind = dict(kind.fields).get(name, ANY)
        return path, kind, tuple(present)

    # -- comparisons

    def _compared(self, path: str, kind: ValueType, operator: str, node: Node) -> str | None:
        if operator in _NULLS:
            return self._null(path, kind, operator, node)
        value = to_plain(node)
        if operator in _ORDER:
            return self._ordered(path, kind, operator, node, value)
        if operator == "contains":
            return self._contains(path, kind, node, value)
        if value is not None and kind.kind != "any":
            try:
                value = kind.convert(value)
            except UnfitValueError as error:
                hint = _quoted(kind, node)
                self.context.problems.error("WFE035", node.span, f"`{operator}`: {error}", hint)
                return None
        sign = "==" if operator == "equals" else "!="
        return f"dyn({path}) {sign} dyn({cel_literal(value)})"

    def _null(self, path: str, kind: ValueType, operator: str, node: Node) -> str | None:
        flag = self.context.reader.boolean(node, f"`{operator}`")
        if not kind.optional and kind.kind != "any":
            message = f"{_a(kind)} is never null, so `{operator}` says nothing"
            hint = f"declare it as `{kind}?`, or remove the comparison"
            self.context.problems.error("WFE035", node.span, message, hint)
            return None
        equal = (operator == "is_null") == bool(flag)
        return f"dyn({path}) {'==' if equal else '!='} null"

    def _ordered(
        self, path: str, kind: ValueType, operator: str, node: Node, value: Any
    ) -> str | None:
        if kind.kind not in {"number", "integer", "any"}:
            message = f"`{operator}` compares numbers, this is {_a(kind)}"
            self.context.problems.error("WFE035", node.span, message, "use `equals`")
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            message = f"`{operator}` compares with a number, not {kind_of(value)}"
            self.context.problems.error("WFE035", node.span, message)
            return None
        number = f"double({path})"
        test = f"{number} {_ORDER[operator]} {cel_literal(float(value))}"
        typed = f"type({path}) in [int, double]"
        return test if kind.kind != "any" and not kind.optional else f"{typed} && {test}"

    def _contains(self, path: str, kind: ValueType, node: Node, value: Any) -> str | None:
        if kind.kind not in {"string", "list", "any"}:
            message = f"`contains` looks into a text or a list, this is {_a(kind)}"
            self.context.problems.error("WFE035", node.span, message)
            return None
        literal = cel_literal(value)
        within = f"dyn({literal}) in dyn({path})"
        part = f"string({path}).contains({literal})"
        if not isinstance(value, str):
            if kind.kind == "string":
                message = f"`contains` looks for a text in a text, not {kind_of(value)}"
                text = node.value if isinstance(node, Scalar) else ""
                hint = f'quote it: "{text}"' if text else None
                self.context.problems.error("WFE035", node.span, message, hint)
                return None
            return f"type({path}) == list && {within}"
        if kind.optional or kind.kind == "any":
            either = f"type({path}) == list ? {within} : {part}"
            return f"dyn({path}) != null && ({either})"
        return within if kind.kind == "list" else part


def _a(kind: ValueType) -> str:
    return f"{'an' if str(kind)[0] in 'aei' else 'a'} {kind}"


def _quoted(kind: ValueType, node: Node) -> str | None:
    if isinstance(node, Scalar) and kind.kind in {"string", "enum"} and node.style is None:
        return f'quote it: "{node.value}"'
    return None


def _negated(part: _Part) -> str:
    """Return the opposite of a condition, false as well where something is missing."""
    return " && ".join([*part.present, f"!({part.text})"])
