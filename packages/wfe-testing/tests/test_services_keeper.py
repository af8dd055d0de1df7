"""A server that tests start is gone when they are, whatever ends them; and says why it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from services_parts import IDLE, STUBBORN, eventually, gone, kept, python, start_script

from wfe.testing.services.processes import ServerProcess, await_ready, keep
from wfe.testing.services.records import ServiceError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: pidfd and prctl")

STARTER = """
import pathlib, sys
from wfe.testing.services.processes import keep
folder = pathlib.Path(sys.argv[1])
server = keep("server", [sys.executable, "-I", "-S", "-c", sys.argv[2]], folder=folder,
              grace=0.2, after=sys.argv[3:] or None)
keeper = open(f"/proc/{server.pid}/stat").read().rpartition(")")[2].split()[1]
print(server.pid, keeper, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    one = kept(tmp_path / "folder", IDLE)
    yield one
    one.close()


def hello(server: ServerProcess) -> str:
    """Stand for a handshake: the server is ready when it wrote a line."""
    if not server.log.exists() or "hello" not in server.log.read_text():
        raise ConnectionError("not yet")
    return "1.0"


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def started(tmp_path: Path, code: str, *after: str) -> tuple[subprocess.Popen[str], int, int]:
    """Run a process that keeps a server; return it, the server's pid and the keeper's."""
    folder = tmp_path / "folder"
    folder.mkdir()
    starter = start_script(STARTER, str(folder), code, *after)
    assert starter.stdout is not None
    server, keeper = (int(word) for word in starter.stdout.readline().split())
    log = folder / "log"
    assert eventually(lambda: log.exists() and log.read_text().endswith("\n"))
    return starter, server, keeper


@pytest.mark.parametrize("code", [IDLE, STUBBORN], ids=["polite", "stubborn"])
def test_a_killed_starter_takes_its_server_and_folder_along(tmp_path: Path, code: str) -> None:
    starter, server, keeper = started(tmp_path, code)

    with starter:
        starter.kill()

        # Not waited for yet: a parent that is a zombie counts as dead, too.
        assert gone(server)
        assert gone(keeper)
    assert not (tmp_path / "folder").exists()


def test_a_killed_starter_s_last_wish_is_done(tmp_path: Path) -> None:
    left = tmp_path / "left"
    starter, _, keeper = started(tmp_path, IDLE, *python(f"open({str(left)!r}, 'w')"))

    with starter:
        starter.kill()

    assert gone(keeper)
    assert left.exists()


def test_a_killed_keeper_takes_its_server_along(tmp_path: Path) -> None:
    starter, server, keeper = started(tmp_path, STUBBORN)

    with starter:
        os.kill(keeper, signal.SIGKILL)

        assert gone(server)
        starter.kill()


def test_a_server_goes_with_the_process_named_and_not_with_its_starter(tmp_path: Path) -> None:
    with subprocess.Popen(python(IDLE)) as other:
        folder = tmp_path / "folder"
        folder.mkdir()
        server = keep("server", python(IDLE), folder=folder, parent=other.pid)
        server.release()  # as if this process were gone
        assert state(server.pid) != "Z"
        other.kill()

    assert gone(server.pid)
    assert eventually(lambda: not folder.exists())


def test_the_environment_is_the_server_s_and_in_nobody_s_arguments(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    code = "import os; print('hello', os.environ['TOKEN'], flush=True); " + IDLE
    server = keep("server", python(code), folder=folder, environment={"TOKEN": "my-secret"})
    await_ready(server, lambda: hello(server))
    keeper = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[1]

    arguments = Path(f"/proc/{keeper}/cmdline").read_text()

    assert "my-secret" in server.last_words()
    assert "folder" in arguments
    assert "my-secret" not in arguments
    server.close()


def test_closing_removes_server_and_folder(server: ServerProcess) -> None:
    pid = server.pid

    server.close()

    assert gone(pid)
    assert not server.folder.exists()


def test_what_a_server_started_goes_with_it(tmp_path: Path) -> None:
    child = f"import subprocess; print(subprocess.Popen({python(IDLE)!r}).pid, flush=True);{IDLE}"
    server = kept(tmp_path / "folder", child)
    assert eventually(lambda: server.log.exists() and "\n" in server.log.read_text())
    pid = int(server.log.read_text().split()[0])

    server.close()

    assert gone(pid)


def test_a_server_that_refuses_to_end_is_killed_after_its_grace(tmp_path: Path) -> None:
    server = kept(tmp_path / "folder", STUBBORN, grace=0.05)
    assert eventually(lambda: server.last_words() == "no")

    server.halt()

    assert server.pid == 0
    server.close()


def test_a_killed_server_starts_again_in_its_folder(server: ServerProcess) -> None:
    await_ready(server, lambda: hello(server))
    (server.folder / "kept").touch()
    first = server.pid

    server.kill()
    assert server.pid == 0
    server.start()

    assert server.pid not in {0, first}
    assert (server.folder / "kept").exists()


def test_a_frozen_server_stands_still_and_goes_on(server: ServerProcess) -> None:
    server.freeze()
    assert eventually(lambda: state(server.pid) == "T")

    server.thaw()

    assert eventually(lambda: state(server.pid) == "S")


def test_a_frozen_server_can_be_stopped(server: ServerProcess) -> None:
    await_ready(server, lambda: hello(server))
    server.freeze()

    server.halt()

    assert server.pid == 0


def test_the_end_of_a_server_shows_its_last_words(tmp_path: Path) -> None:
    server = kept(tmp_path / "folder", "import sys; sys.exit('no room for me here')")

    with pytest.raises(ServiceError, match=r"ended with 1:\nno room for me here"):
        await_ready(server, lambda: hello(server))

    server.close()


def test_a_server_that_never_is_ready_shows_its_last_words(tmp_path: Path) -> None:
    server = kept(tmp_path / "folder", IDLE.replace("hello", "thinking"))
    assert eventually(lambda: server.last_words() == "thinking")

    with pytest.raises(ServiceError, match=r"not ready in 0.05 s \(not yet\):\nthinking"):
        await_ready(server, lambda: hello(server), seconds=0.05)

    server.close()


def test_a_command_that_is_not_there_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    with pytest.raises(ServiceError, match="No such file"):
        keep("nothing", [tmp_path / "missing"], folder=folder)

    assert not folder.exists()
