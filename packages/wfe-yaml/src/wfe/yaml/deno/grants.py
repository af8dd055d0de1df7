"""Turn permissions into Deno's flags, over real paths."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from wfe.core.lean import frozen
from wfe.yaml.deno.errors import DenoGrantError
from wfe.yaml.deno.permissions import (
    METADATA_ADDRESSES,
    Permissions,
    is_steering,
    listed,
    permission_problems,
)

__all__ = ["Grants", "environment", "grants_of"]

_STATE: Final = ".wfe"  # in the workspace: runs, their data and caches
_FEW: Final = 3  # links that a message names


@frozen(kw_only=True)
class Grants:
    """What a process may do.

    Attributes:
        net: Hosts.
        read: Real paths of files and directories.
        write: Real paths of files and directories.
        env: Names of variables.
        run: Real paths of programs.
        hidden: Paths that are never granted, also inside of others.
    """

    net: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    def flags(self) -> Iterator[str]:
        """Yield the flags."""
        yield from _flag("--allow-net", self.net)
        if self.net:
            # Denied by address, so that no name that leads there helps.
            yield from _flag("--deny-net", METADATA_ADDRESSES)
        yield from _flag("--allow-read", self.read)
        yield from _flag("--allow-write", self.write)
        if self.hidden:
            yield from _flag("--deny-read", self.hidden)
            yield from _flag("--deny-write", self.hidden)
        yield from _flag("--allow-env", self.env)
        yield from _flag("--allow-run", self.run)


def _flag(name: str, values: Sequence[str]) -> Iterator[str]:
    for value in values:
        # A comma separates values, and there is no way to write one in a value.
        if "," in value:
            permission = name.rpartition("-")[2]
            raise DenoGrantError(permission, f"Deno takes no comma in {value!r}; rename it")
    if values:
        yield f"{name}={','.join(values)}"


def grants_of(
    permissions: Permissions,
    workspace: Path,
    *,
    variables: Iterable[str] = (),
    search: str | None = None,
    allow_symlinks: bool = False,
) -> Grants:
    """Return what *permissions* grant; may look through whole directories.

    Args:
        permissions: As they are written.
        workspace: What relative paths are relative to, and stay in.
        variables: Further environment variables that may be read.
        search: Directories of programs, as in PATH.
        allow_symlinks: Whether links may lead out of what is granted.

    Raises:
        DenoGrantError: Something is granted that cannot be, or a link leads out of it.
    """
    for message, hint in permission_problems(permissions):
        raise DenoGrantError("permissions", f"{message}; {hint}")
    root = workspace.resolve()
    read = tuple(_real(item, "read", root) for item in listed(permissions.read))
    write = tuple(_real(item, "write", root) for item in listed(permissions.write))
    if not allow_symlinks:
        _refuse_links("read", read)
        _refuse_links("write", write)
    return Grants(
        net=listed(permissions.net),
        read=_named(read, listed(permissions.read), workspace),
        write=_named(write, listed(permissions.write), workspace),
        env=tuple(dict.fromkeys([*listed(permissions.env), *variables])),
        run=tuple(_program(item, root, search) for item in listed(permissions.run)),
        hidden=(str(root / _STATE),) if read or write else (),
    )


def _real(item: str, permission: str, root: Path) -> Path:
    real = (root / item).resolve()
    if not Path(item).is_absolute() and not real.is_relative_to(root):
        raise DenoGrantError(permission, f"{item!r} is a link that leads out of the workspace")
    return real


def _named(real: Sequence[Path], items: Sequence[str], workspace: Path) -> tuple[str, ...]:
    """Return the real paths, and the names they go by when links inside the workspace lead there.

    Deno compares names before it follows links.
    """
    bases = (workspace.resolve(), workspace)
    names = [os.path.abspath(base / item) for item in items for base in bases]  # noqa: PTH100
    return tuple(dict.fromkeys([*map(str, real), *names]))


def _program(item: str, root: Path, search: str | None) -> str:
    path = str((root / item).resolve()) if "/" in item else shutil.which(item, path=search)
    if path is None or not os.access(path, os.X_OK):
        raise DenoGrantError("run", f"there is no program {item!r} (looked in PATH)")
    return path


def _refuse_links(permission: str, granted: Sequence[Path]) -> None:
    leading = list(_leading_out(granted))
    if not leading:
        return
    shown = ", ".join(f"{link} -> {target}" for link, target in leading[:_FEW])
    more = f" and {len(leading) - _FEW} more" if len(leading) > _FEW else ""
    raise DenoGrantError(
        permission,
        f"links lead out of it: {shown}{more}; remove them, grant less,"
        " or set `allow_symlinks: true` to let the script follow them",
    )


def _leading_out(granted: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield the links below *granted* whose targets are in none of it."""
    roots = [str(path) for path in granted]
    pending = list(roots)
    while pending:
        for entry in _entries(pending.pop()):
            if entry.is_symlink():
                target = os.path.realpath(entry.path)
                if not _inside(target, roots):
                    yield entry.path, target
            elif entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)


def _entries(directory: str) -> list[os.DirEntry[str]]:
    # What is no directory, or cannot be read, is nothing that a script could follow links in.
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _inside(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(f"{root.rstrip('/')}/") for root in roots)


def environment(
    permissions: Permissions, declared: Mapping[str, str], host: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that the script may read, and with programs to run what they need.

    Args:
        permissions: Of the script.
        declared: The step's own; those that would steer Deno are left out.
        host: The host's.
    """
    needed = ("PATH", "HOME", "LANG", "TMPDIR") if listed(permissions.run) else ()
    names = (*needed, *listed(permissions.env))
    inherited = {name: host[name] for name in names if name in host}
    own = {name: value for name, value in declared.items() if not is_steering(name)}
    return {**inherited, **own}
