"""Steps that speak HTTP; the definition holds them as data, without code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.adding import Adding, OfBoth, OfData
from wfe.core.builder.drafts import Draft
from wfe.core.definition import Cel, Kind, Value
from wfe.core.errors import DefinitionError

if TYPE_CHECKING:
    from wfe.core.builder.chain import StepBuilder
    from wfe.core.http import HttpRequest
    from wfe.core.polling import PollEndpoint

__all__ = ["WebMixin"]

D = TypeVar("D", default=Any)

Fields: TypeAlias = "Mapping[str, Any] | OfData[D] | OfBoth[D] | Cel | None"

_MIB = 1024 * 1024
_COMPUTED = 'a callable over the data or expr("...")'


class WebMixin(Adding[D]):
    """Adds HTTP steps to the end of a block."""

    def http(  # noqa: PLR0913 - one call says all of a request
        self,
        method: str,
        url: str | OfData[D] | OfBoth[D] | Cel,
        *,
        headers: Fields[D] = None,
        params: Fields[D] = None,
        json: Any = None,
        body: str | OfData[D] | OfBoth[D] | Cel | None = None,
        timeout: timedelta | float | None = 30.0,
        expect: int | Iterable[int] | None = None,
        max_bytes: int = _MIB,
        max_redirects: int = 5,
        output: str | None = None,
    ) -> StepBuilder[D, HttpRequest]:
        """Make an HTTP request; see :class:`~wfe.core.HttpRequest`.

        Args:
            method: GET and so on.
            url: A text, a callable over the data, or ``expr("...")``; so are the next four, with
                ``expr("...")`` also as values of a mapping.
            headers: To send.
            params: For the query.
            json: A value to send as JSON.
            body: A text to send as it is.
            timeout: Of the request; a number is seconds.
            expect: Statuses that are no failure; ``None``: 200 to 299.
            max_bytes: Of the body received, at most.
            max_redirects: How many are followed.
            output: Data field for ``status``, ``headers``, ``body`` and ``url`` received.

        Raises:
            DefinitionError: An argument does not fit.
        """
        constants = {
            "method": method,
            "timeout": _seconds(timeout, "timeout of http()"),
            "expect": expect,
            "max_bytes": args.positive(max_bytes, "max_bytes of http()"),
            "max_redirects": _redirects(max_redirects, "http()"),
        }
        from wfe.core.http import HttpRequest  # noqa: PLC0415 - only who uses it pays for it

        checked = _made(HttpRequest, constants, "http()")
        given = {"url": url, "headers": headers, "params": params, "json": json, "body": body}
        draft = Draft(kind=Kind.STEP, method="http()", base="http", body=HttpRequest)
        draft.config["uses"] = "http"
        return self._web(draft, checked, given, output)

    def poll_endpoint(  # noqa: PLR0913 - one call says all of a poll
        self,
        url: str | OfData[D] | OfBoth[D] | Cel,
        *,
        until: str,
        interval: timedelta | float = 5.0,
        backoff: float = 1.0,
        max_interval: timedelta | float | None = None,
        timeout: timedelta | float | None = None,
        request_timeout: timedelta | float | None = 30.0,
        method: str = "GET",
        headers: Fields[D] = None,
        params: Fields[D] = None,
        json: Any = None,
        body: str | OfData[D] | OfBoth[D] | Cel | None = None,
        max_bytes: int = _MIB,
        max_redirects: int = 5,
        output: str | None = None,
    ) -> StepBuilder[D, PollEndpoint]:
        """Make an HTTP request until the answer is the wanted one; polls survive restarts.

        Args:
            url: A text, a callable over the data, or ``expr("...")``.
            until: CEL over ``response``: ``status``, ``headers``, ``body`` (text) and ``json``
                (null when it is no JSON).
            interval: Between two polls; a number is seconds, as for all durations here.
            backoff: The interval grows by this factor each time.
            max_interval: To which it grows at most.
            timeout: The step fails with ``StepTimeoutError``, and is not tried again, when all
                polls together take longer; ``None``: it polls without end.
            request_timeout: Of one request; when it is up the next poll follows.
            method: As of :meth:`http`, like all that follow.
            headers: To send.
            params: For the query.
            json: A value to send as JSON.
            body: A text to send as it is.
            max_bytes: Of the body received, at most.
            max_redirects: How many are followed.
            output: Data field for what was received.

        Raises:
            DefinitionError: An argument does not fit, or *until* is no such CEL text.
        """
        what = "of poll_endpoint()"
        constants = {
            "until": until,
            "interval": args.seconds(interval, f"interval {what}") / 1_000_000,
            "backoff": backoff,
            "max_interval": _seconds(max_interval, f"max_interval {what}"),
            "timeout": _seconds(timeout, f"timeout {what}"),
            "request_timeout": _seconds(request_timeout, f"request_timeout {what}"),
            "method": method,
            "max_bytes": args.positive(max_bytes, f"max_bytes {what}"),
            "max_redirects": _redirects(max_redirects, "poll_endpoint()"),
        }
        from wfe.core.polling import PollEndpoint  # noqa: PLC0415 - only who uses it pays for it

        checked = _made(PollEndpoint, constants, "poll_endpoint()")
        given = {"url": url, "headers": headers, "params": params, "json": json, "body": body}
        draft = Draft(kind=Kind.STEP, method="poll_endpoint()", base="poll_endpoint")
        draft.body = PollEndpoint
        draft.config["uses"] = "poll"
        return self._web(draft, checked, given, output)

    def _web(
        self, draft: Draft, made: Any, given: Mapping[str, Any], output: str | None
    ) -> StepBuilder[D, Any]:
        """Add *draft* with the constants of the body *made*, and what is given of the request."""
        constants = draft.config["with"] = _differing(made)
        if given["json"] is not None and given["body"] is not None:
            problem = f"{draft.method} got both json and body"
            raise DefinitionError(problem, None, "give one of them")
        for name, value in given.items():
            if value is not None:
                _keep(draft, constants, name, value)
        _check_url(constants.get("url"), draft.method)
        if output is not None:
            draft.config["output"] = args.check_text(f"the output of {draft.method}", output)
        return self._added(draft)


def _keep(draft: Draft, constants: dict[str, Any], name: str, value: Any) -> None:
    """Put *value* among the constants if it is one, else among the inputs."""
    what = f"{name} of {draft.method}"
    if isinstance(value, args.EXPRS) or callable(value):
        draft.inputs[name] = draft.keep(f"input:{name}", args.computed(value, what, _COMPUTED))
        return
    if name in ("url", "body") and not isinstance(value, str):
        raise DefinitionError(f"{what} takes a text or {_COMPUTED}, got {args.got(value)}")
    if name in ("headers", "params") and not isinstance(value, Mapping):
        raise DefinitionError(f"{what} takes a mapping or {_COMPUTED}, got {args.got(value)}")
    found = args.record(value, what) if isinstance(value, Mapping) else args.literal(value, what)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(found, Value):
        constants[name] = found.value
    else:
        draft.inputs[name] = found


def _check_url(url: str | None, method: str) -> None:
    if url is None:
        return
    from urllib.parse import urlsplit  # noqa: PLC0415 - as in whole.py

    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        problem = f"{method} got the URL {url!r}"
        raise DefinitionError(problem, None, "write one like https://host/path")


def _seconds(value: timedelta | float | None, what: str) -> float | None:
    return None if value is None else args.seconds(value, what) / 1_000_000


def _redirects(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        problem = f"max_redirects of {what} must be a whole number from 0, got {args.got(value)}"
        raise DefinitionError(problem)
    return value


def _made(body: type, constants: Mapping[str, Any], method: str) -> Any:
    try:
        return body(**constants)
    except DefinitionError as error:
        raise attrs.evolve(error, where=method) from None
    except TypeError as error:
        raise DefinitionError(f"an argument does not fit ({error})", method) from None


def _differing(made: Any) -> dict[str, Any]:
    """Return the fields of *made* that are not their default: what a definition has to say."""
    names = {field.name: field.default for field in attrs.fields(made.__class__) if field.init}
    values: dict[str, Any] = {name: getattr(made, name) for name in names}
    return {
        name: list(value) if name == "expect" and value is not None else value
        for name, value in values.items()
        if value != names[name]
    }
