"""Runs every example as its user would, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent


def _python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return _run([sys.executable, *arguments], cwd)


def _wfe(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return _run([str(Path(sys.executable).with_name("wfe")), *arguments], cwd)


def _run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False, env=os.environ
    )


def test_hello(tmp_path: Path) -> None:
    done = _python(str(EXAMPLES / "hello/hello.py"), cwd=tmp_path)

    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "HELLO, WORLD!"
    assert done.stdout.splitlines()[1].startswith("complete ")


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
