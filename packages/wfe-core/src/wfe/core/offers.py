"""What installed distributions offer: their entry points, read without ``importlib.metadata``.

That module reads e-mail, archives and tables before it finds anything, which takes a program that
starts a quarter as long as all of WFE.  Where distributions are folders on ``sys.path``, as nearly
everywhere, their small files are read here; elsewhere (archives, finders of other kinds) it is
asked after all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

__all__ = ["Offer", "offers"]

_KINDS: Final = (".dist-info", ".egg-info")
_LISTED: Final = "entry_points.txt"
_ABOUT: Final = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}


class Offer(NamedTuple):
    """One entry point.

    Attributes:
        value: ``module:object``.
        distribution: Who offers it.
        version: Of the distribution.
    """

    group: str
    name: str
    value: str
    distribution: str
    version: str

    def load(self) -> Any:
        """Import and return the object."""
        module, _, path = self.value.partition("[")[0].partition(":")
        found: Any = import_module(module.strip())
        for each in path.strip().split(".") if path.strip() else ():
            found = getattr(found, each)
        return found


def offers(prefix: str) -> Sequence[Offer]:
    """Return all entry points of groups that begin with *prefix*, in the order of ``sys.path``.

    Of a distribution that stands on it several times, the first counts.
    """
    folders = _folders()
    found = _asked() if folders is None else _read(folders, prefix)
    return [each for each in found if each.group.startswith(prefix)]


def _folders() -> list[str] | None:
    """Return the folders of ``sys.path``; ``None``: there are distributions elsewhere, too."""
    for finder in sys.meta_path:
        if hasattr(finder, "find_distributions") and finder is not PathFinder:
            return None
    folders: list[str] = []
    for entry in sys.path:
        if os.path.isfile(entry):  # noqa: PTH113 - pathlib takes longer than all of this
            return None
        if not entry.lower().rstrip("/\\").endswith(".egg"):
            folders.append(entry or ".")
        elif os.path.isdir(entry):  # noqa: PTH112 - as above
            return None
    return folders


def _read(folders: Sequence[str], prefix: str) -> Iterator[Offer]:
    seen: set[str] = set()
    for folder in folders:
        try:
            names = os.listdir(folder)  # noqa: PTH208 - as above
        except OSError:
            continue
        for name in names:
            stem, dot, kind = name.lower().rpartition(".")
            if dot + kind not in _KINDS:
                continue
            known = stem.partition("-")[0].replace(".", "_")
            if known not in seen:
                seen.add(known)
                yield from _offered(os.path.join(folder, name), prefix)  # noqa: PTH118 - as above


def _offered(folder: str, prefix: str) -> list[Offer]:
    """Return what the distribution described in *folder* offers."""
    text = _text(folder, _LISTED)
    if f"[{prefix}" not in text:
        return []
    name, version = _called(folder)
    found: list[Offer] = []
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.append(Offer(group, key.strip(), value.strip(), name, version))
    return found


def _called(folder: str) -> tuple[str, str]:
    """Return name and version of a distribution; the blank line ends what says so."""
    about = _text(folder, _ABOUT[os.path.splitext(folder)[1].lower()])  # noqa: PTH122 - as above
    head = about.replace("\r\n", "\n").partition("\n\n")[0]
    said: dict[str, str] = {}
    for line in head.splitlines():
        key, _, value = line.partition(": ")
        said[key] = value
    return said.get("Name", "unknown"), said.get("Version", "")


def _text(folder: str, name: str) -> str:
    try:
        with open(f"{folder}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - as above
            return file.read().decode()
    except OSError:
        return ""


def _asked() -> list[Offer]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - see above

    # In 3.11 what is returned has the methods of this class, and is of another one.
    everything = cast("EntryPoints", entry_points())
    found: list[Offer] = []
    for group in everything.groups:
        for each in everything.select(group=group):
            dist = each.dist
            name, version = ("unknown", "") if dist is None else (dist.name, dist.version)
            found.append(Offer(group, each.name, each.value, name, version))
    return found
