"""What the repository's distributions are, read from their pyproject files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

__all__ = ["ROOT", "Distribution", "distributions", "group", "requirement_name", "third_party"]

ROOT = Path(__file__).resolve().parent.parent
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@attrs.frozen(kw_only=True)
class Distribution:
    """One folder of ``packages/``."""

    folder: Path
    project: dict[str, Any]  # the [project] table

    @property
    def name(self) -> str:
        return str(self.project["name"])

    @property
    def version(self) -> str:
        return str(self.project["version"])

    @property
    def src(self) -> Path:
        return self.folder / "src"

    @property
    def part(self) -> str:
        """The import name that this distribution owns, such as ``wfe.core``."""
        (typed,) = (self.src / "wfe").glob("*/py.typed")
        return f"wfe.{typed.parent.name}"

    @property
    def extras(self) -> dict[str, list[str]]:
        table: dict[str, list[str]] = self.project.get("optional-dependencies", {})
        return table

    def requirements(self, *, extras: bool = False) -> Iterator[str]:
        yield from self.project["dependencies"]
        if extras:
            for wanted in self.extras.values():
                yield from wanted

    def siblings(self) -> Iterator[str]:
        """Names of the first-party distributions that this one cannot be without."""
        for requirement in self.requirements():
            if _first_party(requirement):
                yield requirement_name(requirement)


def requirement_name(requirement: str) -> str:
    """Return the distribution's name out of ``name[extra]>=1``."""
    found = _NAME.match(requirement)
    if found is None:
        raise ValueError(f"not a requirement: {requirement!r}")
    return found.group()


def distributions(root: Path = ROOT) -> tuple[Distribution, ...]:
    """Return every folder of ``packages/`` that has a pyproject file, by name."""
    return tuple(
        Distribution(folder=file.parent, project=tomllib.loads(file.read_text())["project"])
        for file in sorted(root.glob("packages/*/pyproject.toml"))
    )


def group(name: str, root: Path = ROOT) -> tuple[str, ...]:
    """Return a dependency group's requirements, included groups flattened, sorted."""
    groups = tomllib.loads((root / "pyproject.toml").read_text())["dependency-groups"]

    def flat(wanted: str) -> Iterator[str]:
        for entry in groups[wanted]:
            if isinstance(entry, str):
                yield entry
            else:
                yield from flat(entry["include-group"])

    return tuple(sorted(set(flat(name))))


def third_party(root: Path = ROOT) -> tuple[str, ...]:
    """Return what all distributions, all extras and the ``dev`` group need from others."""
    wanted = set(group("dev", root))
    for distribution in distributions(root):
        wanted.update(distribution.requirements(extras=True))
    return tuple(sorted(each for each in wanted if not _first_party(each)))


def _first_party(requirement: str) -> bool:
    name = requirement_name(requirement)
    return name == "wfe" or name.startswith("wfe-")
