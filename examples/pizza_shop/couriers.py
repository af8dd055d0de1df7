"""The world outside: couriers, who know nothing of the workflow, and the service of their firm."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from wfe.core import Activity

__all__ = ["courier_service", "drive"]

LOOKS = 3  # after so many looks a courier is there


class Service(BaseHTTPRequestHandler):
    """``POST /trips`` books, ``GET /trips/ORDER`` says where the courier is: nearer each time."""

    looks: ClassVar[Counter[str]] = Counter()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(201, {"booked": True})

    def do_GET(self) -> None:
        self.looks[self.path] += 1
        place = "at the door" if self.looks[self.path] >= LOOKS else "on the way"
        self.answer(200, {"place": place})

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Keep quiet."""


@contextmanager
def courier_service() -> Generator[str]:
    """Serve while the block runs; give the URL."""
    Service.looks.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def drive(activity: Activity) -> str:
    """Do the work of the activity: what is returned completes it, what is raised fails it."""
    if activity.attempt == 0 and "flat tyre" in activity.parameters["street"]:
        raise OSError("a flat tyre")
    return "Gino"
