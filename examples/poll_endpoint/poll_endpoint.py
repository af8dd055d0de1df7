"""Start a job over HTTP, then ask for it until it is done: both steps are data, without code.

Run it with ``python examples/poll_endpoint/poll_endpoint.py``; it brings its own server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from wfe.core import Retry, WorkflowBuilder, WorkflowDefinition, expr
from wfe.host import WorkflowHost

NEEDED = 3  # looks at a job until it is done


class Service(BaseHTTPRequestHandler):
    """A service with slow jobs: POST /jobs begins one, GET /jobs/1 looks at it."""

    looks = 0
    requests = 0

    def do_POST(self) -> None:
        """Begin a job; the first time the service is overloaded."""
        self.rfile.read(int(self.headers["content-length"]))
        Service.requests += 1
        if Service.requests == 1:
            self._answer(503, {"error": "try again"})
        else:
            self._answer(202, {"id": 1})

    def do_GET(self) -> None:
        """Look at a job."""
        Service.looks += 1
        done = Service.looks >= NEEDED
        self._answer(200, {"state": "done", "rows": 42} if done else {"state": "running"})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Keep quiet."""


@contextmanager
def service() -> Generator[str]:
    """Serve while the block runs; give the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def export() -> WorkflowDefinition:
    """Return the workflow; every expression in it is CEL, so that it can be saved."""
    return (
        WorkflowBuilder()
        .http("POST", expr("data.url + '/jobs'"), json={"table": expr("data.table")}, output="job")
        .on_error(Retry(max_retries=3, interval=timedelta(milliseconds=50)))
        .poll_endpoint(
            expr("data.url + '/jobs/' + string(int(data.job.body.id))"),
            until="response.json.state == 'done'",
            interval=0.05,
            backoff=1.5,
            timeout=timedelta(minutes=5),
            output="answer",
        )
        .build("export", version=1)
    )


async def main(directory: Path) -> None:
    """Save the workflow, load it, run it."""
    export().save(directory / "export.json")
    definition = WorkflowDefinition.load(directory / "export.json")
    with service() as url:
        async with WorkflowHost(f"sqlite:///{directory / 'wfe.db'}") as host:
            run = await host.start_workflow(definition, {"url": url, "table": "sales"})
            data = await run.result(timeout=30)
    print(f"job {data['job']['body']['id']}: {data['answer']['body']['rows']} rows")
    print(f"{Service.requests} requests, {Service.looks} looks")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
