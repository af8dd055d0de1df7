"""Find step types: installed names without importing, classes only when a file uses them."""

from __future__ import annotations

from functools import cache
from typing import Final

from wfe.core import plugins
from wfe.core.errors import PluginConflictError, PluginNotFoundError
from wfe.core.lean import frozen
from wfe.core.step_types import StepType, describe
from wfe.yaml.diagnostics import nearest

__all__ = [
    "GROUP",
    "OTHER_PLUGINS",
    "WORKFLOW",
    "Unusable",
    "find_type",
    "installed_types",
    "source_of",
]

GROUP: Final = "wfe.steps"
WORKFLOW: Final = "workflow"
"""The type that the language itself has: it runs another workflow."""

OTHER_PLUGINS: Final = ("container", "containerd", "buildkit", "kubernetes", "k8s")
"""Types that files of WFE use and that distributions of their own bring."""


@frozen(kw_only=True)
class Unusable:
    """A step type that cannot be used, and what to do.

    Attributes:
        known: Whether a distribution offers it, so that only its class is not to be had.
        plugin: Whether the language knows the name, and a plugin is wanting.
    """

    message: str
    hint: str
    known: bool = False
    plugin: bool = False


def installed_types() -> tuple[str, ...]:
    """Return the names of all step types, sorted; imports none of them."""
    return tuple(sorted({*plugins.installed(GROUP), WORKFLOW}))


def source_of(name: str) -> str:
    """Return the distribution that offers the installed type *name*, with its version."""
    return next((row[1] for row in plugins.described(GROUP) if row[0] == name), "unknown")


@cache
def find_type(name: str) -> StepType | Unusable:
    """Return the step type *name*, or why there is none; whatever is wrong with a plugin, no error.

    Args:
        name: As files write it after ``type:``; not ``workflow``, which has no class.
    """
    try:
        return describe(name, plugins.load(GROUP, name))
    except PluginNotFoundError:
        return _missing(name)
    except PluginConflictError as error:
        who = " and ".join(error.distributions)
        message = f"the step type `{name}` is offered by {who}"
        return Unusable(message=message, hint="uninstall one of them", known=True)
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything when it is imported
        return _broken(name, error)


def _missing(name: str) -> Unusable:
    shown = name[:60]
    if name in OTHER_PLUGINS:
        message = f"steps of type `{shown}` need a plugin that is not installed"
        hint = f"install a distribution that offers `{shown}` in the entry points `{GROUP}`"
        return Unusable(message=message, hint=hint, plugin=True)
    near = nearest(name, installed_types())
    known = ", ".join(installed_types())
    hint = f"did you mean `{near}`?" if near else f"types are {known}"
    return Unusable(message=f"there is no step type `{shown}`", hint=hint)


def _broken(name: str, error: Exception) -> Unusable:
    (_, source, target), *_ = (row for row in plugins.described(GROUP) if row[0] == name)
    package = source.partition(" ")[0]
    first = (str(error).splitlines() or [""])[0][:200]
    reason = f"{type(error).__name__}: {first}" if first else type(error).__name__
    message = f"the step type `{name}` of {source} cannot be loaded ({reason})"
    extra = target.partition("[")[2].rstrip("] ") or (name if _has_extra(package, name) else "")
    if isinstance(error, ImportError) and extra:
        hint = f'pip install "{package}[{extra}]"'
    else:
        hint = f"install another version of {package}, or tell who makes it"
    return Unusable(message=message, hint=hint, known=True)


def _has_extra(package: str, extra: str) -> bool:
    from importlib.metadata import (  # noqa: PLC0415 - it takes long, and all plugins work mostly
        PackageNotFoundError,
        distribution,
    )

    try:
        offered = distribution(package).metadata.get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return False
    return extra in offered
