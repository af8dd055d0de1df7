"""What the doctor says of a cluster."""

from __future__ import annotations

import pytest

from wfe.core.examining import Examined
from wfe.opensearch import open_url
from wfe.opensearch.examining import judged


@pytest.mark.parametrize(
    ("status", "nodes", "level"),
    [
        ("green", 3, "ok"),
        ("yellow", 1, "ok"),
        ("yellow", 3, "warning"),
        ("red", 1, "problem"),
    ],
)
def test_the_health_of_a_cluster_is_judged(status: str, nodes: int, level: str) -> None:
    (found,) = judged("search", {"status": status, "number_of_nodes": nodes}, 0.01)

    assert found.level == level
    assert found.text == f"search answers in 10 ms, {nodes} node(s), status {status}"
    assert (found.hint is None) is (level == "ok")


def test_a_slow_cluster_is_told() -> None:
    _, found = judged("search", {"status": "green", "number_of_nodes": 1}, 2.0)

    assert (found.level, found.text) == ("warning", "search is slow")


async def test_an_index_examines_its_cluster(opensearch_url: str) -> None:
    index = open_url(opensearch_url)
    try:
        assert isinstance(index, Examined)
        found = await index.examine()
    finally:
        await index.close()

    assert found[0].topic == "search"
    assert "node(s), status" in found[0].text
