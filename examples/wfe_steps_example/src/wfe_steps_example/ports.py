"""The step type ``wait-for-port``: go on when something listens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

import attrs
from attrs import validators as v

from wfe.core import ExecutionResult, StepExecutionContext, WfeError
from wfe.core.step_types import setting

__all__ = ["PortError", "WaitForPort"]


@attrs.define(eq=False)
class PortError(WfeError):
    """Nothing listens after all attempts."""

    host: str
    port: int
    attempts: int

    def __str__(self) -> str:
        return f"nothing listens on {self.host}:{self.port} after {self.attempts} attempts"


@attrs.define(kw_only=True)
class WaitForPort:
    """Wait until a TCP port accepts connections.

    Between two attempts the step sleeps without a worker, and over restarts of the host.
    """

    step_outputs: ClassVar[Mapping[str, str]] = {"waited": "integer"}

    port: int = setting(validator=[v.ge(1), v.le(65535)], description="The port to try.")
    host: str = setting(default="127.0.0.1", description="Where it should listen.")
    interval: timedelta = setting(
        default=timedelta(seconds=1), description="From one attempt to the next."
    )
    attempts: int = setting(
        default=60, validator=v.ge(1), description="After how many the step fails."
    )

    async def run(self, ctx: StepExecutionContext[Any]) -> ExecutionResult:
        """Try once; what is remembered is how often that was."""
        tried: int = ctx.persistence_data or 0
        try:
            _, writer = await asyncio.open_connection(self.host, self.port)
        except OSError as error:
            if tried + 1 >= self.attempts:
                raise PortError(self.host, self.port, tried + 1) from error
            return ExecutionResult.sleep(self.interval, tried + 1)
        writer.close()
        return ExecutionResult.output(waited=tried)
