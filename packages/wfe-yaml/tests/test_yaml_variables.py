"""Load-time variables: sources, typing, defaults, escapes, and that values stay values."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfe.core.errors import DefinitionError
from wfe.yaml.diagnostics import Problems, Source
from wfe.yaml.parsing import parse
from wfe.yaml.pieces import Expression, Literal, Unclosed, Variable, split
from wfe.yaml.tree import Limits
from wfe.yaml.variables import (
    MISSING,
    Variables,
    expand,
    merge_variables,
    parse_assignments,
    render_value,
    to_plain,
)


def expanded(text: str, variables: Variables) -> tuple[object, list[str]]:
    problems = Problems()
    root = parse(Source("f.yaml", text), problems, Limits())
    assert root is not None
    plain = to_plain(expand(root, variables, problems))
    return plain, [found.message for found in problems.found]


GIVEN = merge_variables(
    assignments={"n": "3", "version": "1.10", "flag": "true", "name": "x: {y}", "empty": ""},
    config={"db": {"host": "h", "port": 5}, "list": [1, "a"], "text": "7"},
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("((n))", 3, id="bare-text-is-read-as-a-scalar"),
        pytest.param("v((n))", "v3", id="inside-text"),
        pytest.param("v((version))", "v1.10", id="inside-text-as-written"),
        pytest.param("((flag))", True, id="boolean"),
        pytest.param("((text))", "7", id="typed-text-stays-text"),
        pytest.param("((db.port))", 5, id="dotted"),
        pytest.param("((db))", {"host": "h", "port": 5}, id="whole-map"),
        pytest.param("((list))", [1, "a"], id="whole-list"),
        pytest.param("x((list))", 'x[1,"a"]', id="list-inside-text"),
        pytest.param("((name))", "x: {y}", id="no-structure-from-a-value"),
        pytest.param("((none|4))", 4, id="default"),
        pytest.param("a((none|b c))d", "ab cd", id="default-inside-text"),
        pytest.param("((n|9))", 3, id="default-unused"),
        pytest.param("a((empty))b", "ab", id="empty"),
        pytest.param("\\((n))", "((n))", id="escaped"),
        pytest.param("$((n))", "$((n))", id="shell-arithmetic"),
        pytest.param("(((n)))", "(((n)))", id="three-parentheses"),
        pytest.param("(( n ))", "(( n ))", id="blank"),
        pytest.param("((1 + 2))", "((1 + 2))", id="not-a-name"),
        pytest.param("((n))((n))", "33", id="side-by-side"),
    ],
)
def test_values(text: str, value: object) -> None:
    found, problems = expanded(f"a: '{text}'" if "{" not in text else text, GIVEN)

    assert problems == []
    assert found == {"a": value}


def test_values_are_never_scanned_again() -> None:
    hostile = Variables({"a": "((b)) ${{ inputs.x }}", "b": "no"})

    found, problems = expanded("x: ((a))\ny: 1((a))\n", hostile)

    assert problems == []
    assert found == {"x": "((b)) ${{ inputs.x }}", "y": "1((b)) ${{ inputs.x }}"}


def test_missing_variables_are_reported_once_with_all_their_places() -> None:
    _, problems = expanded("a: ((gone))\nb: [x, '1((gone))']\nc: ((other))\n", Variables())

    assert problems == [
        "the variable `gone` has no value, used also in line 2",
        "the variable `other` has no value",
    ]


def test_what_stands_under_an_anchor_is_expanded_once() -> None:
    found, _ = expanded("_a: &a {k: ((n))}\nb: *a\nc:\n  <<: *a\n", GIVEN)

    assert found == {"_a": {"k": 3}, "b": {"k": 3}, "c": {"k": 3}}


def test_sources_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.json"
    first.write_text("a: file\nb: file\nf: {g: 1}\n", encoding="utf-8")
    second.write_text('{"b": "later file"}', encoding="utf-8")

    merged = merge_variables(
        assignments={"a": "given"},
        files=[first, second],
        environment={"WFE_CONFIG": '{"a": "env", "b": "env", "c": "env"}'},
        config={"a": "config", "c": "config", "d": "config"},
    )

    assert {name: merged.find(name) for name in "abcd"} == {
        "a": "given",
        "b": "later file",
        "c": "env",
        "d": "config",
    }
    assert merged.find("f.g") == 1
    assert merged.find("f.h") is MISSING


@pytest.mark.parametrize(
    ("environment", "message"),
    [("[1]", "is not a JSON object"), ("{", "is not JSON")],
)
def test_a_wrong_environment_is_an_error(environment: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        merge_variables(environment={"WFE_CONFIG": environment})


def test_a_wrong_file_of_variables_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "vars.yaml"
    path.write_text("a: 1\na: 2\n", encoding="utf-8")

    with pytest.raises(DefinitionError, match=r"vars\.yaml:2:1: the key `a` stands twice"):
        merge_variables(files=[path])
    with pytest.raises(DefinitionError, match="cannot be read"):
        merge_variables(files=[tmp_path / "none.yaml"])
    path.write_text("- a\n", encoding="utf-8")
    with pytest.raises(DefinitionError, match="holds a map"):
        merge_variables(files=[path])


def test_assignments() -> None:
    assert parse_assignments(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(DefinitionError, match="write it as name=value"):
        parse_assignments(["a"])


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a", (Literal("a", 0),)),
        ("${{ x }}", (Expression("x", 4, 0, 8),)),
        ("${{ {'a': {'b': '}}'}} }}", (Expression("{'a': {'b': '}}'}}", 4, 0, 25),)),
        ("a${{x}}b", (Literal("a", 0), Expression("x", 4, 1, 7), Literal("b", 7))),
        ("$${{ x }}", (Literal("${{", 1), Literal(" x }}", 4))),
        ("${{ x", (Unclosed(0), Literal("${{ x", 0))),
        ("${{ ((a)) }}", (Expression("((a))", 4, 0, 12),)),
        ("((a.b-c|d))", (Variable("a.b-c", "d", 0, "((a.b-c|d))"),)),
    ],
)
def test_split(text: str, pieces: tuple[object, ...]) -> None:
    assert split(text) == pieces


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (3, "3"), (3.0, "3"), (2.5, "2.5"), ([1, None], "[1,null]")],
)
def test_a_value_inside_a_text(value: object, text: str) -> None:
    assert render_value(value) == text
