"""HTTP requests and polls as steps (extra ``[http]``).

The library behind them is imported at the first request, so definitions with these steps are
built, checked, stored and shown without it.
"""

from __future__ import annotations

import asyncio
import importlib
import json as jsons
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

from wfe.core.errors import DefinitionError, HttpError
from wfe.core.lean import define, frozen
from wfe.core.steps import ExecutionResult, StepExecutionContext

__all__ = [
    "MIB",
    "HttpRequest",
    "Received",
    "fetch",
    "method_of",
    "seconds_of",
    "shown_headers",
    "shown_url",
]

MIB: Final = 1024 * 1024
"""Bytes of a body received, at most, unless a request says otherwise."""

_TRANSIENT: Final = frozenset({408, 425, 429})
_SHOWN_BODY: Final = 200  # characters of an unexpected answer in the error
_SECRET: Final = re.compile(
    r"auth|cookie|token|secret|passw|credential|signature|session|sig$|(?<![a-z])key(?![a-z])",
    re.IGNORECASE,
)
_METHOD: Final = re.compile(r"[A-Z][A-Z0-9_-]*")
_HIDDEN: Final = "***"


def method_of(value: object) -> str:
    """Return a method in upper case.

    Raises:
        DefinitionError: It is none.
    """
    if not isinstance(value, str) or not _METHOD.fullmatch(value.upper()):
        raise DefinitionError(f"no HTTP method: {value!r}", None, "for example GET or POST")
    return value.upper()


def seconds_of(value: object) -> float | None:
    """Return a duration in seconds; ``None`` stays.

    Raises:
        DefinitionError: It is no positive duration.
    """
    if value is None:
        return None
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(number, int | float) or isinstance(number, bool) or not number > 0:
        raise DefinitionError(f"a time-out must be a positive duration, got {value!r}")
    return float(number)


def _statuses(value: int | Iterable[int] | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    given = (value,) if isinstance(value, int) else tuple(value)
    if not given or not all(type(each) is int and 100 <= each <= 599 for each in given):
        problem = f"expect takes statuses from 100 to 599, got {value!r}"
        raise DefinitionError(problem, None, "for example expect=200 or expect=(200, 404)")
    return tuple(sorted(set(given)))


@define(kw_only=True)
class HttpRequest:
    """A step that makes one HTTP request; needs the extra ``[http]``.

    Its outcome, for ``.when(...)``, is the status.  What was received is a dict of ``status``,
    ``headers`` (names in lower case), ``body`` (parsed if it is JSON, else text) and ``url`` (after
    redirects).  A status that is not expected fails the step: to be tried again as its ``on_error``
    says when it is 408, 425, 429 or from 500 on, and so do connection errors and time-outs.

    Attributes:
        method: GET and so on.
        url: With ``http://`` or ``https://``.
        headers: To send.
        params: For the query.
        json: A value to send as JSON.
        body: A text (or bytes) to send as it is.
        timeout: Of the whole request, redirects included; a number is seconds; ``None``: none.
        expect: Statuses that are no failure; ``None``: 200 to 299.
        max_bytes: Of the body received, at most; more fails the step for good.
        max_redirects: 0: a redirect is the answer.
        output: Data field for what was received; ``None``: none.
        response: What was received, for ``.output("field", lambda s: s.response["body"])``.
    """

    method: str = attrs.field(default="GET", converter=method_of)
    url: str = ""
    headers: Mapping[str, str] | None = None
    params: Mapping[str, Any] | None = None
    json: Any = None
    body: str | bytes | None = None
    timeout: float | None = attrs.field(default=30.0, converter=seconds_of)
    expect: tuple[int, ...] | None = attrs.field(default=None, converter=_statuses)
    max_bytes: int = MIB
    max_redirects: int = 5
    output: str | None = None
    response: dict[str, Any] | None = attrs.field(default=None, init=False)

    async def run(self, ctx: StepExecutionContext[Any]) -> ExecutionResult:
        """Make the request."""
        try:
            received = await fetch(self, ctx)
        except HttpError as error:
            return ExecutionResult.fail(error, retryable=error.transient)
        expected = received.ok if self.expect is None else received.status in self.expect
        if not expected:
            refused = self._refused(received)
            return ExecutionResult.fail(refused, retryable=refused.transient)
        self.response = received.value()
        fields = {self.output: self.response} if self.output else None
        return ExecutionResult(kind="outcome", value=received.status, fields=fields)

    def _refused(self, received: Received) -> HttpError:
        text = " ".join(received.text.split())
        text = text if len(text) <= _SHOWN_BODY else text[: _SHOWN_BODY - 3] + "..."
        return HttpError(
            self.method,
            shown_url(received.url),
            f"answered {received.status}" + (f": {text}" if text else ""),
            received.status,
            received.status >= 500 or received.status in _TRANSIENT,
        )


@frozen(kw_only=True)
class Received:
    """What a server answered.

    Attributes:
        headers: Names in lower case; what came twice is joined with a comma.
        text: The body.
        json: The body parsed, ``None`` when it is no JSON.
        is_json: Whether it parsed as what its ``content-type`` says: JSON.
    """

    status: int
    url: str
    headers: Mapping[str, str]
    text: str
    json: Any
    is_json: bool

    @property
    def ok(self) -> bool:
        """Whether the status is one of 200 to 299."""
        return 200 <= self.status <= 299

    def value(self) -> dict[str, Any]:
        """Return it as data."""
        return {
            "status": self.status,
            "headers": dict(self.headers),
            "body": self.json if self.is_json else self.text,
            "url": self.url,
        }


async def fetch(request: HttpRequest, ctx: StepExecutionContext[Any]) -> Received:
    """Make *request* with the client of the host, which all steps share.

    Raises:
        HttpError: There is no usable answer; the status is not looked at.
        DefinitionError: The request itself is wrong, or the extra is missing.
    """
    httpx = _library()
    sent = _sent(request)
    client = ctx.shared("wfe.core.http", lambda: _client(httpx))
    ctx.log.debug(
        "%s %s %s", request.method, shown_url(request.url), shown_headers(request.headers or {})
    )
    try:
        async with asyncio.timeout(request.timeout):
            received = await _answer(httpx, client, request, sent)
    except TimeoutError:
        problem = f"gave no whole answer within {request.timeout:g} s"
        raise _error(request, problem) from None
    except httpx.UnsupportedProtocol as error:
        raise _error(request, f"is no usable request ({error})", transient=False) from error
    except httpx.LocalProtocolError:  # its text shows values of headers
        problem = "is no usable request (a header is illegal)"
        raise _error(request, problem, transient=False) from None
    except httpx.TransportError as error:
        problem = f"could not be reached ({type(error).__name__}: {error or 'no details'})"
        raise _error(request, problem) from error
    except httpx.HTTPError as error:
        raise _error(request, f"answered what cannot be read ({error})") from error
    ctx.log.info("%s %s: %d", request.method, shown_url(received.url), received.status)
    return received


async def _answer(
    httpx: Any, client: Any, request: HttpRequest, sent: Mapping[str, Any]
) -> Received:
    try:
        following = client.build_request(request.method, request.url, **sent)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise _error(request, f"is no usable request ({error})", transient=False) from error
    for _ in range(request.max_redirects + 1):
        answer = await client.send(following, stream=True)
        try:
            if answer.next_request is None or not request.max_redirects:
                return await _read(httpx, answer, request)
        finally:
            await answer.aclose()
        following = answer.next_request
    problem = f"redirected more than {request.max_redirects} times"
    raise _error(request, problem, transient=False)


def _sent(request: HttpRequest) -> dict[str, Any]:
    """Return the parts of a request for the library.

    Raises:
        DefinitionError: They contradict each other or have a wrong type.
    """
    if not isinstance(request.url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - computed
        raise DefinitionError(f"the URL must be a text, got {request.url!r}")
    if request.json is not None and request.body is not None:
        raise DefinitionError("json and body exclude each other", None, "give one of them")
    for name in ("headers", "params"):
        given = getattr(request, name)
        if given is not None and not isinstance(given, Mapping):
            raise DefinitionError(f"{name} must be a mapping, got {type(given).__name__}")
    headers = {name: str(value) for name, value in (request.headers or {}).items()}
    sent: dict[str, Any] = {"headers": headers, "content": request.body}
    if request.params is not None:
        sent["params"] = dict(request.params)
    if request.json is not None:
        sent["json"] = request.json
    return sent


async def _read(httpx: Any, answer: Any, request: HttpRequest) -> Received:
    parts: list[bytes] = []
    size = 0
    async for part in answer.aiter_bytes():
        size += len(part)
        if size > request.max_bytes:
            problem = f"answered more than {request.max_bytes} bytes (max_bytes)"
            raise _error(request, problem, status=answer.status_code, transient=False)
        parts.append(part)
    whole = httpx.Response(answer.status_code, headers=_content(answer), content=b"".join(parts))
    text: str = whole.text
    is_json, value = _parsed(text, answer.headers.get("content-type", ""))
    return Received(
        status=answer.status_code,
        url=str(answer.url),
        headers=dict(answer.headers),
        text=text.replace("\x00", "\ufffd"),
        json=value,
        is_json=is_json,
    )


def _content(answer: Any) -> dict[str, str]:
    """Return what tells how bytes become text; they are decompressed already."""
    kind = answer.headers.get("content-type")
    return {} if kind is None else {"content-type": kind}


def _parsed(text: str, kind: str) -> tuple[bool, Any]:
    """Return whether *text* is the JSON that *kind* says, and its value if it is any JSON."""
    try:
        value = jsons.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False, None
    media = kind.partition(";")[0].strip().lower()
    return media.endswith(("/json", "+json")), value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _error(
    request: HttpRequest, problem: str, *, status: int | None = None, transient: bool = True
) -> HttpError:
    return HttpError(request.method, shown_url(request.url), problem, status, transient)


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* for a log: what looks like a secret has no value."""
    return {
        name: _HIDDEN if _SECRET.search(name) else str(value) for name, value in headers.items()
    }


def shown_url(url: str) -> str:
    """Return *url* for a log: without password, and without values that look like secrets."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return url.partition("?")[0].rpartition("@")[2]
    if host == parts.netloc and not any(_SECRET.search(name) for name, _ in query):
        return url
    hidden = [(name, _HIDDEN if _SECRET.search(name) else value) for name, value in query]
    netloc = host if host == parts.netloc else f"{_HIDDEN}@{host}"
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(hidden, safe="*")))


def _client(httpx: Any) -> Any:
    from http.cookiejar import CookieJar, DefaultCookiePolicy  # noqa: PLC0415 - 20 ms

    # Runs share the client, and so would share what servers remember about them.
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx.AsyncClient(cookies=cookies, timeout=None, follow_redirects=False)


def _library() -> Any:
    try:
        return importlib.import_module("httpx")
    except ImportError as error:
        problem = "HTTP steps need an extra that is not installed"
        raise DefinitionError(problem, None, 'pip install "wfe-core[http]"') from error
