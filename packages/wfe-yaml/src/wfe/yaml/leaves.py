"""Check steps that do something: those of a step type, and child workflows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from wfe.core.definition import Kind, Node
from wfe.core.micros import to_micros
from wfe.core.step_types import StepType
from wfe.yaml.children import check_child
from wfe.yaml.configs import Config, check_config, step_of
from wfe.yaml.context import Context
from wfe.yaml.declarations import place_of_output, read_outputs
from wfe.yaml.diagnostics import nearest
from wfe.yaml.keys import LEAF_KEYS, LEAF_MODIFIERS, MODIFIERS
from wfe.yaml.leaf import Leaf
from wfe.yaml.scope import Scope
from wfe.yaml.step_kinds import WORKFLOW, Unusable, find_type
from wfe.yaml.tree import MapNode
from wfe.yaml.tree import Node as TreeNode
from wfe.yaml.value_types import ANY, ValueType, parse_type

__all__ = ["check_leaf"]


def check_leaf(step: MapNode, name: str, key: str, context: Context, scope: Scope) -> Leaf:
    """Check a step with ``type`` and ``config``, or the short form ``run``."""
    type_name = _type(step, context)
    if type_name == WORKFLOW:
        _check_short_form(step, WORKFLOW, context)
        return check_child(step, name, key, context, scope)
    kind = None if type_name is None else _find(type_name, step, context, scope)
    if kind is None:
        return Leaf(node=None, outputs=_AnyOutputs(read_outputs(step, context)))
    own = any(each.in_config and each.name == "run" for each in kind.settings)
    hint = "write it under `config.run`" if own else _OWN_STEP
    _check_short_form(step, kind.name, context, hint)
    return _of_type(kind, step, name, key, context, scope)


class _AnyOutputs(dict[str, ValueType]):
    """Outputs of a step of no known type: who reads one that is not there makes no mistake."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> ValueType:
        return ANY


def _type(step: MapNode, context: Context) -> str | None:
    written = step.get("type")
    if written is not None:
        return context.reader.source_text(written, "`type`")
    config = step.get("config")
    if step.get("run") is not None or (isinstance(config, MapNode) and config.get("run")):
        return "shell"
    if isinstance(config, MapNode) and (config.get("script") or config.get("file")):
        message = "a step with `script` or `file` needs a `type`"
        hint = "write `run:` for a shell command"
        context.problems.error("WFE019", config.span, message, hint)
    elif isinstance(config, MapNode) and config.get("workflow"):
        message = "a step that runs a workflow needs `type: workflow`"
        context.problems.error("WFE019", config.span, message)
    elif not any(nearest(name, _KINDS) for name in step.entries if name not in _KNOWN):
        near = next((nearest(given, ("run",)) for given in _config_keys(config)), None)
        hint = (
            "did you mean `run`?"
            if near
            else "write `run:` with a shell command, or `type:` and `config:`"
        )
        context.problems.error("WFE019", step.span, "the step does nothing", hint)
    return None


_KINDS: Final = ("type", "run")
_KNOWN: Final = frozenset({*LEAF_KEYS, *MODIFIERS, *LEAF_MODIFIERS})


def _config_keys(config: TreeNode | None) -> list[str]:
    return list(config.entries) if isinstance(config, MapNode) else []


_OWN_STEP: Final = "make it a step of its own"


def _check_short_form(step: MapNode, kind: str, context: Context, hint: str = _OWN_STEP) -> None:
    entry, config = step.entries.get("run"), step.get("config")
    if entry is None:
        return
    if kind != "shell":
        message = f"a step with `type: {kind}` has no `run`"
        context.problems.error("WFE019", entry.key.span, message, hint)
    elif isinstance(config, MapNode) and config.get("run") is not None:
        message = "`run` stands on the step and in its `config`"
        context.problems.error("WFE019", entry.key.span, message, "keep one of them")


def _find(name: str, step: MapNode, context: Context, scope: Scope) -> StepType | None:
    found = find_type(name)
    written = step.get("type")
    at = step.span if written is None else written.span
    if not isinstance(found, Unusable):
        hook = getattr(found.cls, "missing", None)
        wanting: tuple[str, str] | None = None if hook is None else hook()
        if wanting is not None:
            # One that may be passed by says the same itself when the run comes to it.
            problems = context.problems
            (problems.warning if scope.conditional else problems.error)("WFE111", at, *wanting)
        return found
    code = "WFE061" if found.known else "WFE014" if found.plugin else "WFE022"
    context.problems.error(code, at, found.message, found.hint)
    return None


def _of_type(
    kind: StepType, step: MapNode, name: str, key: str, context: Context, scope: Scope
) -> Leaf:
    config = check_config(kind, step, context, scope)
    outputs = _outputs(kind, step, config, context)
    node = None
    if config.fields is not None:
        stored = {output: declared.to_json() for output, declared in outputs.items()}
        constants = {"type": kind.name, "key": key, "outputs": stored}
        node = Node(name=name, kind=Kind.STEP, inputs=config.fields, config=constants)
    return Leaf(node=node, outputs=outputs, timeout=config.timeout or _default_timeout(kind, step))


def _default_timeout(kind: StepType, step: MapNode) -> int | None:
    default: timedelta | None = getattr(kind.cls, "default_timeout", None)
    if default is None or step.get("timeout") is not None:
        return None
    return to_micros(default)


def _outputs(
    kind: StepType, step: MapNode, config: Config, context: Context
) -> dict[str, ValueType]:
    """Return the outputs of the type, of this config, and those that the step declares."""
    made = {name: parse_type(text, {}) for name, text in kind.outputs.items()}
    for name, declared in read_outputs(step, context).items():
        own = made.get(name)
        if own is not None and not declared.cel.accepts(own.cel):
            message = f"the output `{name}` of {step_of(kind.name)} is {own}, not {declared}"
            at = place_of_output(step.get("outputs"), name) or step.span
            context.problems.error("WFE042", at, message, "write the same type")
            continue
        made[name] = declared
    for name in _implied(kind, config.values):
        made.setdefault(name, ANY)
    return made


def _implied(kind: StepType, values: Mapping[str, Any]) -> Iterable[str]:
    hook = getattr(kind.cls, "implied_outputs", None)
    found: Iterable[str] = () if hook is None else hook(dict(values))
    return found
