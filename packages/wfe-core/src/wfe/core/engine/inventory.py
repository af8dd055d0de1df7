"""Looks through a whole store: its definitions, who runs by them, and what they ask people."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
import orjson

from wfe.core.data import model_for
from wfe.core.definition import Kind, WorkflowDefinition
from wfe.core.engine.ids import shown_name
from wfe.core.engine.registry import Registered
from wfe.core.engine.surroundings import rounds_around
from wfe.core.engine.views import questions_in, state_of
from wfe.core.models import Approval, StoredDefinition, WorkflowStatus, from_micros
from wfe.core.providers import InstanceQuery, StoredInstance
from wfe.core.rounds import round_name
from wfe.core.rules.plan import make_plan
from wfe.core.rules.state import Pointer, State

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine

__all__ = ["Inventory"]

_PAGE: Final = 200
_UNFINISHED: Final = (WorkflowStatus.RUNNABLE.value, WorkflowStatus.SUSPENDED.value)


class Inventory:
    """Reads that go over many runs; for operators, not for the hot path."""

    def __init__(self, engine: Engine) -> None:
        """Look through *engine*'s store."""
        self._engine = engine

    async def health(self) -> dict[str, Any]:
        """Return how the host does; see ``WorkflowHost.health``."""
        engine = self._engine
        numbers, info = engine.gates.numbers, engine.info
        return {
            "running": engine.running,
            "live": len(engine.live),
            "store": None if info is None else {"kind": info.kind, "version": info.version},
            "trouble": engine.committer.trouble if engine.running else None,
            "last_look": engine.seeker.last_look if engine.running else None,
            "due": await engine.store.due(numbers) if engine.running and numbers else None,
            "unrunnable": await self.unrunnable() if engine.running else [],
            "workers": [attrs.asdict(w) for w in await engine.store.workers()],
            "search": None if engine.search is None else await engine.searching.health(),
            "lifecycle": None if engine.publishing is None else engine.publishing.state,
        }

    async def unfinished(self, definition: str | None) -> AsyncIterator[list[StoredInstance]]:
        """Yield the headers of the runs that are not final, newest first, a page at a time."""
        for status in _UNFINISHED:
            after: tuple[int, int] | None = None
            while True:
                query = InstanceQuery(
                    definition=definition, status=status, limit=_PAGE, after=after
                )
                headers = list(await self._engine.store.find(query))
                if headers:
                    yield headers
                if len(headers) < _PAGE:
                    break
                after = (headers[-1].created_at, headers[-1].n)

    async def definitions(self, id: str | None) -> list[StoredDefinition]:
        """Return the stored definitions, all or those of one id, by id and version."""
        self._engine.check_running()
        rows = await self._engine.store.definitions(id)
        running: Counter[int] = Counter()
        async for headers in self.unfinished(id):
            running.update(header.d for header in headers)
        found = [
            StoredDefinition(
                id=row.id,
                version=row.version,
                hash=row.hash,
                current=row.current,
                running=running[row.d],
                runnable=self._engine.registry.number(row.d) is not None,
            )
            for row in rows
        ]
        return sorted(found, key=lambda each: (each.id, each.version, not each.current))

    async def unrunnable(self) -> list[Mapping[str, Any]]:
        """Return the stored definitions whose runs are due, while this host has no code for them.

        Each with ``definition``, ``version``, ``hash`` and ``due`` (µs).
        """
        found: list[Mapping[str, Any]] = []
        for row in await self._engine.store.definitions():
            if self._engine.registry.number(row.d) is None:
                due = await self._engine.store.due([row.d])
                if due is not None:
                    shown = {"definition": row.id, "version": row.version, "hash": row.hash}
                    found.append({**shown, "due": due})
        return found

    async def bodies(self, id: str | None = None) -> dict[int, WorkflowDefinition]:
        """Return the stored definitions by number, without code."""
        rows = await self._engine.store.definitions(id)
        return {row.d: WorkflowDefinition.from_json(orjson.loads(row.body)) for row in rows}

    async def ready(self, header: StoredInstance) -> Registered:
        """Return the definition of a run; without runners when this host has no code for it."""
        known = self._engine.registry.number(header.d)
        if known is not None:
            return known
        body = (await self.bodies(header.definition))[header.d]
        return Registered(d=header.d, plan=make_plan(body), model=model_for(None), runners={})

    async def places(self, definition: str | None) -> AsyncIterator[tuple[StoredInstance, State]]:
        """Yield each unfinished run with its state."""
        async for headers in self.unfinished(definition):
            for loaded in await self._engine.store.load([header.n for header in headers]):
                yield loaded.header, state_of(loaded)[0]

    async def approvals(self, definition: str | None) -> list[Approval]:
        """Return the questions that wait for an answer, the longest-waiting first."""
        self._engine.check_running()
        bodies = (await self.bodies(definition)).items()
        asking = {d for d, body in bodies if any(n.kind is Kind.APPROVAL for n in body.walk())}
        found: list[tuple[datetime, int, Approval]] = []
        async for headers in self.unfinished(definition):
            numbers = [header.n for header in headers if header.d in asking]
            for loaded in await self._engine.store.load(numbers) if numbers else ():
                pointers, questions = questions_in(loaded)
                for pointer in questions:
                    approval = _approval(loaded.header, pointer, pointers)
                    found.append((approval.since, loaded.header.n, approval))
        return [approval for _, _, approval in sorted(found, key=lambda each: each[:2])]


def _approval(
    header: StoredInstance, pointer: Pointer, pointers: Mapping[int, Pointer]
) -> Approval:
    asked: Mapping[str, Any] = pointer.extra["approval"]
    return Approval(
        run_id=header.id,
        run_name=shown_name(header.name, header.definition, header.n),
        definition=header.definition,
        step=pointer.step,
        pointer=pointer.id,
        prompt=asked["prompt"],
        options=tuple(asked["options"]),
        since=from_micros(asked["since"]),
        round=round_name(rounds_around(pointers, pointer.id)),
    )
