"""When the rules beyond a row of steps are loaded, and where a branch stands among events."""

from __future__ import annotations

import pytest
from rules_run import block, step

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.rules import decide
from wfe.core.rules.plan import make_plan
from wfe.core.rules.positions import FIRST, later


@pytest.mark.parametrize(
    ("nodes", "loads"),
    [
        ((step("a"), step("b")), 0),
        ((step("a"), step("wait", Kind.WAIT_FOR)), 1),
        ((step("all", Kind.FOR_EACH, blocks=(block(step("each")),)),), 1),
    ],
)
def test_a_definition_loads_the_rules_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, nodes: tuple[Node, ...], loads: int
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(decide, "_drafted", lambda: loaded.append("drafted"))

    decide.load(make_plan(WorkflowDefinition(id="w", root=Block(nodes))))

    assert len(loaded) == loads


@pytest.mark.parametrize(
    ("ours", "theirs", "both"),
    [
        (FIRST, (5, 1), [5, 1]),
        ((5, 2), (5, 1), [5, 2]),
        ((5, 1, "x"), (6, 1), [6, 1, "x"]),
        ((5, 1, "x"), (5, 1, "x", "y"), [5, 1, "x", "y"]),
    ],
)
def test_a_position_after_two_is_after_each(
    ours: tuple[int | str, ...], theirs: tuple[int | str, ...], both: list[int | str]
) -> None:
    assert later(ours, theirs) == both
    assert set(later(theirs, ours)) == set(both)
