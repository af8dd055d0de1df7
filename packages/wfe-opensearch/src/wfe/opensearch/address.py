"""From an ``opensearch:`` URL to where the index is and what it is called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

from wfe.core.errors import ProviderError
from wfe.core.lean import frozen
from wfe.core.urls import split_url

__all__ = ["Address", "parsed"]

_PORT: Final = 9200
_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_FORM: Final = "opensearch://[user:password@]host[:9200][,host…]/[?prefix=wfe]"
_KNOWN: Final = ("prefix", "timeout", "shards", "replicas", "ca", "verify")


@frozen(kw_only=True)
class Address:
    """A cluster and the indices in it.

    Attributes:
        hosts: (host, port) of its nodes.
        user: ``None``: no name and password are sent.
        password: Never shown.
        tls: Whether it is spoken to by TLS.
        verify: Whether its certificate is checked.
        ca: File with certificates of authorities; ``None``: the machine's.
        prefix: What the names of indices, aliases and templates begin with.
        timeout: Seconds for an answer.
        shards: Of each new index.
        replicas: Of each new index; ``None``: one on clusters of several nodes.
    """

    hosts: tuple[tuple[str, int], ...]
    user: str | None = None
    password: str = attrs.field(default="", repr=False)
    tls: bool = False
    verify: bool = True
    ca: str | None = None
    prefix: str = "wfe"
    timeout: float = 10.0
    shards: int = 1
    replicas: int | None = None

    @property
    def shown(self) -> str:
        """The first host, for messages."""
        host, port = self.hosts[0]
        return f"{host}:{port}"


def parsed(url: str) -> Address:
    """Return what *url* says.

    Args:
        url: ``opensearch://[user:password@]host[:9200][,host…]/`` (``opensearchs://`` by TLS) with
            ``?prefix=``, ``timeout=`` (seconds), ``shards=``, ``replicas=``, and for TLS ``ca=``
            (a file) and ``verify=false``.

    Raises:
        ProviderError: It names no host, or asks for something unknown.
    """
    parts = split_url("opensearch", url)
    tls = parts.scheme == "opensearchs"
    if parts.scheme not in {"opensearch", "opensearchs"} or parts.path not in {"", "/"}:
        raise _wrong(parts, f"it names no cluster; write {_FORM}")
    who, _, where = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for key in options:
        if key not in _KNOWN:
            raise _wrong(parts, f"{key!r} is unknown; there is {', '.join(_KNOWN)}")
    return Address(
        hosts=tuple([_host(parts, each) for each in where.split(",")]),
        user=unquote(user) or None,
        password=unquote(password),
        tls=tls,
        prefix=_prefix(parts, options.get("prefix", "wfe")),
        timeout=_number(parts, options, "timeout", 10.0),
        shards=int(_number(parts, options, "shards", 1)) or 1,
        replicas=int(_number(parts, options, "replicas", 0)) if "replicas" in options else None,
        **_trust(parts, options, tls=tls),
    )


def _host(parts: SplitResult, text: str) -> tuple[str, int]:
    found = urlsplit(f"//{text}")
    try:
        port = found.port
    except ValueError:
        raise _wrong(parts, f"{text!r} has no port that is a number") from None
    if not found.hostname:
        raise _wrong(parts, f"it names no host; write {_FORM}")
    return found.hostname, port or _PORT


def _prefix(parts: SplitResult, text: str) -> str:
    prefix = text.rstrip("-")
    if not _PREFIX.fullmatch(prefix):
        problem = f"prefix={text}: names of indices have small letters, digits, '-', '_' and '.'"
        raise _wrong(parts, problem)
    return prefix


def _number(parts: SplitResult, options: dict[str, str], key: str, usual: float) -> float:
    text = options.get(key)
    if text is None:
        return usual
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    whole = key == "timeout" or found.is_integer()
    if not 0 <= found < 1_000_000 or not whole or (key != "replicas" and not found):
        raise _wrong(parts, f"{key}={text} is no number that fits")
    return found


def _trust(parts: SplitResult, options: dict[str, str], *, tls: bool) -> dict[str, Any]:
    for key in ("ca", "verify"):
        if key in options and not tls:
            raise _wrong(parts, f"{key}= is for TLS; write opensearchs://")
    verify, ca = options.get("verify", "true"), options.get("ca")
    if verify not in {"true", "false"}:
        raise _wrong(parts, f"verify={verify} is unknown; use true or false")
    if ca is not None and not Path(ca).is_file():
        raise _wrong(parts, f"ca={ca}: there is no such file")
    return {"verify": verify == "true", "ca": ca}


def _wrong(parts: SplitResult, problem: str) -> ProviderError:
    """Return an error that shows the URL without its password."""
    who, at, where = parts.netloc.rpartition("@")
    user = who.partition(":")[0]
    hidden = f"{user}:***@{where}" if ":" in who else f"{who}{at}{where}"
    shown = parts._replace(netloc=hidden).geturl()
    return ProviderError("opensearch", f"{shown!r}: {problem}", transient=False)
