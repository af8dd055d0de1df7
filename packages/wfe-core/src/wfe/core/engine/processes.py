"""Worker processes for CPU-bound functions: kept warm, killed when nobody wants the result."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, InvalidStateError
from multiprocessing import connection, get_context, util
from multiprocessing.context import SpawnProcess
from typing import Any, Final, TypeVar

from wfe.core import process_worker
from wfe.core.errors import DataTypeError, StepCrashedError, StepFailedError

__all__ = ["ProcessPool"]

T = TypeVar("T")

_SLOW_END: Final = 1.0  # s that an idle worker may take to end by itself
# Two threads that wait for children of one process take each other's exit codes.
_CHILDREN: Final = threading.Lock()
_NUMBERS: Final = itertools.count(1)


class ProcessPool(Executor):
    """Runs functions in processes that are started once and kept.

    Unlike the standard library's, a worker that dies takes only its own call along, and
    cancelling a call that runs kills its worker and all that it started; another takes its place.
    """

    def __init__(self, size: int) -> None:
        """Use at most *size* processes; each starts when it is first needed."""
        self._size = size
        self._turn = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._slots: set[_Slot] = set()
        self._free = 0
        self._closed = False
        # A program that ends without closing its host would wait for the workers' end.
        self._at_exit = util.Finalize(None, self.shutdown, exitpriority=100)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Let a worker call *fn*; cancelling the future kills the worker that does.

        Raises:
            RuntimeError: The pool was shut down.
        """
        job = _Job(functools.partial(fn, *args, **kwargs) if args or kwargs else fn)
        with self._turn:
            if self._closed:
                raise RuntimeError("the pool of worker processes was shut down")
            self._waiting.append(job)
            if self._free < len(self._waiting) and len(self._slots) < self._size:
                slot = _Slot(self)
                self._slots.add(slot)
                self._free += 1
                slot.start()
            self._turn.notify()
        job.future.add_done_callback(job.unwanted)
        return job.future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:
        """Cancel what waits, kill the workers that run something, and let the others end.

        Args:
            wait: Return when all processes are gone.
            cancel_futures: No matter; nothing runs on without its pool.
        """
        del cancel_futures
        with self._turn:
            self._closed = True
            slots = list(self._slots)
            jobs = [*self._waiting, *(slot.job for slot in slots if slot.job is not None)]
            self._waiting.clear()
            self._turn.notify_all()
        for job in jobs:
            job.future.cancel()
        self._at_exit.cancel()
        if wait:
            for slot in slots:
                slot.join()

    def next_job(self, slot: _Slot) -> _Job | None:
        """Return what *slot* is to do next; ``None``: end."""
        with self._turn:
            slot.job = None
            while not self._waiting and not self._closed:
                self._turn.wait()
            if self._closed:
                self._slots.discard(slot)
                return None
            self._free -= 1
            slot.job = self._waiting.popleft()
            return slot.job

    def free(self) -> None:
        """Note that a slot has nothing to do."""
        with self._turn:
            self._free += 1


class _Job:
    """A call, and the process that does it while one does."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.future: Future[Any] = Future()
        self._turn = threading.Lock()
        self._worker: _Worker | None = None

    def unwanted(self, future: Future[Any]) -> None:
        """Kill the worker if the call was cancelled."""
        if future.cancelled():
            with self._turn:
                if self._worker is not None:
                    self._worker.kill()

    def ask(self, worker: _Worker, call: bytes) -> bytes | None:
        """Return what the worker answers; ``None``: nobody wants to know any more.

        Raises:
            EOFError: It died, or was killed.
            OSError: The same.
        """
        with self._turn:
            if self.future.cancelled():
                return None
            self._worker = worker
        try:
            worker.pipe.send_bytes(call)
            return worker.answer()
        finally:
            with self._turn:
                self._worker = None


class _Slot(threading.Thread):
    """A thread that owns one worker process after the other, and talks with it."""

    def __init__(self, pool: ProcessPool) -> None:
        super().__init__(name=f"wfe-process-{next(_NUMBERS)}", daemon=True)
        self.job: _Job | None = None
        self._pool = pool
        self._worker: _Worker | None = None

    def run(self) -> None:
        try:
            while (job := self._pool.next_job(self)) is not None:
                self._do(job)
                self._pool.free()
        finally:
            if self._worker is not None:
                self._worker.end()

    def _do(self, job: _Job) -> None:
        if job.future.cancelled():
            return
        with contextlib.suppress(InvalidStateError):  # cancelled in this moment
            try:
                result = self._result(job)
            except (StopIteration, GeneratorExit) as error:  # no future takes these
                problem = f"the body raised {type(error).__name__}"
                job.future.set_exception(RuntimeError(problem))
            except BaseException as error:  # noqa: BLE001 - a body may raise anything
                job.future.set_exception(error)
            else:
                job.future.set_result(result)

    def _result(self, job: _Job) -> Any:
        name = _name(job.call)
        try:
            call = pickle.dumps(job.call, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            problem = (
                f"it cannot be handed to a worker process ({type(error).__name__}: {error}); a"
                " function with process=True stands at the top of a module, and takes only what"
                " can be pickled: no ctx, no connection, no lambda"
            )
            raise DataTypeError(f"the call of {name}", problem) from error
        if self._worker is None:
            self._worker = _Worker()
        worker = self._worker
        try:
            worker.wait_ready()
            answer = job.ask(worker, call)
        except (EOFError, OSError) as error:
            self._worker = None
            raise _crashed(name, worker) from error
        return None if answer is None else _opened(name, answer)


class _Worker:
    """A worker process, and the host's end of its pipe."""

    def __init__(self) -> None:
        # spawn: a fork would copy locks that other threads hold at that moment
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        self.pipe: connection.Connection[Any, Any] = ours
        self.ready: bool = False
        self._gone: bool = False
        self._process: SpawnProcess = context.Process(
            target=process_worker.main, args=(theirs,), name="wfe-worker"
        )
        try:
            with _CHILDREN:
                self._process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()
        self._death: int = _death_of(self._process)

    def wait_ready(self) -> None:
        """Wait until it has started.

        Raises:
            EOFError: It ended instead.
        """
        if not self.ready:
            self.answer()
            self.ready = True

    def answer(self) -> bytes:
        """Return what it sends next.

        Raises:
            EOFError: It ended instead.
        """
        # A child that its body has forked holds the pipe open beyond its end.
        if self.pipe in connection.wait([self.pipe, self._death]):
            return self.pipe.recv_bytes()
        raise EOFError

    def kill(self) -> None:
        """Kill it and all that it started; from any thread, and more than once."""
        with _CHILDREN:
            if not self._gone:  # its number may be another's by now
                self._kill_group()
                self._process.kill()

    def buried(self) -> int | None:
        """Return its exit code when it is gone; negative: the signal that ended it."""
        self.pipe.close()
        connection.wait([self._death])
        with _CHILDREN:
            if not self._gone:
                self._kill_group()  # what its body left behind
                self._process.join()
                self._gone = True
                if self._death != self._process.sentinel:
                    os.close(self._death)
            return self._process.exitcode

    def _kill_group(self) -> None:
        pid = self._process.pid
        if self.ready and pid is not None and hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def end(self) -> None:
        """Let it end, as it does when its pipe closes, and kill it if it does not."""
        self.pipe.close()
        if not connection.wait([self._death], _SLOW_END):
            self.kill()
        self.buried()


def _death_of(process: SpawnProcess) -> int:
    """Return what can be waited for until *process* ends, whoever else it has started."""
    if hasattr(os, "pidfd_open") and process.pid is not None:
        with contextlib.suppress(OSError):  # an old kernel
            return os.pidfd_open(process.pid)
    return process.sentinel


def _crashed(name: str, worker: _Worker) -> StepCrashedError:
    worker.kill()  # a pipe can break while its process lives
    code = worker.buried()
    if not worker.ready:
        text = (
            f"the worker process for {name} did not start (exit code {code}): what it printed says"
            " why; a script that is run directly starts its work under"
            ' `if __name__ == "__main__":`'
        )
    elif code is not None and code < 0:
        text = f"the worker process that ran {name} was ended by {_signal(-code)}"
    else:
        text = f"the worker process that ran {name} ended with exit code {code}"
    return StepCrashedError(None, StepCrashedError.__name__, text)


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name} (the machine may have run out of memory)" if name == "SIGKILL" else name


def _opened(name: str, answer: bytes) -> Any:
    """Return the result in *answer*, or raise the error in it."""
    try:
        kind, value = pickle.loads(answer)  # noqa: S301 - of our own process
    except Exception as error:
        problem = f"it cannot be taken from a worker process ({type(error).__name__}: {error})"
        raise DataTypeError(f"the result of {name}", problem) from error
    if kind == process_worker.DONE:
        return value
    if kind == process_worker.RAISED:
        raise value
    if kind == process_worker.LOST:
        error_type, text, told = value
        lost = StepFailedError(None, error_type, text)
        lost.add_note(f"in a worker process:\n{told.rstrip()}")
        raise lost
    if kind == process_worker.BAD_CALL:
        problem = (
            f"a worker process cannot load it ({value}); a function with process=True, and the"
            " types of its arguments, are importable by their module's name"
        )
        raise DataTypeError(f"the call of {name}", problem)
    problem = f"it cannot be handed over by a worker process ({value}): it cannot be pickled"
    raise DataTypeError(f"the result of {name}", problem)


def _name(call: Callable[..., Any]) -> str:
    """Return the name of the function that *call* is of."""
    while isinstance(call, functools.partial):
        call = call.func
    module, name = getattr(call, "__module__", None), getattr(call, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(call)
