"""Looks up what messages need before the rules can decide on them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from wfe.core.codec import decode, encode
from wfe.core.engine.handlers import call_handler
from wfe.core.engine.patience import patiently
from wfe.core.models import WorkflowStatus
from wfe.core.rules.inputs import Answered, Received

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.live import LiveRun
    from wfe.core.rules.state import State

__all__ = ["Lookups"]

_ENDED_EARLY: Final = (WorkflowStatus.FAILED.value, WorkflowStatus.TERMINATED.value)
_PAGE: Final = 1000


class Lookups:
    """What happened before, and what handlers of updates answer."""

    def __init__(self, engine: Engine) -> None:
        """Look up for runs of *engine*."""
        self._engine = engine
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether something is looked up in the store; the handler of an update is users' code."""
        return bool(self._reading)

    def look_up(self, run: LiveRun, message: Received) -> None:
        """Feed *message* to *run* once what it needs is known."""
        task = asyncio.create_task(self._feed(run, message))
        for tasks in (self._tasks,) if message.kind == "update" else (self._tasks, self._reading):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def close(self) -> None:
        """Drop what is under way: the messages are still in the inbox."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _feed(self, run: LiveRun, message: Received) -> None:
        try:
            found = await patiently(lambda: self._found(run, message))
        except Exception as error:  # noqa: BLE001 - whatever it is, the run is set aside
            run.looking_up.clear()
            self._engine.broken(run, error)
        else:
            run.looked_up(_with(message, found))

    async def _found(self, run: LiveRun, message: Received) -> Any:
        if message.kind == "update":
            return await self._answer(run, message.payload)
        from wfe.core.rules.reopening import before_failures  # noqa: PLC0415 - few runs go back
        from wfe.core.rules.reviving import before_step, restored  # noqa: PLC0415 - as above

        step = message.payload.get("from_step") or message.payload.get("to_step")
        if step is not None:
            state = before_step(await self.rows(run.n), step)
            if state is None:
                return None
            return restored(state, {**state.data, **(message.payload.get("data") or {})})
        if run.state.origin is None:
            return None
        seq, failed = run.state.origin
        state, failures = before_failures(await self.rows(run.n), seq, failed)
        return restored(state, None, failures, await self._children(state))

    async def _children(self, state: State) -> frozenset[int]:
        """Return the pointers whose sub-workflow can go on where it failed or was terminated."""
        found: set[int] = set()
        for pointer in state.pointers.values():
            child = pointer.extra.get("child_id")
            header = None if child is None else await self._engine.store.get(child)
            if header is not None and header.status in _ENDED_EARLY:
                found.add(pointer.id)
        return frozenset(found)

    async def rows(self, n: int) -> list[list[Any]]:
        """Return all journal rows of a run."""
        rows: list[list[Any]] = []
        after = -1
        while page := await self._engine.store.history(n, after, _PAGE):
            rows.extend(orjson.loads(row.event) for row in page)
            after = page[-1].seq
        return rows

    async def _answer(self, run: LiveRun, asked: Mapping[str, Any]) -> Answered:
        """Ask the handler of an update; what it raises is the answer."""
        code, model = run.ready.definition.code, run.ready.model
        name, payload = asked["name"], decode(asked["data"])
        handler = code.get(f"/update:{name}")
        if handler is None:
            message = f"{run.ref.definition!r} has no update {name!r}"
            return Answered(error={"type": "LookupError", "message": message, "step": None})
        before, seq = run.state.data, run.state.seq
        data = model.load(before)
        try:
            validator = code.get(f"/validate:{name}")
            if validator is not None:
                await call_handler(validator, model.load(before), payload)
            result = encode(await call_handler(handler, data, payload), "result")
            writes = model.changes(before, data, seq)
        except Exception as error:  # noqa: BLE001 - user code: its error goes to who asked
            text = str(error) or type(error).__name__
            return Answered(error={"type": type(error).__name__, "message": text, "step": None})
        return Answered(result=result, writes=writes)


def _with(message: Received, found: Any) -> Received:
    return Received(
        i=message.i,
        kind=message.kind,
        payload=message.payload,
        actor=message.actor,
        reason=message.reason,
        found=found,
    )
