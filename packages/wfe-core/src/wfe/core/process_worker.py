"""What runs in a worker process: calls that come through a pipe, one after the other."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection, parent_process
from typing import Any, Final

__all__ = ["BAD_CALL", "BAD_RESULT", "DONE", "LOST", "RAISED", "READY", "main"]

DONE: Final = "done"
RAISED: Final = "raised"
LOST: Final = "lost"
"""It raised something that cannot be handed over: its class name and its text go instead."""
BAD_CALL: Final = "bad call"
BAD_RESULT: Final = "bad result"
READY: Final = b"ready"
"""Comes first: from now on it takes calls."""

_ORPHANED: Final = 70  # exit code; nobody reads it


def main(pipe: connection.Connection) -> None:
    """Do what comes through *pipe* until its other end is closed."""
    _live_and_die_with_the_host()
    try:
        pipe.send_bytes(READY)
        while True:
            pipe.send_bytes(_answer(pipe.recv_bytes()))
    except (EOFError, OSError):  # the host has closed the pool
        return


def _live_and_die_with_the_host() -> None:
    """Leave it to the host when to end, and end when it is gone, whatever a body does then."""
    if hasattr(os, "setsid"):
        os.setsid()  # what a body starts is ended with it
    # Ctrl-C and a service manager's signal to all are for the host, which lets bodies end in
    # time. Handlers, since what is ignored would be ignored by programs that a body starts, too.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _not_mine)
    parent = parent_process()
    if parent is None:
        return
    _signal_of_the_end(parent.sentinel)
    watch = functools.partial(_watch, parent.sentinel)
    threading.Thread(target=watch, name="wfe-host-watch", daemon=True).start()


def _not_mine(_number: int, _frame: object) -> None:
    """Do nothing."""


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    if hasattr(os, "killpg"):
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(_ORPHANED)


def _signal_of_the_end(sentinel: int) -> None:
    """Let the kernel end this process group with the host: a body in C may hold the GIL for ever.

    SIGIO ends a process by default; nothing but the host's end ever happens to the sentinel.
    """
    try:
        import fcntl  # noqa: PLC0415 - Unix only

        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, -os.getpgrp())
        flags = fcntl.fcntl(sentinel, fcntl.F_GETFL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)  # type: ignore[attr-defined,unused-ignore]
    except (ImportError, AttributeError, OSError):
        return  # the watching thread does it


def _answer(given: bytes) -> bytes:
    try:
        call: Callable[[], Any] = pickle.loads(given)  # noqa: S301 - of our host
    except BaseException as error:  # noqa: BLE001 - an import may raise anything
        return pickle.dumps((BAD_CALL, _text(error)))
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - a body may raise anything
        return _raised(error)
    try:
        return pickle.dumps((DONE, result), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - a body may return anything
        return pickle.dumps((BAD_RESULT, _text(error)))


def _raised(error: BaseException) -> bytes:
    """Return *error* as it travels; many that can be pickled cannot be made again from it."""
    told = "".join(traceback.format_exception(error))
    error.add_note(f"in a worker process:\n{told.rstrip()}")
    try:
        packed = pickle.dumps((RAISED, error), pickle.HIGHEST_PROTOCOL)
        pickle.loads(packed)  # noqa: S301 - what was packed a moment ago
    except Exception:  # noqa: BLE001 - an error's own methods may raise anything
        text = str(error) or type(error).__name__
        return pickle.dumps((LOST, (type(error).__name__, text, told)))
    return packed


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
