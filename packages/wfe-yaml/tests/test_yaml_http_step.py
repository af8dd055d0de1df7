"""The http step of files, against a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from wfe.core.definition import Kind
from wfe.core.step_types import COMPUTED
from wfe.yaml import check, load_workflow, start_data
from wfe.yaml.http_step import Http

host = pytest.importorskip("wfe.host")
pytest.importorskip("httpx")


class _Handler(BaseHTTPRequestHandler):
    asked: list[dict[str, Any]]

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        sent = self.rfile.read(size).decode()
        self.asked.append(
            {"method": self.command, "path": self.path, "x": self.headers.get("X-A"), "sent": sent}
        )
        status = int(self.path.rpartition("/")[2].partition("?")[0] or 200)
        body = json.dumps({"got": sent}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base has it
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    asked: list[dict[str, Any]] = []
    handler = type("Handler", (_Handler,), {"asked": asked})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", asked
    running.shutdown()
    thread.join()
    running.server_close()


def file(tmp_path: Path, config: str, more: str = "") -> Path:
    path = tmp_path / "flow.yaml"
    path.write_text(
        "workflow:\n"
        "  id: flow\n"
        "  version: 1\n"
        "  inputs: {base: string, who: string}\n"
        "  outputs:\n"
        "    status: {type: integer, value: '${{ steps.ask.outputs.status }}'}\n"
        "    got: {type: any, value: '${{ steps.ask.outputs.body }}'}\n"
        "  steps:\n"
        "    - name: ask\n"
        f"      type: http\n{more}"
        f"      config: {config}\n"
        "    - name: use\n"
        "      run: echo ${{ inputs.who }} ${{ inputs.base }}\n",
        encoding="utf-8",
    )
    return path


async def finish(path: Path, base: str) -> Any:
    definition = load_workflow(path)
    async with host.WorkflowHost("memory://") as running:
        running.register(definition)
        data = start_data(definition, {"base": base, "who": "Ada & Co"})
        run = await running.start_workflow("flow", data)
        return await run.wait(timeout=timedelta(seconds=20))


async def test_a_request_is_sent_and_its_answer_is_read(
    tmp_path: Path, server: tuple[str, list[dict[str, Any]]]
) -> None:
    base, asked = server
    config = (
        "{url: '${{ inputs.base }}/200', method: post, headers: {X-A: '${{ inputs.who }}'}, "
        "params: {q: '${{ inputs.who }}'}, json: {name: '${{ inputs.who }}', n: 1}}"
    )

    instance = await finish(file(tmp_path, config), base)

    assert (instance.status, instance.error) == ("complete", None)
    (one,) = asked
    assert (one["method"], one["path"]) == ("POST", "/200?q=Ada+%26+Co")
    assert (one["x"], json.loads(one["sent"])) == ("Ada & Co", {"name": "Ada & Co", "n": 1})
    assert instance.data["outputs"]["status"] == 200
    assert json.loads(instance.data["outputs"]["got"]["got"]) == {"name": "Ada & Co", "n": 1}


@pytest.mark.parametrize(
    ("config", "status"),
    [
        ("{url: '${{ inputs.base }}/404'}", "failed"),
        ("{url: '${{ inputs.base }}/404', expect: 404}", "complete"),
        ("{url: '${{ inputs.base }}/404', expect: [200, 404]}", "complete"),
        ("{url: '${{ inputs.base }}/200', expect: [404]}", "failed"),
        ("{url: '${{ inputs.base }}/200', max_bytes: 3}", "failed"),
    ],
)
async def test_what_is_expected_decides(
    tmp_path: Path, server: tuple[str, list[dict[str, Any]]], config: str, status: str
) -> None:
    instance = await finish(file(tmp_path, config), server[0])

    assert instance.status == status


async def test_only_what_may_pass_is_tried_again(
    tmp_path: Path, server: tuple[str, list[dict[str, Any]]]
) -> None:
    base, asked = server
    retry = "      retry: {max: 2, interval: 1ms}\n"

    await finish(file(tmp_path, "{url: '${{ inputs.base }}/503'}", retry), base)
    assert len(asked) == 3
    await finish(file(tmp_path, "{url: '${{ inputs.base }}/400'}", retry), base)
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("config", "more", "micros"),
    [
        ("{url: http://x}", "", 30_000_000),
        ("{url: http://x, timeout: 2m}", "", 120_000_000),
        ("{url: http://x}", "      timeout: 5s\n", 5_000_000),
    ],
)
def test_it_ends_after_30_seconds_unless_the_file_says_otherwise(
    tmp_path: Path, config: str, more: str, micros: int
) -> None:
    definition = load_workflow(file(tmp_path, config, more))

    (step,) = [node for node in definition.walk() if node.name == "ask" and node.kind is Kind.STEP]
    assert step.timeout == micros


def test_a_wrong_request_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    config = "{url: ftp://x, method: G T, json: 1, body: x, expect: [20], max_redirects: -1}"

    found = check([file(tmp_path, config)])

    assert [(each.code, each.message) for each in found] == [
        ("WFE060", "`url` begins with `http://` or `https://`"),
        ("WFE015", "`method` is not accepted: no HTTP method: 'G T'"),
        ("WFE060", "`json` and `body` exclude each other"),
        ("WFE060", "20 is no HTTP status"),
        ("WFE015", "`max_redirects` must be >= 0, not -1"),
    ]


def test_what_is_computed_is_not_judged_before() -> None:
    assert Http.check_config({"url": COMPUTED, "expect": COMPUTED, "json": 1}) == []


def test_without_its_library_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Http.missing() is None
    monkeypatch.setattr("wfe.yaml.http_step.find_spec", {"httpx": None}.get)
    assert Http.missing() == (
        "http steps need a library that is not installed",
        'pip install "wfe-yaml[http]"',
    )
