"""Check steps that do something: shell commands and child workflows."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wfe.core.definition import Cel, Expr, Kind, Node, Record, Value
from wfe.yaml.children import check_child
from wfe.yaml.context import Context
from wfe.yaml.declarations import read_inputs, read_outputs
from wfe.yaml.diagnostics import nearest
from wfe.yaml.keys import LATER_TYPES, LEAF_KEYS
from wfe.yaml.leaf import Leaf, read_config
from wfe.yaml.modifiers import env_value, input_variable, read_surroundings, read_timeout
from wfe.yaml.scope import Scope, cel_literal
from wfe.yaml.tree import Entry, MapNode, Scalar
from wfe.yaml.tree import Node as TreeNode

__all__ = ["check_leaf"]

_TYPES = ("shell", "workflow")
_SHELL = ("run", "shell", "env", "env_from_host", "working_dir", "timeout")
_SHELL_LATER = ("script", "file", "inputs")


def check_leaf(step: MapNode, name: str, key: str, context: Context, scope: Scope) -> Leaf:
    """Check a step with ``type`` and ``config``, or the short form ``run``."""
    kind = _type(step, context)
    for given in LEAF_KEYS:
        _check_short_form(given, step, kind, context)
    match kind:
        case "shell":
            return _shell(step, name, key, context, scope)
        case "workflow":
            return check_child(step, name, key, context, scope)
        case _:
            return Leaf(node=None, outputs=read_outputs(step, context))


def _type(step: MapNode, context: Context) -> str | None:
    written = step.get("type")
    if written is not None:
        text = context.reader.source_text(written, "`type`")
        if text is None or text in _TYPES:
            return text
        if text in LATER_TYPES:
            message = f"steps of type `{text}` are not supported by this version"
            context.problems.error("WFE014", written.span, message)
            return None
        near = nearest(text, [*_TYPES, *LATER_TYPES])
        hint = f"did you mean `{near}`?" if near else f"types are {', '.join(_TYPES)}"
        context.problems.error("WFE022", written.span, f"there is no step type `{text[:60]}`", hint)
        return None
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
    else:
        near = next((nearest(given, ("run",)) for given in _config_keys(config)), None)
        hint = (
            "did you mean `run`?"
            if near
            else "write `run:` with a shell command, or `type:` and `config:`"
        )
        context.problems.error("WFE019", step.span, "the step does nothing", hint)
    return None


def _config_keys(config: TreeNode | None) -> list[str]:
    return list(config.entries) if isinstance(config, MapNode) else []


def _check_short_form(given: str, step: MapNode, kind: str | None, context: Context) -> None:
    if given != "run" or step.get("run") is None:
        return
    entry, config = step.entries["run"], step.get("config")
    if kind == "workflow":
        message = "a step with `type: workflow` has no `run`"
        context.problems.error("WFE019", entry.key.span, message, "make it a step of its own")
    elif isinstance(config, MapNode) and config.get("run") is not None:
        message = "`run` stands on the step and in its `config`"
        context.problems.error("WFE019", entry.key.span, message, "keep one of them")


def _shell(step: MapNode, name: str, key: str, context: Context, scope: Scope) -> Leaf:
    config = read_config(step, context)
    known = dict(context.reader.keys(config, "the `config` of a shell step", _SHELL, _SHELL_LATER))
    given = _input_env(step, context, scope)
    scope = read_surroundings(config, context, scope)
    outputs = read_outputs(step, context)
    timeout = read_timeout(known["timeout"].value, context) if "timeout" in known else None
    if timeout is not None and step.get("timeout") is not None:
        message = "`timeout` stands on the step and in its `config`"
        context.problems.error("WFE015", known["timeout"].key.span, message, "keep one of them")
    shell = _interpreter(known, context)
    run = known.get("run") or step.entries.get("run")
    node = None
    if run is None and isinstance(step.get("config"), MapNode | None):
        context.reader.missing(
            config, "a shell step", "run", "write the command under `config.run`"
        )
    elif run is not None:
        node = _shell_node(run.value, name, key, context, scope, given)
    if node is not None:
        fixed: tuple[tuple[str, Expr], ...] = (
            ("shell", Value(shell)),
            ("outputs", Value({output: kind.to_json() for output, kind in outputs.items()})),
        )
        node = attrs.evolve(node, inputs=(*node.inputs, *fixed))
    return Leaf(node=node, outputs=outputs, timeout=timeout)


def _interpreter(known: Mapping[str, Entry], context: Context) -> str | None:
    if "shell" not in known:
        return None
    return context.reader.choice(
        known["shell"].value, "`shell`", ("bash", "sh"), ("python", "pwsh")
    )


def _shell_node(
    run: TreeNode, name: str, key: str, context: Context, scope: Scope, given: Mapping[str, Expr]
) -> Node | None:
    if not isinstance(run, Scalar) or (
        run.original is None and context.reader.text(_bare(run), "`run`") is None
    ):
        if not isinstance(run, Scalar):
            hint = "write the commands as one text: `run: |`"
            context.problems.error("WFE011", run.span, "`run` is a text", hint)
        return None
    script = context.expressions.script(run, scope)
    if script is None:
        return None
    if not script.text.strip():
        context.problems.error("WFE013", run.span, "`run` is empty", "write a shell command")
        return None
    env = {**_workflow_env(scope), **given, **scope.env, **script.env}
    inputs: tuple[tuple[str, Expr], ...] = (
        ("script", Value(script.text)),
        ("env", Record(tuple(env.items()))),
        ("env_from_host", Value(list(scope.host_env))),
        ("working_dir", scope.working_dir or Value(None)),
        ("key", Value(key)),
    )
    return Node(name=name, kind=Kind.STEP, inputs=inputs, config={"type": "shell"})


def _bare(run: Scalar) -> Scalar:
    """Return *run* so that only its kind is looked at: expressions are allowed in it."""
    return attrs.evolve(run, fixed=((0, len(run.value)),))


def _workflow_env(scope: Scope) -> dict[str, Expr]:
    found: dict[str, Expr] = {}
    for name in scope.inputs:
        variable = input_variable(name)
        if variable is not None:
            access = f"inputs.{name}" if name.isidentifier() else f"inputs[{cel_literal(name)}]"
            found[variable] = Cel(access)
    return found


def _input_env(step: MapNode, context: Context, scope: Scope) -> dict[str, Expr]:
    found: dict[str, Expr] = {}
    for name, entry in read_inputs(step, context, scope).items():
        variable = input_variable(name)
        if variable is None:
            message = f"the input `{name}` would become the environment variable `{name.upper()}`"
            hint = "choose another name: programs give this one a meaning"
            context.problems.warning("WFE050", entry.key.span, message, hint)
            continue
        if isinstance(entry.value, Scalar):
            value = env_value(entry.value, context, scope, f"`{name}`")
        else:
            read = context.expressions.value(entry.value, scope)
            value = read[0] if read else None
        if value is not None:
            found[variable] = value
    return found
