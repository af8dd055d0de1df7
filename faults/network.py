"""A network of its own for each host, joined by a bridge, whose links can be cut.

All of it lives in namespaces of the suite's own (:func:`isolated`): the machine's network is never
touched, and when the suite ends, however it ends, nothing of it is left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

__all__ = ["ADDRESS", "Links", "inside", "isolated", "settle_in", "why_not"]

ADDRESS: Final = "10.79.0.1"
"""Of the servers, as hosts see them."""
_INSIDE: Final = "WFE_FAULTS_INSIDE"
_UNSHARE: Final = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def why_not() -> str | None:
    """Return why there can be no namespaces here; ``None``: there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root of a Linux machine can make network namespaces"
    missing = [each for each in ("unshare", "ip") if shutil.which(each) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = _tried(["unshare", *_UNSHARE, "ip", "link", "add", "wfe0", "type", "bridge"])
    return None if tried is None else f"namespaces do not work here: {tried}"


def inside() -> bool:
    """Whether this process is the first one in namespaces of the suite's own."""
    return bool(os.environ.get(_INSIDE))


def settle_in() -> None:
    """Make the new namespaces fit to work in."""
    folder = Path("/run/netns")
    folder.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "tmpfs", str(folder))
    _run("ip", "link", "set", "lo", "up")


def isolated(arguments: Sequence[str]) -> int:
    """Run the suite once more, in namespaces of its own; return its exit code.

    The suite is the first process there, so all that it started ends with it.
    """
    command = ["unshare", *_UNSHARE, sys.executable, "-m", "faults", *arguments]
    return subprocess.run(command, check=False, env={**os.environ, _INSIDE: "1"}).returncode


@attrs.define
class Links:
    """The bridge and the hosts' links to it; none when there are no namespaces."""

    names: tuple[str, ...] = ()
    one_way: bool = False
    """Whether packets of one direction alone can be dropped."""

    @staticmethod
    def make(names: Sequence[str]) -> Links:
        """Make the bridge, and a namespace for each name."""
        _run("ip", "link", "add", "wfe0", "type", "bridge")
        _run("ip", "addr", "add", f"{ADDRESS}/24", "dev", "wfe0")
        _run("ip", "link", "set", "wfe0", "up")
        for number, name in enumerate(names):
            _run("ip", "netns", "add", name)
            peer = ["type", "veth", "peer", "name", "wire", "netns", name]
            _run("ip", "link", "add", f"to-{name}", *peer)
            _run("ip", "link", "set", f"to-{name}", "master", "wfe0", "up")
            _inside(name, "ip", "addr", "add", f"10.79.0.{number + 10}/24", "dev", "wire")
            for device in ("lo", "wire"):
                _inside(name, "ip", "link", "set", device, "up")
        rules = shutil.which("iptables") is not None
        works = rules and _tried([*_in(names[0]), "iptables", "-S"]) is None
        return Links(tuple(names), works)

    def command(self, name: str) -> list[str]:
        """Return what to put before the command of a host."""
        return _in(name) if name in self.names else []

    def cut(self, name: str) -> None:
        """Let nothing through, either way."""
        _inside(name, "ip", "link", "set", "wire", "down")

    def drop(self, name: str, chain: str) -> None:
        """Let nothing through in one direction: ``INPUT`` or ``OUTPUT`` of the host."""
        _inside(name, "iptables", "-A", chain, "-i" if chain == "INPUT" else "-o", "wire",
                "-j", "DROP")  # fmt: skip

    def drop_port(self, name: str, port: int) -> None:
        """Let nothing through to one port of the servers."""
        _inside(name, "iptables", "-A", "OUTPUT", "-p", "tcp", "--dport", str(port), "-j", "DROP")

    def heal(self, name: str) -> None:
        """Let everything through again."""
        if name in self.names:
            _inside(name, "ip", "link", "set", "wire", "up")
            if self.one_way:
                _inside(name, "iptables", "-F")


def _in(name: str) -> list[str]:
    return ["ip", "netns", "exec", name]


def _inside(name: str, *command: str) -> None:
    _run(*_in(name), *command)


def _run(*command: str) -> None:
    if (problem := _tried(command)) is not None:
        raise RuntimeError(f"{' '.join(command)}: {problem}")


def _tried(command: Sequence[str]) -> str | None:
    """Run a command; return what it said if it failed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"
