"""``wfe fmt``: one layout; comments, anchors and meaning stay."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfe.yaml import load_workflows
from wfe.yaml.formatting import format_text
from wfe.yaml.layout import meaning

CORPUS = Path(__file__).parent / "corpus"


def formatted(text: str) -> str:
    made = format_text(text)
    assert made.diagnostics == ()
    assert not made.left
    assert format_text(made.text).text == made.text
    return made.text


UGLY = """\
# head
_templates:
    base: &base
        retry:   {max: 3,
           interval: 1s}   # trailing
workflow:
    steps:
    # about lint
    -   config:
            # the command
            run: |
                   ruff check .
                     more

                   end
            timeout:    "120s"
        name:   Lint     # say it


        <<: *base
    - name: two
      run: >-
        folded
        text
      when: "a"
      # tail of two

    # about three
    -
      # inside
      run: echo
      name: three
      on_failure:
      - run: x
        name: y
    id: x
    version: 1
# the end
"""

PRETTY = """\
# head
_templates:
  base: &base
    retry: {max: 3,
       interval: 1s}  # trailing
workflow:
  id: x
  version: 1
  steps:
    # about lint
    - name: Lint  # say it

      <<: *base
      config:
        # the command
        run: |
          ruff check .
            more

          end
        timeout: "120s"
    - name: two
      when: "a"
      run: >-
        folded
        text
      # tail of two

    # about three
    - name: three
      # inside
      run: echo
      on_failure:
        - name: y
          run: x
# the end
"""


def test_a_file_is_laid_out_anew() -> None:
    assert formatted(UGLY) == PRETTY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("a:   1\n", "a: 1\n", id="blanks"),
        pytest.param("a: 1", "a: 1\n", id="last-line-break"),
        pytest.param("\n\n\na: 1\n\n\n", "a: 1\n", id="blank-lines-around"),
        pytest.param("a: 1\r\nb: 2\r\n", "a: 1\nb: 2\n", id="windows"),
        pytest.param("a:\n- 1\n-   2\n", "a:\n  - 1\n  - 2\n", id="list"),
        pytest.param("a:\n  -\n    b: 1\n", "a:\n  - b: 1\n", id="dash-alone"),
        pytest.param("- - 1\n  - 2\n", "- - 1\n  - 2\n", id="list-in-list"),
        pytest.param("a: # why\n    b: 1\n", "a:  # why\n  b: 1\n", id="comment-of-a-key"),
        pytest.param("a: &x\n   b: 1\nc: *x\n", "a: &x\n  b: 1\nc: *x\n", id="anchor"),
        pytest.param("- &x\n  b: 1\n- *x\n", "- &x\n  b: 1\n- *x\n", id="anchor-of-an-item"),
        pytest.param("a:\nb:   # none\n", "a:\nb:  # none\n", id="no-value"),
        pytest.param('a:\n    "x\n      y"\n', 'a:\n  "x\n    y"\n', id="value-below"),
        pytest.param("a: [1,\n    2]\n", "a: [1,\n    2]\n", id="flow"),
        pytest.param("a: |\n    x", "a: |-\n  x\n", id="block-without-end"),
        pytest.param("a: |2\n    x\n", "a: |2\n    x\n", id="block-with-its-own-indent"),
        pytest.param("a: |+\n    x\n\n\n", "a: |+\n  x\n\n\n", id="block-that-keeps"),
        pytest.param("a: |\n    x \n    y\t\n", "a: |\n  x \n  y\t\n", id="blanks-in-a-script"),
        pytest.param(
            "a:\n    b: 1\n    # inside\n# outside\nc: 2\n",
            "a:\n  b: 1\n  # inside\n# outside\nc: 2\n",
            id="comments-keep-their-level",
        ),
        pytest.param("---\na:  1\n...\n", "---\na: 1\n", id="document-marks"),
    ],
)
def test_layout(before: str, after: str) -> None:
    assert formatted(before) == after


def test_keys_of_workflows_and_steps_get_an_order_and_others_keep_theirs() -> None:
    text = """\
workflow:
  steps:
    - run: echo
      env: {Z: 1, A: 2}
      name: a
    - do: [{run: x, name: b}]
      sequential: true
      as: each
      for_each: inputs.x
      name: loop
  version: 1
  outputs: {z: string}
  inputs: {y: string, x: "list<string>"}
  id: w
"""

    assert (
        formatted(text)
        == """\
workflow:
  id: w
  version: 1
  inputs: {y: string, x: "list<string>"}
  outputs: {z: string}
  steps:
    - name: a
      env: {Z: 1, A: 2}
      run: echo
    - name: loop
      for_each: inputs.x
      as: each
      sequential: true
      do: [{run: x, name: b}]
"""
    )


def test_an_anchor_never_comes_behind_its_use() -> None:
    text = """\
workflow:
  steps: &all
    - {name: a, run: echo}
  id: w
  _more: *all
"""

    assert formatted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("? a\n: b\n", id="explicit-key"),
        pytest.param("a:\n  &x\n  b: 1\n", id="anchor-on-a-line-of-its-own"),
        pytest.param("a:\n  |\n  x\n", id="block-head-on-a-line-of-its-own"),
        pytest.param("a: 1\x85b: 2\n", id="odd-line-break"),
    ],
)
def test_odd_forms_are_left_as_they_are(text: str) -> None:
    made = format_text(text)

    assert (made.text, made.left or bool(made.diagnostics)) == (text, True)


@pytest.mark.parametrize(
    "text", ["a: [1\n", "a: 1\na: 2\n", "a: !!int 1\n", "a: *b\n", "", "\t- x"]
)
def test_wrong_files_are_refused(text: str) -> None:
    made = format_text(text, "f.yaml")

    assert made.text == text
    assert made.diagnostics
    assert made.diagnostics[0].file == "f.yaml"


@pytest.mark.parametrize("path", sorted(CORPUS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_of_the_corpus_says_the_same_afterwards(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    made = format_text(text)

    if not made.diagnostics and not made.left:
        assert meaning(made.text) == meaning(text)
        assert format_text(made.text).text == made.text


@pytest.mark.parametrize(
    "path",
    [p for p in sorted((CORPUS / "good").glob("*.yaml")) if "((" not in p.read_text("utf-8")],
    ids=lambda path: path.stem,
)
def test_definitions_are_equal_afterwards(path: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(path.parent, tmp_path / "good")  # files include others
    copy = folder / path.name
    before = load_workflows(copy)

    copy.write_text(format_text(path.read_text(encoding="utf-8")).text, encoding="utf-8")

    assert [each.to_json() for each in load_workflows(copy)] == [each.to_json() for each in before]


# -- whatever a file looks like

KEYS = st.sampled_from(["id", "name", "steps", "run", "do", "when", "env", "zeta", "_x", "inputs"])
SCALARS = st.sampled_from(["1", "echo", "'a # b'", '"q"', "", "x: y".replace(": ", ":"), "true"])
COMMENTS = st.sampled_from(["", "  # c", " # d"])


@st.composite
def blocks(draw: st.DrawFn, depth: int = 0, indent: int = 0) -> list[str]:
    """Lines of a map in block style, with every kind of value and comments anywhere."""
    pad = " " * indent
    lines: list[str] = []
    for key in draw(st.lists(KEYS, min_size=1, max_size=4, unique=True)):
        if draw(st.booleans()):
            lines += draw(
                st.sampled_from([[""], [f"{pad}# about {key}"], ["# far left"], ["", ""]])
            )
        kinds = ["scalar", "script"] + (["map", "list"] if depth < 3 else [])
        kind = draw(st.sampled_from(kinds))
        step = draw(st.integers(1, 5))
        if kind == "scalar":
            blanks = " " * draw(st.integers(1, 4))
            lines.append(f"{pad}{key}:{blanks}{draw(SCALARS)}{draw(COMMENTS)}".rstrip())
        elif kind == "script":
            body = draw(st.lists(st.sampled_from(["a", "  b", "", "# no"]), min_size=1, max_size=3))
            body = ["first", *body, "last"]
            lines.append(f"{pad}{key}: {draw(st.sampled_from(['|', '>-', '|-']))}")
            lines += [f"{pad}{' ' * step}{line}" if line else "" for line in body]
        elif kind == "map":
            lines.append(f"{pad}{key}:{draw(COMMENTS)}")
            lines += draw(blocks(depth + 1, indent + step))
        else:
            lines.append(f"{pad}{key}:{draw(COMMENTS)}")
            at = indent + draw(st.integers(0, 3))
            for _ in range(draw(st.integers(1, 3))):
                gap = draw(st.integers(1, 3))
                inner = draw(blocks(depth + 2, at + 1 + gap))
                first = next(n for n, line in enumerate(inner) if _content(line))
                dash = " " * at + "-" + inner[first][at + 1 :]
                lines += [*inner[:first], dash, *inner[first + 1 :]]
    return lines


def _content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


@settings(max_examples=150, deadline=None)
@given(blocks())
def test_meaning_and_comments_stay_and_a_second_time_changes_nothing(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"

    made = format_text(text)

    assert meaning(made.text) == meaning(text)
    assert _comments(made.text) == _comments(text)
    assert format_text(made.text).text == made.text
    if not made.left:
        assert not re.search(r"\n\n\n", _without_scripts(made.text))


def _comments(text: str) -> list[str]:
    return sorted(re.findall(r"# (?:about \w+|far left|c|d)\b", text))


def _without_scripts(text: str) -> str:
    return re.sub(r"first.*?last", "", text, flags=re.DOTALL)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab:-#|>&*?[]{}'\"\n \t1", max_size=40))
def test_no_text_makes_it_fail(text: str) -> None:
    made = format_text(text)

    assert made.diagnostics or meaning(made.text) == meaning(text.replace("\r", "\n"))
    assert format_text(made.text).text == made.text
