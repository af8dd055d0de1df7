"""Expressions: types are checked with places, values go in and come out as plain Python."""

from __future__ import annotations

import contextlib
import copy
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from typing import Annotated, Any, Optional, TypedDict
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.core.cel import CelError, CelEvaluationError, CelType, cel_paths, cel_type_of, compile_cel

_TOO_DEEP = "the expression is nested more than 32 deep, counting each part of `a + b + c`"
T = CelType


@pytest.mark.parametrize(
    ("text", "variables", "values", "result", "kind"),
    [
        ("data.amount > 100", {"data.amount": T.INT}, {"data.amount": 101}, True, "bool"),
        ("data.amount > 100", {"data.amount": T.INT}, {"data": {"amount": 99}}, False, "bool"),
        ("data.amount > 100", {"data": T.DYN}, {"data": {"amount": 100.5}}, True, "bool"),
        ("price > 3 && price == 4", {"price": T.DOUBLE}, {"price": 4.0}, True, "bool"),
        ("price * 2.0", {"price": T.DOUBLE}, {"price": 4}, 8.0, "double"),
        ("a + b", {"a": T.STRING, "b": T.STRING}, {"a": "é", "b": "\n"}, "é\n", "string"),
        ("[1, 2].map(x, x * n)", {"n": T.INT}, {"n": 3}, [3, 6], "list<int>"),
        ("{'a': x}", {"x": T.DYN}, {"x": [1, None]}, {"a": [1, None]}, "map<string,dyn>"),
        ("x", {"x": T.BYTES}, {"x": b"ab"}, b"ab", "bytes"),
        ("x.?y.orValue(7)", {"x": T.DYN}, {"x": {}}, 7, "dyn"),
        ("has(x.y.z)", {"x": T.DYN}, {"x": {"y": {}}}, False, "bool"),
        ("'a,b'.split(',')", {}, {}, ["a", "b"], "list<string>"),
        ("x['k-k'].v", {"x": T.DYN}, {"x": {"k-k": {"v": 1}}}, 1, "dyn"),
        ("data.x + data.n", {"data": T.DYN, "data.n": T.INT}, {"data": {"x": 1, "n": 2}}, 3, "int"),
    ],
)
def test_evaluation(
    text: str,
    variables: Mapping[str, CelType],
    values: Mapping[str, object],
    result: object,
    kind: str,
) -> None:
    program = compile_cel(text, variables)

    found = program.evaluate(values)

    assert (found, type(found)) == (result, type(result))
    assert str(program.result_type) == kind


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a.b", [("unknown name `a.b`", 1, 2)]),
        ("n + 's'", [("`+` cannot take (int, string)", 1, 3)]),
        ("n >\n  's'", [("`>` cannot take (int, string)", 1, 3)]),
        ("n ==\n n + 's'", [("`+` cannot take (int, string)", 2, 4)]),
        ("!n || s", [("`!` cannot take (int)", 1, 1)]),
        ("n in [s]", [("`in` cannot take (int, list(string))", 1, 3)]),
        ("n[0]", [("`[ ]` cannot take (int, int)", 1, 2)]),
        ("size(n)", [("`size` cannot take (int)", 1, 5)]),
        (
            "true ? n : s",
            [("`? :` takes a bool and two values of one type, not (bool, int, string)", 1, 6)],
        ),
        ("n >", [("the expression ends too early", 1, 4)]),
        ("(n", [("`)` is missing at the end", 1, 3)]),
        ("n)", [("`)` does not belong here", 1, 2)]),
        ("n and n", [("`and` is no operator; write `&&`", 1, 3)]),
        ("n or n", [("`or` is no operator; write `||`", 1, 3)]),
        ("", [("the expression is empty", 1, 1)]),
        (
            "s.?x",
            [("expression of type 'string' cannot be the operand of a select operation", 1, 2)],
        ),
        ("d.?x", [("the result may be missing; end the expression with `.orValue(...)`", 1, 1)]),
        ("(" * 100 + "n" + ")" * 100, [(_TOO_DEEP, 1, 1)]),
        ("'\ud800'", [("the expression contains a lone surrogate", 1, 1)]),
        ("n" * 30_000, [("the expression has 30000 characters, more than 20000", 1, 1)]),
    ],
)
def test_errors_say_what_and_where(text: str, problems: Sequence[tuple[str, int, int]]) -> None:
    with pytest.raises(CelError) as caught:
        compile_cel(text, {"n": T.INT, "s": T.STRING, "d": T.DYN})

    found = [(p.message, p.line, p.column) for p in caught.value.problems]
    assert found == problems
    assert problems[0][0] in str(caught.value)


@pytest.mark.parametrize(
    ("text", "values", "problem"),
    [
        ("d.gone", {"d": {}}, "there is no `gone`"),
        ("1 / n", {"n": 0}, "divide by zero"),
        ("n + 1", {"n": 2**63 - 1}, "integer overflow"),
        ("n", {"n": 2**63}, "`n` is 9223372036854775808, beyond the 64-bit integers"),
        ("n", {}, "there is no value for `n`"),
        ("n", {"n": "x"}, "Unexpected value type for 'n'"),
        ("d", {"d": {"a": ["x\0"]}}, "`d.a[0]` contains a NUL character"),
        ("d", {"d": "\ud800"}, "`d` contains a lone surrogate"),
        ("d", {"d": {"a": object()}}, "`d.a` is a object, which has no counterpart"),
        ("d + 1", {"d": "x"}, "`+` cannot take (string, int)"),
    ],
)
def test_values_that_do_not_work(text: str, values: Mapping[str, object], problem: str) -> None:
    program = compile_cel(text, {"n": T.INT, "d": T.DYN})

    with pytest.raises(CelEvaluationError) as caught:
        program.evaluate(values)

    assert problem in caught.value.problem
    assert f"expression `{text}` failed" in str(caught.value)


def test_references_are_the_declared_names_that_are_read() -> None:
    names: list[str] = ["a.b", "a", "c", "d", "unused"]
    variables = dict.fromkeys(names, T.DYN)

    program = compile_cel("a.b.x + a.z + [1].map(d, d + c['k'])[0]", variables)

    assert program.references == ("a", "a.b", "c")


def test_only_what_is_read_has_to_have_a_counterpart() -> None:
    program = compile_cel("data.a + data.b.c", {"data": T.DYN})

    assert program.evaluate({"data": {"a": 1, "b": {"c": 2}, "other": object()}}) == 3


class Color(StrEnum):
    RED = "red"


@attrs.frozen
class Point:
    x: int
    inner: Any = None


@dataclass
class Pair:
    left: str


AT = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (Color.RED, "red"),
        (Point(1, Pair("l")), {"x": 1, "inner": {"left": "l"}}),
        ((1, 2), [1, 2]),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2026, 1, 31), "2026-01-31"),
        (AT, "2026-01-31T10:00:00Z"),
        (timedelta(hours=1), "3600.000000s"),
        (bytearray(b"x"), b"x"),
    ],
)
def test_python_values_in_untyped_data(value: object, seen: object) -> None:
    assert compile_cel("d.v", {"d": T.DYN}).evaluate({"d": {"v": value}}) == seen


def test_times_are_typed_and_readable_in_untyped_data() -> None:
    typed = compile_cel("at + pause", {"at": T.TIMESTAMP, "pause": T.DURATION})
    untyped = compile_cel("timestamp(d.at) + duration(d.pause)", {"d": T.DYN})
    values = {"at": AT, "pause": timedelta(minutes=5)}

    expected = datetime(2026, 1, 31, 10, 5, tzinfo=UTC)
    assert typed.evaluate(values) == expected
    assert untyped.evaluate({"d": values}) == expected


class Typed(TypedDict):
    a: int


@pytest.mark.parametrize(
    ("annotation", "signature"),
    [
        (int, "int"),
        (bool, "bool"),
        (float, "double"),
        (str, "string"),
        (bytes, "bytes"),
        (datetime, "timestamp"),
        (timedelta, "duration"),
        (None, "null"),
        (list[int], "list<int>"),
        (Sequence[str], "list<string>"),
        (list, "list<dyn>"),
        (set[str], "list<string>"),
        (tuple[int, str], "list<dyn>"),
        (dict[str, float], "map<string,double>"),
        (dict[str, list[int]], "map<string,list<int>>"),
        (dict[int, str], "map<string,dyn>"),
        (Annotated[int, "x"], "int"),
        (int | None, "dyn"),
        (Optional[str], "dyn"),  # noqa: UP045 - the other spelling
        (Point, "dyn"),
        (Typed, "dyn"),
        (Color, "string"),
        (bytearray, "dyn"),
        (Any, "dyn"),
        (object, "dyn"),
    ],
)
def test_types_of_annotations(annotation: object, signature: str) -> None:
    assert str(cel_type_of(annotation)) == signature


@pytest.mark.parametrize(
    ("wanted", "given", "fits"),
    [
        (T.INT, T.INT, True),
        (T.INT, T.STRING, False),
        (T.DYN, T.STRING, True),
        (T.STRING, T.DYN, True),
        (T.list_of(T.INT), T.list_of(T.DYN), True),
        (T.list_of(T.INT), T.list_of(T.STRING), False),
        (T.map_of(T.list_of(T.INT)), T.map_of(T.list_of(T.DYN)), True),
        (T.list_of(T.INT), T.map_of(T.INT), False),
    ],
)
def test_which_types_fit(wanted: CelType, given: CelType, fits: bool) -> None:
    assert wanted.accepts(given) is fits


def test_paths_have_places_in_characters() -> None:
    first, second = cel_paths("'é' + x.y + [1].map(i, i)[0] + z")

    assert (first.root, first.offset, [s.offset for s in first.segments]) == ("x", 6, [7])
    assert (second.root, second.offset, second.segments) == ("z", 31, ())


def test_paths_say_how_their_names_are_written() -> None:
    (path,) = cel_paths("steps['a-b'].?c.d.orValue(1)")
    assert [(s.name, s.index, s.optional) for s in path.segments] == [
        ("a-b", True, False),
        ("c", False, True),
        ("d", False, True),
    ]
    assert path.names() == ("steps", "a-b")


def test_compiling_again_gives_the_same_program() -> None:
    assert compile_cel("n + 2", {"n": T.INT}) is compile_cel("n + 2", {"n": T.INT})


def test_errors_survive_pickle_and_copy() -> None:
    with pytest.raises(CelError) as caught:
        compile_cel("n +", {"n": T.INT})
    with pytest.raises(CelEvaluationError) as failed:
        compile_cel("n", {"n": T.INT}).evaluate({})

    for error in (caught.value, failed.value):
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert str(again) == str(error)


def test_without_the_extra_the_error_names_it() -> None:
    code = (
        "import sys\n"
        "sys.modules['cel_expr_python'] = None\n"
        "from wfe.core.cel import compile_cel\n"
        "try:\n"
        "    compile_cel('1', {})\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("DefinitionError")
    assert 'pip install "wfe-core[cel]"' in done.stdout


@given(st.text(alphabet="abn.?()[]{}'\"+-*/%<>=!&|,: 01_\n", max_size=60))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    with contextlib.suppress(CelError, CelEvaluationError):
        program = compile_cel(text, {"a": T.DYN, "b": T.DYN, "n": T.INT})
        program.evaluate({"a": {"b": 1}, "b": [1, 2], "n": 3})
