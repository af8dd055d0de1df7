"""A run that asks a person, and goes one way or the other.

Run it with ``python examples/approval/approval.py``.  In reality the answer comes from a web page
that calls ``host.approve``, or from ``wfe approve release-1 yes``.
"""

from __future__ import annotations

import asyncio

from wfe.core import WorkflowBuilder
from wfe.host import WorkflowHost


def build() -> dict[str, str]:
    """Make what is to be released."""
    return {"package": "shop-1.4.tar.gz"}


def upload(package: str) -> None:
    """Release it."""
    print(f"uploading {package}")


def discard(package: str) -> None:
    """Throw it away."""
    print(f"discarding {package}")


release = (
    WorkflowBuilder()
    .start_with(build)
    .approval(lambda data: f"Release {data['package']}?", options=["yes", "no"], output="answer")
    .name("ask")
    .when("yes", lambda yes: yes.then(upload))
    .when("no", lambda no: no.then(discard))
    .build("release")
)


async def main() -> None:
    async with WorkflowHost("memory://") as host:
        asked = aiter(host.subscribe(["step_waiting"]))
        runs = [await host.start_workflow(release) for _ in range(2)]
        for _ in runs:
            await anext(asked)
        for number, approval in enumerate(await host.approvals()):
            answer = approval.options[number]
            print(f"{approval.run_name}: {approval.prompt} {answer}")
            await host.approve(approval.run_id, answer, comment="looked at it", actor="Ada")
            await runs[number].wait(timeout=20)
        said = [e for e in await runs[0].history() if e.step == "ask" and e.actor is not None]
        print([(entry.actor, (entry.data or {})["comment"]) for entry in said])


if __name__ == "__main__":
    asyncio.run(main())
