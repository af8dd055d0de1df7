"""For tests: a host on a virtual clock, and the suites that every provider must pass."""

from __future__ import annotations

from wfe.testing.workflow_test import TestClock, WorkflowTest

__all__ = ["TestClock", "WorkflowTest"]
