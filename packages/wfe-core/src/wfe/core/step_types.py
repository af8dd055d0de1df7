"""Step types of workflow files: an attrs class with ``run(ctx)`` whose fields are its config."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Final

import attrs

from wfe.core.errors import DefinitionError
from wfe.core.lean import frozen

__all__ = ["COMPUTED", "NOTHING", "Role", "Setting", "StepType", "describe", "setting", "told"]

NOTHING: Final = attrs.NOTHING


class _Computed:
    def __repr__(self) -> str:
        return "COMPUTED"


COMPUTED: Final = _Computed()
"""What ``check_config`` sees instead of a value that is computed when the step runs."""

_KEY: Final = "wfe.setting"


class Role(StrEnum):
    """Where a workflow file gets the value of a field from.

    ``VALUE`` and ``CONSTANT`` and ``CODE`` are keys of ``config``; a constant holds no
    ``${{ }}``, and code is never pasted into: what its language allows is checked.  All others are
    given by the language and are no keys of ``config``, unless it says so for every step:

    ``ENV`` a map of texts, ``HOST_ENV`` names of variables of the host, ``DIRECTORY`` a path below
    the workspace or ``None``, ``INPUTS`` a map of typed values (of the workflow's inputs and the
    step's), ``OUTPUTS`` the declared outputs (name to type), ``WORKSPACE`` a ``Path``, ``COMMANDS``
    whether what the step writes may be read for markers, ``ORIGIN`` where the code stands
    (``file``, ``line``, ``column`` from 1; ``None`` without code).  ``NONE`` is the class's own.
    """

    VALUE = "value"
    CONSTANT = "constant"
    CODE = "code"
    ENV = "env"
    HOST_ENV = "env_from_host"
    DIRECTORY = "working_dir"
    INPUTS = "inputs"
    OUTPUTS = "outputs"
    WORKSPACE = "workspace"
    COMMANDS = "commands"
    ORIGIN = "origin"
    NONE = "none"


@frozen(kw_only=True)
class Setting:
    """A field of a step type.

    Attributes:
        name: The key in ``config``, and the argument of the class.
        field: The name in the class.
        type: The annotation, resolved.
        default: ``NOTHING`` when the key is required.
        choices: The only values, when there are any.
        language: Of code: ``bash``, ``python``, ``javascript``; ``None``: of no code.
        language_key: Of code: the setting that names its language instead.
        description: For documentation and editors.
    """

    name: str
    field: str
    role: Role = Role.VALUE
    type: Any = Any
    default: Any = NOTHING
    choices: tuple[str, ...] = ()
    language: str | None = None
    language_key: str | None = None
    description: str = ""

    @property
    def required(self) -> bool:
        """Whether a file must write it."""
        return self.default is NOTHING

    @property
    def in_config(self) -> bool:
        """Whether it is a key of ``config``."""
        return self.role in {Role.VALUE, Role.CONSTANT, Role.CODE}


@frozen(kw_only=True)
class StepType:
    """A step type: its name, its class and what it takes and gives.

    The class may have more that files are checked with, each a class method that gets the keys of
    ``config`` that are written (:data:`COMPUTED` for those with ``${{ }}``): ``check_config`` and
    ``notices`` give errors and warnings as (key, message, hint or ``None``), ``implied_outputs``
    the names of further outputs.  ``missing()``, without arguments, gives (message, hint) when
    something that the type needs is not installed, else ``None``.  ``default_timeout`` is the
    time-out of an attempt where a file writes none.

    Attributes:
        outputs: Outputs that every step of the type has, name to type (``digest: string``), from
            the class's ``step_outputs``.
        description: First line of the class's docstring.
    """

    name: str
    cls: type
    settings: tuple[Setting, ...]
    outputs: Mapping[str, str]
    description: str

    def of_role(self, role: Role) -> Setting | None:
        """Return the (first) setting of *role*, ``None`` when there is none."""
        return next((each for each in self.settings if each.role is role), None)


def setting(  # noqa: PLR0913 - what can be said of a field
    role: Role = Role.VALUE,
    *,
    default: Any = NOTHING,
    factory: Callable[[], Any] | None = None,
    choices: tuple[str, ...] = (),
    language: str | None = None,
    language_key: str | None = None,
    description: str = "",
    validator: Any = None,
) -> Any:
    """Declare a field of a step type; an ordinary attrs field is one too, of role ``VALUE``.

    Type checkers know the ``alias`` of a field only from :func:`attrs.field`: for a key that
    cannot be the field's name, write ``attrs.field(alias=..., metadata=told(...))``.

    Args:
        role: Where a workflow file gets the value from.
        default: As for :func:`attrs.field`.
        factory: As for :func:`attrs.field`.
        choices: The only values that are allowed.
        language: Of code.
        language_key: Name of the field that says the code's language.
        description: One sentence for documentation and editors.
        validator: As for :func:`attrs.field`.
    """
    metadata = told(
        role,
        choices=choices,
        language=language,
        language_key=language_key,
        description=description,
    )
    if factory is not None:
        default = attrs.Factory(factory)
    return attrs.field(default=default, validator=validator, metadata=metadata)


def told(
    role: Role = Role.VALUE,
    *,
    choices: tuple[str, ...] = (),
    language: str | None = None,
    language_key: str | None = None,
    description: str = "",
) -> dict[str, Any]:
    """Return what :func:`setting` says of a field, as the ``metadata`` of :func:`attrs.field`."""
    said = {
        "role": role,
        "choices": choices,
        "language": language,
        "language_key": language_key,
        "description": description,
    }
    return {_KEY: said}


@cache
def describe(name: str, cls: type) -> StepType:
    """Return what the step type *name* takes and gives.

    Raises:
        DefinitionError: *cls* is no attrs class with a method ``run``.
    """
    if not (inspect.isclass(cls) and attrs.has(cls) and callable(getattr(cls, "run", None))):
        problem = f"the step type {name!r} is {cls!r}, not an attrs class with a method run(ctx)"
        raise DefinitionError(problem, None, "see the guide on writing step types")
    hints = typing.get_type_hints(cls, include_extras=True)
    settings = tuple(_setting(field, hints) for field in attrs.fields(cls) if field.init)
    outputs: Mapping[str, str] = getattr(cls, "step_outputs", {})
    text = inspect.getdoc(cls) or ""
    return StepType(
        name=name,
        cls=cls,
        settings=settings,
        outputs=dict(outputs),
        description=text.partition("\n")[0],
    )


def _setting(field: attrs.Attribute[Any], hints: Mapping[str, Any]) -> Setting:
    said: dict[str, Any] = dict(field.metadata.get(_KEY, {}))
    if field.name.startswith("_"):
        said["role"] = Role.NONE
    return Setting(
        name=field.alias or field.name,
        field=field.name,
        type=hints.get(field.name, Any),
        default=field.default,
        **said,
    )
