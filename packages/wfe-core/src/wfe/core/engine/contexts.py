"""What a body gets to know: its context, and the services behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from wfe.core.codec import decode, encode
from wfe.core.engine.options import StartOptions
from wfe.core.engine.secrets import masking_more, refuse_secrets
from wfe.core.engine.sizes import check_name, storable_text
from wfe.core.engine.surroundings import failed_before, hooked_by, rounds_around
from wfe.core.errors import TransactionError
from wfe.core.models import from_micros
from wfe.core.steps import PointerRef, StepExecutionContext

if TYPE_CHECKING:
    from wfe.core.engine.artifacts import ArtifactsOfStep
    from wfe.core.engine.live import LiveRun
    from wfe.core.masking import Masker
    from wfe.core.rules.state import Pointer
    from wfe.core.transaction_provider import StepTransaction

__all__ = ["call_context", "live_of", "make_context"]

T = TypeVar("T")


def make_context(run: LiveRun, pointer: Pointer) -> StepExecutionContext[Any]:
    """Return the context of one attempt at *pointer*."""
    extra, parent = pointer.extra, pointer.parent
    if extra and "memory" in extra:
        extra = {**extra, "memory": decode(extra["memory"])}
    if extra and "event" in extra:
        extra = {**extra, "event": {**extra["event"], "data": decode(extra["event"]["data"])}}
    scope = () if parent is None else _scope(run, parent)
    return StepExecutionContext(
        run.services or _services(run),
        run.ref,
        PointerRef(pointer.id, pointer.step, pointer.attempt, scope),
        run.state.data,  # never changed in place: folding puts a new mapping there
        run.state.seq,
        extra,
        run.created_at,
    )


def live_of(ctx: StepExecutionContext[Any]) -> LiveRun:
    """Return the run that a context was made for."""
    services: Any = ctx._services  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    run: LiveRun = services.run
    return run


def call_context(run: LiveRun, shown: Pointer, key: str) -> StepExecutionContext[Any]:
    """Return the context of one attempt of a durable function's call *key*."""
    return _CallContext(
        _services(run),
        run.ref,
        PointerRef(shown.id, shown.step, shown.attempt, ()),
        run.state.data,
        run.state.seq,
        {},
        run.created_at,
        key,
    )


class _CallContext(StepExecutionContext[Any]):
    """The context of a step that a durable function calls."""

    __slots__ = ("_key",)

    def __init__(self, *args: Any) -> None:
        *rest, self._key = args
        super().__init__(*rest)

    @property
    def idempotency_key(self) -> str:
        return f"{self.instance.id}:{self.pointer.id}:{self._key}"


def _scope(run: LiveRun, parent: int | None) -> tuple[int, ...]:
    """Return the pointers of the containers around, outermost first."""
    if parent is None:
        return ()
    return (*_scope(run, run.state.pointers[parent].parent), parent)


def _services(run: LiveRun) -> _Services:
    found: _Services | None = run.services
    if found is None:
        found = run.services = _Services(run)
    return found


class _Services:
    """What a context gets from its run and host."""

    __slots__ = ("_run",)

    def __init__(self, run: LiveRun) -> None:
        self._run = run

    @property
    def run(self) -> LiveRun:
        return self._run

    @property
    def app(self) -> Any:
        return self._run.owner.app

    def now(self) -> datetime:
        return from_micros(self._run.owner.clock.now())

    def shared(self, key: str, make: Callable[[], T]) -> T:
        return self._run.owner.shared.get(key, make)

    def load_data(self, ctx: StepExecutionContext[Any]) -> Any:
        return self._run.ready.model.load(ctx.before)

    def item(self, ctx: StepExecutionContext[Any], level: int) -> tuple[int | None, Any]:
        rounds = rounds_around(self._run.state.pointers, ctx.pointer.id)
        if level >= len(rounds):
            return None, None
        index, item, step = rounds[level]
        value = decode(item)
        typed = self._run.ready.definition.code.get(f"{step}/item_type")
        return index, value if typed is None else typed(value, f"item of {step}")

    def path(self, ctx: StepExecutionContext[Any]) -> tuple[int, ...]:
        rounds = rounds_around(self._run.state.pointers, ctx.pointer.id)
        return tuple(index for index, _, _ in reversed(rounds))

    def failed(self, ctx: StepExecutionContext[Any]) -> bool:
        return failed_before(self._run, ctx.pointer.id)

    def hooked(self, ctx: StepExecutionContext[Any]) -> Mapping[str, Any] | None:
        return hooked_by(self._run, ctx.pointer.id, ctx.path)

    def masks(self) -> Masker | None:
        return self._run.masks

    def mask(self, secrets: Mapping[str, str]) -> None:
        self._run.masks = masking_more(self._run.masks, secrets.items())

    def artifacts(self, ctx: StepExecutionContext[Any]) -> ArtifactsOfStep:
        from wfe.core.engine.artifacts import ArtifactsOfStep  # noqa: PLC0415 - few steps have any

        owner: Any = self._run.owner
        return ArtifactsOfStep(owner.artifacts, ctx, self._run.n)

    def transaction(self, ctx: StepExecutionContext[Any]) -> StepTransaction:
        return self._run.owner.transactions.of(self._run, ctx)

    def environment(self, ctx: StepExecutionContext[Any]) -> Mapping[str, Any]:
        node = self._run.ready.plan.places[ctx.pointer.step].node
        found: Mapping[str, Any] = node.config.get("env") or {}
        return found

    def write_log(self, ctx: StepExecutionContext[Any], stream: str, line: str) -> None:
        text = str(line)
        if self._run.masks is not None:
            text = self._run.masks.mask(text)
        text = storable_text(text)
        self._run.owner.report.log(self._run, ctx.pointer, stream, text)

    def emit(self, ctx: StepExecutionContext[Any], name: str, payload: Any) -> None:
        check_name("stream item's name", name)
        stored = encode(payload, f"payload of {name!r}")
        refuse_secrets(self._run.masks, f"payload of {name!r}", stored)
        refuse_secrets(self._run.masks, "stream item's name", name)
        text = orjson.dumps(stored).decode()
        owner = self._run.owner
        owner.sizes.check(f"payload of {name!r}", text)
        owner.report.emit(self._run, ctx.pointer, name, text)
        owner.report.progress(self._run, ctx.pointer, name, payload)

    async def start_workflow(
        self,
        ctx: StepExecutionContext[Any],
        definition: str,
        data: Any,
        version: int | None,
        name: str | None,
        reference: str | None,
        key: str | None,
    ) -> str:
        if ctx.joined is not None and ctx.joined.excludes:
            text = (
                "ctx.start_workflow() would wait for the end of this step's transaction; call it"
                " before the block, or host.start_workflow(..., within=tx.connection) in it"
            )
            raise TransactionError(text)
        ctx.starts += 1
        masks = self._run.masks
        if masks is not None:
            refuse_secrets(masks, "start data", encode(data, "start data"))
            refuse_secrets(masks, "name, reference or key", [name, reference, key])
        options = StartOptions(
            name=name,
            reference=reference,
            idempotency_key=f"{ctx.idempotency_key}:{key or ctx.starts}",
            around=(ctx.instance.id, ctx.instance.root_id),
        )
        return await self._run.owner.start_run(definition, version, data, options)

    def progress(self, ctx: StepExecutionContext[Any], name: str, payload: Any) -> None:
        if self._run.masks is not None:
            payload = self._run.masks.mask_value(payload)
        self._run.owner.report.progress(self._run, ctx.pointer, name, payload)
