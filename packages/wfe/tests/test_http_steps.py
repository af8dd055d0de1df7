"""HTTP requests and polls against a real server: answers, failures, redirects, restarts."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest

from wfe.core import (
    HttpRequest,
    PollEndpoint,
    Retry,
    StepTimeoutError,
    Suspend,
    WorkflowBuilder,
    WorkflowDefinition,
    WorkflowInstance,
    expr,
)
from wfe.host import WorkflowHost
from wfe.testing import WorkflowTest

JSON = "application/json"
SECOND = timedelta(seconds=1)
Data = dict[str, Any]


@attrs.frozen(kw_only=True)
class Asked:
    """One request, as the server saw it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@attrs.frozen
class Answer:
    """What the server is to answer."""

    status: int = 200
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


@attrs.define(eq=False)
class Server:
    """A real server; *answer* says what it answers to its n-th request (from 1)."""

    url: str
    asked: list[Asked] = attrs.field(factory=list[Asked])
    answer: Callable[[int, Asked], Answer] = lambda _n, _asked: Answer()
    held: threading.Event = attrs.field(factory=threading.Event)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            asked = Asked(
                method=self.command,
                path=parts.path,
                query=parse_qs(parts.query),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(int(self.headers.get("content-length", 0))),
            )
            made.asked.append(asked)
            answer = made.answer(len(made.asked), asked)
            try:
                self.send_response(answer.status)
                self.send_header("content-type", answer.kind)
                self.send_header("content-length", str(len(answer.body)))
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)
            except OSError:  # the client went away: that is what some tests are about
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Keep quiet."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    made = Server(f"http://127.0.0.1:{listening.server_address[1]}")
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.held.set()
    listening.shutdown()
    thread.join()
    listening.server_close()


def answers(*given: Answer) -> Callable[[int, Asked], Answer]:
    """Return these answers one after the other, the last one for ever."""
    return lambda n, _asked: given[min(n, len(given)) - 1]


def as_json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), JSON)


async def _run(definition: WorkflowDefinition, data: Any = None) -> WorkflowInstance[Data]:
    async with WorkflowTest() as test:
        return await test.run(definition, data)


def request(server: Server, path: str = "/", **options: Any) -> WorkflowDefinition:
    builder = WorkflowBuilder().http("GET", server.url + path, output="page", **options)
    return builder.build("w")


# -- requests --------------------------------------------------------------------------------------


async def test_a_json_answer_is_parsed_and_stored_with_status_headers_and_url(
    server: Server,
) -> None:
    server.answer = answers(as_json({"total": 12345678901234567890, "name": "Zoë"}))

    instance = await _run(request(server, "/totals", params={"day": "1", "x": ["a", "b"]}))

    page = instance.data["page"]
    assert instance.status == "complete"
    assert page["status"] == 200
    assert page["body"] == {"total": 12345678901234567890, "name": "Zoë"}
    assert page["headers"]["content-type"] == JSON
    assert page["url"] == f"{server.url}/totals?day=1&x=a&x=b"
    assert server.asked[0].query == {"day": ["1"], "x": ["a", "b"]}


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (Answer(200, "grün".encode(), "text/plain; charset=utf-8"), "grün"),
        (Answer(200, "grün".encode("latin-1"), "text/plain; charset=iso-8859-1"), "grün"),
        (Answer(200, b"{oops", JSON), "{oops"),
        (Answer(200, b"[NaN]", JSON), "[NaN]"),
        (Answer(200, b"[1, 2]", "application/problem+json; charset=utf-8"), [1, 2]),
        (Answer(200, b"[1, 2]", "text/plain"), "[1, 2]"),
        (Answer(204, b""), ""),
        (Answer(200, b"a\x00b"), "a\ufffdb"),
    ],
)
async def test_a_body_is_parsed_only_when_it_is_the_json_it_says_it_is(
    server: Server, answer: Answer, body: object
) -> None:
    server.answer = answers(answer)

    assert (await _run(request(server))).data["page"]["body"] == body


async def test_a_request_is_computed_from_the_data(server: Server) -> None:
    definition = (
        WorkflowBuilder()
        .http(
            "post",
            lambda d: f"{server.url}/orders/{d['id']}",
            headers={"X-Tenant": expr("data.tenant"), "X-Fixed": "1"},
            json={"amount": expr("data.amount + 1"), "currency": "EUR"},
            params=lambda d: {"q": d["id"]},
        )
        .output("answered", lambda s: s.response and s.response["status"])
        .build("w")
    )

    instance = await _run(definition, {"id": 7, "tenant": "acme", "amount": 41})

    (asked,) = server.asked
    assert (asked.method, asked.path, asked.query) == ("POST", "/orders/7", {"q": ["7"]})
    assert (asked.headers["x-tenant"], asked.headers["x-fixed"]) == ("acme", "1")
    assert asked.headers["content-type"] == JSON
    assert json.loads(asked.body) == {"amount": 42, "currency": "EUR"}
    assert instance.data == {"id": 7, "tenant": "acme", "amount": 41, "answered": 200}


async def test_the_step_class_works_in_then(server: Server) -> None:
    step = HttpRequest(method="PUT", url=server.url, body="text", output="page")

    instance = await _run(WorkflowBuilder().then(step).build("w"))

    assert instance.data["page"]["status"] == 200
    assert (server.asked[0].method, server.asked[0].body) == ("PUT", b"text")


@pytest.mark.parametrize(
    ("status", "attempts"),
    [(400, 1), (404, 1), (408, 3), (425, 3), (429, 3), (500, 3), (503, 3), (304, 1)],
)
async def test_an_unexpected_status_is_retried_when_that_may_help(
    server: Server, status: int, attempts: int
) -> None:
    server.answer = answers(Answer(status, b"" if status == 304 else b"no\n such thing"))
    builder = WorkflowBuilder().http("GET", server.url + "/x?token=abc").name("ask")

    instance = await _run(builder.on_error(Retry(max_retries=2, interval=0 * SECOND)).build("w"))

    assert (instance.status, len(server.asked)) == ("failed", attempts)
    assert instance.error is not None
    assert (instance.error.type, instance.error.step) == ("HttpError", "ask")
    answered = f"GET {server.url}/x?token=*** answered {status}"
    told = "" if status == 304 else ": no such thing"
    assert instance.error.message == answered + told


async def test_a_flaky_server_is_asked_again(server: Server) -> None:
    server.answer = answers(Answer(503), Answer(502), as_json("there"))
    builder = WorkflowBuilder().http("GET", server.url, output="page")

    instance = await _run(builder.on_error(Retry(max_retries=2, interval=0 * SECOND)).build("w"))

    assert (instance.status, instance.data["page"]["body"]) == ("complete", "there")
    assert len(server.asked) == 3


async def test_an_expected_status_is_the_outcome(server: Server) -> None:
    server.answer = answers(Answer(404))
    definition = (
        WorkflowBuilder()
        .http("GET", server.url, expect=(200, 404))
        .when(200, lambda b: b.then(lambda: {"found": True}))
        .when(404, lambda b: b.then(lambda: {"found": False}))
        .build("w")
    )

    assert (await _run(definition)).data == {"found": False}


async def test_only_expected_statuses_are_no_failure(server: Server) -> None:
    instance = await _run(request(server, expect=201))

    assert instance.error is not None
    assert instance.error.message.endswith("answered 200")


async def test_a_slow_server_fails_the_request_in_time(server: Server) -> None:
    server.answer = lambda _n, _asked: Answer(200 if server.held.wait(30) else 500)
    began = time.monotonic()

    instance = await _run(request(server, timeout=0.05))

    assert time.monotonic() - began < 10
    assert instance.error is not None
    assert instance.error.message == f"GET {server.url}/ gave no whole answer within 0.05 s"


async def test_a_body_beyond_the_limit_fails_for_good(server: Server) -> None:
    server.answer = answers(Answer(200, b"x" * 5001))
    retried = Retry(max_retries=2, interval=0 * SECOND)
    builder = WorkflowBuilder().http("GET", server.url, max_bytes=5000).on_error(retried)

    instance = await _run(builder.build("w"))

    assert instance.error is not None
    assert instance.error.message.endswith("answered more than 5000 bytes (max_bytes)")
    assert len(server.asked) == 1
    assert (await _run(request(server, max_bytes=5001))).status == "complete"


async def test_an_answer_that_cannot_be_read_may_be_better_the_next_time(server: Server) -> None:
    broken = Answer(200, b"this is not gzip", headers=(("content-encoding", "gzip"),))
    server.answer = answers(broken, as_json("fine"))
    builder = WorkflowBuilder().http("GET", server.url, output="page")

    instance = await _run(builder.on_error(Retry(max_retries=1, interval=0 * SECOND)).build("w"))

    assert (instance.status, instance.data["page"]["body"]) == ("complete", "fine")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("url", 5, "the URL must be a text, got 5"),
        ("headers", [1], "headers must be a mapping, got list"),
        ("json", {1}, "is no usable request"),
    ],
)
async def test_computed_parts_that_do_not_fit_fail_for_good(
    server: Server, name: str, value: Any, problem: str
) -> None:
    def compute(_data: Data) -> Any:
        return value

    arguments: dict[str, Any] = {"url": server.url, name: compute}
    builder = WorkflowBuilder().http("GET", **arguments)

    instance = await _run(builder.on_error(Retry(max_retries=1)).build("w"))

    assert instance.error is not None
    assert problem in instance.error.message
    assert server.asked == []


def redirecting(n: int, asked: Asked) -> Answer:
    if asked.path == "/end":
        return as_json({"method": asked.method})
    return Answer(302, headers=(("location", "/loop" if asked.path == "/loop" else "/end"),))


async def test_redirects_are_followed_and_limited(server: Server) -> None:
    server.answer = redirecting

    found = await _run(request(server, "/start"))
    looping = await _run(request(server, "/loop", max_redirects=3))
    unfollowed = await _run(request(server, "/start", max_redirects=0, expect=302))

    assert found.data["page"]["url"] == server.url + "/end"
    assert looping.error is not None
    assert looping.error.message.endswith("redirected more than 3 times")
    assert [asked.path for asked in server.asked].count("/loop") == 4
    assert unfollowed.data["page"]["headers"]["location"] == "/end"


async def test_a_redirect_to_another_origin_gets_no_authorization(server: Server) -> None:
    other = server.url.replace("127.0.0.1", "localhost")
    headers = (("location", other + "/there"),)
    server.answer = lambda n, _asked: Answer(302, headers=headers) if n == 1 else Answer()

    await _run(request(server, headers={"Authorization": "Bearer x", "X-Other": "1"}))

    first, then = server.asked
    assert first.headers["authorization"] == "Bearer x"
    assert "authorization" not in then.headers
    assert then.headers["x-other"] == "1"


async def test_a_cookie_of_one_run_does_not_reach_another(server: Server) -> None:
    server.answer = answers(Answer(200, headers=(("set-cookie", "session=1"),)))

    async with WorkflowTest() as test:
        await test.run(request(server))
        await test.run(request(server))

    assert [asked.headers.get("cookie") for asked in server.asked] == [None, None]


async def test_one_client_serves_all_steps_of_a_host_and_is_closed_with_it(server: Server) -> None:
    clients: list[Any] = []

    async def look(ctx: Any) -> None:
        clients.append(ctx.shared("wfe.core.http", lambda: None))

    definition = (
        WorkflowBuilder().http("GET", server.url).http("GET", server.url).then(look).build("w")
    )

    async with WorkflowTest() as test:
        await test.run(definition)
        await test.run(definition)
        assert [client.is_closed for client in clients] == [False, False]

    assert clients[0] is clients[1]
    assert clients[0].is_closed


async def test_logs_hide_what_looks_like_a_secret(server: Server) -> None:
    headers = {"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "Accept": "text/plain"}
    url = server.url.replace("http://", "http://me:s3cret@") + "/x?access_token=s3cret&day=1"

    async with WorkflowTest() as test:
        instance = await test.run(WorkflowBuilder().http("GET", url, headers=headers).build("w"))
        lines = [line.line for line in await test.host.logs(instance.id)]

    text = "\n".join(lines)
    assert "s3cret" not in text
    assert "day=1" in text
    assert "'Accept': 'text/plain'" in text
    assert server.asked[0].headers["x-api-key"] == "s3cret"


async def test_an_illegal_header_fails_for_good_and_is_not_shown(server: Server) -> None:
    instance = await _run(request(server, headers={"Authorization": "Bearer s3cret\n"}))

    assert instance.error is not None
    assert instance.error.message.endswith("/ is no usable request (a header is illegal)")
    assert server.asked == []


async def test_a_definition_with_http_steps_is_data(server: Server, tmp_path: Path) -> None:
    definition = (
        WorkflowBuilder()
        .http("GET", expr("data.url"), timeout=5, expect=200, output="page")
        .poll_endpoint(server.url, until="response.status == 200", timeout=60, output="polled")
        .build("w")
    )
    definition.save(tmp_path / "w.json")

    loaded = WorkflowDefinition.load(tmp_path / "w.json")
    instance = await _run(loaded, {"url": server.url})

    assert loaded == definition
    assert [instance.data[name]["status"] for name in ("page", "polled")] == [200, 200]
    assert [node.config["with"] for node in loaded.walk()] == [
        {"timeout": 5.0, "expect": [200]},
        {"url": server.url, "timeout": 60.0},
    ]


async def test_a_missing_extra_is_named_when_a_request_is_made(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)  # as if it were not installed

    instance = await _run(request(server))

    assert instance.error is not None
    assert instance.error.type == "DefinitionError"
    assert instance.error.message.endswith('pip install "wfe-core[http]"')


# -- polls -----------------------------------------------------------------------------------------


def poll(server: Server, until: str, **options: Any) -> WorkflowDefinition:
    return (
        WorkflowBuilder()
        .poll_endpoint(server.url + "/job", until=until, output="page", **options)
        .name("poll")
        .build("w")
    )


async def test_a_poll_goes_on_until_its_condition_holds(server: Server) -> None:
    server.answer = answers(
        Answer(503),
        as_json({}),
        as_json({"state": "running"}),
        as_json({"state": "done", "n": 3}),
    )
    definition = poll(server, "response.json.state == 'done'", interval=10 * SECOND)

    async with WorkflowTest(patience=10) as test:
        run = await test.start(definition)
        for polls in (1, 2, 3):
            assert len(server.asked) == polls
            await test.clock.advance(9 * SECOND)
            assert len(server.asked) == polls
            await test.clock.advance(SECOND)
        instance = await run.wait(10)

    assert (instance.status, len(server.asked)) == ("complete", 4)
    assert instance.data["page"]["body"] == {"state": "done", "n": 3}


async def test_the_interval_grows_up_to_its_limit(server: Server) -> None:
    server.answer = answers(Answer(500))
    definition = poll(
        server, "response.status == 200", interval=1, backoff=3.0, max_interval=5 * SECOND
    )

    async with WorkflowTest(patience=10) as test:
        await test.start(definition)
        seen: list[int] = []
        for _ in range(20):
            await test.clock.advance(SECOND)
            seen.append(len(server.asked))

    assert seen == [2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6]


async def test_a_poll_that_takes_too_long_fails_for_good(server: Server) -> None:
    server.answer = answers(as_json({"state": "running"}))
    builder = WorkflowBuilder().poll_endpoint(
        server.url, until="response.json.state == 'done'", interval=10, timeout=25 * SECOND
    )
    definition = builder.on_error(Retry(max_retries=5, interval=0 * SECOND)).build("w")

    async with WorkflowTest(patience=10) as test:
        run = await test.start(definition)
        await test.clock.advance(timedelta(minutes=1))
        instance = await run.wait(10)

    assert len(server.asked) == 4  # after 0, 10, 20 and, once more, 25 seconds
    assert instance.error is not None
    assert instance.error.type == StepTimeoutError.__name__
    assert "no such answer within 25 s (4 polls" in instance.error.message
    assert "not `response.json.state == 'done'`" in instance.error.message


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"until": "true", "max_bytes": 3}, "answered more than 3 bytes"),
        ({"until": "response.json"}, "`response.json` gave [1, 2], not a bool"),
    ],
)
async def test_what_more_polls_cannot_mend_fails_at_once(
    server: Server, options: dict[str, Any], problem: str
) -> None:
    server.answer = answers(as_json([1, 2]))

    instance = await _run(poll(server, **options))

    assert (instance.status, len(server.asked)) == ("failed", 1)
    assert instance.error is not None
    assert problem in instance.error.message


async def test_an_interval_that_grows_without_end_stays_a_duration(server: Server) -> None:
    server.answer = lambda n, _asked: Answer(200 if n > 2 else 503)
    definition = poll(server, "response.status == 200", interval=1, backoff=1e308)

    async with WorkflowTest(patience=10) as test:
        run = await test.start(definition)
        await test.clock.advance(SECOND)
        await test.clock.advance(timedelta(days=366))
        instance = await run.wait(10)

    assert (instance.status, len(server.asked)) == ("complete", 3)


async def test_a_resumed_poll_has_all_its_time_again(server: Server) -> None:
    server.answer = lambda n, _asked: Answer(200 if n > 5 else 202)
    builder = WorkflowBuilder().poll_endpoint(
        server.url, until="response.status == 200", interval=10, timeout=20, output="page"
    )

    async with WorkflowTest(patience=10) as test:
        run = await test.start(builder.on_error(Suspend()).build("w"))
        await test.clock.advance(timedelta(minutes=1))
        assert ((await test.host.get(run.id)).status, len(server.asked)) == ("suspended", 3)
        await test.host.resume(run.id)
        await test.clock.advance(20 * SECOND)
        instance = await run.wait(10)

    assert (instance.status, len(server.asked)) == ("complete", 6)


async def test_a_server_that_comes_up_later_is_found(server: Server) -> None:
    port = urlsplit(server.url).port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        silent = taken.getsockname()[1]
        definition = (
            WorkflowBuilder()
            .poll_endpoint(
                lambda _d, ctx: f"http://127.0.0.1:{port if ctx.now().second >= 5 else silent}",
                until="response.status == 200",
                interval=5,
            )
            .build("w")
        )
        async with WorkflowTest(patience=10) as test:
            run = await test.start(definition)
            lines = [line.line for line in await test.host.logs(run.id)]
            await test.clock.advance(5 * SECOND)
            instance = await run.wait(10)

    assert (instance.status, len(server.asked)) == ("complete", 1)
    assert any("could not be reached" in line for line in lines)


async def test_a_poll_survives_a_restart_of_the_host(server: Server, tmp_path: Path) -> None:
    server.answer = answers(Answer(202), Answer(202), as_json("ready"))
    definition = poll(server, "response.status == 200", interval=0.2, timeout=60)
    url = f"sqlite:///{tmp_path / 'runs.db'}"

    async with WorkflowHost(url) as host:
        host.register(definition)
        run = await host.start_workflow("w")
        async with asyncio.timeout(20):
            while (await host.get(run.id)).pointers[0].status != "sleeping":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    async with WorkflowHost(url) as host:
        host.register(definition)
        instance = await (await host.run(run.id)).wait(20)

    assert (instance.status, instance.data["page"]["body"]) == ("complete", "ready")
    assert len(server.asked) == 3


async def test_the_prototype_of_a_poll_may_be_an_instance(server: Server) -> None:
    step = PollEndpoint(url=server.url, until="response.body == ''", output="page")

    instance = await _run(WorkflowBuilder().then(step).build("w"))

    assert instance.data["page"]["status"] == 200
