"""What goes around the body of a step that has a cache or artifacts."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import attrs

from wfe.core.artifacts import ArtifactError
from wfe.core.caching import Caching
from wfe.core.definition import Expr, Json, Node
from wfe.core.engine.caching import Results, Run
from wfe.core.engine.contexts import live_of
from wfe.core.errors import WfeError
from wfe.core.globs import GlobError, find_files
from wfe.core.lean import define
from wfe.core.rules.inputs import Completed, Input

if TYPE_CHECKING:
    from wfe.core.engine.artifacts import Artifacts, ArtifactsOfStep
    from wfe.core.engine.keys import Files, Key
    from wfe.core.engine.nodes import NodeRunner
    from wfe.core.expressions import Evaluate
    from wfe.core.steps import StepExecutionContext

__all__ = ["Around", "around_of", "kept_exprs"]

Context: TypeAlias = "StepExecutionContext[Any]"
_NAMED: Final = 3  # files that a message names
_ONCE: Final = ("memory", "event")  # of a pointer whose body was called before and goes on


def kept_exprs(node: Node) -> Iterator[tuple[str, Expr]]:
    """Yield role and expression of what a node's cache and artifacts compute."""
    cache, use = node.cache, node.artifacts
    if cache is not None:
        if cache.key is not None:
            yield "cache:key", cache.key
        for k, each in enumerate(cache.files):
            yield f"cache:files:{k}", each
    if use is not None:
        for k, upload in enumerate(use.upload):
            yield f"upload:{k}", upload.name
            for i, path in enumerate(upload.paths):
                yield f"upload:{k}:{i}", path
        for k, download in enumerate(use.download):
            yield f"download:{k}", download.name
            if download.path is not None:
                yield f"download:{k}:path", download.path


def around_of(
    node: Node,
    target: Any,
    mappers: Mapping[str, Any],
    exprs: Mapping[str, Evaluate],
    results: Results,
    artifacts: Artifacts,
) -> Around | None:
    """Return what goes around the body of *node*; ``None``: nothing does.

    Args:
        node: Of a step.
        target: Its body, as it was registered.
        mappers: Its output mappings, by field.
        exprs: Compiled, by role.
        results: The host's cache.
        artifacts: The host's artifacts.
    """
    if node.cache is None and node.artifacts is None:
        return None
    return Around(
        node=node,
        target=target,
        mappers=mappers,
        exprs=exprs,
        results=results,
        artifacts=artifacts,
    )


@define(kw_only=True, eq=False)
class Around:
    """Cache and artifacts of one step."""

    node: Node
    target: Any
    mappers: Mapping[str, Any]
    exprs: Mapping[str, Evaluate]
    results: Results
    artifacts: Artifacts
    _code: Json = attrs.field(default=None, init=False)

    async def __call__(self, runner: NodeRunner, ctx: Context, started: int) -> Input:
        """Run one attempt: from the cache, or the body with its artifacts."""
        inputs = runner.arguments(ctx)
        cache = self.node.cache
        if cache is None or not self.results.active or _goes_on(ctx):
            return await self._body(runner, ctx, inputs, started)
        key = await self._key(cache, ctx, runner, inputs)
        if key is None:
            return await self._body(runner, ctx, inputs, started)
        ctx.asked = False  # what the inputs were made of is in the key
        run = Run(
            ctx=ctx,
            key=key,
            call=lambda: self._body(runner, ctx, inputs, started),
            read_more=lambda: cache.key is None and ctx.asked,
            changed=lambda: self._changed(ctx, key),
            put_back=lambda: self._put_back(ctx),
            ttl=cache.ttl,
            started=started,
        )
        return await self.results.run(run)

    async def _body(
        self, runner: NodeRunner, ctx: Context, inputs: Mapping[str, Any], started: int
    ) -> Input:
        use = self.node.artifacts
        if use is None:
            return await runner.called(ctx, inputs, started)
        for k in range(len(use.download)):
            await self._download(ctx, k)
        outcome = await runner.called(ctx, inputs, started)
        if isinstance(outcome, Completed):
            for k, upload in enumerate(use.upload):
                await self._upload(ctx, k, len(upload.paths))
        return outcome

    # -- artifacts

    @property
    def _root(self) -> Path:
        """The directory that patterns and places are relative to."""
        found: object = getattr(self.target, "workspace", None)
        return found if isinstance(found, Path) else Path.cwd()

    async def _download(self, ctx: Context, k: int) -> None:
        artifact = self.exprs[f"download:{k}"](ctx)
        path = self.exprs[f"download:{k}:path"](ctx) if f"download:{k}:path" in self.exprs else "."
        name, place = _text(artifact, "an artifact's name"), _text(path, "the path of a download")
        directory = await asyncio.to_thread(_inside, self._root, place)
        await ctx.artifacts.download(name, directory)

    async def _put_back(self, ctx: Context) -> None:
        """Put the files that the step declares to the places where its body would have put them."""
        use = self.node.artifacts
        for k in range(len(use.upload) if use is not None else 0):
            await ctx.artifacts.download(self.exprs[f"upload:{k}"](ctx), self._root)

    async def _upload(self, ctx: Context, k: int, count: int) -> None:
        name = _text(self.exprs[f"upload:{k}"](ctx), "the name of an artifact")
        patterns = _patterns([self.exprs[f"upload:{k}:{i}"](ctx) for i in range(count)])
        try:
            files = await asyncio.to_thread(find_files, self._root, patterns)
        except GlobError as error:
            raise ArtifactError(name, str(error)) from error
        if not files:
            shown = ", ".join(patterns)
            raise ArtifactError(name, f"no file in {self._root} fits {shown}")
        await cast("ArtifactsOfStep", ctx.artifacts).keep(name, files)

    # -- the key

    async def _key(
        self, cache: Caching, ctx: Context, runner: NodeRunner, inputs: Mapping[str, Any]
    ) -> Key | None:
        """Return the key of the result; ``None``, with a line in the log: there can be none."""
        from wfe.core.engine.keys import make_key  # noqa: PLC0415 - only with a cache

        try:
            parts = self._parts(cache, ctx, runner, inputs)
            files = await self._files(ctx)
            if self.node.artifacts is not None:
                parts["artifacts"] = await self._artifact_parts(ctx)
            return make_key(parts, files)
        except WfeError as error:
            ctx.log.warning("the cache is not used: %s", error)
            return None

    def _parts(
        self, cache: Caching, ctx: Context, runner: NodeRunner, inputs: Mapping[str, Any]
    ) -> dict[str, Json]:
        from wfe.core.engine import keys  # noqa: PLC0415 - only with a cache

        given, key = _without_secrets(ctx, runner, inputs, self.exprs.get("cache:key"))
        parts: dict[str, Json] = {
            "definition": ctx.instance.definition,
            "step": self.node.name,
            "code": self._coded(given),
            "config": keys.hashed(dict(self.node.config), "config"),
            "salt": cache.salt,
            "key": keys.hashed(key, "`key`"),
        }
        names = [*cache.env, *_host_names(given)]
        if names:
            parts["env"] = keys.environment(names)
        if ctx.secrets:
            parts["secrets"] = sorted(ctx.secrets)
        if cache.inputs:
            parts["inputs"] = {
                name: keys.hashed(value, f"input {name!r}") for name, value in given.items()
            }
            read = [n for n in keys.parameters_of(self.target) if n not in {*inputs, "ctx"}]
            parts["data"] = {name: ctx.before[name] for name in read if name in ctx.before}
        if cache.platform:
            parts["platform"] = keys.machine()
        return parts

    def _coded(self, given: Mapping[str, Any]) -> Json:
        """Return what stands for the code; a body may say it, once it has its inputs."""
        from wfe.core.engine import keys  # noqa: PLC0415 - only with a cache

        target = self.target
        own = callable(getattr(target, "cache_identity", None)) and not isinstance(target, type)
        if own:
            body = copy.copy(target)
            for name, value in given.items():
                setattr(body, name, value)
            return keys.fingerprint(body)
        if self._code is None:
            self._code = {
                "body": keys.fingerprint(target),
                "mapping": {name: keys.fingerprint(each) for name, each in self.mappers.items()},
            }
        return self._code

    async def _files(self, ctx: Context) -> Files | None:
        from wfe.core.engine import keys  # noqa: PLC0415 - only with a cache

        count = len(self.node.cache.files) if self.node.cache is not None else 0
        if not count:
            return None
        patterns = _patterns([self.exprs[f"cache:files:{k}"](ctx) for k in range(count)])
        digests = self.artifacts.digests
        files = await asyncio.to_thread(keys.hash_file_tree, self._root, patterns, digests)
        if not files.count:
            ctx.log.warning("no file in %s fits %s", self._root, ", ".join(patterns))
        return files

    async def _changed(self, ctx: Context, key: Key) -> str | None:
        """Return why the files say that the result is not that of *key*; ``None``: they do not.

        Somebody, perhaps the step itself, has changed them while it ran.
        """
        files = await self._files(ctx)
        known = key.document.get("files", {})
        if files is None or files.root == known["root"]:
            return None
        listing: Mapping[str, str] = key.document.get("listing", {})
        now = files.listing or {}
        names = sorted(name for name in {*listing, *now} if listing.get(name) != now.get(name))
        more = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        return f"files that count changed while the step ran: {more or 'too many to be listed'}"

    async def _artifact_parts(self, ctx: Context) -> Json:
        """Return what is kept, and what the artifacts that are fetched contain."""
        use, exprs = self.node.artifacts, self.exprs
        if use is None:
            return None
        fetched: list[Json] = []
        there = {each.name: each.digest for each in await ctx.artifacts.list()}
        for k in range(len(use.download)):
            artifact = exprs[f"download:{k}"](ctx)
            place = f"download:{k}:path"
            path = exprs[place](ctx) if place in exprs else None
            fetched.append([there.get(artifact, artifact), path])
        kept = [
            [
                exprs[f"upload:{k}"](ctx),
                [exprs[f"upload:{k}:{i}"](ctx) for i in range(len(u.paths))],
            ]
            for k, u in enumerate(use.upload)
        ]
        return {"download": fetched, "upload": kept}


def _goes_on(ctx: Context) -> bool:
    """Whether the body was called before in this attempt, and slept or waited."""
    pointer = live_of(ctx).state.pointers.get(ctx.pointer.id)
    return pointer is not None and any(name in pointer.extra for name in _ONCE)


def _without_secrets(
    ctx: Context, runner: NodeRunner, inputs: Mapping[str, Any], key: Evaluate | None
) -> tuple[Mapping[str, Any], Any]:
    """Return the inputs and the key's own value with the names of secrets in their places."""
    if not ctx.secrets:
        return inputs, None if key is None else key(ctx)
    values = ctx.secrets
    ctx.secrets = {name: f"the secret {name}" for name in values}
    try:
        return runner.arguments(ctx), None if key is None else key(ctx)
    finally:
        ctx.secrets = values


def _host_names(given: Mapping[str, Any]) -> list[str]:
    names = given.get("env_from_host")
    if not isinstance(names, list | tuple):
        return []
    return [name for name in cast("list[object]", names) if isinstance(name, str)]


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ArtifactError(str(value)[:200], f"{what} must be a text, got {type(value).__name__}")
    return value


def _patterns(values: list[Any]) -> list[str]:
    """Return patterns; each value is one, or a list of them."""
    found: list[str] = []
    for value in values:
        listed = cast("list[object]", value) if isinstance(value, list) else [value]
        found += [_text(each, "a pattern of files") for each in listed]
    return found


def _inside(root: Path, place: str) -> Path:
    """Return the directory *place* below *root*."""
    base = root.resolve()
    found = (base / place).resolve()
    if found != base and base not in found.parents:
        raise ArtifactError("", f"the path {place!r} leads out of the workspace {root}")
    return found
