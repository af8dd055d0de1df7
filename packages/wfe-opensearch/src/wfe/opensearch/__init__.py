"""A search index over runs and their logs in OpenSearch."""

from __future__ import annotations

from wfe.opensearch.address import Address
from wfe.opensearch.index import OpenSearchIndex, open_url

__all__ = ["Address", "OpenSearchIndex", "open_url"]
