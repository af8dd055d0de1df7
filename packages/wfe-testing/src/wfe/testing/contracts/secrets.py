"""The secrets contract: a value comes back exactly, and only to who names it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar, Final

import pytest

from wfe.core.secrets import SecretNameError, SecretsProvider

__all__ = ["SecretsContract"]

_VALUES: Final[Mapping[str, str]] = {
    "token": "s3cret-Value/1",
    "npm-token": "npm_0123456789",
    "api.key_2": "k=v;x#y",
    "spaces": "  two  blanks  ",
    "quotes": "a'b\"c\\d$e`f%g!",
    "text": "pässwörd ✓ 🔑",
    "lines": "first line\nsecond line",
    "number": "007",
    "long": "x" * 10_000,
    "blank": "",
}
_FOREIGN: Final = ("", ".", "..", "../token", "a/../token", "/etc/hostname", "-token", "a b", "*")
_FOREIGN_BYTES: Final = ("token\0", "token\n", "TOKEN=x", "tök", "x" * 200)


class SecretsContract:
    """Subclass as ``TestMySecrets`` and give the class a ``secrets`` fixture.

    It returns a provider that knows exactly the secrets in :attr:`values`.  A backend that cannot
    keep a value takes its capability away: ``empty`` (the secret ``blank``).
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"empty"})
    values: ClassVar[Mapping[str, str]] = _VALUES

    def known(self) -> Mapping[str, str]:
        """Return what the provider can keep."""
        return {k: v for k, v in self.values.items() if v or "empty" in self.capabilities}

    async def test_a_value_comes_back_exactly(self, secrets: SecretsProvider) -> None:
        found = {name: await secrets.get(name) for name in self.known()}

        assert found == self.known()

    async def test_what_is_not_there_is_none(self, secrets: SecretsProvider) -> None:
        for name in ("other", "tok", "token2", "npm", "s3cret", "values"):
            assert await secrets.get(name) is None

    async def test_asked_again_it_says_the_same(self, secrets: SecretsProvider) -> None:
        for name in ("token", "other", "npm-token", "token"):
            assert await secrets.get(name) == self.values.get(name)

    async def test_many_at_once_are_not_mixed_up(self, secrets: SecretsProvider) -> None:
        names = [*self.known(), "other"] * 3

        found = await asyncio.gather(*(secrets.get(name) for name in names))

        assert found == [self.values.get(name) for name in names]

    async def test_what_cannot_be_a_name_gives_nothing(self, secrets: SecretsProvider) -> None:
        for name in (*_FOREIGN, *_FOREIGN_BYTES):
            with pytest.raises(SecretNameError):
                await secrets.get(name)

    async def test_no_value_is_shown(self, secrets: SecretsProvider) -> None:
        await secrets.get("token")
        told = getattr(secrets, "describe", str)

        shown = f"{secrets!r} {secrets} {told()}"
        assert [name for name, value in self.values.items() if value and value in shown] == []
