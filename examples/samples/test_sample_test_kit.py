"""How a workflow is tested: the host is in memory, its clock moves only when the test says so."""

from __future__ import annotations

from datetime import timedelta

from wfe.core import Retry, StepExecutionContext, WorkflowBuilder
from wfe.testing import WorkflowTest


def send(ctx: StepExecutionContext) -> None:
    """Send a reminder, with a service that the test replaces."""
    ctx.app.append(f"{ctx.data['who']}, attempt {ctx.attempt}")
    if ctx.attempt == 0:
        raise ConnectionError("the line is busy")


reminder = (
    WorkflowBuilder()
    .delay(timedelta(days=30))
    .then(send)
    .on_error(Retry(max_retries=2, interval=timedelta(hours=1)))
    .build("reminder")
)


async def test_the_reminder_is_sent_after_thirty_days_and_again_if_need_be() -> None:
    sent: list[str] = []
    async with WorkflowTest(reminder, app=sent) as test:
        run = await test.start(reminder, {"who": "Ada"})
        await test.clock.advance(timedelta(days=29))
        assert sent == []

        await test.clock.advance(timedelta(days=1))
        assert sent == ["Ada, attempt 0"]

        await test.clock.advance(timedelta(hours=1))
        assert sent == ["Ada, attempt 0", "Ada, attempt 1"]
        assert (await run.wait(timeout=5)).status == "complete"
        kinds = [entry.kind for entry in await run.history()]
        assert kinds.count("step_retrying") == 1


async def test_the_fixture_is_such_a_host(wfe_host: WorkflowTest) -> None:
    hello = WorkflowBuilder().start_with(lambda: {"said": "hello"}).build("hello")

    assert (await wfe_host.run(hello)).data == {"said": "hello"}
