"""What a script may do, as it is written in a file, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, TypeAlias

from wfe.core.lean import frozen
from wfe.core.secret_names import PREFIX

__all__ = [
    "METADATA_ADDRESSES",
    "Permissions",
    "is_steering",
    "listed",
    "module_problem",
    "permission_problems",
]

Grant: TypeAlias = Sequence[str] | bool
"""A list of names; true and false are there so that what is wrong with them can be said."""

METADATA_ADDRESSES: Final = (
    "169.254.0.0/16",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "168.63.129.16",
    "metadata.google.internal",
)
"""Where clouds hand out credentials to whoever asks: never granted, also not by another name."""

_HOST: Final = re.compile(
    r"(?P<name>(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
)
_SPECIFIER: Final = re.compile(r"(https?://|npm:|jsr:)[^\s,\"'\\]+")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STEERING: Final = re.compile(r"(LD|DYLD|DENO|BASH)_.*|BASH_ENV|ENV|NODE_OPTIONS|IFS|SHELLOPTS")
_LISTS: Final[Mapping[str, tuple[str, str]]] = {
    "net": ("the hosts", '["api.example.com", "localhost:8080"]'),
    "read": ("the files and directories", '["reports"]; "." is the workspace'),
    "write": ("the files and directories", '["reports"]; "." is the workspace'),
    "env": ("the names of the variables", '["CI"]'),
    "run": ("the programs", '["git"]'),
}


@frozen(kw_only=True)
class Permissions:
    """What a script may do; nothing that is not granted here.

    Attributes:
        net: Hosts, with or without a port (``api.example.com``, ``[::1]:8080``, ``*.example.com``).
        read: Files and directories, relative to the workspace.
        write: As *read*.
        env: Variables of the host; what the step's ``env`` sets can always be read.
        run: Programs.  They are not sandboxed.
        ffi: Never granted.
        dynamic_import: Whether code may be fetched at run time, from the hosts of *net*.
    """

    net: Grant = ()
    read: Grant = ()
    write: Grant = ()
    env: Grant = ()
    run: Grant = ()
    ffi: bool = False
    dynamic_import: bool = False

    @classmethod
    def of(cls, given: Permissions | Mapping[str, Any] | None) -> Permissions:
        """Return *given*, or the permissions that a mapping has (``None``: none)."""
        if isinstance(given, Permissions):
            return given
        return cls(**({} if given is None else given))


def listed(grant: Grant) -> tuple[str, ...]:
    """Return what a permission lists."""
    return () if isinstance(grant, bool) else tuple(grant)


def is_steering(variable: str) -> bool:
    """Whether an environment variable changes how Deno runs, or is one of the host's secrets."""
    return _STEERING.fullmatch(variable) is not None or variable.startswith(PREFIX)


def permission_problems(permissions: Permissions) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, and what to do about it."""
    for name, (noun, example) in _LISTS.items():
        grant = getattr(permissions, name)
        if grant is True:
            message = f"`{name}: true` would grant everything"
            yield message, f"list {noun}: `{name}: {example}`"
        for item in listed(grant):
            found = _CHECKS[name](item)
            if found is not None:
                yield f"`{item[:80]}` in `{name}` {found[0]}", found[1]
    if permissions.ffi:
        yield (
            "`ffi` is never granted: native code is not held by the sandbox",
            "use a `shell` or `python` step",
        )
    if permissions.dynamic_import and not listed(permissions.net):
        yield (
            "`dynamic_import` has no hosts to import from",
            'list them: `net: ["esm.sh"]`, or name the modules in `modules`',
        )


def module_problem(specifier: str) -> tuple[str, str] | None:
    """Return what is wrong with a name in ``modules``, and what to do about it."""
    if _SPECIFIER.fullmatch(specifier):
        return None
    hint = (
        "write `https://...`, `npm:name@version` or `jsr:@scope/name@version`"
        "; files of the workspace are imported under the permission `read`"
    )
    return f"`{specifier[:80]}` is not a module of the network", hint


def _host(item: str) -> tuple[str, str] | None:
    if "://" in item or "/" in item:
        bare = item.partition("://")[2] or item
        return "is not a host", f"write `{bare.partition('/')[0]}`"
    found = _HOST.fullmatch(item)
    if found is None or int(found["port"] or 1) not in range(1, 65_536):
        return "is not a host", "write `name`, `name:port` or `[address]:port`"
    if found["name"].startswith("169.254.") or found["name"].lower() in METADATA_ADDRESSES:
        return (
            "is an address where a cloud hands out credentials",
            "pass what is needed in `secrets` or `inputs`",
        )
    return None


def _path(item: str) -> tuple[str, str] | None:
    if not item or "\0" in item:
        return "is not a path", 'write a path relative to the workspace; "." is all of it'
    depth = 0
    for part in PurePosixPath(item).parts:
        depth += -1 if part == ".." else 0 if part == "/" else 1
        if depth < 0:
            return "leaves the workspace", "write the absolute path, if that is what you want"
    return None


def _variable(item: str) -> tuple[str, str] | None:
    if not _VARIABLE.fullmatch(item):
        return "is not the name of a variable", "list names, without `$` and `=`"
    if is_steering(item):
        return "is not for scripts", "set a variable of another name in `env` or `secrets`"
    return None


def _program(item: str) -> tuple[str, str] | None:
    if not item or any(char in item for char in "\0\n \t"):
        hint = "list names or paths; the script gives the arguments"
        return "is not a program", hint
    return _path(item) if "/" in item else None


_CHECKS: Final = {
    "net": _host,
    "read": _path,
    "write": _path,
    "env": _variable,
    "run": _program,
}
