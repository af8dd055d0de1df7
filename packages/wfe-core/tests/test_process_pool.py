"""Worker processes: kept warm, killed when nobody wants the result, lost one at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pool_parts
import pytest

from wfe.core import DataTypeError, StepCrashedError, StepFailedError
from wfe.core.engine.processes import ProcessPool

__all__: list[str] = []

LONG = 60  # s; for a machine that does much else
HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    made = ProcessPool(1)
    yield made
    made.shutdown(wait=True)


@pytest.fixture
def told(tmp_path: Path) -> Path:
    path = tmp_path / "told"
    os.mkfifo(path)
    return path


def test_a_worker_is_kept_with_what_it_has_imported(pool: ProcessPool) -> None:
    futures = [pool.submit(pool_parts.calls) for _ in range(3)]

    assert [future.result(LONG) for future in futures] == [1, 2, 3]
    assert pool.submit(pool_parts.pid).result(LONG) != os.getpid()


def test_a_cancelled_call_ends_its_worker_and_another_takes_its_place(
    pool: ProcessPool, told: Path
) -> None:
    future = pool.submit(pool_parts.spin, str(told))
    (worker,) = pool_parts.read_all(told, 1, lambda _: future.cancel())

    other = pool.submit(pool_parts.pid).result(LONG)
    assert other != int(worker)
    with pytest.raises(ProcessLookupError):  # not even a zombie is left
        os.kill(int(worker), 0)
    with pytest.raises(CancelledError):
        future.result(LONG)


def test_programs_that_a_body_started_end_with_it(pool: ProcessPool, told: Path) -> None:
    future = pool.submit(pool_parts.spin_with_child, str(told))

    found = pool_parts.read_all(told, 2, lambda _: future.cancel())

    assert found[1] == "child"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs descriptors of processes")
def test_a_child_that_a_body_has_forked_hides_no_crash(pool: ProcessPool, told: Path) -> None:
    future = pool.submit(pool_parts.fork_and_die, str(told))

    pool_parts.read_all(told, 1, lambda _: None)  # to the end of the child

    with pytest.raises(StepCrashedError, match="exit code 5"):
        future.result(LONG)


def test_a_call_that_waits_is_cancelled_without_a_kill(pool: ProcessPool, told: Path) -> None:
    go = told.with_name("go")
    os.mkfifo(go)
    first = pool.submit(pool_parts.tell_and_wait, str(told), str(go))
    waiting = pool.submit(pool_parts.pid)
    third = pool.submit(pool_parts.pid)

    assert waiting.cancel()
    pool_parts.read_all(told, 1, lambda _: None)
    go.write_bytes(b"")

    assert third.result(LONG) == first.result(LONG)


@pytest.mark.parametrize(
    ("body", "argument", "said"),
    [
        (pool_parts.die, 3, "ran pool_parts.die ended with exit code 3"),
        (pool_parts.signal_self, signal.SIGSEGV, "was ended by SIGSEGV"),
        (pool_parts.signal_self, signal.SIGKILL, "SIGKILL (the machine may have run out of memory"),
    ],
)
def test_a_worker_that_dies_takes_only_its_own_call_along(
    body: Any, argument: int, said: str, told: Path
) -> None:
    go = told.with_name("go")
    os.mkfifo(go)
    pool = ProcessPool(2)
    other = pool.submit(pool_parts.tell_and_wait, str(told), str(go))
    (pid,) = pool_parts.read_all(told, 1, lambda _: None)
    doomed = pool.submit(body, argument)
    after = pool.submit(pool_parts.calls)

    with pytest.raises(StepCrashedError) as caught:
        doomed.result(LONG)
    assert said in caught.value.message
    assert after.result(LONG) == 1
    go.write_bytes(b"")
    assert other.result(LONG) == int(pid)
    pool.shutdown(wait=True)


@pytest.mark.parametrize(
    ("call", "path", "said"),
    [
        ((pool_parts.pid, pool_parts.give_lambda()), "the call of pool_parts.pid", "no lambda"),
        ((pool_parts.give_lambda,), "the result of pool_parts.give_lambda", "cannot be pickled"),
    ],
)
def test_what_cannot_be_pickled_is_named_and_ends_no_worker(
    pool: ProcessPool, call: tuple[Any, ...], path: str, said: str
) -> None:
    before = pool.submit(pool_parts.pid).result(LONG)

    with pytest.raises(DataTypeError) as caught:
        pool.submit(*call).result(LONG)

    assert caught.value.path == path
    assert said in caught.value.problem
    assert pool.submit(pool_parts.pid).result(LONG) == before


def test_an_error_arrives_as_it_was_with_where_it_was_raised(pool: ProcessPool) -> None:
    with pytest.raises(ValueError, match=r"^too bad") as caught:
        pool.submit(pool_parts.raise_value, "too bad").result(LONG)

    assert str(caught.value) == "too bad"
    (note,) = caught.value.__notes__
    assert note.startswith("in a worker process:\nTraceback")
    assert "in raise_value" in note


def test_an_error_that_cannot_travel_keeps_its_name_and_text(pool: ProcessPool) -> None:
    with pytest.raises(StepFailedError) as caught:
        pool.submit(pool_parts.raise_odd).result(LONG)

    assert (caught.value.error_type, caught.value.message) == ("OddError", "here and there")
    assert "in raise_odd" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("raised", "arrives"), [(StopIteration, RuntimeError), (SystemExit, SystemExit)]
)
def test_what_ends_loops_and_programs_is_an_error_like_others(
    pool: ProcessPool, raised: type[BaseException], arrives: type[BaseException]
) -> None:
    before = pool.submit(pool_parts.pid).result(LONG)

    with pytest.raises(arrives):
        pool.submit(pool_parts.stop, raised).result(LONG)

    assert pool.submit(pool_parts.pid).result(LONG) == before


def test_ctrl_c_and_a_service_managers_signal_are_left_to_the_host(pool: ProcessPool) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        assert pool.submit(pool_parts.signal_self, number).result(LONG) is None


def test_results_may_be_larger_than_a_pipe(pool: ProcessPool) -> None:
    assert len(pool.submit(pool_parts.fill, 3 << 20).result(LONG)) == 3 << 20


def test_shutting_down_leaves_no_process_and_takes_nothing_more(told: Path) -> None:
    pool = ProcessPool(2)
    idle = pool.submit(pool_parts.pid).result(LONG)
    busy = pool.submit(pool_parts.spin, str(told))
    waiting = [pool.submit(pool_parts.pid) for _ in range(3)]
    (pid,) = pool_parts.read_all(told, 1, lambda _: pool.shutdown(wait=True))

    assert busy.cancelled()
    assert all(each.done() for each in waiting)
    assert not {int(pid), idle} & {each.pid for each in multiprocessing.active_children()}
    for gone in (idle, int(pid)):
        with pytest.raises(ProcessLookupError):
            os.kill(gone, 0)
    with pytest.raises(RuntimeError, match="was shut down"):
        pool.submit(pool_parts.pid)


SCRIPT = """
    import os, sys
    sys.path.insert(0, {here!r})
    import pool_parts
    from wfe.core.engine.processes import ProcessPool

    def double(n):
        return 2 * n

    def main():
        pool = ProcessPool(2)
        {work}

    {begin}
"""
GUARDED = 'if __name__ == "__main__": main()'


def script(folder: Path, work: str, begin: str = GUARDED) -> subprocess.Popen[str]:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(SCRIPT).format(here=str(HERE), work=work, begin=begin))
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, str(path)], stdout=pipe, stderr=pipe, text=True)


def test_functions_of_a_script_are_found(tmp_path: Path) -> None:
    out, err = script(tmp_path, "print(pool.submit(double, 21).result())").communicate(None, LONG)

    assert (out, err) == ("42\n", "")


def test_a_script_that_works_when_it_is_imported_is_told(tmp_path: Path) -> None:
    work = "future = pool.submit(double, 21); print(future.exception()); future.result()"
    out, _ = script(tmp_path, work, "main()").communicate(None, LONG)

    assert "the worker process for __main__.double did not start" in out
    assert 'if __name__ == "__main__":' in out


def test_a_program_may_end_while_a_body_runs(tmp_path: Path, told: Path) -> None:
    path = repr(str(told))
    process = script(tmp_path, f"pool.submit(pool_parts.spin, {path}); open({path}).readline()")

    assert process.wait(LONG) == 0
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    "body",
    [
        "spin",
        "spin_with_child",
        pytest.param(
            "hold_the_lock",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="needs signals of pipes"),
        ),
    ],
)
def test_workers_die_with_their_host(tmp_path: Path, told: Path, number: int, body: str) -> None:
    host = script(tmp_path, f"pool.submit(pool_parts.{body}, {str(told)!r}).result()")
    lines = 2 if body == "spin_with_child" else 1

    pool_parts.read_all(told, lines, lambda _: host.send_signal(number))

    assert host.wait(LONG) == -number
    host.communicate()
