"""Interpolations in Python, PowerShell and JavaScript: references where they work, else errors."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.core.definition import Cel, Expr, Value
from wfe.yaml.diagnostics import Problems, Source
from wfe.yaml.expressions import Expressions
from wfe.yaml.pieces import Literal, Piece
from wfe.yaml.scope import Scope
from wfe.yaml.scripts import Script, with_references
from wfe.yaml.shell_quoting import HOLE
from wfe.yaml.tree import Scalar
from wfe.yaml.value_types import STRING

SCOPE = Scope(inputs={"a": STRING})
HOLE_TEXT = "${{ inputs.a }}"


def scalar(text: str) -> Scalar:
    source = Source("f.yaml", text)
    return Scalar(value=text, style=None, source=source, start=0, end=len(text), line=1, column=1)


def script(text: str, language: str) -> tuple[Script | None, list[str]]:
    problems = Problems()
    found = Expressions(problems).script(scalar(text), SCOPE, language=language)
    return found, [problem.message for problem in problems.found]


PYTHON = '__import__("os").environ["WFE_EXPR_1"]'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"x = {HOLE_TEXT}", f"x = {PYTHON}"),
        (f"# {HOLE_TEXT}", "# WFE_EXPR_1"),
        (f"x = 'a'  # it's {HOLE_TEXT}", "x = 'a'  # it's WFE_EXPR_1"),
        (f"x = 'it\\'s' + {HOLE_TEXT}", f"x = 'it\\'s' + {PYTHON}"),
        (f'x = """a\n"b"\n""" + {HOLE_TEXT}', f'x = """a\n"b"\n""" + {PYTHON}'),
        (f"x = 'open\ny = {HOLE_TEXT}", f"x = 'open\ny = {PYTHON}"),
        (f"x = rb'\\\\' ; y = {HOLE_TEXT}", f"x = rb'\\\\' ; y = {PYTHON}"),
    ],
)
def test_python_reads_its_environment(text: str, expected: str) -> None:
    found, said = script(text, "python")

    assert said == []
    assert found == Script(expected, {"WFE_EXPR_1": Cel("inputs.a")})


@pytest.mark.parametrize(
    "text", ["'{}'", '"{}"', '"""\n{}"""', "f'{{x}} {}'", "r'\\' {}'", "'a\\'{}'", "rb'''{}"]
)
def test_python_texts_take_none(text: str) -> None:
    found, said = script(text.format(HOLE_TEXT), "python")

    assert found is None
    assert said == ["Python does not expand an interpolation inside a text"]


def test_no_value_becomes_python() -> None:
    hostile = "\"'; raise SystemExit(3) #\\\n'''"
    found, _ = script(f"print({HOLE_TEXT}, end='')  # {HOLE_TEXT}\n", "python")
    assert found is not None

    env = {**os.environ, **dict.fromkeys(found.env, hostile), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-c", found.text], env=env, capture_output=True, text=True, check=True
    )

    assert done.stdout == hostile


POWERSHELL = "${env:WFE_EXPR_1}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"echo {HOLE_TEXT}", f"echo {POWERSHELL}"),
        (f'echo "a {HOLE_TEXT}"', f'echo "a {POWERSHELL}"'),
        (f'echo "--name={HOLE_TEXT}"', f'echo "--name={POWERSHELL}"'),
        (f"tool --name {HOLE_TEXT}", f"tool --name {POWERSHELL}"),
        (f"# it's {HOLE_TEXT}", "# it's WFE_EXPR_1"),
        (f"<# it's\n{HOLE_TEXT} #>", "<# it's\nWFE_EXPR_1 #>"),
        (f"echo 'it''s' {HOLE_TEXT}", f"echo 'it''s' {POWERSHELL}"),
        (f'@"\nit\'s {HOLE_TEXT}\n"@', f'@"\nit\'s {POWERSHELL}\n"@'),
        (f"echo a#b {HOLE_TEXT}", f"echo a#b {POWERSHELL}"),
    ],
)
def test_powershell_reads_its_environment(text: str, expected: str) -> None:
    found, said = script(text, "pwsh")

    assert said == []
    assert found == Script(expected, {"WFE_EXPR_1": Cel("inputs.a")})


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("echo 'a {}'", "in single quotes"),
        ("@'\na {}\n'@", "in single quotes"),
        ("echo `{}", "after a backtick"),
        ('echo "a `{}"', "after a backtick"),
        ("tool --name={}", "in a word that begins with `-`"),
    ],
)
def test_powershell_says_where_it_expands_nothing(text: str, where: str) -> None:
    found, said = script(text.format(HOLE_TEXT), "pwsh")

    assert found is None
    assert said == [f"PowerShell does not expand an interpolation {where}"]


def test_javascript_takes_no_interpolation() -> None:
    found, said = script(f"console.log({HOLE_TEXT})", "javascript")

    assert found is None
    assert said == ["a value in a script would become JavaScript code"]


@given(
    st.lists(st.sampled_from(["'", '"', '"""', "'''", "\\", "#", "\n", "`", "@", HOLE, " ", "a"])),
    st.sampled_from(["bash", "sh", "python", "pwsh", "javascript"]),
)
def test_every_hole_is_replaced_or_refused(parts: list[str], language: str) -> None:
    text = "".join(parts)
    problems = Problems()
    number = text.count(HOLE)
    holes: list[tuple[Piece, Expr]] = [(Literal("x"), Value("x"))] * number

    found = with_references(text, holes, scalar("x"), "V", language, problems)

    if found is None:
        assert problems.failed
    else:
        assert HOLE not in found.text
        assert len(found.env) == number
