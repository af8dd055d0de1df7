"""How large the distributions may be: each wheel, and all that is installed with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

__all__ = ["BUDGETS", "Budget", "installed_problems", "wheel_problems"]


@attrs.frozen(kw_only=True)
class Budget:
    """What a distribution may be at most.

    Attributes:
        wheel_kb: Its wheel, in kB.
        distributions: It and all that pip installs with it.
        installed_mb: These as files, in MB, without compiled modules.
    """

    wheel_kb: int
    distributions: int
    installed_mb: float


# A sixth more than they were when this was written; raise a figure on purpose, with its reason.
BUDGETS: Final = {
    "wfe": Budget(wheel_kb=215, distributions=21, installed_mb=15),
    "wfe-core": Budget(wheel_kb=560, distributions=5, installed_mb=3),
    "wfe-opensearch": Budget(wheel_kb=24, distributions=25, installed_mb=45),
    "wfe-postgres": Budget(wheel_kb=105, distributions=9, installed_mb=17),
    # Ten of these, with pip and the time zones, come with sqlite-utils.
    "wfe-sqlite": Budget(wheel_kb=80, distributions=15, installed_mb=12.5),
    "wfe-testing": Budget(wheel_kb=210, distributions=29, installed_mb=23),
    # One of these, async_timeout, comes with Pythons before 3.11.3 only.
    "wfe-valkey": Budget(wheel_kb=26, distributions=8, installed_mb=4.5),
    # Most of it is cel-expr-python.
    "wfe-yaml": Budget(wheel_kb=320, distributions=8, installed_mb=64),
}


def wheel_problems(wheel: Path, name: str) -> Iterator[str]:
    """Yield what is wrong with the size of a distribution's wheel."""
    size = wheel.stat().st_size / 1e3
    budget = BUDGETS.get(name)
    if budget is None:
        yield f"{name} has no budget in scripts/footprints.py; its wheel has {size:.0f} kB"
    elif size > budget.wheel_kb:
        yield f"{wheel.name} has {size:.0f} kB, at most {budget.wheel_kb} kB: what came in?"


def installed_problems(packages: Path, name: str) -> Iterator[str]:
    """Yield what is wrong with what an installation of *name* put into *packages*."""
    budget = BUDGETS[name]
    found = sorted(each.name.partition("-")[0] for each in packages.glob("*.dist-info"))
    if len(found) > budget.distributions:
        yield (
            f"{name} comes with {len(found)} distributions, at most {budget.distributions}: "
            + ", ".join(found)
        )
    files = (each for each in packages.rglob("*") if each.suffix != ".pyc" and each.is_file())
    size = sum(each.stat().st_size for each in files) / 1e6
    if size > budget.installed_mb:
        yield f"{name} takes {size:.1f} MB with all it needs, at most {budget.installed_mb:g} MB"
