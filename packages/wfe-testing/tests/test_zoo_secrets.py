"""The laws of secrets catch providers that are broken in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import attrs
import pytest

from wfe.core.errors import ProviderError
from wfe.core.secrets import MappingSecrets, SecretsProvider, check_secret_name
from wfe.testing.contracts import SecretsContract

VALUES = SecretsContract.values
FAILURES = (AssertionError, LookupError, ProviderError, pytest.fail.Exception)


@attrs.define
class Memory:
    values: Mapping[str, str] = attrs.field(default=VALUES, repr=False)

    async def get(self, name: str) -> str | None:
        return self.values.get(check_secret_name(name))


class Strips(Memory):
    async def get(self, name: str) -> str | None:
        found = await super().get(name)
        return None if found is None else found.strip()


class OneLine(Memory):
    async def get(self, name: str) -> str | None:
        found = await super().get(name)
        return found and found.splitlines()[0]


class AsciiOnly(Memory):
    async def get(self, name: str) -> str | None:
        found = await super().get(name)
        return None if found is None else found.encode("ascii", "replace").decode()


class EmptyIsMissing(Memory):
    async def get(self, name: str) -> str | None:
        return await super().get(name) or None


class Numbers(Memory):
    async def get(self, name: str) -> str | None:
        found = await super().get(name)
        return str(int(found)) if found and found.isdigit() else found


class ByPrefix(Memory):
    async def get(self, name: str) -> str | None:
        check_secret_name(name)
        return next((value for key, value in self.values.items() if key.startswith(name)), None)


class Raises(Memory):
    async def get(self, name: str) -> str | None:
        return self.values[check_secret_name(name)]


class Default(Memory):
    async def get(self, name: str) -> str | None:
        return self.values.get(check_secret_name(name), "")


@attrs.define
class Once(Memory):
    left: dict[str, str] = attrs.field(factory=lambda: dict(VALUES))

    async def get(self, name: str) -> str | None:
        return self.left.pop(check_secret_name(name), None)


@attrs.define(repr=False)
class OneConnection(Memory):
    asked: str = ""

    async def get(self, name: str) -> str | None:
        self.asked = check_secret_name(name)
        await asyncio.sleep(0)
        return self.values.get(self.asked)


class AnyName(Memory):
    async def get(self, name: str) -> str | None:
        return self.values.get(name)


class ReadsPaths(Memory):
    async def get(self, name: str) -> str | None:
        path = Path("/run/none", name)
        return path.read_text() if path.is_file() else await Memory().get(path.name)


class ShowsItself(Memory):
    def __repr__(self) -> str:
        return f"Memory({dict(self.values)})"


class Tells(Memory):
    def describe(self) -> str:
        return f"{len(self.values)} secrets, among them {self.values['token']}"


ZOO = [
    Strips,
    OneLine,
    AsciiOnly,
    EmptyIsMissing,
    Numbers,
    ByPrefix,
    Raises,
    Default,
    Once,
    OneConnection,
    AnyName,
    ReadsPaths,
    ShowsItself,
    Tells,
]
LAWS = [name for name in vars(SecretsContract) if name.startswith("test_")]


async def broken_laws(make: Callable[[], SecretsProvider]) -> list[str]:
    broken: list[str] = []
    for law in LAWS:
        check: Callable[[SecretsProvider], Awaitable[None]] = getattr(SecretsContract(), law)
        try:
            await check(make())
        except FAILURES:
            broken.append(law)
    return broken


@pytest.mark.parametrize("kind", ZOO, ids=lambda kind: kind.__name__)
async def test_each_animal_is_caught(kind: type[Memory]) -> None:
    assert await broken_laws(kind)


@pytest.mark.parametrize("make", [Memory, lambda: MappingSecrets(VALUES)])
async def test_what_is_right_passes(make: Callable[[], SecretsProvider]) -> None:
    assert await broken_laws(make) == []
