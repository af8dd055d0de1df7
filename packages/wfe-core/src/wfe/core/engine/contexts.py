"""What a body gets to know: its context, and the services behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wfe.core.codec import decode
from wfe.core.steps import PointerRef, StepExecutionContext

if TYPE_CHECKING:
    from wfe.core.engine.live import LiveRun
    from wfe.core.rules.state import Pointer

__all__ = ["make_context"]


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
    def app(self) -> Any:
        return self._run.owner.app

    def load_data(self, ctx: StepExecutionContext[Any]) -> Any:
        return self._run.ready.model.load(ctx.before)

    def item(self, ctx: StepExecutionContext[Any], level: int) -> tuple[int | None, Any]:
        rounds = self._rounds(ctx)
        if level >= len(rounds):
            return None, None
        index, items = rounds[level]
        return index, decode(items[index])

    def path(self, ctx: StepExecutionContext[Any]) -> tuple[int, ...]:
        return tuple(index for index, _ in reversed(self._rounds(ctx)))

    def _rounds(self, ctx: StepExecutionContext[Any]) -> list[tuple[int, list[Any]]]:
        """Return number and items of each for-each around a step, innermost first."""
        pointers = self._run.state.pointers
        found: list[tuple[int, list[Any]]] = []
        index = _index(pointers, ctx.pointer.id)
        for key in reversed(ctx.pointer.scope):
            container = pointers.get(key)
            if container is not None and "items" in container.extra and index is not None:
                found.append((index, container.extra["items"]))
            index = _index(pointers, key)
        return found

    def environment(self, ctx: StepExecutionContext[Any]) -> Mapping[str, Any]:
        node = self._run.ready.plan.places[ctx.pointer.step].node
        found: Mapping[str, Any] = node.config.get("env") or {}
        return found

    def write_log(self, ctx: StepExecutionContext[Any], stream: str, line: str) -> None:
        self._run.owner.report.log(self._run, ctx.pointer, stream, line)

    def progress(self, ctx: StepExecutionContext[Any], name: str, payload: Any) -> None:
        self._run.owner.report.progress(self._run, ctx.pointer, name, payload)


def _index(pointers: Mapping[int, Pointer], key: int) -> int | None:
    pointer = pointers.get(key)
    return None if pointer is None else pointer.extra.get("index")
