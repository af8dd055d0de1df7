"""From a ``sqlite:`` URL to a store."""

from __future__ import annotations

from typing import Any, Final, Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from wfe.core.errors import ProviderError
from wfe.sqlite.store import SqliteStore

__all__ = ["open_url"]

_FORMS: Final = "sqlite:///relative.db, sqlite:////absolute.db or sqlite:///:memory:"


def open_url(url: str, **options: Any) -> SqliteStore:
    """Return the store that *url* names; nothing is opened yet.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``sqlite:///:memory:``, with
            ``?synchronous=normal`` to survive the death of the process only, not of the machine.
        **options: Arguments of :class:`SqliteStore`; they win over the URL's.

    Raises:
        ProviderError: The URL names no file, or asks for something unknown.
    """
    parts = urlsplit(url)
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or not path or parts.fragment:
        raise _wrong(url, f"it names no file; write {_FORMS}")
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key != "synchronous":
            raise _wrong(url, f"{key!r} is unknown; there is synchronous=full or normal")
        options.setdefault("synchronous", _synchronous(url, value))
    return SqliteStore(path, **options)


def _synchronous(url: str, value: str) -> Literal["full", "normal"]:
    if value in {"full", "normal"}:
        return cast('Literal["full", "normal"]', value)
    if value == "off":
        raise _wrong(url, "synchronous=off can destroy the file; use full or normal")
    raise _wrong(url, f"synchronous={value} is unknown; use full or normal")


def _wrong(url: str, problem: str) -> ProviderError:
    return ProviderError("sqlite", f"{url!r}: {problem}", transient=False)
