"""The pytest plugin: the fixture for users' tests, and the marker of what a provider claims."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from wfe.testing.services.fixtures import (
    opensearch_server,
    opensearch_url,
    postgres_databases,
    postgres_server,
    postgres_url,
    pytest_collection_modifyitems,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
    valkey_server,
    valkey_url,
    wfe_services,
)

if TYPE_CHECKING:
    from wfe.testing.workflow_test import WorkflowTest

__all__ = [
    "opensearch_server",
    "opensearch_url",
    "postgres_databases",
    "postgres_server",
    "postgres_url",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
    "valkey_server",
    "valkey_url",
    "wfe_host",
    "wfe_services",
]


def pytest_configure(config: pytest.Config) -> None:
    """Register ``needs(*capabilities)``."""
    config.addinivalue_line(
        "markers",
        "services(*names, features=()): needs real servers (set by the fixtures that give them)"
        " that can do this",
    )
    config.addinivalue_line(
        "markers", "needs(*capabilities): skip unless the contract's class claims all of them"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip laws about what the provider does not claim."""
    claimed: frozenset[str] = getattr(getattr(item, "cls", None), "capabilities", frozenset())
    for marker in item.iter_markers("needs"):
        missing = [name for name in marker.args if name not in claimed]
        if missing:
            pytest.skip(f"provider does not claim {missing[0]!r}")


@pytest_asyncio.fixture
async def wfe_host() -> AsyncGenerator[WorkflowTest]:
    """A started :class:`~wfe.testing.WorkflowTest`: ``wfe_host.host``, ``wfe_host.clock``."""
    from wfe.testing import workflow_test  # noqa: PLC0415 - only tests that use it pay for it

    async with workflow_test.WorkflowTest() as test:
        yield test
