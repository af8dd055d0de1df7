"""Read the key ``secrets`` of a step: which secrets it gets, and in which environment variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from wfe.core.definition import Cel, Expr, Value
from wfe.core.lean import frozen
from wfe.core.secret_names import SECRET_NAME
from wfe.yaml.context import Context
from wfe.yaml.keys import reserved_env
from wfe.yaml.pieces import has_pieces
from wfe.yaml.reading import ENV_NAME
from wfe.yaml.scope import Scope, cel_literal
from wfe.yaml.tree import ListNode, MapNode, Node, Scalar

__all__ = ["SecretKeys", "read_secrets"]

_ALLOWED: Final = "letters, digits, `_`, `-` and `.`"


@frozen
class SecretKeys:
    """The secrets that a step asks for.

    Attributes:
        names: For ``Node.secrets``; each evaluates to a name.
        env: Variables that hold them.
    """

    names: tuple[Expr, ...] = ()
    env: Mapping[str, Expr] = attrs.field(factory=dict[str, Expr])


def read_secrets(step: MapNode, context: Context, scope: Scope) -> SecretKeys:
    """Read ``secrets: [npm-token]`` or ``secrets: {NPM_TOKEN: npm-token}``.

    In a list the variable is the name in upper case, with ``_`` for what it cannot have.
    """
    entry = step.entries.get("secrets")
    if entry is None:
        return SecretKeys()
    kind = step.get("type")
    if isinstance(kind, Scalar) and kind.value == "workflow":
        message = "a child workflow gets no secrets from the step that runs it"
        hint = "declare an input of type `secret` in the child, or `secrets` on the child's steps"
        context.problems.error("WFE100", entry.key.span, message, hint)
        return SecretKeys()
    names: dict[str, Expr] = {}
    env: dict[str, Expr] = {}
    for at, variable, secret in _pairs(entry.value, context):
        if variable in env:
            message = f"the variable `{variable}` would hold two secrets"
            hint = "give one another variable: `secrets: {NAME: secret-name}`"
            context.problems.error("WFE018", at.span, message, hint)
            continue
        found = _secret(secret, context, scope)
        if found is None or not _free(at, variable, step, context):
            continue
        name, env[variable] = found
        names[repr(name)] = name
    return SecretKeys(tuple(names.values()), env)


def _pairs(node: Node, context: Context) -> Iterator[tuple[Scalar, str, Scalar]]:
    """Yield (where, variable, name of the secret)."""
    if isinstance(node, MapNode):
        for variable, entry in node.entries.items():
            if not ENV_NAME.fullmatch(variable):
                message = f"an environment variable cannot be called `{variable[:60]}`"
                hint = "write `VARIABLE: name-of-the-secret`"
                context.problems.error("WFE020", entry.key.span, message, hint)
            elif isinstance(entry.value, Scalar):
                yield entry.key, variable, entry.value
            else:
                message = "the name of a secret is a text"
                context.problems.error("WFE011", entry.value.span, message)
        return
    if not isinstance(node, ListNode):
        hint = "write `secrets: [npm-token]`, or `secrets: {NPM_TOKEN: npm-token}`"
        message = "`secrets` is a list of names, or a map of variables and names"
        context.problems.error("WFE011", node.span, message, hint)
        return
    for item in node.items:
        if not isinstance(item, Scalar):
            context.problems.error("WFE011", item.span, "the name of a secret is a text")
        elif has_pieces(item.value):
            message = "the variable of a computed secret is not known"
            hint = f"name it: `secrets: {{VARIABLE: {item.value[:60]}}}`"
            context.problems.error("WFE100", item.span, message, hint)
        else:
            yield item, re.sub(r"[^A-Z0-9]", "_", item.value.upper()), item


def _secret(node: Scalar, context: Context, scope: Scope) -> tuple[Expr, Expr] | None:
    """Return what gives the name of a secret, and what gives its value."""
    if has_pieces(node.value):
        name = context.expressions.secret_name(node, scope)
        if name is None:
            return None
        if isinstance(name, Cel):
            # An optional input that was not given: the variable is empty.
            return name, Cel(f"{name.text} == null ? null : secrets[{name.text}]")
    else:
        text = context.reader.named(node, "the name of a secret", SECRET_NAME, _ALLOWED)
        name = None if text is None else Value(text)
    if not isinstance(name, Value):
        return None
    return name, Cel(f"secrets[{cel_literal(str(name.value))}]")


def _free(at: Scalar, variable: str, step: MapNode, context: Context) -> bool:
    if reserved_env(variable) or not ENV_NAME.fullmatch(variable):
        message = f"a secret cannot be in the environment variable `{variable[:60]}`"
        hint = "choose another variable: `secrets: {NAME: secret-name}`"
        code = "WFE050" if reserved_env(variable) else "WFE020"
        context.problems.error(code, at.span, message, hint)
        return False
    env = step.get("env")
    if isinstance(env, MapNode) and variable in env.entries:
        message = f"`{variable}` stands in `env`, and a secret would replace it"
        context.problems.error("WFE018", at.span, message, "keep one of them")
        return False
    return True
