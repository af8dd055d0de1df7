"""For tests: a host on a virtual clock, and the suites that every provider must pass.

Names are imported when they are first used: the pytest plugin of this distribution is loaded in
every run of pytest, and must not load the engine with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wfe.core.lazy import Lookup, lazily

if TYPE_CHECKING:
    from wfe.testing.workflow_test import TestClock, WorkflowTest

__all__ = ["TestClock", "WorkflowTest"]
__getattr__: Lookup = lazily(globals(), dict.fromkeys(__all__, "wfe.testing.workflow_test"))
