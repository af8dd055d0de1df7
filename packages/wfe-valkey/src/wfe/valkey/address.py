"""Where a server is, as its URL says."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

import attrs

from wfe.core.errors import ProviderError
from wfe.core.lean import frozen
from wfe.core.urls import split_url

__all__ = ["Address", "parsed"]

_SCHEMES: Final = {
    "valkey": "valkey",
    "redis": "valkey",
    "valkeys": "valkeys",
    "rediss": "valkeys",
}
_TLS: Final = frozenset(
    {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_cert_reqs", "ssl_keyfile"}
)
_OURS: Final = ("cluster", "events", "prefix")
_FORM: Final = "valkey://[user:password@]host:6379/0?prefix=wfe:"
_YES: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@frozen(kw_only=True)
class Address:
    """A server or cluster, and whose keys are ours on it.

    Attributes:
        url: As the driver wants it.
        shown: The same without what is secret.
        prefix: Of all keys: everything is one hash slot of a cluster, so that a script may use
            several keys.
        cluster: Whether it is one.
        events: How many lifecycle events are kept.
    """

    url: str = attrs.field(repr=False)
    shown: str
    prefix: str
    cluster: bool
    events: int

    def key(self, *parts: object) -> str:
        """Return the key that these parts name."""
        return self.prefix + ":".join(map(str, parts))


def parsed(url: str) -> Address:
    """Return what *url* says.

    Args:
        url: ``valkey://[user:password@]host[:6379][/database][?…]``; ``valkeys`` with TLS;
            ``redis`` and ``rediss`` are the same.  Options: ``prefix`` (``wfe:``; each store
            needs its own), ``cluster`` (``false``), ``events`` (10000), and of TLS
            ``ssl_ca_certs``, ``ssl_ca_path``, ``ssl_certfile``, ``ssl_keyfile``,
            ``ssl_cert_reqs``.

    Raises:
        ProviderError: It says something else.
    """
    parts = split_url("valkey", url)
    scheme = _SCHEMES.get(parts.scheme)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if scheme is None or not parts.hostname or parts.fragment:
        raise _wrong(shown, f"it names no server; write {_FORM}")
    try:
        _ = parts.port
    except ValueError as error:
        raise _wrong(shown, f"{error}; write {_FORM}") from error
    database = parts.path.strip("/")
    if database and not database.isdecimal():
        raise _wrong(shown, f"{database!r} is no number of a database; write {_FORM}")
    tls: dict[str, str] = {}
    ours: dict[str, str] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in _OURS:
            ours[key] = value
        elif key in _TLS and scheme == "valkeys":
            tls[key] = value
        else:
            raise _wrong(shown, f"{key!r} is unknown; there are {', '.join(_OURS)}{_with(scheme)}")
    cluster = _YES.get(ours.get("cluster", "false").lower())
    if cluster is None:
        raise _wrong(shown, f"cluster={ours['cluster']} is neither true nor false")
    if cluster and database not in ("", "0"):
        raise _wrong(shown, f"a cluster has only database 0, not {database}")
    events = ours.get("events", "10000")
    if not events.isdecimal() or not int(events):
        raise _wrong(shown, f"events={events} is no number of events to keep")
    query = f"?{urlencode(tls)}" if tls else ""
    return Address(
        url=f"{scheme}://{parts.netloc}/{quote(database)}{query}",
        shown=shown,
        prefix=_tagged(shown, ours.get("prefix", "wfe:")),
        cluster=cluster,
        events=int(events),
    )


def _tagged(shown: str, prefix: str) -> str:
    """Return *prefix* as one hash tag: a cluster keeps what has the same tag together."""
    if not prefix or len(prefix.encode()) > 200:
        raise _wrong(shown, "the prefix must have 1 to 200 bytes")
    if "{" not in prefix and "}" not in prefix:
        return f"{{{prefix}}}"
    if not 0 <= prefix.find("{") < prefix.find("}") - 1:
        problem = f"{prefix!r} is no prefix: braces enclose a hash tag, as in {{wfe}}:"
        raise _wrong(shown, problem)
    return prefix


def _with(scheme: str) -> str:
    return f" and {', '.join(sorted(_TLS))}" if scheme == "valkeys" else ""


def _wrong(shown: str, problem: str) -> ProviderError:
    return ProviderError("valkey", f"{shown!r}: {problem}", transient=False)
