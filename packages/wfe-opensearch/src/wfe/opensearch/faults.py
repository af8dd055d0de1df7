"""What the client raises, as the errors of a provider."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

from wfe.core.errors import ProviderError
from wfe.opensearch.address import Address

if TYPE_CHECKING:
    from opensearchpy.exceptions import OpenSearchException

__all__ = ["translated"]

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429
_TIMEOUT: Final = 408
_SERVER: Final = 500
_LONGEST: Final = 300  # characters of the server's own words


@contextmanager
def translated(address: Address) -> Generator[None]:
    """Raise what the client raises as :class:`~wfe.core.errors.ProviderError`."""
    from opensearchpy.exceptions import OpenSearchException  # noqa: PLC0415 - 0.8 s

    try:
        yield
    except OpenSearchException as error:
        raise _translate(error, address) from error


def _translate(error: OpenSearchException, address: Address) -> ProviderError:
    from opensearchpy.exceptions import (  # noqa: PLC0415 - as above
        ConnectionError as NoConnectionError,
    )
    from opensearchpy.exceptions import TransportError  # noqa: PLC0415 - as above

    where = f"OpenSearch at {address.shown}"
    if isinstance(error, NoConnectionError):
        cause: object = getattr(error.info, "os_error", None) or error.info
        problem = f"{where} cannot be reached: {_short(cause)}"
        return ProviderError("opensearch", problem, unknown=True)
    status: object = error.status_code if isinstance(error, TransportError) else None
    said = _short(error.error) if isinstance(error, TransportError) else _short(error)
    if status == _UNAUTHORIZED:
        problem = f"{where} does not accept the name and password of the URL"
        return ProviderError("opensearch", problem, transient=False)
    if status == _FORBIDDEN and "block" not in said:
        problem = f"{where} forbids it, the user needs rights on {address.prefix}-*: {said}"
        return ProviderError("opensearch", problem, transient=False)
    transient = not isinstance(status, int) or status in (_TIMEOUT, _TOO_MANY, _FORBIDDEN)
    transient = transient or (isinstance(status, int) and status >= _SERVER)
    problem = f"{where} failed ({status}): {said}{_reason(error)}"
    return ProviderError("opensearch", problem, transient=transient)


def _reason(error: OpenSearchException) -> str:
    reason = _member(_member(getattr(error, "info", None), "error"), "reason")
    return "" if reason is None else f": {_short(reason)}"


def _member(found: object, name: str) -> object:
    return cast("Mapping[str, object]", found).get(name) if isinstance(found, dict) else None


def _short(said: object) -> str:
    text = str(said)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
