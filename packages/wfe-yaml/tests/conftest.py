"""What several tests of the Deno step need: a server of modules, a cache, a guarded workspace."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WFE_DENO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class _Quiet(SimpleHTTPRequestHandler):
    def guess_type(self, path: object) -> str:
        return "application/json" if str(path).endswith("json") else "application/typescript"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "site"
    root.mkdir()
    (root / "part.ts").write_text("export const part: number = 20;")
    (root / "mod.ts").write_text(
        "import { part } from './part.ts'; export const sum = (n: number): number => n + part;"
    )
    (root / "other.ts").write_text("export const other = 1;")
    jsr = root / "@std" / "x"
    (jsr / "1.0.0").mkdir(parents=True)
    (jsr / "meta.json").write_text(
        '{"scope": "std", "name": "x", "latest": "1.0.0", "versions": {"1.0.0": {}}}'
    )
    code = "export const twice = (n: number): number => 2 * n;"
    digest = hashlib.sha256(code.encode()).hexdigest()
    manifest = {"/mod.ts": {"size": len(code), "checksum": f"sha256-{digest}"}}
    (jsr / "1.0.0_meta.json").write_text(
        json.dumps({"manifest": manifest, "exports": {".": "./mod.ts"}})
    )
    (jsr / "1.0.0" / "mod.ts").write_text(code)
    (root / "far.ts").write_text("import 'http://localhost:9/x.ts';")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "outside.txt").write_text("the secret")
    (tmp_path / "outside.json").write_text('"the secret"')
    ws = tmp_path / "ws"
    (ws / "in").mkdir(parents=True)
    (ws / "in" / "a.txt").write_text("inside")
    (ws / "other.txt").write_text("not granted")
    (ws / ".wfe").mkdir()
    (ws / ".wfe" / "wfe.db").write_text("state")
    return ws
