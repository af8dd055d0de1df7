"""The OpenSearch index keeps the contract of searching."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from wfe.core.search import Gone, LogDocument, SearchDocument, SearchProvider
from wfe.opensearch import OpenSearchIndex
from wfe.testing.contracts.search import SearchContract


class TestOpenSearchIndex(SearchContract):
    @pytest.fixture
    async def index(self, opensearch_url: str) -> AsyncIterator[Watched]:
        index = Watched(opensearch_url)
        await index.open()
        yield index
        await index.close()

    async def shown(self, index: SearchProvider) -> None:
        assert isinstance(index, Watched)
        if index.dirty:
            await index.refresh()
            index.dirty = False

    # Of these the substitutes for a node make something else.

    @pytest.mark.services("opensearch", features=("real",))
    async def test_strange_texts_are_kept(self, index: SearchProvider) -> None:
        await super().test_strange_texts_are_kept(index)

    @pytest.mark.services("opensearch", features=("real",))
    async def test_pages_show_each_run_once(self, index: SearchProvider) -> None:
        await super().test_pages_show_each_run_once(index)


class Watched(OpenSearchIndex):
    """Knows whether something was applied that is not shown yet."""

    dirty = False

    async def search_apply(
        self, documents: Sequence[SearchDocument], gone: Sequence[Gone], cursor: str
    ) -> None:
        await super().search_apply(documents, gone, cursor)
        self.dirty = True

    async def search_apply_logs(self, lines: Sequence[LogDocument], cursor: str) -> None:
        await super().search_apply_logs(lines, cursor)
        self.dirty = True
