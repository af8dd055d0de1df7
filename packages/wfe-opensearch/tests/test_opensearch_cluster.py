"""What becomes of an index when its cluster is gone, emptied, refuses, or was set up by others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import attrs
import orjson
import pytest

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.core.errors import ProviderError
from wfe.core.memory import MemoryStore
from wfe.core.search import Gone, SearchDocument, SearchQuery
from wfe.core.search_text import parse_terms
from wfe.host import WorkflowHost
from wfe.opensearch import OpenSearchIndex
from wfe.opensearch.bulk import Operation, send
from wfe.testing.services.opensearch_client import ask_opensearch

_NOVEMBER = 1_700_000_000_000_000  # µs: 2023-11-14


def _run(n: int, **columns: Any) -> SearchDocument:
    usual = SearchDocument(
        n=n,
        rev=1,
        id=f"run-{n}",
        definition="order",
        version=1,
        name=f"order-{n}",
        reference=None,
        status="complete",
        created_at=_NOVEMBER + n,
        completed_at=_NOVEMBER + n + 5,
        parent_id=None,
        root_id=f"run-{n}",
        text="word",
    )
    return attrs.evolve(usual, **columns)


@pytest.fixture
async def index(opensearch_url: str) -> AsyncIterator[OpenSearchIndex]:
    index = OpenSearchIndex(opensearch_url)
    await index.open()
    yield index
    await index.close()


async def _ask(index: OpenSearchIndex, method: str, path: str, body: Any = None) -> Any:
    url = f"http://{index.address.shown}"
    return await asyncio.to_thread(ask_opensearch, url, method, path, body)


async def _numbers(index: OpenSearchIndex, terms: str = "", **rest: Any) -> list[int]:
    await index.refresh()
    page = await index.search_runs(SearchQuery(terms=parse_terms(terms), **rest))
    return [hit.n for hit in page.hits]


# -- where documents are ---------------------------------------------------------------------------


async def test_runs_are_in_the_index_of_their_month(index: OpenSearchIndex) -> None:
    christmas = _NOVEMBER + 40 * 86_400_000_000
    await index.search_apply([_run(1), _run(2, created_at=christmas)], [], "a")
    await index.search_apply([_run(1, rev=2, status="failed")], [], "b")
    await index.refresh()

    found = await _ask(index, "GET", f"/{index.names.runs}/_search")
    prefix = index.address.prefix
    where = {hit["_id"]: hit["_index"] for hit in found["hits"]["hits"]}
    assert where == {
        "run-1": f"{prefix}-instances-2023.11",
        "run-2": f"{prefix}-instances-2023.12",
    }
    (first,) = [hit["_source"] for hit in found["hits"]["hits"] if hit["_id"] == "run-1"]
    assert first["created"].startswith("2023-11-14T22:13:20.000001")
    assert first["status"] == "failed"


async def test_no_field_of_the_data_becomes_a_mapping(index: OpenSearchIndex) -> None:
    fields = tuple([(f"field{k}.inner", str(k)) for k in range(200)])
    await index.search_apply([_run(n, fields=fields) for n in range(1, 4)], [], "a")

    name = index.names.runs_of(_NOVEMBER)
    mapping = (await _ask(index, "GET", f"/{name}/_mapping"))[name]["mappings"]
    assert mapping["dynamic"] == "strict"
    assert mapping["properties"]["data"] == {"type": "flat_object"}
    assert len(mapping["properties"]) < 30
    assert await _numbers(index, fields=(("field199.inner", "199"),)) == [3, 2, 1]


async def test_declared_fields_have_a_type(opensearch_url: str) -> None:
    plain = OpenSearchIndex(opensearch_url)
    await plain.open()
    await plain.search_apply([_run(1, fields=(("total", "5"),))], [], "a")
    await plain.close()
    typed = OpenSearchIndex(opensearch_url, mapping={"total": "double", "customer.since": "date"})
    await typed.open()
    fields = (("total", "12.5"), ("customer.since", "2020-01-31"), ("customer.city", "Ribe"))
    await typed.search_apply(
        [_run(2, fields=fields), _run(3, fields=(("total", "much"),))], [], "a"
    )

    wanted = {"query": {"range": {"typed.total": {"gt": 10}}}}
    assert await _numbers(typed) == [3, 2, 1]  # what does not fit the type is kept all the same
    found = await _ask(typed, "POST", f"/{typed.names.runs}/_search", wanted)
    await typed.close()
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["run-2"]
    assert await _typed(typed) == {"total", "customer"}


async def _typed(index: OpenSearchIndex) -> set[str]:
    name = index.names.runs_of(_NOVEMBER)
    mapping = (await _ask(index, "GET", f"/{name}/_mapping"))[name]["mappings"]
    return set(mapping["properties"]["typed"]["properties"])


async def test_templates_of_a_later_version_stay(index: OpenSearchIndex) -> None:
    path = f"/_index_template/{index.names.runs}"
    (found,) = (await _ask(index, "GET", path))["index_templates"]
    later = {**found["index_template"], "version": 99}
    await _ask(index, "PUT", path, later)
    await index.close()

    await index.open()

    (found,) = (await _ask(index, "GET", path))["index_templates"]
    assert found["index_template"]["version"] == 99


async def test_two_prefixes_are_two_indexes(index: OpenSearchIndex) -> None:
    address = attrs.evolve(index.address, prefix=f"{index.address.prefix}-other")
    other = OpenSearchIndex(address)
    await other.open()
    await index.search_apply([_run(1)], [], "a")
    await other.search_apply([_run(2)], [], "b")

    try:
        assert await _numbers(other) == [2]
        await other.search_clear()
        assert await _numbers(index) == [1]
        assert await index.search_cursors() == ("a", None)
    finally:
        await other.close()


# -- what goes wrong -------------------------------------------------------------------------------


async def test_a_cluster_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    index = OpenSearchIndex(f"opensearch://127.0.0.1:{port}/?timeout=2")

    with pytest.raises(ProviderError, match=f"127.0.0.1:{port} cannot be reached") as caught:
        await index.open()

    assert caught.value.transient


@pytest.mark.parametrize(
    ("status", "problem", "transient"),
    [
        (401, "does not accept the name and password", False),
        (403, "forbids it, the user needs rights on wfe-", False),
        (429, r"failed \(429\)", True),
        (503, r"failed \(503\)", True),
        (400, r"failed \(400\)", False),
    ],
)
async def test_a_cluster_that_refuses(status: int, problem: str, transient: bool) -> None:
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        body = b'{"error":{"reason":"so it is"},"status":0}'
        head = f"HTTP/1.1 {status} No\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode())
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        index = OpenSearchIndex(f"opensearch://me:pw@127.0.0.1:{port}/")
        with pytest.raises(ProviderError, match=problem) as caught:
            await index.open()

    assert caught.value.transient is transient
    assert "authorization: basic bwu6chc=" in asked[0].lower()


@attrs.define
class _Answers:
    """Answers requests to the bulk interface, one result each."""

    results: list[list[dict[str, Any]]]
    sent: list[list[Any]] = attrs.field(factory=list[list[Any]])

    async def post(self, lines: bytes) -> Mapping[str, Any]:
        self.sent.append([orjson.loads(line) for line in lines.splitlines()])
        items = self.results.pop(0)
        return {"errors": True, "items": items}


def _operations(*ids: str) -> Sequence[Operation]:
    return [
        Operation(index="i", id=id_, version=3, source={"data": {}, "n": 1}, bare={"n": 1})
        for id_ in ids
    ]


async def test_each_document_has_its_own_result(caplog: pytest.LogCaptureFixture) -> None:
    malformed = {"type": "mapper_parsing_exception", "reason": "failed to parse"}
    poster = _Answers(
        [
            [
                {"index": {"status": 201}},
                {"index": {"status": 409, "error": {"type": "version_conflict"}}},
                {"index": {"status": 400, "error": malformed}},
                {"index": {"status": 400, "error": malformed}},
            ],
            [{"index": {"status": 200}}, {"index": {"status": 400, "error": malformed}}],
        ]
    )

    await send(poster, _operations("new", "known", "odd", "bad"))

    target = {"_index": "i", "_id": "odd", "version": 3, "version_type": "external_gte"}
    assert poster.sent[1][:2] == [{"index": target}, {"n": 1}]
    assert "document odd is indexed without its data" in caplog.text
    assert "document bad is not in the index" in caplog.text


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"type": "rejected", "reason": "queue full"}),
        (503, {"type": "unavailable", "reason": "no shard"}),
        (403, {"type": "cluster_block_exception", "reason": "index read-only"}),
    ],
)
async def test_an_index_that_is_full_takes_nothing(status: int, error: dict[str, str]) -> None:
    poster = _Answers([[{"index": {"status": 201}}, {"index": {"status": status, "error": error}}]])

    with pytest.raises(ProviderError, match=f"takes nothing now .{status}.") as caught:
        await send(poster, _operations("a", "b"))

    assert caught.value.transient


async def test_big_documents_go_in_several_requests() -> None:
    big = {"text": "x" * 1_500_000}
    operations = [Operation(index="i", id=str(k), source=big) for k in range(5)]
    poster = _Answers([[{"index": {"status": 201}}] * 5 for _ in range(5)])
    poster.results = [[{"index": {"status": 201}}] * 2, [{"index": {"status": 201}}] * 2]
    poster.results.append([{"index": {"status": 201}}])

    await send(poster, operations)

    assert [len(sent) // 2 for sent in poster.sent] == [2, 2, 1]


async def test_a_document_that_cannot_be_parsed_loses_its_data(index: OpenSearchIndex) -> None:
    wrong: Any = [("a", {"no": "text"})]
    await index.search_apply([_run(1, version="one")], [], "a")
    await index.search_apply([_run(2), _run(3, fields=tuple(wrong))], [], "b")

    assert 2 in await _numbers(index)
    assert 1 not in await _numbers(index)
    assert await index.search_cursors() == ("b", None)


# -- with a host -----------------------------------------------------------------------------------


async def _greet(ctx: StepExecutionContext[Any]) -> None:
    ctx.log.info("greeting somebody")


async def test_a_wiped_cluster_is_filled_again(opensearch_url: str) -> None:
    store = MemoryStore()
    definition = WorkflowBuilder().start_with(_greet).build("greeting")
    async with WorkflowHost(store, search=opensearch_url) as host:
        host.register(definition)
        run = await host.start_workflow("greeting")
        await run.wait(timedelta(seconds=20))
        await _until_found(host, run.id)

    index = OpenSearchIndex(opensearch_url)
    await index.open()
    for name in (index.names.runs, index.names.lines, index.names.meta):
        await _ask(index, "DELETE", f"/_index_template/{name}")
    names = [row["index"] for row in await _ask(index, "GET", "/_cat/indices?format=json")]
    for name in names:
        if name.startswith(f"{index.address.prefix}-"):
            await _ask(index, "DELETE", f"/{name}")
    assert await index.search_cursors() == (None, None)
    await index.close()

    async with WorkflowHost(store, search=opensearch_url) as host:
        await _until_found(host, run.id)
        async with asyncio.timeout(30):
            while not (  # noqa: ASYNC110 - it is shown after a second
                found := (await host.search("greeting", logs=True)).items
            ):
                await asyncio.sleep(0.05)
        assert found[0].line.line == "greeting somebody"


async def _until_found(host: WorkflowHost, id_: str) -> None:
    async with asyncio.timeout(30):
        while not (found := (await host.search(status="complete")).items):  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.05)
    assert [each.instance.id for each in found] == [id_]


async def test_deletions_reach_the_index(index: OpenSearchIndex) -> None:
    await index.search_apply([_run(1), _run(2)], [], "a")
    await index.search_apply([], [Gone(1, 5, "run-1", _NOVEMBER + 1)], "b")

    assert await _numbers(index, "word") == [2]
    found = await _ask(index, "GET", f"/{index.names.runs}/_search")
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["run-2"]


def test_the_url_of_the_fixture_has_a_prefix(opensearch_url: str) -> None:
    assert "prefix=" in urlsplit(opensearch_url).query
