"""Gives attempts their secrets, and keeps these out of everything that is stored or told."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakValueDictionary

import attrs

from wfe.core.errors import ProviderError
from wfe.core.lean import frozen
from wfe.core.rules.inputs import Failed, Input, Received, StartsChild, Writes
from wfe.core.secret_names import SHORTEST, check_secret_name
from wfe.core.secrets import (
    MissingSecretError,
    SecretInDataError,
    SecretsProvider,
    describe,
)

if TYPE_CHECKING:
    from wfe.core.masking import Masker
    from wfe.core.providers import Item
    from wfe.core.steps import StepExecutionContext

__all__ = ["Vault", "guarded", "log_exception", "refuse_secrets"]

_LOG: Final = logging.getLogger("wfe.engine")
_KEPT: Final = 1000  # secrets of one run that are masked; those of long loops fall out at the end
_NOBODYS: Final = frozenset({"pointer", "attempt", "started", "spread", "until", "as_of", "blocks"})


@frozen
class Vault:
    """Asks the host's provider; what it gives lives as long as one attempt."""

    provider: SecretsProvider

    async def open(self, ctx: StepExecutionContext[Any], names: Sequence[object]) -> None:
        """Give *ctx* the secrets called *names*, and have the run mask them from now on.

        Raises:
            MissingSecretError: There is none of a name.
            ProviderError: The provider failed.
            SecretNameError: A name cannot be one.
        """
        wanted = list(dict.fromkeys(check_secret_name(name) for name in names if name is not None))
        values = await asyncio.gather(*(self._value(name) for name in wanted))
        found: dict[str, str] = {}
        for name, value in zip(wanted, values, strict=True):
            if value is None:
                raise MissingSecretError(name, describe(self.provider))
            found[name] = value
        ctx.give_secrets(MappingProxyType(found))
        for name in (name for name, value in found.items() if len(value) < SHORTEST):
            ctx.log.warning("the secret %r has fewer than 4 characters: it is not masked", name)

    async def close(self) -> None:
        """Let the provider go, if it can be closed; what it raises is logged."""
        close = getattr(self.provider, "aclose", None)
        try:
            if close is not None:
                await close()
        except Exception:  # noqa: BLE001 - a guest must not keep the host from stopping
            _LOG.warning("%s could not be closed", describe(self.provider))

    async def _value(self, name: str) -> str | None:
        try:
            value: Any = await self.provider.get(name)  # a guest's may give anything
        except ProviderError:
            raise
        except Exception as error:  # noqa: BLE001 - the one translation point for guests' errors
            kind = type(error).__name__  # not its text, which may hold half a secret
            problem = f"{describe(self.provider)} failed on {name!r} with {kind}"
            raise ProviderError("secrets", problem) from None
        if value is not None and not isinstance(value, str):
            kind = type(value).__name__
            problem = f"{describe(self.provider)} gave {kind} for {name!r}, not a text"
            raise ProviderError("secrets", problem, transient=False)
        return value


# Those in use: runs that were given the same secrets share one.
_maskers: Final[WeakValueDictionary[tuple[tuple[str, str], ...], Masker]] = WeakValueDictionary()


def masking_more(known: Masker | None, secrets: Iterable[tuple[str, str]]) -> Masker | None:
    """Return a masker of what *known* masks and of *secrets*, ``None`` when there is nothing."""
    from wfe.core.masking import Masker  # noqa: PLC0415 - most hosts have no secrets

    before = () if known is None else known.secrets
    wanted = tuple(dict.fromkeys((*before, *secrets)))[-_KEPT:]
    if wanted == before:
        return known
    found = _maskers.get(wanted)
    if found is None:
        found = _maskers[wanted] = Masker(wanted)
    return found


def guarded(each: Input, masks: Masker) -> Input:
    """Return an outcome as it may be stored: errors masked, values with secrets refused."""
    if isinstance(each, Failed):
        labels = tuple(masks.mask(label) for label in each.labels)
        message, kind = masks.mask(each.message), masks.mask(each.type)
        return attrs.evolve(each, message=message, type=kind, labels=labels)
    if isinstance(each, Received) or not hasattr(each, "attempt"):
        return each
    found = next(_found(each, masks), None)
    if found is None:
        return each
    error = SecretInDataError(*found)
    given: Any = each
    return Failed(
        pointer=given.pointer,
        attempt=given.attempt,
        type=type(error).__name__,
        message=str(error),
        retryable=False,
        started=getattr(given, "started", 0),
    )


def refuse_secrets(masks: Masker | None, what: str, value: object) -> None:
    """Refuse plain JSON that gives a secret away.

    Raises:
        SecretInDataError: It does; the error names the place and the secret.
    """
    found = None if masks is None else masks.found_in(value, what)
    if found is not None:
        raise SecretInDataError(*found)


def log_exception(log: logging.Logger, masks: Masker | None, message: str, *args: object) -> None:
    """Log the exception that is being handled, with its traceback, without secrets."""
    if masks is None:
        log.exception(message, *args)  # noqa: LOG004 - it is called in one
        return
    text = masks.mask(f"{message % args}\n{traceback.format_exc()}".rstrip())
    log.error("%s", text)


def _found(each: Input, masks: Masker) -> Iterator[tuple[str, str]]:
    """Yield where an outcome gives a secret away, and its name."""
    if isinstance(each, StartsChild):
        yield from _found_in_start(each.start, masks)
        return
    for field in attrs.fields(cast("type[attrs.AttrsInstance]", type(each))):
        value: object = getattr(each, field.name)
        if field.name in _NOBODYS:
            continue
        if isinstance(value, Writes):
            for part in (value.fields, value.reduced):
                yield from _one(masks.found_in(part, "data"))
        else:
            shown = _SHOWN.get(field.name, field.name)
            yield from _one(masks.found_in(value, shown))


_SHOWN: Final[Mapping[str, str]] = {
    "key": "the event's key",
    "memory": "persistence_data",
    "name": "the name",
    "places": "the key of a limit",
    "prompt": "the prompt",
}


def _found_in_start(start: Item, masks: Masker) -> Iterator[tuple[str, str]]:
    header = start.new
    for name in ("name", "reference", "dedup_key"):
        yield from _one(masks.found_in(getattr(header, name, None), f"the child's {name}"))
    for row in start.rows:
        yield from _one(masks.found_in(row, "the child's start data"))


def _one(found: tuple[str, str] | None) -> Iterator[tuple[str, str]]:
    if found is not None:
        yield found
