"""What is fuzzed: functions of bytes that raise when a promise is broken."""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

import attrs

from wfe.core.cel import CelError, CelEvaluationError, CelType, compile_cel
from wfe.core.definition import WorkflowDefinition
from wfe.core.masking import Masker
from wfe.host.graph import mermaid
from wfe.yaml.annotations import Annotations
from wfe.yaml.codes import MEANINGS
from wfe.yaml.diagnostics import Problems, Source, render, render_github, render_json
from wfe.yaml.formatting import format_text
from wfe.yaml.loader import check_text
from wfe.yaml.output_lines import LineCutter
from wfe.yaml.scalars import duration_text, parse_duration
from wfe.yaml.shell_quoting import HOLE, Context, places
from wfe.yaml.step_outputs import StepOutputError, StepOutputs, read_marker
from wfe.yaml.tree import Limits
from wfe.yaml.value_types import TypeTextError, UnfitValueError, ValueType, parse_type
from wfe.yaml.variables import Variables
from wfe.yaml.workflows import check_source

__all__ = ["TARGETS", "BrokenPromiseError", "Target"]

ROOT: Final = Path(__file__).parents[1]
CORPUS: Final = ROOT / "packages" / "wfe-yaml" / "tests" / "corpus"


class BrokenPromiseError(AssertionError):
    """What was fuzzed gave an answer that it may not give."""


@attrs.frozen
class Target:
    """Something to fuzz.

    Attributes:
        run: Takes bytes; raises for what is wrong with the program, never for what is wrong with
            the bytes.
        seeds: Where to begin.
        words: What texts of this kind are made of.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[str, ...] = ()


def _promised(kept: bool, promise: str) -> None:
    if not kept:
        raise BrokenPromiseError(promise)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# -- files


def _check(data: bytes) -> None:
    """Parse and check a file, and draw, store and read again what it says."""
    problems = Problems()
    source = Source("fuzz.yaml", _text(data))
    checked = check_source(source, Variables({"a": 1, "b": "x"}), problems, Limits())
    for show in (render, render_json, render_github):
        show(problems.in_order())
    for found in problems.found:
        _promised(found.code in MEANINGS, "a code is documented")
        _promised(1 <= found.line <= len(source.lines), "a diagnostic stands in the file")
        _promised(found.column >= 1, "columns begin at 1")
    if problems.failed:
        return
    for definition in checked.definitions:
        again = WorkflowDefinition.from_json(definition.to_json())
        _promised(again.hash == definition.hash, "a stored definition is the same")
    mermaid(*checked.definitions)


def _format(data: bytes) -> None:
    text = _text(data)
    once = format_text(text)
    twice = format_text(once.text)
    _promised(once.text == twice.text, "what is formatted stays as it is")
    before, after = check_text(text), check_text(once.text)
    codes = sorted(each.code for each in before)
    _promised(codes == sorted(each.code for each in after), "formatting changes no meaning")


def _files() -> Iterable[bytes]:
    for path in sorted(CORPUS.glob("*/*.yaml")):
        if not path.stem.startswith("limit-"):
            yield path.read_bytes()


# -- texts in files

_VARIABLES: Final[Mapping[str, CelType]] = {
    "inputs": CelType.map_of(CelType.DYN),
    "inputs.n": CelType.INT,
    "inputs.s": CelType.STRING,
    "steps": CelType.map_of(CelType.DYN),
    "data": CelType.DYN,
}
_VALUES: Final[Mapping[str, object]] = {
    "inputs": {"n": 3, "s": "text", "l": [1, 2]},
    "steps": {"a": {"outputs": {"x": 1}, "status": "complete"}},
    "data": {"x": None},
}


def _expression(data: bytes) -> None:
    text = _text(data)
    with contextlib.suppress(CelError, CelEvaluationError):
        compile_cel(text, _VARIABLES).evaluate(_VALUES)
    for found in check_text(
        "workflow:\n  id: a\n  version: 1\n  inputs: {n: integer, s: string}\n  steps:\n"
        f"    - name: x\n      when: {json.dumps(text)}\n"
        f"      run: {json.dumps('echo ${{ ' + text + ' }}')}\n"
    ):
        _promised(found.code in MEANINGS, "a code is documented")


_POINT: Final = ValueType("record", fields=(("x", ValueType("number")),), name="point")


def _type(data: bytes) -> None:
    text, _, value = _text(data).partition("\n")
    try:
        kind = parse_type(text, {"point": _POINT})
    except TypeTextError as error:
        _promised(0 <= error.offset <= len(text), "the place of an error is in the text")
        return
    if not kind.records():
        _promised(parse_type(str(kind), {}) == kind, "a type is read as it is written")
    _promised(ValueType.from_json(kind.to_json()) == kind, "a stored type is the same")
    try:
        once = kind.read(value)
    except UnfitValueError:
        return
    _promised(kind.convert(once) == once or once != once, "a converted value stays as it is")  # noqa: PLR0124 - NaN


def _duration(data: bytes) -> None:
    text = _text(data)
    micros = parse_duration(text)
    if micros is not None:
        _promised(parse_duration(duration_text(micros)) == micros, "a duration is read as written")


def _quoting(data: bytes) -> None:
    script = _text(data).replace("@@", HOLE)
    found = places(script)
    offsets = [place.offset for place in found]
    _promised(all(script[at] == HOLE for at in offsets), "a place is that of a hole")
    _promised(len(set(offsets)) == len(offsets), "a hole has one place")
    _promised(set(offsets) == {i for i, c in enumerate(script) if c == HOLE}, "each has one")
    _promised(all(isinstance(place.context, Context) for place in found), "and a context")


# -- what processes write


def _output_file(data: bytes) -> None:
    outputs = StepOutputs(
        {"n": ValueType("integer"), "s": ValueType("string"), "l": parse_type("list<any>?", {})}
    )
    with tempfile.NamedTemporaryFile(prefix="wfe-fuzz-") as file:
        file.write(data)
        file.flush()
        try:
            outputs.take_file(Path(file.name), 1 << 20)
            json.dumps(outputs.finish(), allow_nan=False)
        except StepOutputError as error:
            _promised(bool(str(error)), "an error says what is wrong")


def _lines(data: bytes) -> None:
    cutter, whole = LineCutter(), LineCutter()
    half = len(data) // 2
    lines = [*cutter.feed(data[:half]), *cutter.feed(data[half:]), *cutter.close()]
    _promised(lines == [*whole.feed(data), *whole.close()], "lines do not depend on chunks")
    outputs, annotations = StepOutputs({"n": ValueType("integer")}), Annotations()
    for line in lines:
        _promised("\n" not in line, "a line has no line break")
        found = annotations.read(line)
        if found is not None:
            _promised(len(found[1]) <= 16_000, "a row of the log is bounded")
            if found[0] in {"annotation", "progress"}:
                json.loads(found[1])
        marker = read_marker(line)
        if marker is not None:
            try:
                outputs.take_marker(*marker)
            except StepOutputError as error:
                _promised(bool(str(error)), "an error says what is wrong")


def _masks(data: bytes) -> None:
    """Mask a secret in chunks: no form of it is left, and the chunks do not matter."""
    head, _, rest = data.partition(b"\n")
    secret = head.decode("utf-8", "replace")
    forms = [secret, quote(secret), base64.b64encode(secret.encode()).decode(), json.dumps(secret)]
    body = rest
    for number, form in enumerate(forms):
        body = body.replace(b"$%d" % number, form.encode())
    masker = Masker([("s", secret), ("t", "another-secret")])
    whole = masker.mask_bytes(body)
    size = 1 + len(head) % 7
    stream = masker.stream()
    parts = [stream.feed(body[at : at + size]) for at in range(0, len(body), size)]
    _promised(b"".join([*parts, stream.close()]) == whole, "masks do not depend on chunks")
    if len(secret) >= 4 and "*" not in secret:
        _promised(secret.encode() not in whole, "no secret is left")


def _texts(*texts: str) -> Callable[[], Iterable[bytes]]:
    return lambda: (text.encode() for text in texts)


_YAML_WORDS: Final = (
    *("workflow:", "workflows:", "id: a", "version: 1", "steps:", "- name: x", "run: make"),
    *("inputs:", "outputs:", "when: ", "needs: [x]", "for_each: ", "matrix: ", "parallel:", "do:"),
    *("saga:", "try:", "ensure:", "switch: ", "cases:", "approval: ", "wait_for: ", "delay: 5s"),
    *("extends: ", "<<: *a", "&a ", "*a", "${{ ", " }}", "((a))", "((b|c))", "timeout: 1m"),
    *("retry: {max: 2}", "type: deno", "config:", "env: {A: b}", "include: [a.yaml]", "- ", ": "),
    *("{", "}", "[", "]", "|\n", ">-\n", "'", '"', "# ", "? ", "%YAML 1.2", "---", "...", "!t "),
)
_CEL_WORDS: Final = (
    *("inputs.n", "inputs.s", "steps.a.outputs.x", "data.x", "[?'a']", ".?a", ".orValue(1)"),
    *("size(", "has(", ".map(x, ", ".exists(x, ", "success()", "failure()", "&&", "||", "?", ":"),
    *("duration('1h')", "toJson(", "fromJson('", "'", '"', "'''", "b'", "r'", "\\u0041", " in "),
)
_SHELL_WORDS: Final = (
    *("@@", "'", '"', "$(", "$((", "${", "}", "`", "<<EOF\n", "<<'EOF'\n", "<<-EOF\n", "EOF\n"),
    *("case x in", "esac", "#", "\\", "$'", "))", ")", "(", "{", ";", "\n", "((", "<<<"),
)

TARGETS: Final[Mapping[str, Target]] = {
    "check": Target(_check, _files, _YAML_WORDS),
    "format": Target(_format, _files, _YAML_WORDS),
    "expression": Target(
        _expression,
        _texts(
            "inputs.n > 1 && inputs.s == 'x'",
            "steps.a.?outputs.x.orValue(3) + 1",
            "[1, 2].map(x, x * 2).exists(y, y > 3) ? toJson({'a': 1}) : fromJson('[1]')",
            "failure() || !success()",
        ),
        _CEL_WORDS,
    ),
    "type": Target(
        _type,
        _texts("list<map<string?>>\n[{}]", "enum(a|b)?\na", "duration\n1h30m", "point\n{}"),
        ("list<", "map<", ">", "?", "enum(", "|", ")", "point", "timestamp", "bytes", "\n"),
    ),
    "duration": Target(_duration, _texts("1h30m", "500ms", "1d", "0s"), ("d", "h", "m", "ms")),
    "quoting": Target(
        _quoting,
        _texts("echo \"@@\" '@@' $(cat <<EOF\n@@ $((@@))\nEOF\n) # @@", "case @@ in a) ;; esac"),
        _SHELL_WORDS,
    ),
    "outputs": Target(
        _output_file,
        _texts('n=1\ns=x\n{"l": [1, null]}\n', 'n=1.5\n{"n": 1e999}\n'),
        ("n=", "s=", '{"n": ', "}", "[", "null", "NaN", "1e9", "\r\n", "\0"),
    ),
    "lines": Target(
        _lines,
        _texts(
            "##wfe[output n=3]\n##wfe[group a]\n##wfe[progress 40% x]\n",
            "::error file=a,line=3::text%0A\n##wfe[warning x]\n",
        ),
        ("##wfe[", "]", "output n=", "group ", "endgroup", "::", "line=", ",", "%0A", "\n", "\r"),
    ),
    "masks": Target(
        _masks,
        _texts("s3cret/+=x\nab $0 $1 cd $2$2 $3\n", "aaaa\n$0a$0aa"),
        ("$0", "$1", "$2", "$3", "\n", "another-secret"),
    ),
}
