"""Definitions as Mermaid text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from wfe.core.definition import Block, Call, Cel, Kind, Node, Text, Value, WorkflowDefinition
from wfe.host.graph import mermaid

Wfe: TypeAlias = Callable[..., Any]


def leaf(name: str, **options: Any) -> Node:
    return Node(name=name, kind=options.pop("kind", Kind.STEP), **options)


def lines(*nodes: Node) -> list[str]:
    text = mermaid(WorkflowDefinition(id="main", root=Block(nodes)))
    assert text.startswith("flowchart TD\n")
    assert text.endswith("\n")
    return [line.strip() for line in text.splitlines()[1:]]


def test_a_sequence() -> None:
    assert lines(leaf("a"), leaf("b")) == [
        'n3s(("start"))',
        'n1["a"]',
        'n2["b"]',
        'n4e(("end"))',
        "n3s --> n1",
        "n1 --> n2",
        "n2 --> n4e",
    ]


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (leaf('say "<hi>" #1'), 'n1["say &quot;&lt;hi&gt;&quot; #35;1"]'),
        (leaf("a", run_if=Cel("data.x  >\n 1")), 'n1["a<br/>only if data.x &gt; 1"]'),
        (leaf("a", run_if=Call()), 'n1["a<br/>only if Python"]'),
        (leaf("a", run_if=Text(())), 'n1["a<br/>only if …"]'),
        (
            leaf("nap", kind=Kind.DELAY, exprs=(("duration", Value(1_500_000)),)),
            'n1>"nap<br/>1.5 s"]',
        ),
        (
            leaf("nap", kind=Kind.DELAY, exprs=(("duration", Cel("data.d")),)),
            'n1>"nap<br/>data.d"]',
        ),
        (leaf("w", kind=Kind.WAIT_FOR, config={"event": "go"}), 'n1{{"w<br/>event go"}}'),
        (leaf("s", kind=Kind.SET), 'n1[/"s"/]'),
        (
            leaf("k", kind=Kind.SUB_WORKFLOW, config={"definition": "kid"}),
            'n1[["k<br/>workflow kid"]]',
        ),
    ],
)
def test_shapes_and_labels(node: Node, line: str) -> None:
    assert line in lines(node)


def test_long_expressions_are_cut() -> None:
    (line,) = [line for line in lines(leaf("a", run_if=Cel("x" * 100))) if line.startswith("n1[")]

    assert line == 'n1["a<br/>only if ' + "x" * 59 + '…"]'


def test_a_decision_has_its_sides() -> None:
    node = Node(
        name="which",
        kind=Kind.DECIDE,
        exprs=(("value", Cel("data.kind")),),
        blocks=(Block((leaf("a"),), label="x"), Block((leaf("b"),), default=True)),
    )

    found = lines(node)

    assert 'subgraph n1["which"]' in found
    assert 'n1d{"data.kind"}' in found
    assert 'n1d -->|"&quot;x&quot;"| n2' in found
    assert 'n1d -->|"otherwise"| n3' in found


def test_an_if_without_else() -> None:
    found = lines(
        Node(name="if", kind=Kind.IF, exprs=(("condition", Call()),), blocks=(Block((leaf("a"),)),))
    )

    assert 'n1d{"Python"}' in found
    assert 'n1d -->|"yes"| n2' in found


def test_a_while_comes_back() -> None:
    found = lines(Node(name="w", kind=Kind.WHILE, blocks=(Block((leaf("a"), leaf("b"))),)))

    assert 'n1d{"condition"}' in found
    assert 'n3 -->|"again"| n1d' in found


def test_a_for_each_and_a_parallel_are_frames() -> None:
    each = Node(
        name="each",
        kind=Kind.FOR_EACH,
        config={"sequential": True},
        exprs=(("items", Cel("data.xs")),),
        blocks=(Block((leaf("a"),)),),
    )
    both = Node(
        name="both", kind=Kind.PARALLEL, config={"join": "any"}, blocks=(Block((leaf("b"),)),)
    )

    found = lines(each, both)

    assert 'subgraph n1["each<br/>for each of data.xs, one by one"]' in found
    assert 'subgraph n3["both<br/>parallel, join any"]' in found
    assert "n1 --> n3" in found


def test_the_edges_of_a_dag_are_its_needs() -> None:
    dag = Node(
        name="dag",
        kind=Kind.DAG,
        blocks=(
            Block(
                (leaf("a"), leaf("b"), leaf("c", needs=("a", "b")), leaf("d", needs_any=("a", "c")))
            ),
        ),
    )

    found = lines(dag)

    assert [line for line in found if line.startswith(("n2 ", "n3 "))] == [
        "n2 --> n4",
        "n3 --> n4",
        'n2 -.->|"any"| n5',
    ]
    assert 'n4 -.->|"any"| n5' in found


def test_a_step_with_outcomes() -> None:
    node = Node(name="ask", kind=Kind.STEP, blocks=(Block((leaf("a"),), label=True),))

    assert 'n1d -->|"true"| n2' in lines(node)


def test_a_goto_leads_to_its_target_and_not_on() -> None:
    found = lines(leaf("a"), leaf("back", kind=Kind.GOTO, config={"target": "a"}), leaf("b"))

    assert "n2 -.-> n1" in found
    assert "n2 --> n3" not in found


def test_several_workflows_have_frames_and_calls_lead_to_them() -> None:
    main = WorkflowDefinition(
        id="main", root=Block((leaf("k", kind=Kind.SUB_WORKFLOW, config={"definition": "kid"}),))
    )
    kid = WorkflowDefinition(id="kid", version=3, root=Block((leaf("x"),)))

    text = mermaid(main, kid)

    assert 'subgraph w1["main v1"]' in text
    assert 'subgraph w2["kid v3"]' in text
    assert 'n1 -.->|"runs"| w2' in text


def test_names_never_clash_between_workflows() -> None:
    one = WorkflowDefinition(id="one", root=Block((leaf("same"),)))
    two = WorkflowDefinition(id="two", root=Block((leaf("same"),)))

    drawn = [line.strip() for line in mermaid(one, two).splitlines() if '["same"]' in line]

    assert len(set(drawn)) == 2


EVERYTHING = """\
workflow:
  id: everything
  version: 1
  services:
    db: {image: "postgres:17"}
  steps:
    - name: build
      run: make
      on_failure: {name: tell, run: echo}
      ensure: [{name: tidy, run: echo}, {name: sweep, run: echo}]
    - name: test
      matrix: {os: [linux, mac], py: ["3.12"]}
      do: [{name: unit, run: echo}]
    - name: book
      saga:
        - {name: seat, run: echo, compensate: {name: free, run: echo}}
    - name: ask
      approval: {prompt: "ship it?", options: ["yes", "no"]}
    - name: choose
      switch: steps.ask.outputs.choice
      cases: {"yes": [{name: ship, run: echo}]}
      default: [{name: stay, run: echo}]
"""

NEEDS = """\
workflow:
  id: needs
  version: 1
  steps:
    - {name: a, run: echo}
    - {name: b, run: echo}
    - {name: c, needs: [a, b], run: echo}
"""


def drawn_file(wfe: Wfe, folder: Path, text: str) -> tuple[dict[str, str], list[str]]:
    """Return the ids by label, and the edges with labels in place of ids."""
    (folder / "g.yaml").write_text(text)
    lines = wfe("graph", "g.yaml").out.splitlines()
    nodes = [line for line in lines if "->" not in line]
    found = [re.match(r'\s*(?:subgraph )?(n\w+)\W+"(.*?)"', line) for line in nodes]
    names = {match[1]: match[2].partition("<br/>")[0] for match in found if match}
    edges = [line.strip() for line in lines if "->" in line]
    return names, [re.sub(r"\bn\d+\w*\b", lambda m: names.get(m[0], m[0]), e) for e in edges]


def test_everything_a_file_can_hold(wfe: Wfe, folder: Path) -> None:
    names, edges = drawn_file(wfe, folder, EVERYTHING)
    text = wfe("graph", "g.yaml").out

    assert 'build -.->|"on_failure"| tell' in edges
    assert 'build -.->|"ensure"| tidy' in edges
    assert "tidy --> sweep" in edges
    assert "start --> build" in edges
    assert 'seat -.->|"compensate"| free' in edges
    assert 'db -.->|"beside"| start' in edges
    assert "test<br/>matrix, 2 runs" in text
    assert "book<br/>saga" in text
    assert '{{"ask<br/>ship it?"}}' in text
    assert '[("db<br/>postgres:17")]' in text
    assert {"ship", "stay"} <= set(names.values())


def test_needs_are_edges_from_start_to_end(wfe: Wfe, folder: Path) -> None:
    _, edges = drawn_file(wfe, folder, NEEDS)

    assert set(edges) >= {
        "start --> a",
        "start --> b",
        "a --> c",
        "b --> c",
        "c --> end",
    }
