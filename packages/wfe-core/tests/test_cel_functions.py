"""Functions of expressions: what they give, what they refuse, and that the page tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wfe.core.cel import CelError, CelEvaluationError, CelType, cel_syntax, compile_cel
from wfe.core.cel_forms import FORMS
from wfe.core.cel_functions import FUNCTIONS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "expressions.md").read_text("utf-8")
ROWS = [
    row.replace("\\|", "|")
    for row in re.findall(r"^\| .* \|$", PAGE.partition("## Operators")[2], re.MULTILINE)
]


def examples() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for row in ROWS:
        cells = re.findall(r"`((?:[^`])*)` \| `([^`]*)` \|$", row)
        found += cells
    return found


def evaluate(text: str, **values: object) -> object:
    return compile_cel(text, dict.fromkeys(values, CelType.DYN)).evaluate(values)


@pytest.mark.parametrize(("text", "result"), examples())
def test_each_example_of_the_page_gives_what_it_says(text: str, result: str) -> None:
    found, wanted = evaluate(text), evaluate(result)

    assert found == wanted
    assert type(found) is type(wanted)


def test_the_page_has_an_example_for_most_functions_and_names_them_all() -> None:
    functions = PAGE.partition("## Functions")[2]

    missing = [name for name in FORMS if not re.search(rf"\b{name}\(", PAGE)]
    assert missing == []
    assert len(examples()) >= 60
    for function in FUNCTIONS:
        assert re.search(rf"\| `[^|]*\b{function.name}\(", functions), function.name


def test_every_function_of_ours_is_called_by_an_example() -> None:
    called = {call.name for text, _ in examples() for call in cel_syntax(text).calls}

    assert {function.name for function in FUNCTIONS} - called == {
        "removeSuffix",
        "values",
    }


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("joinPath('a', 'b', 'c')", "a/b/c"),
        ("joinPath(['a', '/b'])", "/b"),
        ("'v1.2.3'.removeSuffix('.3')", "v1.2"),
        ("''.lines()", []),
        ("'a\\r\\n\\r\\nb'.lines()", ["a", "", "b"]),
        ("values({'a': 1, 'b': 2})", [1, 2]),
        ("toJson(timestamp('2026-01-31T12:00:00Z'))", '"2026-01-31T12:00:00Z"'),
        ("toJson(duration('90s'))", '"90s"'),
        ("toJson({1: 2.0, 2: 3.0})", '{"1":2,"2":3}'),
        ("toJson(null)", "null"),
        (
            "text(null) + text('a') + text(1.0) + text(true) + text({'a': [1.5]})",
            'a1true{"a":[1.5]}',
        ),
        ("text(timestamp('2026-01-31T12:00:00Z'))", "2026-01-31T12:00:00Z"),
        ("toJson('a\"é')", '"a\\"é"'),
        ("fromJson('[1e400]')", None),
        ("fromJson('123456789012345678901')", 1.2345678901234568e20),
        ("unique([1, true, 1.0, '1'])", [1, True, "1"]),
        ("sorted([2.5, 1])", [1, 2.5]),
        ("sum([])", 0),
        ("sum([1, 0.5])", 1.5),
        ("compareVersions('1.0.0-alpha', '1.0.0-alpha.1')", -1),
        ("compareVersions('1.0.0-alpha.beta', '1.0.0-alpha.1')", 1),
        ("compareVersions('1.0.0-rc.1', '1.0.0')", -1),
        ("compareVersions('1.0.0+a', '1.0.0+b')", 0),
        ("compareVersions('v2.0.0', '10.0.0')", -1),
        ("isVersion('01.2.3')", False),
        ("sha256(b'a') == sha256('a')", True),
        ("formatTime(timestamp('2026-01-01T00:00:00Z'), '%s%%')", "1767225600%"),
    ],
)
def test_a_function_gives(text: str, result: object) -> None:
    if result is None:
        with pytest.raises(CelEvaluationError):
            evaluate(text)
    else:
        assert evaluate(text) == result


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("joinPath([1])", "joinPath takes texts"),
        ("sorted([1, 'a'])", "sorted takes a list of numbers, of texts or of booleans"),
        ("sum(['a'])", "sum takes a list of numbers"),
        ("sum([9223372036854775807, 1])", "integer overflow"),
        ("toJson(b'x')", "encode them: base64.encode(...)"),
        ("toJson(double('inf'))", "which JSON does not have"),
        ("fromJson('{')", "fromJson: not JSON"),
        ("fromJson('NaN')", "NaN is not JSON"),
        ("fromJson('\"\\\\u0000\"')", "a text with NUL"),
        ("compareVersions('1.2', '1.2.3')", "'1.2' is no semantic version such as 1.2.3"),
        ("sortedVersions([1])", "1 is no semantic version"),
        ("formatTime('soon', '%Y')", "'soon' is no timestamp such as"),
        ("formatTime('2026-01-01', '%Q')", "formatTime does not know `%Q`"),
        ("formatTime('2026-01-01', '%Y', 'Mars/Base')", "there is no time zone 'Mars/Base'"),
        ("formatTime('2026-01-01', '%')", "ends in `%`"),
        ("default(d, 1)", "`default` cannot take (string, int)"),
    ],
)
def test_a_function_says_what_it_cannot_take(text: str, problem: str) -> None:
    with pytest.raises(CelEvaluationError) as caught:
        evaluate(text, d="x")

    assert problem in str(caught.value)


def test_json_that_is_nested_like_a_bomb_is_refused() -> None:
    with pytest.raises(CelEvaluationError, match="nested more than 100 deep"):
        evaluate("fromJson(d)", d="[" * 5000 + "]" * 5000)


def test_a_text_that_grows_without_bound_is_refused() -> None:
    with pytest.raises(CelEvaluationError, match="more than"):
        evaluate("toJson(d)", d=["x" * 1_000_000] * 5)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("basename(1)", "`basename` cannot take (int)", "write `basename(string)`"),
        ("'a'.replace(1, 'b')", "cannot take (string, int, string)", "`string.replace(string, "),
        ("1 + 'a'", "`+` cannot take (int, string)", "`string(...)` around the other"),
        ("1.5 + 1", "`+` cannot take (double, int)", "`double(...)` around the other"),
        ("split('a', ',')", "unknown name `split`", "write `string.split(string)`"),
        ("default('a', 1)", "`default` cannot take (string, int)", "`default(value, value)`"),
    ],
)
def test_wrong_arguments_are_told_what_is_expected(text: str, message: str, hint: str) -> None:
    with pytest.raises(CelError) as caught:
        compile_cel(text, {})

    problem = caught.value.problems[0]
    assert message in problem.message
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    ("text", "failed", "result"),
    [
        ("success()", False, True),
        ("success ( ) && !failure()", True, False),
        ("failure() || 'success()' == ''", True, True),
        ("always()", True, True),
    ],
)
def test_questions_about_status_are_values(text: str, failed: bool, result: bool) -> None:
    program = compile_cel(text, {})

    values = {"_success_": not failed, "_failure_": failed, "_always_": True}

    assert program.evaluate(values) is result
    assert program.result_type == CelType.BOOL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1].map(a, [1].map(b, [1].map(c, [1].map(d, d))))", "loops (`map`, `filter`"),
        ("[" * 40 + "]" * 40, "nested more than 32 deep"),
        ("'a'" + " + 'a'" * 2000, "nested"),
        ("a" * 20_001, "more than 20000"),
    ],
)
def test_expressions_have_limits(text: str, message: str) -> None:
    with pytest.raises(CelError) as caught:
        compile_cel(text, {"a": CelType.STRING})

    assert message in str(caught.value)


def test_loops_end() -> None:
    with pytest.raises(CelEvaluationError, match="budget"):
        evaluate("d.map(a, d.map(b, b)).size()", d=list(range(1000)))


def test_comparisons_and_calls_are_found_with_their_places() -> None:
    syntax = cel_syntax("a.b == 'x' && (c != 'y' || d == 'z') && trim('q').size() > math.abs(n)")

    found = [(".".join(c.path.names()), c.constant, c.needed) for c in syntax.comparisons]
    assert found == [("a.b", "x", True), ("c", "y", False), ("d", "z", False)]
    assert [(c.name, c.member, c.arguments) for c in syntax.calls] == [
        ("trim", False, 1),
        ("size", True, 0),
        ("abs", True, 1),
    ]
    assert [path.root for path in syntax.paths] == ["a", "c", "d", "n"]
