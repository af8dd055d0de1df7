"""The step that makes an HTTP request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, cast

from attrs import validators as v

from wfe.core.lean import define
from wfe.core.step_types import setting

if TYPE_CHECKING:
    from wfe.core.steps import ExecutionResult, StepExecutionContext

__all__ = ["Http"]

_MIB = 1024 * 1024


def _known_method(_: object, __: object, value: str) -> None:
    from wfe.core.http import method_of  # noqa: PLC0415 - only who uses it pays for it

    method_of(value)


@define(kw_only=True)
class Http:
    """Make an HTTP request and give back what was received.

    A status that is not expected fails the step, and so do connection errors; those that may pass
    (408, 425, 429, from 500 on, no connection) are tried again as the step's ``retry`` says.
    Without a ``timeout`` it ends after 30 seconds.
    """

    step_outputs: ClassVar[Mapping[str, str]] = {
        "status": "integer",
        "headers": "map<string>",
        "body": "any",
        "url": "string",
    }
    default_timeout: ClassVar[timedelta] = timedelta(seconds=30)

    url: str = setting(description="With http:// or https://.")
    method: str = setting(
        default="GET", validator=_known_method, description="GET, POST and so on."
    )
    headers: Mapping[str, str] | None = setting(default=None, description="Headers to send.")
    params: Mapping[str, Any] | None = setting(default=None, description="For the query.")
    json: Any = setting(default=None, description="A value to send as JSON.")
    body: str | None = setting(default=None, description="A text to send as it is.")
    expect: int | Sequence[int] | None = setting(
        default=None, description="Statuses that are no failure; without it 200 to 299."
    )
    max_bytes: int = setting(
        default=_MIB, validator=v.ge(1), description="Of the body received, at most."
    )
    max_redirects: int = setting(
        default=5, validator=v.ge(0), description="How many are followed; 0: they are the answer."
    )

    @classmethod
    def check_config(cls, config: Mapping[str, Any]) -> list[tuple[str, str, str | None]]:
        """Return what does not fit together."""
        found: list[tuple[str, str, str | None]] = []
        if config.get("json") is not None and config.get("body") is not None:
            found.append(("body", "`json` and `body` exclude each other", "keep one of them"))
        url = config.get("url")
        if isinstance(url, str) and not url.startswith(("http://", "https://")):
            found.append(("url", "`url` begins with `http://` or `https://`", "add it"))
        expect: object = config.get("expect")
        statuses: object = [expect] if isinstance(expect, int) else expect
        given = cast("list[object]", statuses) if isinstance(statuses, list) else []
        found += [
            ("expect", f"{status} is no HTTP status", "write 100 to 599")
            for status in given
            if isinstance(status, int) and not 100 <= status <= 599
        ]
        return found

    @classmethod
    def missing(cls) -> tuple[str, str] | None:
        """Return what must be installed first."""
        if find_spec("httpx") is not None:
            return None
        return "http steps need a library that is not installed", 'pip install "wfe-yaml[http]"'

    async def run(self, ctx: StepExecutionContext[Any]) -> ExecutionResult:
        """Make the request."""
        from wfe.core.http import HttpRequest  # noqa: PLC0415 - only who runs it pays for it
        from wfe.core.steps import ExecutionResult  # noqa: PLC0415

        request = HttpRequest(
            method=self.method,
            url=self.url,
            headers=self.headers,
            params=self.params,
            json=self.json,
            body=self.body,
            timeout=None,  # the step's own ends it
            expect=(self.expect,) if isinstance(self.expect, int) else self.expect,
            max_bytes=self.max_bytes,
            max_redirects=self.max_redirects,
        )
        result = await request.run(ctx)
        if result.kind == "fail":
            return result
        return ExecutionResult.output(**(request.response or {}))
