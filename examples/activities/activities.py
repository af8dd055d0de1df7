"""A run that waits for an external worker: claim, heartbeat, fail once, complete.

Run it with ``python examples/activities/activities.py``.  The worker could as well be another
process on the same store: it needs no definition and no code of the workflow.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from wfe.core import Activity, Retry, WorkflowBuilder
from wfe.host import WorkflowHost


def job(data: dict[str, Any]) -> dict[str, Any]:
    """Say what the worker gets."""
    return {"text": data["text"]}


def publish(page: str) -> dict[str, str]:
    """Go on with what the worker answered."""
    return {"published": f"<html>{page}</html>"}


website = (
    WorkflowBuilder()
    .activity("render", parameters=job, output="page", timeout=timedelta(hours=1))
    .on_error(Retry(max_retries=3, interval=timedelta(milliseconds=10)))
    .then(publish)
    .build("website")
)


async def render(activity: Activity) -> str:
    """Do the work; what it returns completes the activity, what it raises fails it."""
    print(f"{activity.run_name}: attempt {activity.attempt}")
    if activity.attempt == 0:
        problem = "the printer is offline"
        raise OSError(problem)
    return f"<p>{activity.parameters['text']}</p>"


async def main() -> None:
    async with WorkflowHost("memory://") as host:
        worker = asyncio.create_task(host.activities.work("render", render))
        run = await host.start_workflow(website, {"text": "Hello!"})
        instance = await run.wait(timeout=20)
        worker.cancel()
        print(instance.status, instance.data["published"])


if __name__ == "__main__":
    asyncio.run(main())
