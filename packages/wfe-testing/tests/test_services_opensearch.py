"""What a source's OpenSearch is said to do, it does; what it is said not to do, it does not."""

from __future__ import annotations

import sys
import urllib.error
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wfe.testing.services import Service, Unavailable, resolve
from wfe.testing.services.opensearch import EVERYTHING
from wfe.testing.services.opensearch_client import ask_opensearch, forget_prefix

pytestmark = [
    pytest.mark.services("opensearch"),
    pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: wheels of servers"),
]

Ask = Callable[..., Any]


@pytest.fixture(params=["the session's", "osmem-server", "noida-db"], scope="module")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    if request.param == "the session's":
        yield request.getfixturevalue("opensearch_server")
        return
    try:
        one = resolve("opensearch", source=request.param, own=True, environment={})
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield one
    one.stop()


@pytest.fixture
def ask(service: Service) -> Iterator[Ask]:
    """Send a request; ``{p}`` in its path is the test's prefix."""
    prefix = "probe-"
    forget_prefix(service.url, prefix)

    def send(method: str, path: str, body: object = None) -> Any:
        return ask_opensearch(service.url, method, path.replace("{p}", prefix), body)

    yield send
    forget_prefix(service.url, prefix)


def two_documents(ask: Ask) -> None:
    for number, word in enumerate(("one", "two")):
        ask("PUT", f"/{{p}}a/_doc/{word}?refresh=true", {"k": word, "n": number})


def composite(ask: Ask) -> bool:
    two_documents(ask)
    by = [{"k": {"terms": {"field": "k.keyword"}}}]
    found = ask("POST", "/{p}a/_search", {"aggs": {"x": {"composite": {"sources": by}}}})
    return len(found["aggregations"]["x"]["buckets"]) == 2


def percentiles(ask: Ask) -> bool:
    two_documents(ask)
    found = ask("POST", "/{p}a/_search", {"aggs": {"x": {"percentiles": {"field": "n"}}}})
    return bool(found["aggregations"]["x"]["values"])


def pit(ask: Ask) -> bool:
    two_documents(ask)
    made = ask("POST", "/{p}a/_search/point_in_time?keep_alive=1m")
    return bool(made.get("pit_id"))


def near_real_time(ask: Ask) -> bool:
    ask("PUT", "/{p}a", {"settings": {"index.refresh_interval": "-1"}})
    ask("PUT", "/{p}a/_doc/1", {"k": 1})
    hits: Any = ask("POST", "/{p}a/_search", {})
    return bool(hits["hits"]["total"]["value"] == 0)


def painless(ask: Ask) -> bool:
    two_documents(ask)
    ask("POST", "/{p}a/_update/one", {"script": {"source": "ctx._source.n += 5"}})
    return bool(ask("GET", "/{p}a/_doc/one")["_source"]["n"] == 5)


def rollover(ask: Ask) -> bool:
    ask("PUT", "/{p}a-000001", {"aliases": {"probe-w": {"is_write_index": True}}})
    return bool(ask("POST", "/probe-w/_rollover", {})["rolled_over"])


def data_streams(ask: Ask) -> bool:
    ask("PUT", "/_index_template/{p}t", {"index_patterns": ["probe-s*"], "data_stream": {}})
    made = ask("PUT", "/_data_stream/{p}s")
    ask("DELETE", "/_data_stream/{p}s")
    return bool(made["acknowledged"])


def ingest(ask: Ask) -> bool:
    ask("PUT", "/_ingest/pipeline/{p}i", {"processors": [{"set": {"field": "x", "value": 7}}]})
    ask("PUT", "/{p}a/_doc/1?pipeline=probe-i", {})
    ask("DELETE", "/_ingest/pipeline/{p}i")
    return bool(ask("GET", "/{p}a/_doc/1")["_source"] == {"x": 7})


def reindex(ask: Ask) -> bool:
    two_documents(ask)
    body = {"source": {"index": "probe-a"}, "dest": {"index": "probe-b"}}
    return bool(ask("POST", "/_reindex?refresh=true", body)["created"] == 2)


def wildcard_delete(ask: Ask) -> bool:
    two_documents(ask)
    ask("DELETE", "/{p}*")
    return bool(ask("GET", "/_cat/indices/{p}*?format=json") == [])


PROBES: dict[str, Callable[[Ask], bool]] = {
    "composite": composite,
    "data-streams": data_streams,
    "ingest": ingest,
    "near-real-time": near_real_time,
    "painless": painless,
    "percentiles": percentiles,
    "pit": pit,
    "reindex": reindex,
    "rollover": rollover,
    "wildcard-delete": wildcard_delete,
}


def does(probe: Callable[[Ask], bool], ask: Ask) -> bool:
    try:
        return probe(ask)
    except urllib.error.HTTPError as error:
        with error:
            return False


def test_every_feature_has_a_probe() -> None:
    assert set(PROBES) == EVERYTHING - {"durable", "real"}


@pytest.mark.parametrize("feature", PROBES)
def test_features_are_told_as_they_are(service: Service, ask: Ask, feature: str) -> None:
    assert does(PROBES[feature], ask) == (feature in service.features)


def test_a_prefix_is_forgotten_with_its_templates(service: Service, ask: Ask) -> None:
    two_documents(ask)
    ask("PUT", "/_component_template/{p}c", {"template": {}})
    ask("PUT", "/_index_template/{p}t", {"index_patterns": ["probe-z*"], "composed_of": []})
    ask("PUT", "/other/_doc/1", {})

    forget_prefix(service.url, "probe-")

    for path in ("/_cat/indices/{p}*?format=json", "/_index_template", "/_component_template"):
        assert "probe-" not in str(ask("GET", path))
    assert ask("GET", "/other/_doc/1")["found"]
    ask("DELETE", "/other")
