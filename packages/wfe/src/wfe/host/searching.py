"""Searching runs and what they wrote; part of the host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from wfe.core.errors import ProviderError
from wfe.core.statuses import WorkflowStatus

if TYPE_CHECKING:
    from wfe.core.engine import Engine
    from wfe.core.engine.feeding import SearchSettings
    from wfe.core.found import FoundLine, FoundRun
    from wfe.core.models import Page
    from wfe.core.providers import PersistenceProvider
    from wfe.core.search import SearchProvider

__all__ = ["Searches", "search_settings"]


def search_settings(
    search: str | SearchProvider | None,
    store: PersistenceProvider,
    fields: Mapping[str, Collection[str]] | None,
    *,
    coded: bool,
) -> SearchSettings | None:
    """Return how a host searches; ``None``: as most hosts do, who need not import anything.

    Args:
        search: Index, by URL or object; ``None``: the store's own.
        store: What runs are kept in.
        fields: As the host's *search_fields*.
        coded: Whether the store's texts are encoded.

    Raises:
        PluginNotFoundError: No installed distribution handles the URL's scheme.
        ProviderError: The URL has no scheme, or the store does not say what changed.
        TypeError: *fields* is no mapping of collections of texts.
    """
    if search is None and fields is None and not coded:
        return None
    from wfe.core.engine.feeding import SearchSettings  # noqa: PLC0415 - as the docstring says
    from wfe.host.checks import checked_fields  # noqa: PLC0415 - as above
    from wfe.host.connect import connect_part  # noqa: PLC0415 - as above

    given: object = search
    index = None if given is store else connect_part("wfe.search", search)
    if index is not None and "changes" not in store.features:
        problem = "this store does not say what changed, so no other index can be fed from it"
        raise ProviderError("search", problem, transient=False)
    return SearchSettings(index=index, fields=checked_fields(fields), coded=coded)


class Searches:
    """The searching side of a host."""

    _engine: Engine

    @overload
    async def search(
        self,
        terms: str = "",
        *,
        definition: str | None = None,
        status: WorkflowStatus | str | None = None,
        reference: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        data: Mapping[str, Any] | None = None,
        order: Literal["newest", "oldest", "relevance"] = "newest",
        logs: Literal[False] = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[FoundRun]: ...
    @overload
    async def search(
        self,
        terms: str = "",
        *,
        definition: str | None = None,
        run: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        order: Literal["newest", "oldest", "relevance"] = "newest",
        logs: Literal[True],
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[FoundLine]: ...
    async def search(  # noqa: PLR0913 - the criteria of a search
        self,
        terms: str = "",
        *,
        definition: str | None = None,
        status: WorkflowStatus | str | None = None,
        reference: str | None = None,
        run: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        data: Mapping[str, Any] | None = None,
        order: Literal["newest", "oldest", "relevance"] = "newest",
        logs: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[FoundRun] | Page[FoundLine]:
        """Return the runs, or the lines of their logs, that have some words; a page at a time.

        The host's index answers, else the store's own, which is first brought up to date.  Words
        are looked for in name, definition, reference, error and data of runs, of live ones as
        when they last changed their status or were left to wait.

        Args:
            terms: ``word`` must occur, ``"some words"`` next to each other, ``begin*`` as the
                beginning of a word, ``-word`` not at all; case does not matter.
            definition: Id of the definition.
            status: One status; of runs only.
            reference: As given at the start; of runs only.
            run: Id or name of the run; of lines only.
            since: Made at or after.
            until: Made before.
            data: Fields and the values they must have, also nested ones (``{"customer": {"city":
                "Aarhus"}}`` or ``{"customer.city": "Aarhus"}``); of runs only.
            order: By time, or by how well the words fit where the index can tell.
            logs: Look for lines.
            limit: Of the page, at most 1,000.
            cursor: Of the page before.

        Raises:
            DataTypeError: The cursor is not one that this method returned, or *data* cannot be
                stored.
            ProviderError: The index failed, or the store has none.
            ValueError: *order* or *status* is unknown, or a criterion is of the other kind.
            WorkflowNotFoundError: There is no such *run*.
        """
        if order not in ("newest", "oldest", "relevance"):
            problem = f'order must be "newest", "oldest" or "relevance", got {order!r}'
            raise ValueError(problem)
        _check_kind(logs, {"status": status, "reference": reference, "data": data}, {"run": run})
        if run is not None:
            run = (await self._engine.reads.header(run)).id
        from wfe.core.engine.searching import Wanted  # noqa: PLC0415 - most hosts never search

        wanted = Wanted(
            terms=terms,
            definition=definition,
            status=None if status is None else WorkflowStatus(status).value,
            reference=reference,
            run=run,
            since=since,
            until=until,
            data=data,
            order=order,
            limit=limit,
            cursor=cursor,
        )
        searching = self._engine.searching
        return await searching.lines(wanted) if logs else await searching.runs(wanted)

    async def reindex(self, told: Callable[[int], None] | None = None) -> int:
        """Empty the search index and fill it anew from the store.

        Nobody else feeds the index meanwhile.  A host that does lets go of it within half a minute.

        Args:
            told: Called now and then with how many runs and lines are in it so far.

        Returns:
            How many runs and lines are in it.

        Raises:
            ProviderError: The index failed, the store has none, or another host fills it anew.
        """
        return await self._engine.searching.rebuild(told)


def _check_kind(logs: bool, of_runs: Mapping[str, object], of_lines: Mapping[str, object]) -> None:
    given = [name for name, value in (of_runs if logs else of_lines).items() if value is not None]
    if given:
        kind, way = ("runs", "without logs=True") if logs else ("lines", "with logs=True")
        problem = f"{given[0]}= is a criterion of {kind}; use it {way}"
        raise ValueError(problem)
