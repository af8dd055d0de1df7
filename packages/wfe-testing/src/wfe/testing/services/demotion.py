"""Run a server that refuses to be root's, without making an account for it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

from wfe.testing.services.records import Unavailable

__all__ = ["demoted"]

_USER = 65534
"""The user and group "nobody", where namespaces are not allowed."""


def demoted(folder: Path) -> tuple[str, ...]:
    """Return what to put before a command that must not be root's; nothing for other users.

    In a user namespace root is called 1000 and its files stay its own.  Where that is not allowed,
    the command runs as nobody and *folder* becomes nobody's.

    Raises:
        Unavailable: This is root, and the system offers neither.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return ()
    if _namespaces():
        return (*_unshare(), *_dying())
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise Unavailable("root cannot run it, and neither unshare nor setpriv works here")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, _USER, _USER)
    plain = (f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "--pdeathsig=KILL")
    return (setpriv, *plain)


def _unshare() -> tuple[str, ...]:
    return ("unshare", "--user", "--ipc", "--map-user=1000", "--map-group=1000")


def _dying() -> tuple[str, ...]:
    """A new namespace makes the kernel forget whose death a process wants to share."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig=KILL") if setpriv else ()


@functools.cache
def _namespaces() -> bool:
    try:
        done = subprocess.run([*_unshare(), "true"], check=False, capture_output=True)
    except OSError:
        return False
    return done.returncode == 0
