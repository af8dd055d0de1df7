"""No text of a file or a process takes a time that grows with the square of its length."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest

from wfe.core.cel import CelError, compile_cel
from wfe.core.cel_messages import first_line
from wfe.yaml.annotations import read_annotation
from wfe.yaml.deno.literals import literal_outputs
from wfe.yaml.diagnostics import Problems, Source, Span, TooManyProblemsError, nearest, render
from wfe.yaml.loader import check_text
from wfe.yaml.pieces import split
from wfe.yaml.scripts import with_references
from wfe.yaml.shell_quoting import HOLE, Context, places
from wfe.yaml.step_outputs import read_marker
from wfe.yaml.tree import Scalar
from wfe.yaml.value_types import TypeTextError, UnfitValueError, parse_type

STRINGS = "list<string>"


def _type(text: str) -> None:
    with contextlib.suppress(TypeTextError):
        parse_type(text, {})


def _json(text: str) -> None:
    with contextlib.suppress(UnfitValueError):
        parse_type(STRINGS, {}).read(text)


def _cel(text: str) -> None:
    with contextlib.suppress(CelError):
        compile_cel(text, {})
    first_line(text)


def _pwsh(text: str) -> None:
    source = Source("a", text)
    scalar = Scalar(value=text, style=None, source=source, start=0, end=0, line=1, column=1)
    with contextlib.suppress(TooManyProblemsError):
        with_references(text, [], scalar, "X", "pwsh", Problems())


READERS: dict[str, Callable[[str], object]] = {
    "an annotation": lambda text: read_annotation("##wfe[group" + text),
    "GitHub's annotation": lambda text: read_annotation("::error" + text),
    "a marker": lambda text: read_marker("##wfe[output a" + text),
    "pieces": split,
    "an expression's end": lambda text: split("${{ " + text),
    "a type": lambda text: _type("string" + text),
    "a JSON value": _json,
    "a shell script": places,
    "a PowerShell script": _pwsh,
    "a Deno script": literal_outputs,
    "an expression": lambda text: _cel(text[:19_000]),
}
PARTS = (
    " ",
    "\t",
    "'",
    '"',
    r"\'",
    r"\"",
    "((",
    "$((",
    "?",
    "[",
    "{",
    "<<A ",
    "${",
    "/* ",
    "::",
    "]",
)


@pytest.mark.parametrize("name", READERS)
def test_a_long_text_is_read_in_time(name: str) -> None:
    for part in PARTS:
        text = part * (60_000 // len(part)) + "x"

        began = time.process_time()
        READERS[name](text)

        # Squares of 60,000 take ten seconds and more.
        assert time.process_time() - began < 2, part


def test_a_hole_in_the_last_line_of_a_here_document_has_a_place() -> None:
    script = f"cat <<{HOLE}\ntext\n{HOLE}\n"

    assert [place.context for place in places(script)] == [Context.DELIMITER, Context.DELIMITER]


def test_a_nul_in_a_text_is_refused() -> None:
    found = check_text(
        'workflow: {id: a, version: 1, steps: [{name: x, run: "echo \\0 ${{ 1 }}"}]}'
    )

    assert [(each.code, each.line) for each in found] == [("WFE001", 1)]
    assert "NUL" in found[0].message


@pytest.mark.parametrize("text", ["500ms", "30d", "7999h59m", "11000d1ms", "1h30m"])
def test_a_stored_duration_is_exact_and_is_read_again(text: str) -> None:
    kind = parse_type("duration", {})

    stored = kind.convert(text)

    assert kind.convert(stored) == stored
    assert stored == {"30d": "2592000s", "500ms": "500ms", "1h30m": "5400s"}.get(text, stored)


def test_a_duration_beyond_what_can_be_waited_is_none() -> None:
    found = check_text(
        "workflow: {id: a, version: 1, steps: [{name: x, run: a, timeout: 999999999d999999999h}]}"
    )

    assert [each.code for each in found] == ["WFE016"]


def test_after_500_errors_the_check_ends() -> None:
    text = "".join(f"key{i}: x\n" for i in range(600))

    found = check_text(text)

    assert len(found) == 501
    assert found[-1].message == "there are more than 500 errors, no more of them are told"


def test_warnings_alone_end_nothing() -> None:
    problems, source = Problems(), Source("a", "x\n" * 700)

    for line in range(1, 700):
        problems.warning("WFE093", Span(source, line, 1), f"{line}")

    assert len(problems.found) == 501
    assert not problems.failed


def test_a_very_long_message_is_cut_in_its_middle() -> None:
    problems = Problems()

    problems.error("WFE020", Span(Source("a", "y" * 10_000), 1, 5_000), "m" * 10_000, "h" * 10_000)

    assert max(len(line) for line in render(problems.found).split("\n")) < 2_100


def test_of_many_names_the_like_one_is_found() -> None:
    names = [f"step-{i}" for i in range(5_000)] + ["build_image", "deploy"]

    assert nearest("build_imag", names) == "build_image"
    assert nearest("Deploy", names) == "deploy"
    assert nearest("dploy", names) == "deploy"  # codespell:ignore dploy
    assert nearest("step-4321x", names) == "step-4321"
    assert nearest("q" * 300, names) is None
