"""The few requests to OpenSearch that tests need without a client."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

__all__ = ["ask_opensearch", "forget_prefix", "opensearch_version"]

_TIMEOUT = 10.0
"""Seconds for each answer."""
_TEMPLATES = ("_index_template", "_component_template")


def opensearch_version(url: str) -> str:
    """Return the version of a server that can take documents.

    Raises:
        OSError: Nobody answers as OpenSearch does, or it is not ready.
    """
    about: Any = ask_opensearch(url, "GET", "/")
    ask_opensearch(url, "GET", "/_cluster/health?wait_for_status=yellow&timeout=1s")
    try:
        version = about["version"]
        number = str(version["number"])
        real = version.get("distribution") == "opensearch"
    except (AttributeError, KeyError, TypeError):
        raise ConnectionError(f"what answers is no OpenSearch: {about!r}") from None
    return number if real else f"like {number}"


def forget_prefix(url: str, prefix: str) -> None:
    """Delete the indices and templates whose names begin with *prefix*.

    Raises:
        OSError: The server does not answer, or it refuses.
    """
    # One by one: a server may refuse to delete by pattern.
    for found in _found(url, f"/_cat/indices/{prefix}*?format=json&h=index"):
        _delete(url, f"/{found['index']}")
    for kind in _TEMPLATES:
        listed: Any = _found(url, f"/{kind}/{prefix}*")
        for found in listed and listed[f"{kind[1:]}s"]:
            _delete(url, f"/{kind}/{found['name']}")


def ask_opensearch(url: str, method: str, path: str, body: object = None) -> Any:
    """Send a request and return what it is answered.

    Args:
        url: ``http``, ``https``, ``opensearch`` (which is http) or ``opensearchs``; with user and
            password if need be.
        method: Such as ``GET``.
        path: With the leading slash.
        body: Sent as JSON, if not None.

    Raises:
        OSError: Nobody answers, or the answer is an error; HTTPError carries its status.
    """
    parts = urlsplit(url)
    request = urllib.request.Request(  # noqa: S310 - the scheme is one of two
        _address(parts) + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json", **_greeting(parts)},
    )
    # Without the proxies of the environment: a test's server is near.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TIMEOUT) as response:
        text = response.read()
    return json.loads(text) if text else None


def _address(parts: SplitResult) -> str:
    scheme = "https" if parts.scheme in {"https", "opensearchs"} else "http"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{scheme}://{host}:{parts.port or 9200}"


def _greeting(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    known = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {base64.b64encode(known.encode()).decode()}"}


def _found(url: str, path: str) -> Any:
    try:
        return ask_opensearch(url, "GET", path)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 404:
            return []
        raise


def _delete(url: str, path: str) -> None:
    try:
        ask_opensearch(url, "DELETE", path)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 404:  # gone is what was wanted
            raise
