"""Reads runs, their history and their logs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from wfe.core.codec import encode
from wfe.core.engine.ids import number_in
from wfe.core.engine.surroundings import rounds_around
from wfe.core.engine.views import entry_of, instance_of, questions_in, state_of
from wfe.core.errors import DataTypeError, WorkflowNotFoundError
from wfe.core.models import (
    ArchivedRun,
    HistoryEntry,
    LogLine,
    Page,
    WorkflowInstance,
    from_micros,
    to_micros,
)
from wfe.core.providers import InstanceQuery, StoredInstance
from wfe.core.rounds import round_name

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.rules.state import Pointer

__all__ = ["Reads"]

_PAGE: Final = 1000
_MOST: Final = 2**31 - 1  # every store can count so far


class Reads:
    """The read side of a host; works while it is running."""

    def __init__(self, engine: Engine) -> None:
        """Read from *engine*'s store."""
        self._engine = engine

    async def header(self, id_or_name: str) -> StoredInstance:
        """Return the header of a run.

        Raises:
            WorkflowNotFoundError: There is none with this id or name.
        """
        found = await self._found(id_or_name)
        if found is None:
            raise WorkflowNotFoundError(id_or_name)
        return found

    async def _found(self, id_or_name: str) -> StoredInstance | None:
        """Return the header of a run by id, by its own name, or by the name it is shown with."""
        if not isinstance(id_or_name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users may
            raise DataTypeError("run", f"expected its id or name, a text, got {id_or_name!r}")
        if not _is_text(id_or_name):
            return None
        found = await self._engine.store.get(id_or_name)
        if found is not None:
            return found
        number = number_in(id_or_name)
        if number is None:
            return None
        definition, n = number
        for each in await self._engine.store.load([n]):
            if each.header.definition == definition and each.header.name is None:
                return each.header
        return None

    async def get(self, id_or_name: str) -> WorkflowInstance[Any] | None:
        """Return a run as stored, ``None`` when there is none."""
        header = await self._found(id_or_name)
        if header is None:
            return None
        instances = await self._views([header])
        return instances[0] if instances else None

    async def questions(self, n: int) -> list[tuple[int, frozenset[str], Mapping[str, Any]]]:
        """Return (pointer, names, question) of each approval that a run waits for.

        Inside a loop a name is that of the step, and ``STEP [ROUND]``.
        """
        return [
            (pointer.id, _names(pointers, pointer), pointer.extra["approval"])
            for loaded in await self._engine.store.load([n])
            for pointers, asking in [questions_in(loaded)]
            for pointer in asking
        ]

    async def _views(self, headers: Sequence[StoredInstance]) -> list[WorkflowInstance[Any]]:
        views = await self.numbered([header.n for header in headers])
        return [views[header.n] for header in headers if header.n in views]

    async def numbered(self, numbers: Sequence[int]) -> dict[int, WorkflowInstance[Any]]:
        """Return those of the runs with these numbers that exist."""
        loaded = await self._engine.store.load(numbers) if numbers else ()
        views: dict[int, WorkflowInstance[Any]] = {}
        for each in loaded:
            ready = self._engine.registry.number(each.header.d)
            state, _, _ = state_of(each)
            header = each.header
            views[header.n] = instance_of(
                header,
                state,
                ready.model if ready else None,
                header.created_at,
                header.completed_at,
            )
        return views

    async def find(  # noqa: PLR0913 - the criteria of a search
        self,
        *,
        definition: str | None,
        status: str | None,
        reference: str | None,
        since: datetime | None,
        data: Mapping[str, Any] | None,
        newest_first: bool,
        limit: int,
        cursor: str | None,
    ) -> Page[WorkflowInstance[Any]]:
        """Return the runs that fit, one page of them.

        Raises:
            DataTypeError: The cursor is not one that this method returned.
        """
        limit = min(limit, _MOST)
        query = InstanceQuery(
            definition=definition,
            status=status,
            reference=reference,
            since=None if since is None else to_micros(since),
            data=None if data is None else {name: encode(data[name], name) for name in data},
            newest_first=newest_first,
            limit=limit + 1,
            after=_position(cursor),
        )
        headers = list(await self._engine.store.find(query))
        more = len(headers) > limit
        shown = headers[:limit]
        following = _cursor(shown[-1]) if more and shown else None
        return Page(tuple(await self._views(shown)), following)

    async def history(
        self, id_or_name: str, after: int = -1, limit: int | None = None
    ) -> list[HistoryEntry]:
        """Return what happened in a run after row *after*, in order, at most *limit* entries.

        Raises:
            WorkflowNotFoundError: There is no such run.
        """
        after = max(-1, min(after, _MOST))
        return await self._history((await self.header(id_or_name)).n, after, limit)

    async def _history(self, n: int, after: int, limit: int | None) -> list[HistoryEntry]:
        entries: list[HistoryEntry] = []
        while limit is None or len(entries) < limit:
            page = _PAGE if limit is None else min(_PAGE, limit - len(entries))
            rows = await self._engine.store.history(n, after, page)
            entries.extend(entry_of(row) for row in rows)
            if len(rows) < page:
                break
            after = rows[-1].seq
        return entries

    async def whole(self, header: StoredInstance) -> ArchivedRun:
        """Return all that is known of a run.

        Raises:
            WorkflowNotFoundError: It was deleted meanwhile.
        """
        views = await self._views([header])
        if not views:
            raise WorkflowNotFoundError(header.id)
        history = await self._history(header.n, -1, None)
        logs, _ = await self._lines(header, 0)
        return ArchivedRun(views[0], tuple(history), tuple(logs))

    async def logs(self, id_or_name: str, after: int = 0) -> tuple[list[LogLine], int]:
        """Return the lines that a run's steps wrote after position *after*, and the last position.

        Raises:
            WorkflowNotFoundError: There is no such run.
        """
        return await self._lines(await self.header(id_or_name), after)

    async def _lines(self, header: StoredInstance, after: int) -> tuple[list[LogLine], int]:
        lines: list[LogLine] = []
        while rows := await self._engine.store.logs(header.n, after, _PAGE):
            lines.extend(
                LogLine(
                    instance_id=header.id,
                    at=from_micros(row.at),
                    step=row.step,
                    pointer=row.pointer,
                    stream=row.stream,
                    line=row.line,
                )
                for row in rows
            )
            after = rows[-1].l
        return lines, after


def _cursor(header: StoredInstance) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([header.created_at, header.n])).decode()


def _position(cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    try:
        created, n = orjson.loads(base64.urlsafe_b64decode(cursor))
        return int(created), int(n)
    except (ValueError, TypeError, binascii.Error) as error:
        problem = f"{cursor!r} is not a cursor that find() returned"
        raise DataTypeError("cursor", problem) from error


def _is_text(text: str) -> bool:
    """Whether *text* can be a stored one: no store takes lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _names(pointers: Mapping[int, Pointer], pointer: Pointer) -> frozenset[str]:
    name = round_name(rounds_around(pointers, pointer.id))
    return frozenset({pointer.step, f"{pointer.step} [{name}]"} if name else {pointer.step})
