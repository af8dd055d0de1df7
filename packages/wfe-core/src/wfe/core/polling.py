"""A step that asks an endpoint again and again until its answer is the wanted one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from wfe.core.errors import DefinitionError, HttpError, StepTimeoutError
from wfe.core.http import MIB, HttpRequest, Received, fetch, method_of, seconds_of
from wfe.core.lean import define
from wfe.core.micros import to_micros
from wfe.core.steps import ExecutionResult, StepExecutionContext

if TYPE_CHECKING:
    from wfe.core.cel import CelProgram

__all__ = ["PollEndpoint", "compiled_until"]

_SECOND: Final = 1_000_000  # µs


def compiled_until(text: object) -> CelProgram:
    """Return a condition over ``response``.

    Raises:
        DefinitionError: It is no CEL text, reads something else, or gives no bool.
    """
    from wfe.core.cel import CelType, compile_cel  # noqa: PLC0415 - the extra is optional

    if not isinstance(text, str) or not text.strip():
        problem = f"until takes a CEL text over `response`, got {text!r}"
        raise DefinitionError(problem, None, 'for example until="response.status == 200"')
    variables = {
        "response.status": CelType.INT,
        "response.headers": CelType.DYN,
        "response.body": CelType.STRING,
        "response.json": CelType.DYN,
    }
    program = compile_cel(text, variables)
    found = program.result_type.signature
    if found not in ("bool", "dyn"):
        problem = f"`{text}` gives {found}, not bool"
        raise DefinitionError(problem, None, "compare it with something")
    return program


def _until(text: str) -> str:
    compiled_until(text)
    return text


def _backoff(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 1:
        raise DefinitionError(f"backoff must be a number from 1, got {value!r}")
    return float(value)


@define(kw_only=True)
class PollEndpoint:
    """A step that makes an HTTP request until a condition over the answer holds.

    Between two polls nothing is held but a timer in the store: polls go on after a restart.
    Connection errors, time-outs of one request, and a condition that cannot be computed for an
    answer (a field that is not there yet) mean: not yet.  A status alone never fails the step.
    Result and outcome are those of an :class:`~wfe.core.HttpRequest`, and so are the attributes
    that are not named here.

    Attributes:
        until: CEL over ``response``: ``status``, ``headers``, ``body`` (text), ``json`` (parsed,
            null when it is no JSON).
        interval: Between two polls; a number is seconds.
        backoff: The interval grows by this factor each time.
        max_interval: To which it grows at most; ``None``: no limit.
        timeout: For all polls of an attempt together; when it is up the step fails with a
            ``StepTimeoutError`` that is not retried; ``None``: no limit.
        request_timeout: Of one request.
    """

    url: str = ""
    until: str = attrs.field(default="response.status == 200", converter=_until)
    interval: float | None = attrs.field(default=5.0, converter=seconds_of)
    backoff: float = attrs.field(default=1.0, converter=_backoff)
    max_interval: float | None = attrs.field(default=None, converter=seconds_of)
    timeout: float | None = attrs.field(default=None, converter=seconds_of)
    request_timeout: float | None = attrs.field(default=30.0, converter=seconds_of)
    method: str = attrs.field(default="GET", converter=method_of)
    headers: Mapping[str, str] | None = None
    params: Mapping[str, Any] | None = None
    json: Any = None
    body: str | bytes | None = None
    max_bytes: int = MIB
    max_redirects: int = 5
    output: str | None = None
    response: dict[str, Any] | None = attrs.field(default=None, init=False)

    async def run(self, ctx: StepExecutionContext[Any]) -> ExecutionResult:
        """Poll once; sleep if the answer is not the wanted one yet."""
        memory = self._memory(ctx)
        try:
            received = await fetch(self._request(), ctx)
        except HttpError as error:
            if not error.transient:
                return ExecutionResult.fail(error, retryable=False)
            problem: str | None = str(error)
        else:
            problem = self._missing(received)
            if problem is None:
                return self._found(received)
        ctx.log.info("poll %d: %s", memory["polls"], problem)
        pause = self._pause(memory["polls"])
        if memory["deadline"] is not None:
            left = memory["deadline"] - to_micros(ctx.now())
            if left <= 0:
                return self._late(ctx, memory["polls"], problem)
            pause = min(pause, left)
        return ExecutionResult.sleep(timedelta(microseconds=pause), memory)

    def _memory(self, ctx: StepExecutionContext[Any]) -> dict[str, Any]:
        """Return what is kept until the next poll; an attempt begins anew."""
        kept: Mapping[str, Any] | None = ctx.persistence_data
        if kept is not None and kept["attempt"] == ctx.attempt:
            return {**kept, "polls": kept["polls"] + 1}
        limit = self.timeout
        deadline = None if limit is None else to_micros(ctx.now()) + int(limit * _SECOND)
        return {"attempt": ctx.attempt, "polls": 1, "deadline": deadline}

    def _request(self) -> HttpRequest:
        return HttpRequest(
            method=self.method,
            url=self.url,
            headers=self.headers,
            params=self.params,
            json=self.json,
            body=self.body,
            timeout=self.request_timeout,
            max_bytes=self.max_bytes,
            max_redirects=self.max_redirects,
        )

    def _missing(self, received: Received) -> str | None:
        """Return why the answer is not the wanted one; ``None``: it is.

        Raises:
            DefinitionError: The condition gave something else than a bool.
        """
        from wfe.core.cel import CelEvaluationError  # noqa: PLC0415 - the extra is optional

        response = {
            "status": received.status,
            "headers": received.headers,
            "body": received.text,
            "json": received.json,
        }
        try:
            found = compiled_until(self.until).evaluate({"response": response})
        except CelEvaluationError as error:
            return f"answered {received.status}, and {error}"
        if not isinstance(found, bool):
            raise DefinitionError(f"`{self.until}` gave {found!r}, not a bool")
        return None if found else f"answered {received.status}, and not `{self.until}`"

    def _found(self, received: Received) -> ExecutionResult:
        self.response = received.value()
        fields = {self.output: self.response} if self.output else None
        return ExecutionResult(kind="outcome", value=received.status, fields=fields)

    def _pause(self, polls: int) -> int:
        """Return the µs after poll number *polls*, from 1."""
        longest = self.max_interval if self.max_interval is not None else _LONGEST
        try:
            pause = (self.interval or 0.0) * self.backoff ** (polls - 1)
        except OverflowError:
            pause = longest
        return int(min(pause, longest) * _SECOND)

    def _late(
        self, ctx: StepExecutionContext[Any], polls: int, problem: str | None
    ) -> ExecutionResult:
        message = f"no such answer within {self.timeout:g} s ({polls} polls; last: {problem})"
        error = StepTimeoutError(ctx.pointer.step, "StepTimeoutError", message, ctx.instance.id)
        return ExecutionResult.fail(error, retryable=False)


_LONGEST: Final = 366 * 86_400.0  # seconds: a pause beyond it helps nobody
