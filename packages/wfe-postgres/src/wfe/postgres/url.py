"""From a ``postgresql:`` URL to a store."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from wfe.core.errors import ProviderError
from wfe.postgres.store import PostgresStore

__all__ = ["open_url"]

_SCHEMES: Final = frozenset({"postgres", "postgresql"})
_SWITCHES: Final = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


def open_url(url: str, **options: Any) -> PostgresStore:
    """Return the store that *url* names; nothing is opened yet.

    Args:
        url: ``postgresql://user:password@host:5432/database``, also with several hosts.  Of its
            query, ``schema=``, ``prefix=``, ``pool=`` (connections), ``prepare=off`` (behind a
            proxy that shares connections) and ``notify=off`` are ours; all else (``sslmode=`` ...)
            is libpq's.
        **options: Arguments of :class:`PostgresStore`; they win over the URL's.

    Raises:
        ProviderError: The URL is none, or asks for something impossible.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise _wrong(parts.scheme, "write postgresql://user:password@host:5432/database")
    rest: list[tuple[str, str]] = []
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in {"schema", "prefix"}:
            options.setdefault(key, value)
        elif key == "pool":
            options.setdefault("pool", _positive(value))
        elif key in {"prepare", "notify"}:
            options.setdefault(key, _switch(key, value))
        else:
            rest.append((key, value))
    return PostgresStore(urlunsplit(parts._replace(query=urlencode(rest))), **options)


def _positive(value: str) -> int:
    if value.isdecimal() and int(value) > 0:
        return int(value)
    raise _wrong(f"pool={value}", "give a number of connections")


def _switch(key: str, value: str) -> bool:
    if value.lower() in _SWITCHES:
        return _SWITCHES[value.lower()]
    raise _wrong(f"{key}={value}", "write on or off")


def _wrong(what: str, cure: str) -> ProviderError:
    return ProviderError(
        "postgres", f"{what!r} is no part of a URL of ours; {cure}", transient=False
    )
