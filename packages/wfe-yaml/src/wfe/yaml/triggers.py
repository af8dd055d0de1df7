"""``triggers``: what starts a workflow by itself: times, webhooks and events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from wfe.core.cel_types import CelType
from wfe.core.definition import (
    Cel,
    Expr,
    ListOf,
    Record,
    Text,
    Value,
    WorkflowDefinition,
    expr_from_json,
    expr_to_json,
)
from wfe.core.errors import DefinitionError
from wfe.core.lean import define, frozen
from wfe.yaml.context import Context, InputSpec, Signature
from wfe.yaml.diagnostics import nearest
from wfe.yaml.inputs import start_data
from wfe.yaml.scope import Scope
from wfe.yaml.tree import Entry, MapNode, Node
from wfe.yaml.value_types import UnfitValueError, described
from wfe.yaml.variables import Variables, render_value

__all__ = ["CronTrigger", "cron_triggers", "event_start", "read_triggers"]

_KINDS: Final = ("cron", "webhook", "event")
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "cron": ("cron", "timezone", "overlap", "catch_up", "jitter", "name", "inputs"),
    "webhook": ("webhook", "name", "inputs"),
    "event": ("event", "key", "name", "inputs"),
}
_OVERLAPS: Final = ("skip", "queue", "cancel")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_HINT: Final = "write a list: `- cron: 0 3 * * *`, `- webhook: {source: ...}` or `- event: NAME`"


# -- reading them from a file


def read_triggers(
    node: Node | None, signature: Signature, context: Context, variables: Variables
) -> list[dict[str, Any]]:
    """Return the triggers of a workflow as plain data, each with a name of its own."""
    listed = context.reader.sequence(node, "`triggers`", _HINT) if node is not None else None
    reading = _Reading(signature, context, variables)
    found: list[dict[str, Any]] = []
    for item in listed.items if listed else []:
        mapping = context.reader.mapping(item, "a trigger", _HINT)
        made = reading.trigger(mapping) if mapping is not None else None
        if made is not None:
            found.append(made)
    return found


@define
class _Reading:
    signature: Signature
    context: Context
    variables: Variables
    names: dict[str, int] = attrs.field(factory=dict[str, int])

    def trigger(self, node: MapNode) -> dict[str, Any] | None:
        problems, reader = self.context.problems, self.context.reader
        kinds = [kind for kind in _KINDS if kind in node.entries]
        if len(kinds) != 1:
            what = " and ".join(f"`{kind}`" for kind in kinds)
            message = f"a trigger is of several kinds: {what}" if kinds else "a trigger has no kind"
            hint = "make each an item of its own" if kinds else "write `cron`, `webhook` or `event`"
            problems.error("WFE019", node.span, message, hint)
            return None
        kind = kinds[0]
        what = f"{'an' if kind == 'event' else 'a'} `{kind}` trigger"
        keys = dict(reader.keys(node, what, _KEYS[kind]))
        found: dict[str, Any] = {"kind": kind, "name": self._name(kind, keys)}
        match kind:
            case "cron":
                self._cron(keys, found)
            case "webhook":
                self._webhook(keys["webhook"], found)
            case _:
                self._event(keys, found)
        found["inputs"] = self._inputs(keys.get("inputs"), node, event=kind != "cron")
        return found

    def _name(self, kind: str, keys: Mapping[str, Entry]) -> str:
        reader = self.context.reader
        given = None
        if "name" in keys:
            at = keys["name"].value
            given = reader.named(at, "`name`", _NAME, "letters, digits, `_` and `-`")
            if given in self.names:
                message = f"the trigger `{given}` stands twice"
                self.context.problems.error("WFE018", at.span, message, "give it another name")
        count = sum(1 for name in self.names if name.partition("-")[0] == kind) + 1
        name = given or (kind if count == 1 else f"{kind}-{count}")
        self.names[name] = 1
        return name

    def _cron(self, keys: Mapping[str, Entry], found: dict[str, Any]) -> None:
        reader = self.context.reader
        text = reader.source_text(keys["cron"].value, "`cron`")
        zone = (
            reader.source_text(keys["timezone"].value, "`timezone`") if "timezone" in keys else None
        )
        found["cron"], found["timezone"] = text or "", zone or "UTC"
        if text is not None:
            self._check_cron(keys, text, zone or "UTC")
        if "overlap" in keys:
            word = reader.choice(keys["overlap"].value, "`overlap`", _OVERLAPS)
            found["overlap"] = word or "skip"
        if "catch_up" in keys:
            found["catch_up"] = reader.integer(keys["catch_up"].value, "`catch_up`", 0) or 0
        if "jitter" in keys:
            found["jitter"] = reader.duration(keys["jitter"].value, "`jitter`") or 0

    def _check_cron(self, keys: Mapping[str, Entry], text: str, zone: str) -> None:
        from wfe.core.engine.crontimes import cron_times  # noqa: PLC0415 - only with `cron`

        problems, at = self.context.problems, keys["cron"].value.span
        try:
            cron_times(text, zone)
        except DefinitionError as error:
            if isinstance(error.__cause__, ImportError):
                message = "`cron` cannot be checked, its library is not installed"
                problems.warning("WFE086", at, message, error.hint)
                return
            if "timezone" in keys and "zone" in error.problem:
                at = keys["timezone"].value.span
            problems.error("WFE086", at, error.problem, error.hint)

    def _webhook(self, entry: Entry, found: dict[str, Any]) -> None:
        reader = self.context.reader
        mapping = reader.mapping(entry.value, "`webhook`", "write `webhook: {source: github}`")
        keys = dict(
            reader.keys(mapping, "`webhook`", ("source", "event", "match")) if mapping else ()
        )
        if mapping is not None and "source" not in keys:
            hint = "write the name under which the server knows the sender: `source: github`"
            reader.missing(mapping, "`webhook`", "source", hint)
        for name in ("source", "event"):
            if name in keys:
                text = reader.source_text(keys[name].value, f"`{name}`")
                found[name] = text or ""
                if text == "":
                    self.context.problems.error(
                        "WFE013", keys[name].value.span, f"`{name}` is empty"
                    )
        if "match" in keys:
            expr = self.context.expressions.condition(
                keys["match"].value, self._scope(event=True), "match"
            )
            found["match"] = expr_to_json(expr or Value(value=True))

    def _event(self, keys: Mapping[str, Entry], found: dict[str, Any]) -> None:
        reader = self.context.reader
        for name in ("event", "key"):
            if name in keys:
                text = reader.source_text(keys[name].value, f"`{name}`")
                found[name] = text or ""
        if not found["event"]:
            self.context.problems.error("WFE013", keys["event"].value.span, "`event` is empty")

    def _scope(self, *, event: bool) -> Scope:
        local = {"event": CelType.DYN} if event else {}
        return Scope(local=local, variables=self.variables)

    def _inputs(self, entry: Entry | None, trigger: MapNode, *, event: bool) -> Any:
        problems, declared = self.context.problems, self.signature.inputs
        mapping = self.context.reader.mapping(entry.value, "`inputs`") if entry else None
        given = mapping.entries if mapping else {}
        fields: list[tuple[str, Expr]] = []
        for name, each in given.items():
            if name in declared:
                expr = self._input(each, declared[name], name, event=event)
                fields += [(name, expr)] if expr is not None else []
                continue
            near = nearest(name, declared)
            hint = f"did you mean `{near}`?" if near else None
            hint = hint or f"it takes {', '.join(declared) or 'no inputs'}"
            message = f"the workflow `{self.signature.id}` has no input `{name}`"
            problems.error("WFE085", each.key.span, message, hint)
        for name, spec in declared.items():
            if spec.required and name not in given:
                message = f"a trigger gives no value for the input `{name}` ({spec.kind})"
                hint = f"write `inputs: {{{name}: ...}}` in it, or give the input a default"
                problems.error("WFE085", trigger.span, message, hint)
        return expr_to_json(Record(tuple(fields)))

    def _input(self, entry: Entry, spec: InputSpec, name: str, *, event: bool) -> Expr | None:
        problems = self.context.problems
        found = self.context.expressions.value(entry.value, self._scope(event=event))
        if found is None:
            return None
        expr, kind = found
        if isinstance(expr, Value):
            try:
                return Value(spec.kind.convert(expr.value))
            except UnfitValueError as error:
                problems.error("WFE085", entry.value.span, f"the input `{name}`: {error}")
                return None
        if not spec.kind.cel.accepts(kind):
            message = f"the input `{name}` is of type {spec.kind}, this gives {described(kind)}"
            problems.error("WFE035", entry.value.span, message)
            return None
        return expr


# -- using them


@frozen(kw_only=True)
class CronTrigger:
    """A time at which a workflow starts.

    Attributes:
        id: Of the schedule: ``WORKFLOW.NAME``.
        data: What its runs start with.
        jitter: µs.
    """

    id: str
    definition: WorkflowDefinition
    cron: str
    timezone: str
    overlap: str
    catch_up: int
    jitter: int
    data: Mapping[str, Any]


def cron_triggers(definition: WorkflowDefinition) -> list[CronTrigger]:
    """Return the cron triggers that the file of *definition* declares."""
    return [
        CronTrigger(
            id=f"{definition.id}.{each['name']}",
            definition=definition,
            cron=each["cron"],
            timezone=each["timezone"],
            overlap=each.get("overlap", "skip"),
            catch_up=each.get("catch_up", 10),
            jitter=each.get("jitter", 0),
            data=start_data(definition, _evaluated(expr_from_json(each["inputs"]), {})),
        )
        for each in definition.meta.get("triggers", ())
        if each["kind"] == "cron"
    ]


def event_start(
    definition: WorkflowDefinition, trigger: Mapping[str, Any], event: Any
) -> dict[str, Any] | None:
    """Return the start data of a run that *event* starts, ``None`` when its ``match`` is false.

    Args:
        definition: Whose ``meta["triggers"]`` has *trigger*, of kind ``webhook`` or ``event``.
        trigger: One of them.
        event: The payload, plain data.

    Raises:
        DefinitionError: A required input gets no value.
        DataTypeError: A value does not fit its declared type.
        CelError: The mapping reads what the event does not have.
    """
    roots = {"event": event}
    match = trigger.get("match")
    if match is not None and _evaluated(expr_from_json(match), roots) is not True:
        return None
    return start_data(definition, _evaluated(expr_from_json(trigger["inputs"]), roots))


def _evaluated(expr: Expr, roots: Mapping[str, Any]) -> Any:
    match expr:
        case Value(value):
            return value
        case Cel(text):
            from wfe.core.cel import compile_cel  # noqa: PLC0415 - only with expressions

            return compile_cel(text, dict.fromkeys(roots, CelType.DYN)).evaluate(roots)
        case Text(parts):
            return "".join(render_value(_evaluated(part, roots)) for part in parts)
        case Record(fields):
            return {name: _evaluated(field, roots) for name, field in fields}
        case ListOf(items):
            return [_evaluated(item, roots) for item in items]
        case _:
            raise TypeError(expr)
