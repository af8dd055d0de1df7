"""From a ``postgresql:`` URL to a store."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from wfe.core.errors import ProviderError
from wfe.core.urls import split_url
from wfe.postgres.store import PostgresStore

__all__ = ["open_url"]

_SCHEMES: Final = frozenset({"postgres", "postgresql"})
_SWITCHES: Final = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


def open_url(url: str, **options: Any) -> PostgresStore:
    """Return the store that *url* names; nothing is opened yet.

    Args:
        url: ``postgresql://user:password@host:5432/database``, also with several hosts.  Of its
            query, ``schema=``, ``prefix=``, ``pool=`` (connections), ``prepare=off`` (behind a
            proxy that shares connections), ``notify=off`` and ``create=off`` are ours; all else
            (``sslmode=`` ...) is libpq's.
        **options: Arguments of :class:`PostgresStore`; they win over the URL's.

    Raises:
        ProviderError: The URL is none, or asks for something impossible.
    """
    parts = split_url("postgres", url)
    if parts.scheme not in _SCHEMES:
        raise _wrong(parts.scheme, "write postgresql://user:password@host:5432/database")
    rest: list[tuple[str, str]] = []
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in {"schema", "prefix"}:
            if not value:
                raise _wrong(f"{key}=", "give a name, or leave it out")
            options.setdefault(key, value)
        elif key == "pool":
            options.setdefault("pool", _positive(value))
        elif key in {"prepare", "notify", "create"}:
            options.setdefault(key, _switch(key, value))
        else:
            rest.append((key, value))
    # Not by urlunsplit, which drops the slashes of an empty host: that is the local socket.
    query = f"?{urlencode(rest)}" if rest else ""
    return PostgresStore(f"postgresql://{parts.netloc}{parts.path}{query}", **options)


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
