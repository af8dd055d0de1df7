"""Searches runs and log lines, in the store's own index or in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from wfe.core.codec import encode
from wfe.core.engine.feeding import Feeder, SearchSettings
from wfe.core.errors import ProviderError
from wfe.core.found import FoundLine, FoundRun
from wfe.core.lean import frozen
from wfe.core.models import LogLine, Page, from_micros, to_micros
from wfe.core.search import LogHit, Order, SearchProvider, SearchQuery
from wfe.core.search_text import leaves_of, parse_terms

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.providers import LockProvider

__all__ = ["Searching", "Wanted"]

_MOST: Final = 1000  # a page; more would be too much at once for any index
_PENDING: Final = 1000


@frozen(kw_only=True)
class Wanted:
    """What a caller looks for; see ``WorkflowHost.search``."""

    terms: str = ""
    definition: str | None = None
    status: str | None = None
    reference: str | None = None
    run: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    data: Mapping[str, Any] | None = None
    order: Order = "newest"
    limit: int = 100
    cursor: str | None = None

    def query(self) -> SearchQuery:
        """Return it as an index wants it.

        Raises:
            DataTypeError: The data cannot be stored, so nothing can have it.
        """
        data = {name: encode(value, name) for name, value in (self.data or {}).items()}
        return SearchQuery(
            terms=parse_terms(self.terms),
            definition=self.definition,
            status=self.status,
            reference=self.reference,
            run=self.run,
            since=None if self.since is None else to_micros(self.since),
            until=None if self.until is None else to_micros(self.until),
            fields=tuple(dict.fromkeys(leaves_of(data))),
            order=self.order,
            limit=min(max(self.limit, 1), _MOST),
            cursor=self.cursor,
        )


class Searching:
    """The searching side of a host; works while it is running."""

    def __init__(
        self, engine: Engine, lock: LockProvider, given: SearchSettings | None = None
    ) -> None:
        """Search in *engine*'s store, or in the index of the settings."""
        settings = given or SearchSettings()
        self._engine = engine
        store: Any = engine.store
        self._apart = settings.index is not None and settings.index is not store
        self._index: SearchProvider | None = settings.index
        if settings.index is None and "search" in store.features:
            self._index = store
        self._coded = settings.coded
        self._feeder: Feeder | None = None
        if self._index is not None:
            self._feeder = Feeder(engine, lock, self._index, settings)

    @property
    def apart(self) -> SearchProvider | None:
        """The index that is not the store itself; ``None``: there is none."""
        return self._index if self._apart else None

    @property
    def busy(self) -> bool:
        """Whether another index is being fed now, or it is looked at whether there is news."""
        return self._apart and self._feeder is not None and self._feeder.busy

    def start(self) -> None:
        """Begin to feed an index that is not the store itself."""
        if self._apart and self._feeder is not None:
            self._feeder.start()

    async def close(self) -> None:
        """Stop feeding it."""
        if self._apart and self._feeder is not None:
            await self._feeder.close()

    async def health(self) -> Mapping[str, Any] | None:
        """Return how the feed of another index does; ``None``: there is none."""
        if not self._apart or self._feeder is None:
            return None
        pending: int | None = None
        if self._engine.running:
            try:
                pending = await self._feeder.pending(_PENDING)
            except ProviderError as error:
                return {"pending": None, **self._feeder.told(), "trouble": str(error)}
        return {"pending": pending, **self._feeder.told()}

    async def runs(self, wanted: Wanted) -> Page[FoundRun]:
        """Return the runs that fit, one page of them.

        Raises:
            DataTypeError: The cursor is none of this method.
            ProviderError: The store has no index.
        """
        index = await self._ready(logs=False)
        query = wanted.query()
        page = await index.search_runs(query)
        views = await self._engine.reads.numbered([hit.n for hit in page.hits])
        # The index may be behind: what does not fit any more is not shown.
        found = [
            FoundRun(instance=views[hit.n], score=hit.score)
            for hit in page.hits
            if hit.n in views and query.status in (None, views[hit.n].status)
        ]
        return Page(tuple(found), page.cursor)

    async def lines(self, wanted: Wanted) -> Page[FoundLine]:
        """Return the log lines that fit, one page of them.

        Raises:
            DataTypeError: The cursor is none of this method.
            ProviderError: The store has no index, or its lines are encoded.
        """
        if self._coded:
            problem = "the lines of this store are encoded (codec=): they are in no index"
            raise ProviderError("search", problem, transient=False)
        await self._engine.report.flush()
        index = await self._ready(logs=True)
        page = await index.search_logs(wanted.query())
        return Page(tuple([_line(hit) for hit in page.hits]), page.cursor)

    async def rebuild(self, told: Callable[[int], None] | None = None) -> int:
        """Empty the index and fill it anew; return how many runs and lines are in it."""
        feeder = self._fed
        await self._engine.report.flush()
        return await feeder.rebuild(told)

    @property
    def _fed(self) -> Feeder:
        self._engine.check_running()
        if self._feeder is None:
            kind = self._engine.info.kind if self._engine.info is not None else "this"
            problem = (
                f"the store {kind} has no index; name one: --search URL, WorkflowHost(search=URL)"
            )
            raise ProviderError("search", problem, transient=False)
        return self._feeder

    async def _ready(self, *, logs: bool) -> SearchProvider:
        """Return the index; the store's own is brought up to date first."""
        feeder = self._fed
        if self._apart:
            await feeder.open()
        else:
            await feeder.catch_up(logs=logs)
        assert self._index is not None
        return self._index


def _line(hit: LogHit) -> FoundLine:
    found = hit.document
    line = LogLine(
        instance_id=found.id,
        at=from_micros(found.at),
        step=found.step,
        pointer=found.pointer,
        stream=found.stream,
        line=found.line,
    )
    return FoundLine(line=line, definition=found.definition, score=hit.score)
