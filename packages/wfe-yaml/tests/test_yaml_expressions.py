"""Expressions in their scope: what is stored, and that the engine's own CEL reads it."""

from __future__ import annotations

import pytest

from wfe.core.cel import CelType, compile_cel
from wfe.core.definition import Cel, ListOf, Record, Text, Value
from wfe.yaml.diagnostics import Problems, Source
from wfe.yaml.expressions import Expressions, Script
from wfe.yaml.parsing import parse
from wfe.yaml.scope import Scope, Visible, cel_literal
from wfe.yaml.tree import Limits, MapNode, Node
from wfe.yaml.value_types import STRING, ValueType
from wfe.yaml.variables import Variables, expand

RECORD = ValueType("record", fields=(("version", STRING),), name="Release")
SCOPE = Scope(
    inputs={
        "image": STRING,
        "n": ValueType("integer"),
        "price": ValueType("number"),
        "rel": RECORD,
        "my-input": STRING,
        "maybe": ValueType("string", optional=True),
    },
    steps={
        "build": Visible(outputs={"digest": STRING, "count": ValueType("integer")}),
        "fmt-check": Visible(outputs={"ok": ValueType("bool")}),
        "opt": Visible(outputs={"z": STRING}, sure=False, doubt="its `when` can skip it"),
    },
    every={"build": 3, "fmt-check": 5, "opt": 6, "later": 9},
    local={"item": CelType.STRING, "index": CelType.INT},
    env={"TARGET": Value("prod"), "TAG": Text((Value("a:"), Cel("inputs.image")))},
    variables=Variables({"env": "prod", "n": 3, "a": {"b": True}, "q": 'a"b\\c\n'}),
)
NAMES: list[str] = ["data", "inputs", "steps", "item", "index", "event", "run", "env"]
ROOTS = dict.fromkeys(NAMES, CelType.DYN)


def node(text: str) -> tuple[Node, Problems]:
    problems = Problems()
    root = parse(Source("f.yaml", text), problems, Limits())
    assert isinstance(root, MapNode)
    expanded = expand(root, SCOPE.variables, problems)
    assert isinstance(expanded, MapNode)
    found = expanded.get("x")
    assert found is not None
    return found, problems


def value(text: str) -> tuple[object, CelType | None, list[str]]:
    found, problems = node(text)
    result = Expressions(problems).value(found, SCOPE)
    codes = [problem.code for problem in problems.found]
    return (result[0], result[1], codes) if result else (None, None, codes)


@pytest.mark.parametrize(
    ("text", "stored", "kind"),
    [
        ("inputs.image", "inputs.image", "string"),
        ("inputs.n + 1", "inputs.n + 1", "int"),
        ("inputs['my-input']", "inputs['my-input']", "dyn"),
        ("inputs.rel.version + 'x'", "inputs.rel.version + 'x'", "string"),
        ("inputs.price > 3", "inputs.price > 3", "bool"),
        ("inputs.price * 2.0", "inputs.price * 2.0", "double"),
        ("steps.build.outputs.count + 1", "steps.build.outputs.count + 1", "int"),
        ("steps['build'].outputs.digest", "steps['build'].outputs.digest", "string"),
        ("steps['fmt-check'].outputs['ok']", "steps['fmt-check'].outputs['ok']", "bool"),
        ("steps.build.status", "steps.build.status", "dyn"),
        ("steps.opt.?outputs.z.orValue('')", "steps.?opt.?outputs.z.orValue('')", "dyn"),
        ("steps['opt'].?outputs.z.orValue('')", "steps[?\"opt\"].?outputs.z.orValue('')", "dyn"),
        ("data.count", "data.count", "int"),
        ("data.?z.orValue('')", "data.?z.orValue('')", "dyn"),
        ("item + string(index)", "item + string(index)", "string"),
        ("run.id", "run.id", "string"),
        ("env.TARGET", '("prod")', "string"),
        ("env.TAG", '("a:" + text(inputs.image))', "string"),
        ("var.n + 1", "3 + 1", "int"),
        ("var.q", '"a\\"b\\\\c\\n"', "string"),
        ("'var.n'", "'var.n'", "string"),
        ("[1, 2].map(i, i + inputs.n)", "[1, 2].map(i, i + inputs.n)", "list<int>"),
        ("has(inputs.maybe)", "has(inputs.maybe)", "bool"),
        ("  inputs.n  ", "inputs.n", "int"),
    ],
)
def test_an_expression_is_checked_and_stored(text: str, stored: str, kind: str) -> None:
    expr, found, codes = value(f"x: >-\n  ${{{{ {text} }}}}")

    assert codes == []
    assert expr == Cel(stored)
    assert str(found) == kind
    assert compile_cel(stored, ROOTS).text == stored


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("inputs.imag", "WFE032"),
        ("image", "WFE032"),
        ("nothing", "WFE032"),
        ("inputs.n + 'a'", "WFE031"),
        ("steps.gone.outputs.x", "WFE032"),
        ("steps.fmt-check.outputs.ok", "WFE032"),
        ("steps.later.outputs.x", "WFE033"),
        ("steps.later.?outputs.x.orValue(1)", "WFE033"),
        ("steps.opt.outputs.z", "WFE033"),
        ("steps.opt.outputs.?z.orValue('')", "WFE033"),
        ("has(steps.opt.outputs.z)", "WFE033"),
        ("steps.build.outputs.digst", "WFE034"),
        ("steps.build.digest", "WFE032"),
        ("data.z", "WFE033"),
        ("data.image", "WFE032"),
        ("inputs.rel.versio", "WFE032"),  # codespell:ignore
        ("env.TARGT", "WFE032"),  # codespell:ignore
        ("run.number", "WFE032"),
        ("var.gone", "WFE021"),
        ("secrets.token", "WFE090"),
        ("matrix.os", "WFE032"),
        ("(env).TARGET", "WFE030"),
        ("inputs.n +", "WFE030"),
        ("steps.build.outputs.?digest", "WFE031"),
    ],
)
def test_a_wrong_expression_has_its_own_code(text: str, code: str) -> None:
    expr, _, codes = value(f"x: >-\n  ${{{{ {text} }}}}")

    assert (expr, codes) == (None, [code])


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ("x: 3", Value(3)),
        ("x: '3'", Value("3")),
        ("x: a ${{ inputs.n }} b", Text((Value("a "), Cel("inputs.n"), Value(" b")))),
        ("x: ((n))", Value(3)),
        ("x: a((n)) ${{ item }}", Text((Value("a3 "), Cel("item")))),
        ("x: $${{ a }}", Value("${{ a }}")),
        ("x: \\((n))", Value("((n))")),
        ("x: [1, a]", Value([1, "a"])),
        ("x: ['${{ item }}', 2]", ListOf((Cel("item"), Value(2)))),
        ("x: {a: 1}", Value({"a": 1})),
        (
            "x: {a: '${{ item }}', b: 1}",
            Record((("a", Cel("item")), ("b", Value(1)))),
        ),
    ],
)
def test_values(text: str, expr: object) -> None:
    assert value(text)[0] == expr


@pytest.mark.parametrize(
    ("text", "expr", "codes"),
    [
        ("x: true", Value(value=True), []),
        ("x: False", Value(value=False), []),
        ("x: inputs.n > 3", Cel("inputs.n > 3"), []),
        ("x: ${{ inputs.n > 3 }}", Cel("inputs.n > 3"), []),
        ("x: ((env)) == 'prod'", Cel("\"prod\" == 'prod'"), []),
        ("x: ((a.b))", Cel("true"), []),
        ("x: ((gone|false))", Cel("false         ".rstrip()), []),
        ("x: inputs.image", None, ["WFE035"]),
        ("x: ${{ inputs.image }} == 'a'", None, ["WFE036"]),
        ("x: [a]", None, ["WFE011"]),
        ("x: ''", None, ["WFE030"]),
    ],
)
def test_conditions(text: str, expr: object, codes: list[str]) -> None:
    found, problems = node(text)

    assert Expressions(problems).condition(found, SCOPE, "when") == expr
    assert [problem.code for problem in problems.found] == codes


def script(text: str) -> tuple[Script | None, list[tuple[str, int, int]]]:
    lines = "".join(f"  {line}\n" for line in text.split("\n"))
    found, problems = node(f"x: |\n{lines}")
    from wfe.yaml.tree import Scalar  # noqa: PLC0415 - narrows only

    assert isinstance(found, Scalar)
    result = Expressions(problems).script(found, SCOPE)
    return result, [(p.code, p.line, p.column) for p in problems.found]


def test_a_script_without_interpolations_stays_as_it_is() -> None:
    text = "echo $((1 + 2)) $HOME '{{ x }}' \"$(ls)\""

    assert script(text)[0] == Script(text + "\n", {})


def test_interpolations_become_variables_quoted_as_their_place_needs() -> None:
    found, problems = script(
        'run ${{ inputs.image }} "a ${{ item }}" ((env)) # ${{ run.id }}\n'
        "cat <<E\n${{ inputs.n }}\nE\necho $${{ x }} \\((y))"
    )

    assert problems == []
    assert found is not None
    assert found.text == (
        'run "${WFE_EXPR_1}" "a ${WFE_EXPR_2}" "${WFE_EXPR_3}" # ${WFE_EXPR_4}\n'
        "cat <<E\n${WFE_EXPR_5}\nE\necho ${{ x }} ((y))\n"
    )
    assert found.env == {
        "WFE_EXPR_1": Cel("inputs.image"),
        "WFE_EXPR_2": Cel("item"),
        "WFE_EXPR_3": Value("prod"),
        "WFE_EXPR_4": Cel("run.id"),
        "WFE_EXPR_5": Cel("inputs.n"),
    }


def test_every_wrong_interpolation_of_a_script_is_reported_with_its_place() -> None:
    found, problems = script("echo '${{ item }}'\necho ${{ inputs.imag }} ${{ x")

    assert found is None
    assert problems == [("WFE032", 3, 19), ("WFE036", 3, 27)]

    found, problems = script("echo '${{ item }}' $(( ${{ index }} ))")

    assert found is None
    assert problems == [("WFE037", 2, 9), ("WFE037", 2, 26)]


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2.5, float("inf"), "a'b\"c\\d\n\té\u2028\x07", [1, "a"], {"k": [None]}],
)
def test_a_constant_survives_as_an_expression(value: object) -> None:
    assert compile_cel(cel_literal(value), {}).evaluate({}) == value
