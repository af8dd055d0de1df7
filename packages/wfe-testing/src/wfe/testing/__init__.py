"""For tests: a host on a virtual clock, and the suites that every provider must pass.

Names are imported when they are first used: the pytest plugin of this distribution is loaded in
every run of pytest, and must not load the engine with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wfe.testing.workflow_test import TestClock, WorkflowTest

__all__ = ["TestClock", "WorkflowTest"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from wfe.testing import workflow_test  # noqa: PLC0415 - at first use, as the docstring says

    return getattr(workflow_test, name)
