"""What applications import: the host, in its async and its blocking form.

Names are imported when they are first used, so that the command line starts quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wfe.core.lazy import Lookup, lazily

if TYPE_CHECKING:
    from wfe.core.engine.middleware import StepMiddleware, WorkflowMiddleware
    from wfe.host.host import WorkflowHost
    from wfe.host.runs import WorkflowRun
    from wfe.host.sync import SyncWorkflowHost, SyncWorkflowRun, arun, run

__all__ = [
    "StepMiddleware",
    "SyncWorkflowHost",
    "SyncWorkflowRun",
    "WorkflowHost",
    "WorkflowMiddleware",
    "WorkflowRun",
    "arun",
    "run",
]

_HOME = {
    "StepMiddleware": "wfe.core.engine.middleware",
    "SyncWorkflowHost": "wfe.host.sync",
    "SyncWorkflowRun": "wfe.host.sync",
    "WorkflowHost": "wfe.host.host",
    "WorkflowMiddleware": "wfe.core.engine.middleware",
    "WorkflowRun": "wfe.host.runs",
    "arun": "wfe.host.sync",
    "run": "wfe.host.sync",
}
__getattr__: Lookup = lazily(globals(), _HOME)


def __dir__() -> list[str]:
    """Return the public names, whether they are imported yet or not."""
    return sorted({*globals(), *__all__})
