"""Looks through a whole store: its definitions, who runs by them, and what they ask people."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from wfe.core.definition import Kind, Node, WorkflowDefinition
from wfe.core.engine.ids import shown_name
from wfe.core.engine.views import state_of
from wfe.core.models import Approval, StoredDefinition, WorkflowStatus, from_micros
from wfe.core.providers import InstanceQuery, Loaded, StoredInstance
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

    async def places(
        self, definition: str | None
    ) -> AsyncIterator[tuple[StoredInstance, State]]:
        """Yield each unfinished run with its state."""
        async for headers in self.unfinished(definition):
            for loaded in await self._engine.store.load([header.n for header in headers]):
                yield loaded.header, state_of(loaded)[0]

    async def approvals(self, definition: str | None) -> list[Approval]:
        """Return the questions that wait for an answer, the longest-waiting first."""
        self._engine.check_running()
        asking = {
            d: {node.name: node for node in body.walk() if node.kind is Kind.APPROVAL}
            for d, body in (await self.bodies(definition)).items()
        }
        found: list[Approval] = []
        async for headers in self.unfinished(definition):
            numbers = [header.n for header in headers if asking.get(header.d)]
            for loaded in await self._engine.store.load(numbers) if numbers else ():
                nodes = asking[loaded.header.d]
                open_ = [p for p in _pointers(loaded) if _asks(p, nodes)]
                if open_:
                    found.extend(await self._approvals(loaded.header, open_, nodes))
        return sorted(found, key=lambda each: each.since)

    async def _approvals(
        self, header: StoredInstance, pointers: Sequence[Pointer], nodes: Mapping[str, Node]
    ) -> list[Approval]:
        asked = await self._asked(header, {pointer.id for pointer in pointers})
        return [
            _approval(header, pointer, nodes[pointer.step], *asked[pointer.id])
            for pointer in pointers
            if pointer.id in asked
        ]

    async def _asked(
        self, header: StoredInstance, pointers: set[int]
    ) -> dict[int, tuple[int, Mapping[str, Any]]]:
        """Return when and what each of these pointers asked, by its history."""
        asked: dict[int, tuple[int, Mapping[str, Any]]] = {}
        after = -1
        while rows := await self._engine.store.history(header.n, after, _PAGE):
            for row in rows:
                _, kind, pointer, _, _, info, _ = orjson.loads(row.event)
                if kind == "step_waiting" and pointer in pointers:
                    asked[pointer] = (row.at, info or {})
            after = rows[-1].seq
        return asked


def _pointers(loaded: Loaded) -> list[Pointer]:
    return list(state_of(loaded)[0].pointers.values())


def _asks(pointer: Pointer, nodes: Mapping[str, Node]) -> bool:
    return pointer.step in nodes and "approval" in pointer.extra


def _approval(
    header: StoredInstance, pointer: Pointer, node: Node, at: int, info: Mapping[str, Any]
) -> Approval:
    told: Any = info.get("approval")
    said: Mapping[str, Any] = told if isinstance(told, dict) else {}
    prompt = said.get("prompt") or node.config.get("prompt")
    return Approval(
        run_id=header.id,
        run_name=shown_name(header.name, header.definition, header.n),
        definition=header.definition,
        step=pointer.step,
        pointer=pointer.id,
        prompt=prompt,
        options=tuple(said.get("options") or node.config.get("options") or ()),
        since=from_micros(at),
    )
