"""What a body gets to know: its context, and the services behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from wfe.core.codec import decode, encode
from wfe.core.engine.options import StartOptions
from wfe.core.engine.sizes import check_name, storable_text
from wfe.core.models import from_micros
from wfe.core.steps import PointerRef, StepExecutionContext

if TYPE_CHECKING:
    from wfe.core.engine.live import LiveRun
    from wfe.core.rules.state import Pointer

__all__ = ["call_context", "live_of", "make_context"]

T = TypeVar("T")


def make_context(run: LiveRun, pointer: Pointer) -> StepExecutionContext[Any]:
    """Return the context of one attempt at *pointer*."""
    extra = pointer.extra
    if "memory" in extra:
        extra = {**extra, "memory": decode(extra["memory"])}
    if "event" in extra:
        extra = {**extra, "event": {**extra["event"], "data": decode(extra["event"]["data"])}}
    return StepExecutionContext(
        _services(run),
        run.ref,
        PointerRef(pointer.id, pointer.step, pointer.attempt, _scope(run, pointer.parent)),
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
        rounds = self._rounds(ctx)
        if level >= len(rounds):
            return None, None
        index, item, step = rounds[level]
        value = decode(item)
        typed = self._run.ready.definition.code.get(f"{step}/item_type")
        return index, value if typed is None else typed(value, f"item of {step}")

    def path(self, ctx: StepExecutionContext[Any]) -> tuple[int, ...]:
        return tuple(index for index, _, _ in reversed(self._rounds(ctx)))

    def _rounds(self, ctx: StepExecutionContext[Any]) -> list[tuple[int, Any, str]]:
        """Return number, item and name of each for-each around a step, innermost first."""
        pointers = self._run.state.pointers
        found: list[tuple[int, Any, str]] = []
        here = pointers.get(ctx.pointer.id)
        while here is not None:
            if "rounds" in here.extra:  # it was taken out of where it stood, with what it saw
                return [*found, *((i, item, step) for i, item, step in here.extra["rounds"])]
            index = here.extra.get("index")
            here = None if here.parent is None else pointers.get(here.parent)
            if here is not None and index is not None and "items" in here.extra:
                found.append((index, here.extra["items"][index], here.step))
        return found

    def environment(self, ctx: StepExecutionContext[Any]) -> Mapping[str, Any]:
        node = self._run.ready.plan.places[ctx.pointer.step].node
        found: Mapping[str, Any] = node.config.get("env") or {}
        return found

    def write_log(self, ctx: StepExecutionContext[Any], stream: str, line: str) -> None:
        text = storable_text(str(line))
        self._run.owner.report.log(self._run, ctx.pointer, stream, text)

    def emit(self, ctx: StepExecutionContext[Any], name: str, payload: Any) -> None:
        check_name("stream item's name", name)
        text = orjson.dumps(encode(payload, f"payload of {name!r}")).decode()
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
        ctx.starts += 1
        options = StartOptions(
            name=name,
            reference=reference,
            idempotency_key=f"{ctx.idempotency_key}:{key or ctx.starts}",
            around=(ctx.instance.id, ctx.instance.root_id),
        )
        return await self._run.owner.start_run(definition, version, data, options)

    def progress(self, ctx: StepExecutionContext[Any], name: str, payload: Any) -> None:
        self._run.owner.report.progress(self._run, ctx.pointer, name, payload)
