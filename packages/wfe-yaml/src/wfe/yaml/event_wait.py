"""The body of a ``wait_for`` whose payload has a type: what does not fit fails the step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from wfe.core.lean import frozen
from wfe.core.step_types import Role, describe, setting
from wfe.core.steps import ExecutionResult, StepExecutionContext
from wfe.yaml.keys import EVENT_WAIT

__all__ = ["DESCRIBED", "EventWait"]


@frozen(kw_only=True)
class EventWait:
    """Wait for an event and give its payload as an output.

    Attributes:
        limit: µs after which the step fails; ``None``: never.
        output: Name of the output.
    """

    event: str = setting(Role.CONSTANT)
    key: str = setting(default="")
    limit: int | None = setting(Role.CONSTANT, default=None)
    output: str = setting(Role.CONSTANT)

    def run(self, ctx: StepExecutionContext[Any]) -> Any:
        """Begin to wait, or take what came."""
        if ctx.event is not None:
            return {self.output: ctx.event["data"]}
        timeout = None if self.limit is None else timedelta(microseconds=self.limit)
        return ExecutionResult.wait_for_event(self.event, self.key, timeout=timeout)


DESCRIBED: Final = describe(EVENT_WAIT, EventWait)
