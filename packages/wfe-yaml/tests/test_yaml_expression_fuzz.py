"""Whatever stands in an expression: a place inside it, never a traceback, never a value at all."""

from __future__ import annotations

import contextlib
import re

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from wfe.core.cel import CelError, CelEvaluationError, CelType, compile_cel
from wfe.core.cel_forms import FORMS
from wfe.yaml.codes import MEANINGS
from wfe.yaml.loader import check_text

FUZZ = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
ATOMS = st.sampled_from(
    [
        *("inputs.a", "inputs.n", "inputs.e", "inputs.t", "steps.s.outputs.o", "steps.s", "data.o"),
        *("steps", "inputs", "data", "env.E", "env.H", "secrets.x", "secrets", "run.started"),
        *("item", "matrix.os", "step.status", "event", "var.v", "nothing", "steps.later"),
        *("1", "1.5", "'x'", "''", "null", "true", "[]", "{}", "[1, 'a']", "{'a': 1}", "b'x'"),
        *("1u", "-1", "'\\n'", '"""x"""', "duration('1h')", "timestamp(0)"),
    ]
)
NAMES = st.sampled_from([*FORMS, "now", "foo", "in", "a"])
OPERATORS = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||", " in "])


def bigger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, OPERATORS, inner).map("".join),
        st.tuples(inner, inner, inner).map(lambda each: "{} ? {} : {}".format(*each)),
        st.tuples(NAMES, st.lists(inner, max_size=3)).map(
            lambda each: f"{each[0]}({', '.join(each[1])})"
        ),
        st.tuples(inner, NAMES, st.lists(inner, max_size=2)).map(
            lambda each: f"({each[0]}).{each[1]}({', '.join(each[2])})"
        ),
        st.tuples(inner, inner).map(lambda each: f"({each[0]})[{each[1]}]"),
        inner.map(lambda each: f"({each}).?a"),
        inner.map(lambda each: f"!({each})"),
        st.tuples(inner, inner).map(lambda each: f"({each[0]}).map(x, {each[1]})"),
    )


EXPRESSIONS = st.recursive(ATOMS, bigger, max_leaves=6)
HEAD = (
    "workflow:\n  id: a\n  version: 1\n"
    "  inputs: {a: string, n: integer, e: enum(x|y), t: secret}\n"
    "  env: {E: '${{ inputs.a }}', H: '${{ secrets.h }}'}\n  steps:\n"
    "    - {name: s, outputs: {o: integer}, run: make}\n    - name: x\n"
)


@FUZZ
@given(EXPRESSIONS)
def test_any_expression_is_taken_or_told_where_it_is_wrong(text: str) -> None:
    quoted = text.replace("'", "''")
    source = f"{HEAD}      when: '{quoted}'\n      run: 'echo \"${{{{ {quoted} }}}}\"'\n"
    lines = source.split("\n")

    for found in check_text(source):
        assert found.code in MEANINGS
        assert 1 <= found.line <= len(lines)
        assert 1 <= found.column <= len(lines[found.line - 1]) + 1
        assert found.message


@FUZZ
@given(EXPRESSIONS)
def test_what_compiles_gives_a_value_or_says_why_not(text: str) -> None:
    roots = ("inputs", "steps", "data", "run", "env", "secrets", "item", "matrix", "step", "event")
    value = {"a": "x", "n": 1, "outputs": {"o": 1}, "s": {"outputs": {"o": 1}}, "started": "?"}
    try:
        program = compile_cel(text, dict.fromkeys(roots, CelType.DYN))
    except CelError:
        return

    values: dict[str, object] = dict.fromkeys(roots, value)
    values |= {"_success_": True, "_failure_": False, "_always_": True}
    with contextlib.suppress(CelEvaluationError):
        program.evaluate(values)


WORDS = st.sampled_from(
    ["a", "é", "\U0001f600", "x: y", "#", "inputs.a", "{", "'", '"', "\\", "\t", "zzqq"]
)


def written(style: str, text: str) -> str:
    match style:
        case '"':
            escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
            return '"' + escaped.replace("\n", "\\n") + '"'
        case "'":
            return "'" + text.replace("'", "''") + "'"
        case _:
            lines = [f"        {line}" if line else line for line in text.split("\n")]
            return "\n".join([style, *lines])


@FUZZ
@given(
    st.lists(WORDS, max_size=5),
    st.lists(WORDS, max_size=3),
    st.sampled_from(["'", '"', "|", ">"]),
    st.booleans(),
)
def test_the_place_of_a_wrong_name_is_the_name(
    before: list[str], after: list[str], style: str, broken: bool
) -> None:
    line = "\n" if broken and style != "'" else " "
    text = f"x {' '.join(before)}{line}${{{{ 1 + inputs.zzqq }}}} {' '.join(after)}"
    assume(not re.search(r"\n[ \t]|[ \t]$", text) or style in {"'", '"'})
    source = (
        "workflow:\n  id: a\n  version: 1\n  steps: [{delay: 1s}]\n"
        f"  outputs:\n    o:\n      type: string\n      value: {written(style, text)}\n"
    )

    found = [each for each in check_text(source) if "there is no input" in each.message]

    assert len(found) == 1
    at = found[0]
    assert source.split("\n")[at.line - 1][at.column - 8 : at.column + 3].startswith("inputs.zzqq")
