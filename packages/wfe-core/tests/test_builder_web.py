"""HTTP steps as they are written down, and what needs no server to be refused."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.core import (
    DefinitionError,
    HttpRequest,
    PollEndpoint,
    Retry,
    WorkflowBuilder,
    WorkflowDefinition,
    expr,
)
from wfe.core.builtins import builtin_body
from wfe.core.definition import Call, Cel, Kind, Node, Record, Value
from wfe.testing import WorkflowTest


def test_constants_and_computed_values_are_kept_apart() -> None:
    definition = (
        WorkflowBuilder()
        .http(
            "post",
            lambda d: d["url"],
            headers={"X": "1"},
            json={"id": expr("data.id"), "n": 1},
            timeout=timedelta(minutes=1),
            output="page",
        )
        .poll_endpoint("http://h/x", until="response.status == 200", interval=2)
        .http("GET", "http://h/x")
        .build("w")
    )

    ask, poll, again = definition.walk()
    assert (ask.kind, ask.name, poll.name, again.name) == (
        Kind.STEP,
        "http",
        "poll_endpoint",
        "http-2",
    )
    assert dict(ask.inputs) == {
        "url": Call(),
        "json": Record((("id", Cel("data.id")), ("n", Value(1)))),
    }
    assert ask.config == {
        "uses": "http",
        "with": {"method": "POST", "timeout": 60.0, "headers": {"X": "1"}},
        "output": "page",
    }
    assert poll.config == {"uses": "poll", "with": {"interval": 2.0, "url": "http://h/x"}}
    assert sorted(definition.code) == ["http/input:url"]


def test_a_saved_definition_makes_the_same_bodies(tmp_path: Path) -> None:
    definition = (
        WorkflowBuilder()
        .http("DELETE", "http://h/x", expect=(204, 404), max_redirects=0, output="gone")
        .poll_endpoint("http://h/x", until="response.status == 404", backoff=2, timeout=60)
        .build("w")
    )
    definition.save(tmp_path / "w.json")

    ask, poll = (builtin_body(n) for n in WorkflowDefinition.load(tmp_path / "w.json").walk())

    assert ask == HttpRequest(
        method="DELETE", url="http://h/x", expect=(204, 404), max_redirects=0, output="gone"
    )
    assert poll == PollEndpoint(
        url="http://h/x", until="response.status == 404", backoff=2, timeout=60
    )


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"uses": "htp"}, "no built-in step is called 'htp'; did you mean 'http'?"),
        ({"uses": "http", "with": {"urll": "x"}}, "the constants of 'http' do not fit"),
        ({"uses": "poll", "with": {"until": "response.nothing"}}, "nothing"),
    ],
)
def test_a_stored_step_that_cannot_run_is_refused(config: dict[str, Any], problem: str) -> None:
    node = Node(name="ask", kind=Kind.STEP, config=config)

    with pytest.raises(DefinitionError) as caught:
        builtin_body(node)

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("method", "given", "problem"),
    [
        ("http", {"url": "host/x"}, "http() got the URL 'host/x'"),
        ("http", {"method": "G T"}, "no HTTP method: 'G T'"),
        ("http", {"url": 5}, "url of http() takes a text"),
        ("http", {"headers": [1]}, "headers of http() takes a mapping"),
        ("http", {"json": object()}, "json of http() must be plain JSON"),
        ("http", {"json": 1, "body": "x"}, "got both json and body"),
        ("http", {"expect": 99}, "statuses from 100 to 599"),
        ("http", {"timeout": 0}, "timeout of http() must be positive"),
        ("http", {"max_bytes": 0}, "max_bytes of http() must be"),
        ("http", {"max_redirects": -1}, "max_redirects of http()"),
        ("poll_endpoint", {"until": " "}, "until takes a CEL text"),
        ("poll_endpoint", {"until": "response.status"}, "gives int, not bool"),
        ("poll_endpoint", {"until": "response.code == 1"}, "response.code"),
        ("poll_endpoint", {"interval": 0}, "must be positive"),
        ("poll_endpoint", {"backoff": 0.5}, "a number from 1"),
    ],
)
def test_wrong_arguments_are_refused_when_the_definition_is_written(
    method: str, given: dict[str, Any], problem: str
) -> None:
    usual = {"url": "http://h", **({"method": "GET"} if method == "http" else {"until": "true"})}

    with pytest.raises(DefinitionError) as caught:
        getattr(WorkflowBuilder(), method)(**{**usual, **given})

    assert problem in str(caught.value)


async def test_a_server_that_is_not_there_is_a_failure_that_may_pass() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        definition = (
            WorkflowBuilder()
            .http("GET", url)
            .on_error(Retry(max_retries=2, interval=timedelta(0)))
            .build("w")
        )
        async with WorkflowTest() as test:
            instance = await test.run(definition)
            history = await test.host.history(instance.id)

    assert instance.error is not None
    assert "could not be reached (ConnectError" in instance.error.message
    assert [entry.kind for entry in history].count("step_retrying") == 2


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/x", "http://", "http://h:port/"])
async def test_a_computed_url_that_is_none_fails_for_good(url: str) -> None:
    retried = Retry(max_retries=2, interval=timedelta(0))
    definition = WorkflowBuilder().http("GET", lambda _d: url).on_error(retried).build("w")

    async with WorkflowTest() as test:
        instance = await test.run(definition)
        history = await test.host.history(instance.id)

    assert instance.status == "failed"
    assert "step_retrying" not in [entry.kind for entry in history]
