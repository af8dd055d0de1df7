"""Names of secrets, and what every part that deals with secrets must know of them."""

from __future__ import annotations

import re
from typing import Final

from wfe.core.errors import WfeError
from wfe.core.lean import define

__all__ = [
    "MASK",
    "PREFIX",
    "SECRET_NAME",
    "SHORTEST",
    "SecretNameError",
    "check_secret_name",
    "variable_of",
]

MASK: Final = "***"
"""What stands in place of a secret."""

SHORTEST: Final = 4
"""Characters of the shortest secret that is masked; shorter ones would blank the log."""

PREFIX: Final = "WFE_SECRET_"
"""Begins the names of the environment variables that hold secrets."""

SECRET_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@define(eq=False)
class SecretNameError(WfeError):
    """Something cannot be the name of a secret."""

    name: str

    def __str__(self) -> str:
        return (
            f"{self.name[:80]!r} cannot be the name of a secret: use letters, digits, `_`, `-` and"
            " `.`, at most 128, not beginning with `-` or `.`"
        )


def check_secret_name(name: object) -> str:
    """Return *name* if it can be the name of a secret.

    Raises:
        SecretNameError: It cannot.
    """
    if not isinstance(name, str) or not SECRET_NAME.fullmatch(name):
        raise SecretNameError(str(name))
    return name


def variable_of(name: str, prefix: str = PREFIX) -> str:
    """Return the environment variable that holds the secret *name*: ``WFE_SECRET_NPM_TOKEN``."""
    return prefix + re.sub(r"[^A-Z0-9]", "_", name.upper())
