"""The step types as others use them: in a file, in a builder, and wrongly."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from wfe_steps_example import Checksum, WaitForPort

from wfe.core import WorkflowBuilder
from wfe.host import WorkflowHost
from wfe.yaml import check, load_workflow

FILE = """workflow:
  id: flow
  version: 1
  outputs: {{result: {{type: any, value: "${{{{ steps.it.outputs.{output} }}}}"}}}}
  steps:
    - name: it
      type: {type}
      config: {config}
"""


async def finish(path: Path, kind: str, output: str, config: str) -> Any:
    path.write_text(FILE.format(type=kind, output=output, config=config), encoding="utf-8")
    async with WorkflowHost("memory://") as host:
        run = await host.start_workflow(load_workflow(path))
        return await run.wait(timeout=timedelta(seconds=20))


async def test_a_checksum_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x", encoding="utf-8")
    path = tmp_path / "flow.yaml"

    first = await finish(path, "checksum", "digest", "{files: [a]}")
    digest = first.data["outputs"]["result"]
    second = await finish(path, "checksum", "count", f"{{files: ['a*'], expected: {digest}}}")
    (tmp_path / "a").write_text("y", encoding="utf-8")
    third = await finish(path, "checksum", "count", f"{{files: [a], expected: {digest}}}")

    assert (first.status, second.status, third.status) == ("complete", "complete", "failed")
    assert second.data["outputs"] == {"result": 1}
    assert "the digest is" in str(third.error)


async def test_a_port_that_opens_later_is_waited_for(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    config = f"{{port: {port}, interval: 10ms, attempts: 500}}"
    waiting = asyncio.create_task(finish(tmp_path / "f.yaml", "wait-for-port", "waited", config))
    await asyncio.sleep(0.05)
    async with await asyncio.start_server(
        lambda _reader, writer: writer.close(), "127.0.0.1", port
    ):
        instance = await waiting

    assert instance.status == "complete"
    assert instance.data["outputs"]["result"] >= 1


async def test_after_the_last_attempt_it_fails(tmp_path: Path) -> None:
    config = "{port: 1, interval: 1ms, attempts: 2}"

    instance = await finish(tmp_path / "f.yaml", "wait-for-port", "waited", config)

    assert instance.status == "failed"
    assert "nothing listens on 127.0.0.1:1 after 2 attempts" in str(instance.error)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("checksum", "{}", "a checksum step needs `files`"),
        ("checksum", "{files: [a], expected: abc}", "`expected` is no SHA-256"),
        (
            "checksum",
            "{file: [a], files: [b]}",
            "the `config` of a checksum step has no key `file`",
        ),
        ("wait-for-port", "{port: http}", "`port` is an integer, not a text"),
        ("wait-for-port", "{port: 80, interval: 1.5s}", "`interval` is a duration, not `1.5s`"),
    ],
)
def test_wrong_files_are_refused_before_they_run(
    tmp_path: Path, kind: str, config: str, message: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(FILE.format(type=kind, output="digest", config=config), encoding="utf-8")

    assert message in [found.message for found in check([path])]


async def test_the_same_classes_work_in_a_builder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x", encoding="utf-8")
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    flow = (
        WorkflowBuilder()
        .start_with(WaitForPort(port=port))
        .then(Checksum(files=["a"], workspace=tmp_path))
        .build("deliver")
    )
    async with server, WorkflowHost("memory://") as host:
        run = await host.start_workflow(flow, {})
        instance = await run.wait(timeout=timedelta(seconds=20))

    assert instance.data["count"] == 1
