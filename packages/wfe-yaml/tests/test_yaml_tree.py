"""The positioned tree: places, merge keys, and limits that hold before memory is spent."""

from __future__ import annotations

import gc
import time

import pytest

from wfe.yaml.diagnostics import Problems, Source
from wfe.yaml.parsing import parse
from wfe.yaml.tree import Limits, ListNode, MapNode, Node, Scalar
from wfe.yaml.variables import Variables
from wfe.yaml.workflows import check_source


def tree(text: str, limits: Limits | None = None) -> tuple[Node | None, list[str]]:
    problems = Problems()
    node = parse(Source("f.yaml", text), problems, limits or Limits())
    return node, [found.code for found in problems.found]


def scalar(text: str, *keys: str) -> Scalar:
    node, codes = tree(text)
    assert codes == []
    for key in keys:
        assert isinstance(node, MapNode)
        node = node.get(key)
    assert isinstance(node, Scalar)
    return node


@pytest.mark.parametrize(
    ("text", "keys", "place"),
    [
        pytest.param("a: b", ("a",), (1, 4), id="plain"),
        pytest.param("a:\n  bc: 'd'", ("a", "bc"), (2, 7), id="nested-quoted"),
        pytest.param("{a: ((src:v))}", ("a",), (1, 5), id="flow-with-colon"),
        pytest.param("a: &x b", ("a",), (1, 7), id="behind-its-anchor"),
        pytest.param("_b: &b {k: v}\na:\n  <<: *b", ("a", "k"), (1, 12), id="merged-key"),
        pytest.param("é: 'ü'", ("é",), (1, 4), id="columns-are-characters"),
    ],
)
def test_a_value_knows_its_place(text: str, keys: tuple[str, ...], place: tuple[int, int]) -> None:
    node = scalar(text, *keys)

    assert (node.line, node.column) == place


@pytest.mark.parametrize(
    ("text", "needle", "place"),
    [
        pytest.param("a: some x here", "x", (1, 9), id="plain"),
        pytest.param("a: 'some x here'", "x", (1, 10), id="single"),
        pytest.param('a: "so\\tme x here"', "x", (1, 12), id="escaped"),
        pytest.param("a: |\n  one\n  two x\n", "x", (3, 7), id="literal"),
        pytest.param("a: |2\n   one\n  two x\n", "x", (3, 7), id="literal-with-indent"),
        pytest.param("a: >\n  one\n  two x\n", "x", (3, 7), id="folded"),
        pytest.param("a: one\n  two x", "x", (2, 7), id="plain-over-lines"),
    ],
)
def test_a_place_inside_a_value_is_found(text: str, needle: str, place: tuple[int, int]) -> None:
    node = scalar(text, "a")

    span = node.locate(node.value.index(needle))

    assert (span.line, span.column) == place


def test_own_keys_win_over_merged_ones_and_earlier_maps_over_later() -> None:
    text = "_a: &a {x: 1, y: 1}\n_b: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: own\n"
    node, codes = tree(text)

    assert codes == []
    assert isinstance(node, MapNode)
    merged = node.get("c")
    assert isinstance(merged, MapNode)
    values = {
        name: (entry.value.value, entry.merged)
        for name, entry in merged.entries.items()
        if isinstance(entry.value, Scalar)
    }
    assert values == {"x": ("own", False), "y": ("1", True), "z": ("2", True)}


def test_keys_are_texts_and_yaml_1_2_has_no_other_booleans() -> None:
    node, codes = tree("on: push\n1: a\ntrue: b\n")

    assert codes == []
    assert isinstance(node, MapNode)
    assert list(node.entries) == ["on", "1", "true"]


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("[" * 10_000, "WFE002", id="flow-depth"),
        pytest.param("- " * 10_000, "WFE002", id="block-depth"),
        pytest.param("{a: " * 5_000, "WFE002", id="map-depth"),
        pytest.param("\n".join(" " * i + "a:" for i in range(2_000)), "WFE002", id="indents"),
        pytest.param(BOMB, "WFE002", id="alias-bomb"),
        pytest.param("a: " + "x" * 1_100_000, "WFE002", id="huge-scalar"),
        pytest.param("x" * 20_000_000, "WFE002", id="huge-file"),
        pytest.param("a: &a [*a]", "WFE006", id="recursive-alias"),
        pytest.param("a: \x01\x02\x03", "WFE001", id="control-characters"),
        pytest.param('a: "\\ud800"', "WFE001", id="lone-surrogate"),
        pytest.param('a: "\\UFFFFFFFF"', "WFE001", id="beyond-unicode"),
        pytest.param("".join(f"a{i}: &n{i} x\n" for i in range(1_001)), "WFE002", id="anchors"),
    ],
)
def test_attacks_are_refused_quickly(text: str, code: str) -> None:
    start = time.perf_counter()
    node, codes = tree(text)

    assert (node, codes) == (None, [code])
    assert time.perf_counter() - start < 5


def test_limits_are_configurable() -> None:
    _, codes = tree("a: [b, [c]]", Limits(depth=2))
    assert codes == ["WFE002"]

    _, codes = tree("a: [b, [c]]", Limits(depth=3))
    assert codes == []


def test_a_depth_beyond_what_can_be_read_is_an_error_too() -> None:
    text = "workflow: {id: a, version: 1, steps: " + "[{do: " * 900 + "x" + "}]" * 900 + "}"
    problems = Problems()

    checked = check_source(Source("f", text), Variables(), problems, Limits(depth=5_000))

    assert checked.definitions == ()
    assert [found.code for found in problems.found] == ["WFE002"]


def test_aliases_count_as_often_as_they_are_used() -> None:
    text = "a: &a [1, 2, 3, 4]\nb: [*a, *a, *a]\n"

    assert tree(text, Limits(nodes=20))[1] == ["WFE002"]
    assert tree(text, Limits(nodes=22))[1] == []


def test_reading_takes_linear_time() -> None:
    def seconds(lines: int) -> float:
        text = "a:\n" + "".join(f"  - {{k{i}: v, x: 'y'}}\n" for i in range(lines))
        start = time.process_time()
        assert isinstance(tree(text)[0], MapNode)
        return time.process_time() - start

    def best(lines: int) -> float:
        return min(seconds(lines) for _ in range(3))

    seconds(50)
    gc.disable()  # its pauses grow with what all tests before this one have left
    try:
        assert best(1_600) < 10 * best(400)
    finally:
        gc.enable()


def test_a_list_knows_its_place() -> None:
    node, _ = tree("a:\n  - b\n")

    assert isinstance(node, MapNode)
    listed = node.get("a")
    assert isinstance(listed, ListNode)
    assert (listed.span.line, listed.span.column) == (2, 3)
