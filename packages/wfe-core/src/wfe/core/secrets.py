"""Where secrets come from: providers by entry point, and what a run needs of them.

A secret is known by its name.  Its value is asked for before each attempt of a step that names it,
given to that attempt alone, and never stored.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import attrs

from wfe.core.definition import Cel, Expr, Value
from wfe.core.errors import ProviderError, WfeError
from wfe.core.lean import define, frozen
from wfe.core.plugins import load
from wfe.core.secret_names import PREFIX, SecretNameError, check_secret_name, variable_of

if TYPE_CHECKING:
    from wfe.core.definition import WorkflowDefinition

__all__ = [
    "ChainedSecrets",
    "EnvSecrets",
    "MappingSecrets",
    "MissingSecret",
    "MissingSecretError",
    "SecretInDataError",
    "SecretNameError",
    "SecretsGiven",
    "SecretsProvider",
    "check_secret_name",
    "missing_secrets",
    "open_env",
    "open_secrets",
    "variable_of",
]


@runtime_checkable
class SecretsProvider(Protocol):
    """Knows secrets by name.

    It may have ``describe() -> str``, which errors use to say where was looked, and ``aclose()``.
    """

    async def get(self, name: str) -> str | None:
        """Return the value of the secret *name* as of now, ``None``: there is none.

        Called concurrently, once for each attempt of a step that names it.  A value comes back
        exactly as it is kept, empty ones too; names are compared exactly, unless the backend's own
        form of names is documented otherwise.

        Raises:
            ProviderError: The backend failed; no part of a value stands in the error.
        """
        ...


_Given: TypeAlias = "SecretsProvider | str | Mapping[str, str]"
SecretsGiven: TypeAlias = "_Given | Sequence[_Given]"
"""A provider, the URL of one, names with values, or several of these: the first that knows wins."""


@define(eq=False)
class MissingSecretError(WfeError):
    """No provider knows a secret that a step needs.

    Attributes:
        secret: Its name.
        tried: Where was looked.
    """

    errored: ClassVar[bool] = True

    secret: str
    tried: str

    def __str__(self) -> str:
        return (
            f"there is no secret {self.secret!r} (looked in {self.tried}); set"
            f" {variable_of(self.secret)}, or pass a secrets file that has it"
        )


@define(eq=False)
class SecretInDataError(WfeError):
    """A value that would be stored gives a secret away.

    Attributes:
        where: The value, for example ``data.url``.
        secret: The secret's name.
    """

    where: str
    secret: str

    def __str__(self) -> str:
        return (
            f"{self.where} contains the secret {self.secret!r}, and secrets are never stored;"
            " keep it out of outputs and data, and give later steps the secret itself"
        )


@frozen
class EnvSecrets:
    """Secrets in environment variables: ``npm-token`` is in ``WFE_SECRET_NPM_TOKEN``.

    Attributes:
        prefix: Of the variables' names.
        environ: ``None``: the process's own.
    """

    prefix: str = PREFIX
    environ: Mapping[str, str] | None = attrs.field(default=None, repr=False)

    async def get(self, name: str) -> str | None:
        """Return the variable's value; an empty variable is an empty secret."""
        known = os.environ if self.environ is None else self.environ
        return known.get(variable_of(check_secret_name(name), self.prefix))

    def describe(self) -> str:
        """Say where is looked."""
        return f"the environment ({self.prefix}…)"


@frozen
class MappingSecrets:
    """Secrets in memory, for tests and for applications that have them already."""

    values: Mapping[str, str] = attrs.field(repr=False)

    async def get(self, name: str) -> str | None:
        """Return what the mapping has."""
        return self.values.get(check_secret_name(name))

    def describe(self) -> str:
        """Say where is looked."""
        return "the application's own secrets"


@frozen
class ChainedSecrets:
    """Several providers; the first that knows a secret gives it.

    One that fails is not passed over: an outage must not change which value a step gets.
    """

    providers: tuple[SecretsProvider, ...]

    async def get(self, name: str) -> str | None:
        """Ask one after the other."""
        for provider in self.providers:
            value = await provider.get(name)
            if value is not None:
                return value
        return None

    def describe(self) -> str:
        """Say where is looked."""
        return ", ".join(describe(provider) for provider in self.providers) or "no provider"

    async def aclose(self) -> None:
        """Close those that can be closed."""
        for provider in self.providers:
            close = getattr(provider, "aclose", None)
            if close is not None:
                await close()


def describe(provider: SecretsProvider) -> str:
    """Say in a few words where *provider* looks."""
    told = getattr(provider, "describe", None)
    return str(told()) if callable(told) else type(provider).__name__


def open_env(url: str) -> EnvSecrets:
    """Return the provider of ``env:`` or ``env:PREFIX_``.

    Raises:
        ProviderError: The prefix cannot begin the name of a variable.
    """
    prefix = url.removeprefix("env:").removeprefix("//") or PREFIX
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix):
        problem = f"{prefix!r} cannot begin the name of an environment variable; write env:PREFIX_"
        raise ProviderError("secrets", problem, transient=False)
    return EnvSecrets(prefix)


def open_secrets(given: SecretsGiven | None) -> SecretsProvider:
    """Return the provider that *given* stands for; ``None``: the environment.

    Raises:
        PluginNotFoundError: No installed distribution handles a URL's scheme.
        ProviderError: A URL has no scheme, or names nothing usable.
        TypeError: It is none of these.
    """
    if given is None:
        return EnvSecrets()
    if isinstance(given, str):
        return _opened(given)
    if isinstance(given, Mapping):
        return MappingSecrets(given)
    if isinstance(given, SecretsProvider):
        return given
    several: Any = given
    if not isinstance(several, Iterable):
        problem = (
            f"secrets must be a provider, a URL, a mapping or a list of these, got {several!r}"
        )
        raise TypeError(problem)
    return ChainedSecrets(tuple(open_secrets(each) for each in given))


def _opened(url: str) -> SecretsProvider:
    scheme, colon, _ = url.partition(":")
    if not colon:
        problem = f"{url!r} is no URL; write env:, file:PATH or command:PROGRAM {{name}}"
        raise ProviderError("secrets", problem, transient=False)
    made: SecretsProvider = load("wfe.secrets", scheme)(url)
    return made


@frozen(kw_only=True)
class MissingSecret:
    """A secret that steps need and no provider knows.

    Attributes:
        steps: ``definition: step`` of each that needs it.
        variable: The environment variable that would give it.
    """

    name: str
    steps: tuple[str, ...]
    variable: str


async def missing_secrets(
    definitions: Iterable[WorkflowDefinition],
    provider: SecretsProvider,
    inputs: Mapping[str, Any] | None = None,
) -> list[MissingSecret]:
    """Return the secrets that *definitions* need and *provider* does not know, by name.

    Args:
        definitions: Whose steps are looked at.
        provider: Asked for each secret once.
        inputs: Of the run that is about to start: an input may hold the name of a secret.  Names
            that are only known while a run goes on are not looked at.

    Raises:
        ProviderError: A backend failed.
        SecretNameError: An input holds what cannot be the name of a secret.
    """
    users: dict[str, list[str]] = {}
    for definition in definitions:
        for node in definition.walk():
            for expr in node.secrets:
                name = _known_name(expr, inputs or {})
                if name is not None:
                    users.setdefault(name, []).append(f"{definition.id}: {node.name}")
    values = await asyncio.gather(*(provider.get(check_secret_name(name)) for name in users))
    return [
        MissingSecret(name=name, steps=tuple(dict.fromkeys(steps)), variable=variable_of(name))
        for (name, steps), value in zip(users.items(), values, strict=True)
        if value is None
    ]


def _known_name(expr: Expr, inputs: Mapping[str, Any]) -> str | None:
    if isinstance(expr, Value):
        return str(expr.value)
    if isinstance(expr, Cel):
        found = re.fullmatch(r"inputs(?:\.(\w+)|\[(['\"])(.+)\2\])", expr.text.strip())
        value = inputs.get(found[1] or found[3]) if found else None
        return value if isinstance(value, str) else None
    return None
