"""Read the keys ``cache`` and ``artifacts`` of a step: what it takes from before, what it keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from wfe.core.artifacts import ArtifactUse, Download, Upload
from wfe.core.caching import Caching
from wfe.core.cel_types import CelType
from wfe.core.definition import Expr, Value
from wfe.core.globs import GlobError, check_pattern
from wfe.yaml.context import Context
from wfe.yaml.reading import ENV_NAME
from wfe.yaml.scope import Scope
from wfe.yaml.tree import Entry, ListNode, MapNode, Node, Scalar
from wfe.yaml.value_types import described

__all__ = ["read_artifacts", "read_cache"]

_CACHE: Final = ("key", "inputs", "files", "ttl", "env", "platform", "salt")
_ARTIFACTS: Final = ("upload", "download")
_ITEM: Final = ("name", "path")
_WANTED: Final = {
    "name": "write what it is called: `name: dist`",
    "path": "write which files to keep: `path: dist/**`",
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ALLOWED: Final = "letters, digits, `.`, `_` and `-`, beginning with a letter or digit"


def read_cache(step: MapNode, context: Context, scope: Scope) -> Caching | None:
    """Read ``cache: true`` or ``cache: {key, inputs, files, ttl, env, platform, salt}``."""
    entry = step.entries.get("cache")
    if entry is None or not _has_body(step, entry, context):
        return None
    if isinstance(entry.value, Scalar):
        return Caching() if context.reader.boolean(entry.value, "`cache`") else None
    cache = context.reader.mapping(entry.value, "`cache`", "write `true`, or a map of what counts")
    if cache is None:
        return None
    known = dict(context.reader.keys(cache, "`cache`", _CACHE))
    reader = context.reader
    inputs = reader.boolean(known["inputs"].value, "`inputs`") if "inputs" in known else True
    platform = (
        reader.boolean(known["platform"].value, "`platform`") if "platform" in known else None
    )
    salt = reader.source_text(known["salt"].value, "`salt`") if "salt" in known else None
    return Caching(
        key=_key(known.get("key"), context, scope),
        inputs=inputs is not False,
        env=tuple(_env(known.get("env"), context)),
        files=tuple(_patterns(known["files"].value, context, scope)) if "files" in known else (),
        ttl=_ttl(known.get("ttl"), context),
        platform=bool(platform),
        salt=salt or "",
    )


def _has_body(step: MapNode, entry: Entry, context: Context) -> bool:
    kind = step.get("type")
    if not (isinstance(kind, Scalar) and kind.value == "workflow"):
        return True
    message = f"a step that runs a workflow has no `{entry.key.value}`"
    hint = "put it on the steps of the child workflow"
    context.problems.error("WFE120", entry.key.span, message, hint)
    return False


def _key(entry: Entry | None, context: Context, scope: Scope) -> Expr | None:
    found = None if entry is None else context.expressions.value(entry.value, scope)
    return None if found is None else found[0]


def _ttl(entry: Entry | None, context: Context) -> int | None:
    if entry is None:
        return None
    micros = context.reader.duration(entry.value, "`ttl`")
    if micros == 0:
        message = "`ttl` is longer than 0"
        hint = "remove it to keep results as long as there is room, or remove `cache`"
        context.problems.error("WFE015", entry.value.span, message, hint)
        return None
    return micros


def _env(entry: Entry | None, context: Context) -> Iterator[str]:
    for name in context.reader.names(entry.value, "`env`") if entry is not None else ():
        if ENV_NAME.fullmatch(name.value):
            yield name.value
        else:
            message = f"`{name.value[:60]}` is no name of an environment variable"
            context.problems.error("WFE020", name.span, message, "use letters, digits and `_`")


def _patterns(node: Node, context: Context, scope: Scope) -> Iterator[Expr]:
    """Yield patterns of files; constants are checked."""
    for item in node.items if isinstance(node, ListNode) else [node]:
        found = context.expressions.value(item, scope)
        if found is None:
            continue
        expr, kind = found
        listed = kind in (CelType.DYN, CelType.STRING, CelType.list_of(CelType.STRING))
        if isinstance(expr, Value):
            if not isinstance(expr.value, str):
                message = "a pattern of files is a text"
                context.problems.error("WFE011", item.span, message, "write for example `src/**`")
                continue
            _check(expr.value, item, context)
        elif not listed and kind != CelType.list_of(CelType.DYN):
            message = f"a pattern of files is a text, not {described(kind)}"
            context.problems.error("WFE035", item.span, message)
            continue
        yield expr


def _check(pattern: str, node: Node, context: Context) -> None:
    try:
        check_pattern(pattern)
    except GlobError as error:
        hint = "name files below the workspace: `src/**/*.py`, `dist`, `!**/*.tmp`"
        context.problems.error("WFE121", node.span, f"`{pattern[:60]}` {error.problem}", hint)


def read_artifacts(step: MapNode, context: Context, scope: Scope) -> ArtifactUse | None:
    """Read ``artifacts: {upload: [{name, path}], download: [{name, path?}]}``."""
    entry = step.entries.get("artifacts")
    if entry is None or not _has_body(step, entry, context):
        return None
    hint = "write `upload:` and `download:` below it"
    mapping = context.reader.mapping(entry.value, "`artifacts`", hint)
    if mapping is None:
        return None
    known = dict(context.reader.keys(mapping, "`artifacts`", _ARTIFACTS))
    upload = known["upload"].value if "upload" in known else None
    download = known["download"].value if "download" in known else None
    return ArtifactUse(
        tuple(_uploads(upload, context, scope)), tuple(_downloads(download, context, scope))
    )


def _uploads(node: Node | None, context: Context, scope: Scope) -> Iterator[Upload]:
    names: dict[str, Scalar] = {}
    for item in _items(node, "upload", context):
        hint = "write `- name: NAME` and `path:` below it"
        mapping = context.reader.mapping(item, "an upload", hint)
        if mapping is None:
            continue
        known = dict(context.reader.keys(mapping, "an upload", _ITEM))
        for key in _ITEM:
            if key not in known:
                context.reader.missing(mapping, "an upload", key, _WANTED[key])
        if len(known) < len(_ITEM):
            continue
        name = _name(known["name"].value, context, scope)
        paths = tuple(_patterns(known["path"].value, context, scope))
        if name is not None:
            _check_shared(name, known["name"].value, names, context, scope)
            yield Upload(name, paths)


def _check_shared(
    name: Expr, node: Node, names: dict[str, Scalar], context: Context, scope: Scope
) -> None:
    """Say so when several uploads replace each other."""
    if not isinstance(name, Value) or not isinstance(node, Scalar):
        return
    if name.value in names:
        message = f"the step keeps two artifacts called `{name.value}`"
        hint = "give one upload both paths: `path: [a, b]`"
        context.problems.error("WFE018", node.span, message, hint)
    elif scope.before_loop is not None:
        message = f"each round of the loop replaces the artifact `{name.value}` of the others"
        hint = "put what tells the rounds apart into the name: `name: dist-${{ item }}`"
        context.problems.warning("WFE122", node.span, message, hint)
    names[str(name.value)] = node


def _downloads(node: Node | None, context: Context, scope: Scope) -> Iterator[Download]:
    for item in _items(node, "download", context):
        if isinstance(item, MapNode):
            known = dict(context.reader.keys(item, "a download", _ITEM))
            if "name" not in known:
                context.reader.missing(item, "a download", "name")
                continue
            name = _name(known["name"].value, context, scope, reference=True)
            path = _directory(known.get("path"), context, scope)
        else:
            name, path = _name(item, context, scope, reference=True), None
        if name is not None:
            yield Download(name, path)


def _items(node: Node | None, what: str, context: Context) -> list[Node]:
    if node is None:
        return []
    if isinstance(node, MapNode):
        return [node]
    listed = context.reader.sequence(node, f"`{what}`", "write a list, each item with a `name`")
    return list(listed.items) if listed is not None else []


def _directory(entry: Entry | None, context: Context, scope: Scope) -> Expr | None:
    if entry is None:
        return None
    found = context.expressions.value(entry.value, scope)
    if found is None:
        return None
    if isinstance(found[0], Value):
        if not isinstance(found[0].value, str):
            message = "`path` is a text"
            context.problems.error("WFE011", entry.value.span, message)
            return None
        _check(found[0].value, entry.value, context)
    return found[0]


def _name(node: Node, context: Context, scope: Scope, *, reference: bool = False) -> Expr | None:
    """Read the name of an artifact; a *reference* may be its digest as well."""
    if not isinstance(node, Scalar):
        message = "the name of an artifact is a text"
        context.problems.error("WFE011", node.span, message)
        return None
    found = context.expressions.value(node, scope)
    if found is None:
        return None
    expr, kind = found
    if isinstance(expr, Value):
        text = str(expr.value) if isinstance(expr.value, str) else node.value
        if not (_NAME.fullmatch(text) or (reference and _DIGEST.fullmatch(text))):
            message = f"an artifact cannot be called `{text[:60]}`"
            context.problems.error("WFE020", node.span, message, f"use {_ALLOWED}")
            return None
        return Value(text)
    if kind not in (CelType.STRING, CelType.DYN):
        message = f"the name of an artifact is a text, not {described(kind)}"
        context.problems.error("WFE035", node.span, message)
        return None
    return expr
