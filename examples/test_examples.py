"""Runs every example as its user would, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pytest

EXAMPLES = Path(__file__).parent


Env = Mapping[str, str]


def _python(*arguments: str, cwd: Path, env: Env = os.environ) -> subprocess.CompletedProcess[str]:
    return _run([sys.executable, *arguments], cwd, env)


def _wfe(*arguments: str, cwd: Path, env: Env = os.environ) -> subprocess.CompletedProcess[str]:
    return _run([str(Path(sys.executable).with_name("wfe")), *arguments], cwd, env)


def _run(command: list[str], cwd: Path, env: Env = os.environ) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=150, check=False, env=env
    )


def test_hello(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "hello/hello.py"), cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "HELLO, WORLD!"
    assert done.stdout.splitlines()[1].startswith("complete ")


def test_exactly_once(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "exactly_once/exactly_once.py"), str(tmp_path), cwd=tmp_path)

    assert done.stderr == ""
    deaths = int(done.stdout.split()[1])
    assert deaths >= 4
    assert done.stdout == f"after {deaths} deaths: ada has 70, bob has 30\n"


def test_order_pipeline(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "order_pipeline/order_pipeline.py"), cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout.startswith("complete receipt for 250.00")
    assert "step_retrying        Charge" in done.stdout
    assert done.stdout.splitlines()[-1].split()[1:] == ["workflow_completed"]


def test_etl_dag(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "etl_dag/etl.py"), cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout == "complete south: 3 sales, 256.50\n"


def test_cpu_bound(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "cpu_bound/primes.py"), cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout == "complete {'primes': 2262, 'found': None}\n"


def test_activities(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "activities/activities.py"), cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "website-1: attempt 0",
        "website-1: attempt 1",
        "complete <html><p>Hello!</p></html>",
    ]


def test_approval(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "approval/approval.py"), cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "release-1: Release shop-1.4.tar.gz? yes",
        "uploading shop-1.4.tar.gz",
        "release-2: Release shop-1.4.tar.gz? no",
        "discarding shop-1.4.tar.gz",
        "[('Ada', 'looked at it')]",
    ]


def test_resume_after_crash(tmp_path: Path) -> None:
    script = str(EXAMPLES / "resume_after_crash/resume.py")

    died = _python(script, str(tmp_path), cwd=tmp_path)
    resumed = _python(script, str(tmp_path), cwd=tmp_path)

    assert died.returncode == -9
    assert died.stdout.splitlines() == [
        "downloading (attempt 0)",
        "converting",
        "publishing: the process dies now",
    ]
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines()[0] == "publishing 12 pages"
    assert resumed.stdout.splitlines()[1].startswith("complete ")


def test_ci_pipeline(tmp_path: Path) -> None:
    pipeline = str(EXAMPLES / "ci_pipeline/pipeline.yaml")

    done = _wfe("run", pipeline, "-i", "project=mine", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("project mine in a new directory", "style is fine", "Hello!", "World!"):
        assert line in done.stdout
    assert "no answer yet" in done.stdout
    assert "the service answers" in done.stdout
    assert (tmp_path / ".wfe/wfe.db").exists()


@pytest.mark.skipif(find_spec("deno") is None, reason="needs the extra wfe-yaml[deno]")
def test_deno_step(tmp_path: Path) -> None:
    quality = str(EXAMPLES / "deno_step/quality.yaml")

    checked = _wfe("validate", quality, cwd=tmp_path)
    done = _wfe("run", quality, cwd=tmp_path)
    failed = _wfe("run", quality, "-i", "least=95", cwd=tmp_path)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("2 files, 90.5 % covered", "/etc/passwd: NotCapable", "quality A (90.5 %)"):
        assert line in done.stdout
    assert failed.returncode == 1
    assert "Error: less than 95 %" in failed.stdout


def test_yaml_controls(tmp_path: Path) -> None:
    release = str(EXAMPLES / "yaml_controls/release.yaml")

    done = _wfe("run", release, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("warm up: the command exited with code 1", "signed", "tidied up after macos"):
        assert line in done.stdout
    assert "compile [os=linux, py=3.11] | compiling, cache: failed" in done.stdout
    assert '["linux-3.11", "linux-3.12", "macos-3.12"]' in done.stdout
    assert "publication complete" in done.stdout


def test_yaml_controls_that_undo(tmp_path: Path) -> None:
    release = str(EXAMPLES / "yaml_controls/release.yaml")

    done = _wfe("run", release, "-i", "failing=true", "-i", "channel=beta", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("marked as a beta", "upload taken back", "nothing was released"):
        assert line in done.stdout
    assert "publication failed" in done.stdout
    assert "released" not in done.stdout.replace("nothing was released", "")


def test_task_flow(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "task_flow/task_flow.py"), cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "fetch is still a function: 1.5",
        "5.5 °C on average",
        "21.0 degrees on average",
        "Rome is +15.5 °C from the other",
    ]


def test_poll_endpoint(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "poll_endpoint/poll_endpoint.py"), str(tmp_path), cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["job 1: 42 rows", "2 requests, 3 looks"]
    assert '"uses":"poll"' in (tmp_path / "export.json").read_text(encoding="utf-8")


def test_schedules(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "schedules/schedules.py"), cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "report at Sat 02:30 CET: complete",
        "report at Sun 03:00 CEST: complete",
        "report at Mon 02:30 CEST: complete",
        "report at Tue 02:30 CEST: complete",
        "stock: 3 runs, 1 times wait for the last run's end",
        "backfilled: complete",
    ]


def test_durable_function(tmp_path: Path) -> None:
    script = str(EXAMPLES / "durable_function/checkout.py")

    died = _python(script, str(tmp_path), cwd=tmp_path)
    resumed = _python(script, str(tmp_path), cwd=tmp_path)

    assert died.returncode == -9
    assert died.stdout.splitlines() == [
        "charging 250 for 7 (attempt 0)",
        "charging 250 for 7 (attempt 1)",
        "shipping: the process dies now",
    ]
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines() == [
        "shipping 7",
        "writing to the customer of 7",
        "Receipt(order='7', payment='payment-7', parcel='parcel-7')",
    ]


def _installed(name: str, tmp_path: Path) -> tuple[Path, Env]:
    """Install a distribution without the network; return its copy and how it is found."""
    copy, site = tmp_path / "copy", tmp_path / "site"
    shutil.copytree(EXAMPLES / name, copy, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    install = ("pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation")
    uv = str(Path(sys.executable).with_name("uv"))
    to = ("--python", sys.executable, "--target", str(site))
    installed = _run([uv, *install, *to, str(copy)], tmp_path)
    assert installed.returncode == 0, installed.stderr
    return copy, {**os.environ, "PYTHONPATH": str(site)}


def test_wfe_steps_example(tmp_path: Path) -> None:
    """A distribution of its own: installed without the network, found by its entry points."""
    copy, env = _installed("wfe_steps_example", tmp_path)

    tests = _python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=copy, env=env)
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = f"port={service.getsockname()[1]}"
        done = _wfe("run", str(copy / "pipeline.yaml"), "-i", port, cwd=tmp_path, env=env)

    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sealed 2 files as 88a84cd2e151" in done.stdout


def test_wfe_files_provider(tmp_path: Path) -> None:
    """A provider of somebody else: it keeps its contracts, and the commands take its URLs."""
    copy, env = _installed("wfe_files_provider", tmp_path)
    flow = tmp_path / "flow.yaml"
    flow.write_text(
        "workflow: {id: hello, version: 1, steps: [{name: say, run: echo hello}]}\n",
        encoding="utf-8",
    )
    place = f"files://{tmp_path}/runs"

    tests = _python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=copy, env=env)
    done = _wfe("run", str(flow), "--db", place, cwd=tmp_path, env=env)
    listed = _wfe("list", "--db", place, cwd=tmp_path, env=env)
    tried = f"files://{tmp_path}/tried-{{n}}"
    kept = _wfe("contract", tried, "-k", "crash", "--json", cwd=tmp_path, env=env)

    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello" in listed.stdout
    assert "complete" in listed.stdout
    assert kept.returncode == 0, kept.stdout + kept.stderr
    store = json.loads(kept.stdout)[0]
    assert (store["capabilities"], store["failed"]) == (["durable", "lock", "virtual_clock"], [])


def test_cache_and_artifacts(tmp_path: Path) -> None:
    place = tmp_path / "words"
    shutil.copytree(EXAMPLES / "cache_and_artifacts", place)
    words = place / "src" / "words.txt"

    said: list[str] = []
    for text in (None, None, "five six\n"):
        if text is not None:
            words.write_text(words.read_text() + text)
        shutil.rmtree(place / "out", ignore_errors=True)
        done = _wfe("run", "pipeline.yaml", cwd=place)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout + done.stderr)
    told = _wfe("cache", "explain", "last", "Count", cwd=place)
    got = _wfe("artifacts", "download", "last", "-o", "mine", cwd=place)

    assert ["counted" in each for each in said] == [True, False, True]
    assert "cached from run" in said[1]
    assert all("Hello: 4 words" in each for each in said[:2])
    assert "Hello: 6 words" in said[2]
    assert "files.src/words.txt" in told.stdout
    assert got.stdout == "report: 1 file in mine\n"
    assert (place / "mine" / "out" / "report.txt").read_text() == "6 words\n"


def test_team_templates(tmp_path: Path) -> None:
    pipeline = str(EXAMPLES / "team_templates/ci.yaml")

    done = _wfe("run", pipeline, "-i", "branch=feature", cwd=tmp_path)
    planned = _wfe("schedule", "apply", pipeline, cwd=tmp_path)
    again = _wfe("schedule", "apply", pipeline, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("lint | linting feature", "unit | testing feature", "say | team-tool: 3 files"):
        assert line in done.stdout
    assert '"files": 3' in done.stdout
    assert planned.stdout == "schedule team-ci.nightly created\n"
    assert "created" not in again.stdout


def test_yaml_deploy(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "yaml_deploy", tmp_path / "site")
    deploy = ("run", "site/deploy.yaml", "-i", "target=production")
    env = {**os.environ, "WFE_SECRET_DEPLOY_TOKEN": "a-long-token"}

    refused = _wfe(*deploy, cwd=tmp_path)
    waits = _wfe(*deploy, cwd=tmp_path, env=env)
    answered = _wfe("approve", "last", "now", cwd=tmp_path)
    done = _wfe("run", "--resume", "last", cwd=tmp_path, env=env)
    logs = _wfe("logs", "last", cwd=tmp_path)

    assert refused.returncode == 2
    assert "set WFE_SECRET_DEPLOY_TOKEN" in refused.stderr
    assert waits.returncode == 3, waits.stdout + waits.stderr
    assert "Deploy release 2007191522 to production?" in waits.stdout
    assert answered.returncode == 0, answered.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("logged in with ***", "sent 1 page to production"):
        assert f"deploy | {line}" in done.stdout
    assert "a-long-token" not in waits.stdout + done.stdout + logs.stdout
    assert not (tmp_path / "site" / "incoming").exists()


def test_yaml_deploy_with_a_wrong_secret(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "yaml_deploy", tmp_path / "site")
    env = {**os.environ, "WFE_SECRET_DEPLOY_TOKEN": "abcdef"}

    done = _wfe("run", "site/deploy.yaml", cwd=tmp_path, env=env)

    assert done.returncode == 1
    assert "the token is too short" in done.stdout
    assert "back to the last release: the command exited with code 1" in done.stdout


class _Reports(BaseHTTPRequestHandler):
    """Takes reports, and is busy the first time."""

    given: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.given.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(503 if len(self.given) == 1 else 201)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"number": 7}')

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep quiet."""


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_yaml_steps(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "yaml_steps", tmp_path / "report")
    shop = tmp_path / "shop"
    shop.mkdir()
    for name in ("a.txt", "b.txt", "c.md"):
        (shop / name).write_text(name, encoding="utf-8")
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "all"]):
        assert _run(["git", *command], shop).returncode == 0

    with ThreadingHTTPServer(("127.0.0.1", 0), _Reports) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        service = f"service=http://127.0.0.1:{server.server_port}"
        given = ("-i", f"repository={shop}", "-i", service)
        done = _wfe("run", "report/report.yaml", *given, cwd=tmp_path)
        short = _wfe("run", "report/report.yaml", *given, "-i", "least=5", cwd=tmp_path)
        server.shutdown()

    assert done.returncode == 0, done.stdout + done.stderr
    assert "count | found a.txt b.txt" in done.stdout
    assert "good | all there at " in done.stdout
    assert 'answer  {"number": 7}' in done.stdout
    assert "short | 3 more, please" in short.stdout
    assert json.loads(_Reports.given[-1]) == {"files": 2, "enough": False}
    assert len(_Reports.given) == 3
