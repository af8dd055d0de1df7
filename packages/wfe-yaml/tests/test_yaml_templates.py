"""``extends``: whose keys win, what is put together, and what is refused."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from wfe.core.definition import Node, WorkflowDefinition
from wfe.core.policies import Retry
from wfe.yaml import Limits, load_workflow
from wfe.yaml.diagnostics import Problems, Source
from wfe.yaml.variables import Variables
from wfe.yaml.workflows import check_source


def load(templates: str, steps: str, more: str = "") -> WorkflowDefinition:
    text = f"_templates:\n{indent(dedent(templates), '  ')}\nworkflow:\n  id: main\n  version: 1\n"
    return load_workflow(f"{text}{more}  steps:\n{indent(dedent(steps), '    ')}\n")


def node(definition: WorkflowDefinition, name: str = "x") -> Node:
    return next(each for each in definition.walk() if each.name == name)


def given(found: Node, name: str) -> Any:
    return dict(found.inputs)[name]


def variables(found: Node) -> dict[str, Any]:
    return {name: value.value for name, value in given(found, "env").fields}


def test_own_keys_win_and_missing_ones_are_taken() -> None:
    found = load(
        "base: {timeout: 10s, continue_on_error: true, run: make base}",
        "- {name: x, extends: base, timeout: 1m}",
    )

    assert node(found).timeout == 60_000_000
    assert "make base" in str(node(found).inputs)
    assert node(found).on_error is not None


def test_maps_of_settings_are_put_together_one_level() -> None:
    found = load(
        """\
        base:
          env: {A: base, B: base}
          retry: {max: 7, interval: 2s}
          config: {run: make, env: {C: base, D: base}}
        """,
        """\
        - name: x
          extends: base
          env: {B: own}
          retry: {interval: 9s}
          config: {env: {D: own}}
        """,
    )

    policy = node(found).on_error
    assert isinstance(policy, Retry)
    assert (policy.max_retries, policy.interval.total_seconds()) == (7, 9)
    assert variables(node(found)) == {"A": "base", "B": "own", "C": "base", "D": "own"}


def test_a_list_is_replaced() -> None:
    found = load("base: {runs_on: [a, b], run: make}", "- {name: x, extends: base, runs_on: [c]}")

    assert found.requires == ("c",)


def test_the_first_of_several_templates_wins() -> None:
    found = load(
        "a: {timeout: 1s, run: make}\nb: {timeout: 2s, continue_on_error: true}",
        "- {name: x, extends: [a, b]}",
    )

    assert (node(found).timeout, node(found).on_error is not None) == (1_000_000, True)


def test_a_chain_is_followed() -> None:
    found = load(
        "a: {extends: b, env: {A: a}}\nb: {extends: c, env: {A: b, B: b}}\n"
        "c: {run: make, env: {B: c, C: c}}",
        "- {name: x, extends: a}",
    )

    assert variables(node(found)) == {"A": "a", "B": "b", "C": "c"}


@pytest.mark.parametrize(
    "steps",
    [
        "- {parallel: [{name: x, extends: base}]}",
        "- {do: [{name: x, extends: base}]}",
        "- {if: 'inputs.n > 1', then: [{name: x, extends: base}]}",
        "- {if: 'inputs.n > 1', then: [{name: y, run: make}], else: [{name: x, extends: base}]}",
        "- {for_each: [1], do: [{name: x, extends: base}]}",
        "- {name: y, run: make, on_failure: {name: x, extends: base}}",
        "- {name: y, run: make, ensure: [{name: x, extends: base}]}",
        "- {switch: inputs.n, cases: {1: [{name: x, extends: base}]}}",
        "- switch: inputs.n\n  cases: {1: [{delay: 1s}]}\n  default: [{name: x, extends: base}]",
        "- {try: [{name: x, extends: base}]}",
        "- {saga: {steps: [{name: x, extends: base}]}}",
    ],
)
def test_steps_at_any_depth_extend(steps: str) -> None:
    found = load("base: {timeout: 5s, run: make}", steps, "  inputs: {n: integer}\n")

    assert node(found).timeout == 5_000_000


def test_a_template_may_be_a_container_with_steps_that_extend() -> None:
    found = load(
        """\
        quick: {timeout: 5s}
        pair:
          parallel:
            - {name: x, extends: quick, run: make}
            - {name: y, extends: quick, run: make}
        """,
        "- {name: both, extends: pair}",
    )

    assert [node(found, name).timeout for name in "xy"] == [5_000_000, 5_000_000]


def test_defaults_fill_what_templates_leave() -> None:
    found = load(
        "base: {timeout: 5s, env: {A: template}}",
        "- {name: x, extends: base, run: make}\n- {name: y, run: make}",
        "  defaults: {timeout: 1m, env: {A: default, B: default}, shell: sh}\n",
    )

    assert (node(found).timeout, node(found, "y").timeout) == (5_000_000, 60_000_000)
    assert variables(node(found)) == {"A": "template", "B": "default"}
    assert given(node(found), "shell").value == "sh"


def test_a_template_is_found_by_its_map_too() -> None:
    text = (
        "_a: {base: {timeout: 1s}}\n_b: {base: {timeout: 2s}}\n"
        "workflow: {id: main, version: 1, steps: [{name: x, extends: _b.base, run: make}]}\n"
    )

    assert node(load_workflow(text)).timeout == 2_000_000


def test_a_workflow_extends_one() -> None:
    text = (
        "_templates: {nightly: {timeout: 2h, steps: [{name: x, run: make}]}}\n"
        "workflow: {id: main, version: 1, extends: nightly}\n"
    )

    found = load_workflow(text)

    assert (found.timeout, [each.name for each in found.walk()]) == (7_200_000_000, ["x"])


def test_an_included_file_does_not_see_the_templates_of_who_includes_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "workflow: {id: a, version: 1, steps: [{name: x, extends: mine, run: make}]}\n"
    )
    text = "include: [a.yaml]\n_t: {mine: {timeout: 1s}}\n"
    problems = Problems()

    check_source(Source("m.yaml", text), Variables(), problems, Limits(), tmp_path / "m.yaml")

    assert [(d.file, d.code) for d in problems.found] == [("a.yaml", "WFE083")]


def test_templates_of_templates_do_not_explode() -> None:
    lines = ["_t:", "  t0: {do: [{run: make}]}"]
    for i in range(30):
        inner = ", ".join([f"{{extends: t{i}}}"] * 9)
        lines.append(f"  t{i + 1}: {{do: [{inner}]}}")
    lines.append("workflow: {id: main, version: 1, steps: [{extends: t30}]}")
    problems = Problems()

    check_source(Source("m.yaml", "\n".join(lines)), Variables(), problems, Limits())

    assert [d.code for d in problems.found] == ["WFE002"]


def test_the_depth_of_templates_in_templates_is_limited() -> None:
    lines = ["_t:", "  t0: {do: [{run: make}]}"]
    lines += [f"  t{i + 1}: {{do: [{{extends: t{i}}}]}}" for i in range(500)]
    lines.append("workflow: {id: main, version: 1, steps: [{extends: t500}]}")
    problems = Problems()

    check_source(Source("m.yaml", "\n".join(lines)), Variables(), problems, Limits())

    assert [d.code for d in problems.found] == ["WFE002"]
