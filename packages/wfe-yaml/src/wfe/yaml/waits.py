"""Check steps that wait: for an event, a person, some time, a moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from wfe.core.cel_types import CelType
from wfe.core.definition import Cel, Expr, Kind, Node, Value
from wfe.yaml.control import Control, ControlStep
from wfe.yaml.declarations import read_type
from wfe.yaml.keys import EVENT_WAIT
from wfe.yaml.modifiers import env_value, read_timeout
from wfe.yaml.reading import NAME, OUTPUT_NAME
from wfe.yaml.scalars import parse_duration
from wfe.yaml.tree import Entry, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import ANY, ValueType, described

__all__ = ["check_approval", "check_delay", "check_until", "check_wait_for"]

_ALLOWED: Final = "letters, digits, `_` and `-`"


def _timeout(keys: Mapping[str, Entry], what: str, it: ControlStep) -> int | None:
    """Return the time-out that stands in the step itself; one beside it is an error, too."""
    if "timeout" not in keys:
        return None
    if it.step.get("timeout") is not None:
        message = f"`timeout` stands on the step and in its `{what}`"
        it.context.problems.error("WFE015", keys["timeout"].key.span, message, "keep one of them")
    return read_timeout(keys["timeout"].value, it.context)


def check_wait_for(it: ControlStep) -> Control:
    """Check a ``wait_for``: its payload is an output of the step."""
    reader = it.context.reader
    node = it.step.get("wait_for")
    mapping = reader.mapping(node, "`wait_for`") if node is not None else None
    if mapping is None:
        return Control(node=None, scope=it.scope)
    keys = dict(reader.keys(mapping, "`wait_for`", ("event", "key", "timeout", "output")))
    config: dict[str, Any] = {}
    if "event" in keys:
        config["event"] = reader.source_text(keys["event"].value, "`event`") or ""
        if not config["event"]:
            it.context.problems.error("WFE013", keys["event"].value.span, "`event` is empty")
    else:
        reader.missing(mapping, "`wait_for`", "event", "write the name of the event")
    key = (
        env_value(keys["key"].value, it.context, it.scope.into("the key of an event"), "`key`")
        if "key" in keys
        else Value("")
    )
    timeout = _timeout(keys, "wait_for", it)
    if timeout is not None:
        config["timeout"] = timeout
    output = _payload(keys["output"].value, it) if "output" in keys else None
    if output is not None:
        config |= {"record": output[0], "key": it.key}
    exprs: tuple[tuple[str, Expr], ...] = (("key", key or Value("")),)
    made = Node(name=it.name, kind=Kind.WAIT_FOR, exprs=exprs, config=config)
    if output is None:
        return Control(node=made, scope=it.scope)
    name, kind = output
    if kind != ANY:
        made = _typed(made, key or Value(""), kind, it)
    return Control(node=made, scope=it.scope, outputs={name: kind})


def _payload(node: TreeNode, it: ControlStep) -> tuple[str, ValueType] | None:
    """Read ``output: NAME`` or ``output: {NAME: TYPE}``."""
    reader = it.context.reader
    if not isinstance(node, MapNode):
        name = reader.named(node, "`output`", OUTPUT_NAME, _ALLOWED)
        return None if name is None else (name, ANY)
    if len(node.entries) != 1:
        message = f"an event has one payload, `output` names {len(node.entries)}"
        hint = "write `output: {NAME: TYPE}`; a record type has several fields"
        it.context.problems.error("WFE015", node.span, message, hint)
        return None
    ((name, entry),) = node.entries.items()
    if reader.output_name(entry.key, "an output") is None:
        return None
    return name, read_type(entry.value, it.context, it.context.records)


def _typed(wait: Node, key: Expr, kind: ValueType, it: ControlStep) -> Node:
    """Return a wait that checks what it gets."""
    limit = wait.config.get("timeout")
    beside = it.step.get("timeout")
    if limit is None and beside is not None:
        limit = parse_duration(beside.value) if isinstance(beside, Scalar) else None
    name = wait.config["record"]
    inputs: tuple[tuple[str, Expr], ...] = (
        ("event", Value(wait.config.get("event", ""))),
        ("key", key),
        ("limit", Value(limit)),
        ("output", Value(name)),
    )
    config = {"type": EVENT_WAIT, "key": it.key, "outputs": {name: kind.to_json()}}
    return Node(name=it.name, kind=Kind.STEP, inputs=inputs, config=config)


_DEFAULT_OPTIONS: Final = ("approve", "reject")


def check_approval(it: ControlStep) -> Control:
    """Check an ``approval``: its answer is the output ``choice``."""
    reader = it.context.reader
    node = it.step.get("approval")
    if node is None or isinstance(node, Scalar):
        keys: dict[str, Entry] = {}
        prompt: TreeNode | None = node
    else:
        mapping = reader.mapping(node, "`approval`", "write `{prompt: Deploy?}`")
        if mapping is None:
            return Control(node=None, scope=it.scope)
        keys = dict(reader.keys(mapping, "`approval`", ("prompt", "options", "timeout")))
        prompt = keys["prompt"].value if "prompt" in keys else None
    if prompt is None:
        reader.missing(node or it.step, "`approval`", "prompt", "write what is asked")
    scope = it.scope.into("a prompt")
    asked = None if prompt is None else env_value(prompt, it.context, scope, "`prompt`")
    if isinstance(asked, Value) and not str(asked.value).strip() and prompt is not None:
        it.context.problems.error("WFE013", prompt.span, "`prompt` is empty", "write what is asked")
    config: dict[str, Any] = {"key": it.key, "record": "choice"}
    options = _options(keys["options"].value, it) if "options" in keys else None
    config["options"] = list(options or _DEFAULT_OPTIONS)
    if options is None:
        config["fails"] = ["reject"]
    timeout = _timeout(keys, "approval", it)
    if timeout is not None:
        config["timeout"] = timeout
    exprs: tuple[tuple[str, Expr], ...] = (("prompt", asked or Value("")),)
    made = Node(name=it.name, kind=Kind.APPROVAL, exprs=exprs, config=config)
    answers = tuple(o for o in config["options"] if o not in config.get("fails", ()))
    outputs = {"choice": ValueType("enum", choices=answers)}
    return Control(node=made, scope=it.scope, outputs=outputs)


def _options(node: TreeNode, it: ControlStep) -> tuple[str, ...] | None:
    reader, problems = it.context.reader, it.context.problems
    listed = reader.sequence(node, "`options`", "write `[yes, no]`")
    found: list[str] = []
    for item in listed.items if listed else []:
        text = reader.text(item, "an option")
        if text is None:
            continue
        if not NAME.fullmatch(text):
            message = f"an option cannot be `{text[:40]}`"
            problems.error("WFE020", item.span, message, "write one line of text")
        elif text in found:
            problems.error("WFE018", item.span, f"the option `{text}` stands twice", "keep one")
        else:
            found.append(text)
    if listed is not None and not listed.items:
        problems.error("WFE013", node.span, "`options` is empty", "write `[yes, no]`")
    return tuple(found) or None


def _no_timeout(what: str, hint: str, it: ControlStep) -> None:
    timeout = it.step.entries.get("timeout")
    if timeout is not None:
        message = f"{what} has no time-out"
        it.context.problems.error("WFE015", timeout.key.span, message, hint)


def check_delay(it: ControlStep) -> Control:
    """Check a ``delay``."""
    node = it.step.get("delay")
    _no_timeout("a `delay`", "shorten the delay, or put it into a `do` with that `timeout`", it)
    expr: Expr | None = None
    if isinstance(node, Scalar) and "${{" in node.value:
        found = it.context.expressions.value(node, it.scope)
        expr = _as_duration(found, node, it) if found else None
    elif node is not None:
        micros = it.context.reader.duration(node, "`delay`")
        expr = None if micros is None else Value(micros)
    exprs: tuple[tuple[str, Expr], ...] = (("duration", expr or Value(0)),)
    return Control(node=Node(name=it.name, kind=Kind.DELAY, exprs=exprs), scope=it.scope)


def _as_duration(found: tuple[Expr, CelType], node: TreeNode, it: ControlStep) -> Expr | None:
    expr, kind = found
    if kind == CelType.DURATION:
        return expr
    if isinstance(expr, Cel) and kind in {CelType.STRING, CelType.DYN}:
        return Cel(f"duration({expr.text})")
    if isinstance(expr, Value) and isinstance(expr.value, str):
        micros = parse_duration(expr.value)
        return None if micros is None else Value(micros)
    message = f"`delay` takes a duration, this gives {described(kind)}"
    it.context.problems.error(
        "WFE035", node.span, message, "write `duration('30s')`, or an input of type duration"
    )
    return None


_MOMENT_HINT: Final = "write `2030-01-31T08:00:00Z`, or `${{ timestamp(inputs.at) }}`"


def check_until(it: ControlStep) -> Control:
    """Check an ``until``: a moment, as text with its zone or as an expression."""
    node = it.step.get("until")
    hint = "put it into a `do` with that `timeout`"
    _no_timeout("an `until`", hint, it)
    expr = _moment(node, it) if node is not None else None
    exprs: tuple[tuple[str, Expr], ...] = (("at", expr or Value(0)),)
    return Control(node=Node(name=it.name, kind=Kind.DELAY, exprs=exprs), scope=it.scope)


def _moment(node: TreeNode, it: ControlStep) -> Expr | None:
    problems = it.context.problems
    constant = _constant_moment(node)
    if constant is not None:
        if constant.tzinfo is not None:
            return Value(constant.isoformat())
        message = "the time has no zone"
        hint = "add `Z` for UTC, or an offset such as `+02:00`"
        problems.error("WFE015", node.span, message, hint)
        return None
    found = it.context.expressions.bare(node, it.scope, "until")
    if found is None:
        return None
    expr, kind = found
    if kind == CelType.TIMESTAMP:
        return expr
    if isinstance(expr, Cel) and kind in {CelType.STRING, CelType.DYN}:
        return Cel(f"timestamp({expr.text})")
    message = f"`until` takes a time, this gives {described(kind)}"
    problems.error("WFE035", node.span, message, _MOMENT_HINT)
    return None


def _constant_moment(node: TreeNode) -> datetime | None:
    if not isinstance(node, Scalar) or not node.value[:4].isdigit():
        return None
    try:
        return datetime.fromisoformat(node.value.strip())
    except ValueError:
        return None
