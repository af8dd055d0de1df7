"""Read the keys that any step may have, such as when, timeout, retry and env."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import attrs

from wfe.core.definition import Expr, Limit, Value
from wfe.core.definition import Node as StepNode
from wfe.core.lean import frozen
from wfe.core.policies import (
    Compensate,
    Continue,
    ErrorPolicy,
    Exhausted,
    Fail,
    Retry,
    Suspend,
    Terminate,
)
from wfe.core.secret_names import PREFIX as SECRET_PREFIX
from wfe.yaml.concurrency import read_concurrency
from wfe.yaml.context import Context
from wfe.yaml.diagnostics import nearest
from wfe.yaml.keys import reserved_env
from wfe.yaml.labels import read_labels
from wfe.yaml.reading import ENV_NAME
from wfe.yaml.scope import Scope
from wfe.yaml.tree import MapNode, Node, Scalar
from wfe.yaml.variables import render_value

__all__ = ["Modifiers", "read_env", "read_error_behavior", "read_modifiers", "read_surroundings"]

_THEN: Final[Mapping[str, type[Exhausted]]] = {
    "fail": Fail,
    "suspend": Suspend,
    "terminate": Terminate,
    "compensate": Compensate,
    "continue": Continue,
}


@frozen(kw_only=True)
class Modifiers:
    """What the modifiers of a step say.

    Attributes:
        tree: What *when* was written as, if it was a tree: for people.
        timeout: µs.
        doubt: Why the step may not have run, or not well, when others read it.
    """

    when: Expr | None = None
    tree: str | None = None
    timeout: int | None = None
    policy: ErrorPolicy | None = None
    limits: tuple[Limit, ...] = ()
    doubt: str | None = None

    def applied(self, node: StepNode, timeout: int | None = None) -> StepNode:
        """Return *node* with them; *timeout* (µs) is that of the step's config."""
        return attrs.evolve(
            node,
            config=node.config if self.tree is None else {**node.config, "when": self.tree},
            run_if=self.when,
            on_error=self.policy,
            timeout=self.timeout if timeout is None else timeout,
            limits=self.limits,
        )


def read_modifiers(step: MapNode, context: Context, scope: Scope) -> Modifiers:
    """Read them; *scope* is the step's own, with its environment."""
    when = step.get("when")
    condition = tree = None
    if isinstance(when, MapNode):
        from wfe.yaml import when_trees  # noqa: PLC0415 - only files of WFE have them

        condition = when_trees.read_tree(when, context, scope)
        tree = None if condition is None else when_trees.shown_tree(when)
    elif when is not None:
        condition = context.expressions.condition(when, scope, "when")
    timeout = step.get("timeout")
    policy, goes_on = _policy(step, context)
    doubt = "it may fail, and `continue_on_error` goes on" if goes_on else None
    read_labels(step.get("runs_on"), context)
    limits = read_concurrency(step.get("concurrency"), context, scope)
    if doubt is None and any(limit.on_conflict == "skip" for limit in limits):
        doubt = "its `concurrency` can skip it"
    return Modifiers(
        when=condition,
        tree=tree,
        timeout=None if timeout is None else read_timeout(timeout, context),
        policy=policy,
        limits=limits,
        doubt="its `when` can skip it" if when is not None else doubt,
    )


def read_timeout(node: Node, context: Context) -> int | None:
    """Return a time-out in µs."""
    micros = context.reader.duration(node, "`timeout`")
    if micros == 0:
        context.problems.error(
            "WFE015", node.span, "`timeout` is longer than 0", "remove it for no time-out"
        )
        return None
    return micros


def _policy(step: MapNode, context: Context) -> tuple[ErrorPolicy | None, bool]:
    goes_on = step.get("continue_on_error")
    onward = context.reader.boolean(goes_on, "`continue_on_error`") if goes_on is not None else None
    retry, behavior = step.get("retry"), step.entries.get("error_behavior")
    if retry is not None and behavior is not None:
        message = "`retry` and `error_behavior` say the same in two ways"
        context.problems.error("WFE015", behavior.key.span, message, "keep `retry`")
    then: Exhausted = Continue() if onward else Fail()
    policy: ErrorPolicy | None = None
    if retry is not None:
        policy = _retry(retry, context, then, explicit=bool(onward))
    elif behavior is not None:
        policy = read_error_behavior(behavior.value, context)
        if onward and isinstance(policy, Retry):
            policy = attrs.evolve(policy, then=Continue())
    elif onward:
        policy = Continue()
    ends = policy.then if isinstance(policy, Retry) else policy
    return policy, isinstance(ends, Continue)


_RETRY: Final = ("max", "interval", "backoff", "max_interval", "jitter", "on", "total", "then")
_LABELS: Final = ("timeout", "error")
_EXIT: Final = re.compile(r"exit:(?:[1-9][0-9]{0,2})")


def _retry(node: Node, context: Context, then: Exhausted, *, explicit: bool) -> Retry | None:
    reader = context.reader
    if isinstance(node, Scalar):
        count = reader.integer(node, "`retry`", 0)
        return None if count is None else Retry(max_retries=count, then=then)
    mapping = reader.mapping(node, "`retry`")
    if mapping is None:
        return None
    values: dict[str, float | None] = {}
    labels: tuple[str, ...] = ()
    for name, entry in reader.keys(mapping, "`retry`", _RETRY):
        match name:
            case "max":
                values[name] = reader.integer(entry.value, "`max`", 0)
            case "interval" | "max_interval" | "total":
                values[name] = reader.duration(entry.value, f"`{name}`")
            case "on":
                labels = _retry_on(entry.value, context)
            case "backoff":
                values[name] = reader.number(entry.value, "`backoff`", 1)
            case "jitter":
                values[name] = reader.number(entry.value, "`jitter`", 0, 1)
            case _:
                word = reader.choice(entry.value, "`then`", _THEN)
                then = _THEN[word]() if word else then
                if explicit:
                    message = "`then` and `continue_on_error` both say what follows"
                    context.problems.error("WFE015", entry.key.span, message, "keep one of them")
    return attrs.evolve(_as_retry(values, then), retry_on=labels)


def _retry_on(node: Node, context: Context) -> tuple[str, ...]:
    """Read what is worth another attempt: ``exit:N``, ``timeout``, ``error``."""
    found: list[str] = []
    for scalar in context.reader.names(node, "`on`"):
        word = scalar.value
        number = int(word.removeprefix("exit:")) if _EXIT.fullmatch(word) else 256
        if word in _LABELS or number < 256:
            found.append(word)
            continue
        near = nearest(word, _LABELS)
        hint = (
            f"did you mean `{near}`?"
            if near
            else "write `exit:1` to `exit:255`, `timeout`, `error`"
        )
        message = f"`on` cannot be `{word[:40]}`"
        context.problems.error("WFE015", scalar.span, message, hint)
    return tuple(dict.fromkeys(found))


def _as_retry(values: Mapping[str, float | None], then: Exhausted) -> Retry:
    count, interval = values.get("max"), values.get("interval")
    longest, backoff = values.get("max_interval"), values.get("backoff")
    total = values.get("total")
    return Retry(
        max_retries=3 if count is None else int(count),
        interval=timedelta(seconds=1) if interval is None else timedelta(microseconds=interval),
        backoff=1.0 if backoff is None else backoff,
        max_interval=None if longest is None else timedelta(microseconds=longest),
        jitter=values.get("jitter") or 0.0,
        then=then,
        max_time=None if total is None else timedelta(microseconds=total),
    )


def read_error_behavior(node: Node, context: Context) -> ErrorPolicy | None:
    """Read WFE's ``error_behavior``: a retry waits 60 s and is tried 3 times unless it says so."""
    reader = context.reader
    mapping = reader.mapping(node, "`error_behavior`")
    if mapping is None:
        return None
    keys = dict(reader.keys(mapping, "`error_behavior`", ("type", "interval", "max_retries")))
    if "type" not in keys:
        reader.missing(
            mapping,
            "`error_behavior`",
            "type",
            "write `type: retry`, `fail`, `suspend`, `terminate` or `compensate`",
        )
        return None
    word = reader.choice(keys["type"].value, "`type`", ("retry", *_THEN))
    if word != "retry":
        for name in ("interval", "max_retries"):
            if name in keys and word:
                message = f"`{name}` has no effect with `type: {word}`"
                context.problems.error("WFE015", keys[name].key.span, message, "remove it")
        return _THEN[word]() if word else None
    interval = reader.duration(keys["interval"].value, "`interval`") if "interval" in keys else None
    count = (
        reader.integer(keys["max_retries"].value, "`max_retries`", 0)
        if "max_retries" in keys
        else None
    )
    return Retry(
        max_retries=3 if count is None else count,
        interval=timedelta(minutes=1) if interval is None else timedelta(microseconds=interval),
    )


def read_env(node: Node, context: Context, scope: Scope) -> dict[str, Expr]:
    """Read a map of environment variables; a constant is taken as it is written."""
    mapping = context.reader.mapping(node, "`env`")
    found: dict[str, Expr] = {}
    for name, entry in (mapping.entries if mapping else {}).items():
        if not ENV_NAME.fullmatch(name):
            message = f"an environment variable cannot be called `{name[:60]}`"
            hint = "use letters, digits and `_`"
            context.problems.error("WFE020", entry.key.span, message, hint)
            continue
        if name.startswith(("LD_", "DYLD_", "WFE_")) or name in {
            "BASH_ENV",
            "ENV",
            "IFS",
            "SHELLOPTS",
        }:
            message = f"`{name}` changes how programs are loaded or shells read scripts"
            context.problems.warning("WFE050", entry.key.span, message, "choose another name")
        value = env_value(entry.value, context, scope.for_secrets(), f"`{name}`")
        if value is not None:
            found[name] = value
    return found


def env_value(node: Node, context: Context, scope: Scope, what: str) -> Expr | None:
    """Read a value that becomes text: the source text of constants, or an expression."""
    if not isinstance(node, Scalar):
        hint = "write a text, or JSON in quotes"
        context.problems.error("WFE011", node.span, f"{what} is a text, not a list or a map", hint)
        return None
    found = context.expressions.value(node, scope)
    if found is None:
        return None
    expr, _ = found
    if isinstance(expr, Value):
        return Value(expr.value if isinstance(expr.value, str) else _written(node, expr.value))
    return expr


def _written(node: Scalar, value: object) -> str:
    if value is None and node.value in {"", "~", "null"}:
        return ""
    return node.value if node.style is None else render_value(value)


def read_surroundings(node: MapNode, context: Context, scope: Scope) -> Scope:
    """Return *scope* with what *node* says of all that is in it: its environment, its trust."""
    env, host = node.get("env"), node.get("env_from_host")
    directory = node.get("working_dir")
    if env is not None:
        scope = attrs.evolve(scope, env={**scope.env, **read_env(env, context, scope)})
    if host is not None:
        names = [
            name
            for name in context.reader.names(host, "`env_from_host`")
            if _host_name(name, context)
        ]
        together = dict.fromkeys([*scope.host_env, *(name.value for name in names)])
        scope = attrs.evolve(scope, host_env=tuple(together))
    if directory is not None:
        found = env_value(directory, context, scope.into("`working_dir`"), "`working_dir`")
        scope = attrs.evolve(scope, working_dir=found)
    if scope.commands and not _commands(node, context):
        scope = attrs.evolve(scope, commands=False)
    return scope


def _commands(node: MapNode, context: Context) -> bool:
    """Whether *node* lets what is written to the log be read for markers."""
    reader = context.reader
    commands, untrusted = node.get("commands"), node.get("untrusted")
    allowed = True if commands is None else reader.boolean(commands, "`commands`")
    doubted = None if untrusted is None else reader.boolean(untrusted, "`untrusted`")
    return allowed is not False and not doubted


def _host_name(name: Scalar, context: Context) -> bool:
    if name.value.startswith(SECRET_PREFIX):
        message = f"`{name.value[:60]}` holds a secret, which is not taken from the host like this"
        wanted = name.value.removeprefix(SECRET_PREFIX).lower()[:60] or "name"
        context.problems.error("WFE100", name.span, message, f"write `secrets: [{wanted}]`")
        return False
    if ENV_NAME.fullmatch(name.value):
        return True
    message = f"an environment variable cannot be called `{name.value[:60]}`"
    context.problems.error("WFE020", name.span, message, "list names, such as `[HTTP_PROXY]`")
    return False


def input_variable(name: str) -> str | None:
    """Return the environment variable of an input: its name in upper case; ``None`` if reserved."""
    variable = name.upper().replace("-", "_")
    return None if reserved_env(variable) else variable
