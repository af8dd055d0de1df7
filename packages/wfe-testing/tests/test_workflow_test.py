"""The host for users' tests."""

from __future__ import annotations

from datetime import timedelta

from wfe.core import WorkflowBuilder
from wfe.testing import WorkflowTest

reminder = WorkflowBuilder().delay(timedelta(days=30)).then(lambda: {"sent": True}).build("mail")


async def test_the_fixture_is_a_running_host(wfe_host: WorkflowTest) -> None:
    run = await wfe_host.start(reminder)
    before = wfe_host.clock.now()

    await wfe_host.clock.advance(timedelta(days=30))

    assert wfe_host.clock.now() - before == timedelta(days=30)
    assert (await run.wait(5)).data == {"sent": True}


async def test_timers_fire_in_order_and_their_work_settles_on_the_way() -> None:
    times: list[int] = []
    async with WorkflowTest() as test:
        start = test.clock.now()

        async def note() -> None:
            times.append((test.clock.now() - start).days)

        ticking = (
            WorkflowBuilder()
            .while_do(lambda _: len(times) < 4, lambda b: b.delay(timedelta(days=2)).then(note))
            .build("ticking")
        )
        run = await test.start(ticking)
        await test.clock.advance(timedelta(days=9))

        assert times == [2, 4, 6, 8]
        assert (await run.wait(5)).status == "complete"
