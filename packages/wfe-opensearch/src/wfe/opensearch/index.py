"""The search index of runs and lines in a cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from wfe.core.errors import ProviderError
from wfe.core.examining import Finding
from wfe.core.providers import StoreInfo
from wfe.core.search import (
    Gone,
    LogDocument,
    LogPage,
    SearchDocument,
    SearchPage,
    SearchQuery,
)
from wfe.opensearch.address import Address, parsed
from wfe.opensearch.bulk import Operation, send
from wfe.opensearch.faults import translated
from wfe.opensearch.queries import RUN_KEY, body_of, cursor_after, is_scored
from wfe.opensearch.sources import line_hit, line_source, run_hit, run_source
from wfe.opensearch.templates import VERSION, Names, index_template, typed_fields

if TYPE_CHECKING:
    from opensearchpy import AsyncOpenSearch

__all__ = ["OpenSearchIndex", "open_url"]

_MAY_MISS: Final = {"ignore": 404}  # no index yet: an answer like any other
_NO_SHARD: Final = "all shards failed"
_TRIES: Final = 10
_PAUSE: Final = 0.2  # seconds between tries
_LINE_KEY: Final = ("at", "l")
_RUN_SOURCE: Final = ["n", "id"]
_LINE_WITHOUT: Final = {"excludes": ["words", "time"]}


def open_url(url: str, **options: Any) -> OpenSearchIndex:
    """Return the index that *url* names; nothing is opened yet.

    Args:
        url: See :func:`wfe.opensearch.address.parsed`.
        **options: Arguments of :class:`OpenSearchIndex`.

    Raises:
        ProviderError: The URL names no cluster, or asks for something unknown.
    """
    return OpenSearchIndex(parsed(url), **options)


class OpenSearchIndex:
    """Runs in an index for each month they began in, lines in one for each day.

    Everything in it can be made anew from the store: indices may be deleted at any time, the old
    ones for good; when the one with the cursors is deleted too, all is fed again.

    Args:
        address: Which cluster, and what the indices are called; or its URL.
        mapping: Data fields (paths) that are kept with a type too, as ``typed.PATH``, for
            dashboards and ranges: ``keyword``, ``long``, ``double``, ``boolean`` or ``date``.

    Raises:
        ProviderError: The URL names no cluster, or asks for something unknown.
        ValueError: A type of *mapping* is another.
    """

    def __init__(self, address: Address | str, *, mapping: Mapping[str, str] | None = None) -> None:
        self.address: Address = parsed(address) if isinstance(address, str) else address
        self.names: Names = Names(self.address.prefix)
        self._typed = typed_fields(mapping or {})
        self._client: AsyncOpenSearch | None = None
        self._info: StoreInfo | None = None

    def __repr__(self) -> str:
        return f"OpenSearchIndex({self.address.shown}, {self.address.prefix})"

    # -- opening ------------------------------------------------------------------------------

    async def open(self) -> StoreInfo:
        if self._client is not None and self._info is not None:
            return self._info
        client = self._client = self._client or _connect(self.address)
        try:
            with translated(self.address):
                found: Any = await client.info()
                await self._ensure(client)
        except BaseException:
            await self.close()
            raise
        version = str(found["version"]["number"])
        self._info = StoreInfo("opensearch", durable=True, version=version)
        return self._info

    async def close(self) -> None:
        client, self._client, self._info = self._client, None, None
        if client is not None:
            await client.close()

    async def examine(self) -> Sequence[Finding]:
        """Return what an operator should know of the cluster."""
        from wfe.opensearch.examining import examined  # noqa: PLC0415 - only for `wfe doctor`

        info = await self.open()
        with translated(self.address):
            return await examined(self._opened, self.address.shown, info.version)

    @property
    def _opened(self) -> AsyncOpenSearch:
        if self._client is None:
            problem = f"the index at {self.address.shown} is not open; await index.open() first"
            raise ProviderError("opensearch", problem, transient=False)
        return self._client

    async def _ensure(self, client: AsyncOpenSearch) -> None:
        """Put the templates unless those of a later version are there."""
        for name in (self.names.runs, self.names.lines, self.names.meta):
            if await _version(client, name) > VERSION:
                continue
            body = index_template(self.address, name, self._typed)
            await client.indices.put_index_template(name=name, body=body)
        if self._typed:
            await self._extend(client)

    async def _extend(self, client: AsyncOpenSearch) -> None:
        """Tell the indices that are there of the declared fields."""
        properties = {"typed": {"dynamic": "strict", "properties": self._typed}}
        body = {"properties": properties}
        for name in await _indices(client, f"{self.names.runs}-*"):
            await client.indices.put_mapping(index=name, body=body)

    # -- writing ------------------------------------------------------------------------------

    async def search_apply(
        self, documents: Sequence[SearchDocument], gone: Sequence[Gone], cursor: str
    ) -> None:
        operations = [self._operation(document) for document in documents]
        operations += [
            Operation(index=self.names.runs_of(each.created_at), id=each.id, version=each.rev)
            for each in gone
        ]
        with translated(self.address):
            await send(self, operations)
            if gone:
                await self._drop_lines([each.n for each in gone])
            await self._put_cursor("runs", cursor)

    def _operation(self, document: SearchDocument) -> Operation:
        source = run_source(document, self._typed)
        bare = {name: value for name, value in source.items() if name not in {"data", "typed"}}
        return Operation(
            index=self.names.runs_of(document.created_at),
            id=document.id,
            version=document.rev,
            source=source,
            bare=bare,
        )

    async def search_apply_logs(self, lines: Sequence[LogDocument], cursor: str) -> None:
        operations = [
            Operation(index=self.names.lines_of(line.at), id=str(line.l), source=line_source(line))
            for line in lines
        ]
        with translated(self.address):
            await send(self, operations)
            await self._put_cursor("logs", cursor)

    async def post(self, lines: bytes) -> Mapping[str, Any]:
        """Send lines to the bulk interface."""
        answer: Mapping[str, Any] = await self._opened.bulk(body=lines)
        return answer

    async def _drop_lines(self, numbers: Sequence[int]) -> None:
        body = {"query": {"terms": {"n": list(numbers)}}}
        client, lines = self._opened, self.names.lines
        if not await client.indices.exists_alias(name=lines):
            return
        await client.indices.refresh(index=lines)  # what is not shown yet is not deleted
        await client.delete_by_query(index=lines, body=body, params={"conflicts": "proceed"})

    async def _put_cursor(self, feed: str, cursor: str) -> None:
        await self._opened.index(index=self.names.meta, id=feed, body={"cursor": cursor})

    async def search_cursors(self) -> tuple[str | None, str | None]:
        client = self._opened
        with translated(self.address):
            found = [await self._cursor(feed) for feed in ("runs", "logs")]
            if found == [None, None]:
                # Somebody deleted everything, maybe the templates too.
                await self._ensure(client)
        return found[0], found[1]

    async def _cursor(self, feed: str) -> str | None:
        answer: Any = await self._opened.get(index=self.names.meta, id=feed, params=_MAY_MISS)
        return str(answer["_source"]["cursor"]) if answer.get("found") else None

    async def search_clear(self) -> None:
        client = self._opened
        with translated(self.address):
            # The cursors first: a half emptied index is filled anew whatever happens.
            for pattern in (self.names.meta, f"{self.names.runs}-*", f"{self.names.lines}-*"):
                for name in await _indices(client, pattern):
                    # By name: many clusters forbid to delete by a pattern.
                    await client.indices.delete(index=name, params={"ignore_unavailable": "true"})
            await self._ensure(client)

    async def refresh(self) -> None:
        """Show what was applied so far to searches, which else takes up to a second."""
        with translated(self.address):
            await self._opened.indices.refresh(
                index=f"{self.names.prefix}-*", params={"allow_no_indices": "true"}
            )

    # -- searching ----------------------------------------------------------------------------

    async def search_runs(self, query: SearchQuery) -> SearchPage:
        body = {**body_of(query, RUN_KEY), "_source": _RUN_SOURCE}
        hits, cursor = await self._search(self.names.runs, body, query)
        return SearchPage(tuple(map(run_hit, hits)), cursor)

    async def search_logs(self, query: SearchQuery) -> LogPage:
        body = {**body_of(query, _LINE_KEY), "_source": _LINE_WITHOUT}
        hits, cursor = await self._search(self.names.lines, body, query)
        return LogPage(tuple(map(line_hit, hits)), cursor)

    async def _search(
        self, alias: str, body: Mapping[str, Any], query: SearchQuery
    ) -> tuple[list[dict[str, Any]], str | None]:
        scored = is_scored(query)
        params: dict[str, Any] = dict(_MAY_MISS)
        if scored:  # of several indices they are only alike when words are counted over all
            params["search_type"] = "dfs_query_then_fetch"
        answer: Any = await self._answer(alias, body, params)
        hits: list[dict[str, Any]] = answer["hits"]["hits"] if "hits" in answer else []
        if len(hits) <= query.limit:
            return hits, None
        shown = hits[: query.limit]
        return shown, cursor_after(shown[-1], scored=scored)

    async def _answer(self, alias: str, body: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
        for left in reversed(range(_TRIES)):
            try:
                with translated(self.address):
                    return await self._opened.search(index=alias, body=body, params=dict(params))
            except ProviderError as error:
                # An index that is just being made has no shard yet that answers.
                if not left or not error.transient or _NO_SHARD not in error.problem:
                    raise
            await asyncio.sleep(_PAUSE)
        return {}


def _connect(address: Address) -> AsyncOpenSearch:
    from opensearchpy import AsyncOpenSearch  # noqa: PLC0415 - 0.8 s

    # What it warns of is raised too: an application without logging need not see it twice.
    logging.getLogger("opensearch").addHandler(logging.NullHandler())
    if logging.getLogger("opensearch").level == logging.NOTSET:
        logging.getLogger("opensearch").setLevel(logging.ERROR)  # with a traceback each
    hosts = [{"host": host, "port": port} for host, port in address.hosts]
    trust: dict[str, Any] = {}
    if address.tls:
        trust = {"use_ssl": True, "verify_certs": address.verify, "ssl_show_warn": False}
        if address.ca is not None:
            trust["ca_certs"] = address.ca
    if address.user is not None:
        trust["http_auth"] = (address.user, address.password)
    # A number: as a text (or as a parameter of a call) it would be taken for the client's own.
    return AsyncOpenSearch(
        hosts=hosts,
        timeout=address.timeout,
        http_compress=True,
        max_retries=1,
        retry_on_status=(502, 503, 504),
        **trust,
    )


async def _version(client: AsyncOpenSearch, name: str) -> int:
    """Return the version of a template, -1 when there is none."""
    found: Any = await client.indices.get_index_template(name=name, params=_MAY_MISS)
    templates: list[Any] = found.get("index_templates", [])
    return max([int(each["index_template"].get("version", 0)) for each in templates], default=-1)


async def _indices(client: AsyncOpenSearch, pattern: str) -> list[str]:
    """Return the names of the indices that fit."""
    found: Any = await client.indices.get(index=pattern, params=_MAY_MISS)
    return [] if "error" in found else sorted(found)
