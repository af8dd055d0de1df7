"""Good files load; wrong ones break one rule, give the reviewed text, and have a good twin."""

from __future__ import annotations

import difflib
import re
import shutil
from pathlib import Path

import pytest

from wfe.core.definition import WorkflowDefinition
from wfe.yaml import Severity, check, load_workflows
from wfe.yaml.codes import MEANINGS
from wfe.yaml.diagnostics import Diagnostic, Problems, Source, render
from wfe.yaml.keys import DEFAULTS, FILE, KIND_KEYS, LEAF_KEYS, LEAF_MODIFIERS, MODIFIERS, WORKFLOW
from wfe.yaml.tree import Limits
from wfe.yaml.variables import Variables
from wfe.yaml.workflows import check_source

CORPUS = Path(__file__).parent / "corpus"


def cases(folder: Path) -> list[Path]:
    """Return the main files: `NAME.yaml`, or `NAME/main.yaml` beside the files it includes."""
    return sorted([*folder.glob("*.yaml"), *folder.glob("*/main.yaml")])


def name_of(main: Path) -> str:
    return main.parent.name if main.name == "main.yaml" else main.stem


GOOD = sorted((CORPUS / "good").glob("*.yaml"))
WRONG = cases(CORPUS / "wrong")
SEVERAL = cases(CORPUS / "several")
COMPAT = CORPUS / "compat" / "mistakes.yaml"
wrong_files = pytest.mark.parametrize("main", WRONG, ids=name_of)
good_files = pytest.mark.parametrize("path", GOOD, ids=name_of)


def expected(main: Path) -> str:
    folder = main.parents[1] if main.name == "main.yaml" else main.parent
    return (folder / f"{name_of(main)}.txt").read_text(encoding="utf-8")


def twin_of(main: Path) -> Path:
    return CORPUS / "fixed" / main.relative_to(CORPUS / "wrong")


def diagnostics(main: Path) -> tuple[Diagnostic, ...]:
    problems = Problems()
    source = Source(main.name, main.read_text(encoding="utf-8"))
    check_source(source, Variables(), problems, Limits(), main)
    return problems.in_order()


def lines_of(main: Path) -> list[str]:
    """Return the lines of all files of a case, one of them may not be UTF-8."""
    files = [main] if main.name != "main.yaml" else sorted(main.parent.rglob("*.yaml"))
    lines: list[str] = []
    for file in files:
        lines += [f"# {file.relative_to(main.parent)}", *_text(file).splitlines()]
    return lines


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


# -- wrong files ----------------------------------------------------------------------------------


@wrong_files
def test_a_wrong_file_breaks_one_rule_and_gives_the_reviewed_text(main: Path) -> None:
    found = diagnostics(main)

    assert len(found) == 1
    assert render(found) + "\n" == expected(main)


@wrong_files
def test_a_wrong_file_is_reported_at_a_place_that_exists(main: Path) -> None:
    (found,) = diagnostics(main)

    lines = _text(main.parent / found.file).split("\n")
    assert 1 <= found.line <= len(lines)
    assert 1 <= found.column <= len(lines[found.line - 1]) + 1
    assert found.source_line == lines[found.line - 1]


@wrong_files
def test_the_twin_of_a_wrong_file_is_sound_and_one_edit_away(main: Path) -> None:
    twin = twin_of(main)
    matcher = difflib.SequenceMatcher(None, lines_of(main), lines_of(twin), autojunk=False)

    assert diagnostics(twin) == ()
    assert [step[0] == "equal" for step in matcher.get_opcodes()].count(False) == 1


def test_each_twin_and_each_text_has_its_wrong_file() -> None:
    names = {name_of(main) for main in WRONG}

    assert {name_of(main) for main in cases(CORPUS / "fixed")} == names
    assert {path.stem for path in (CORPUS / "wrong").glob("*.txt")} == names


def test_the_wrong_files_break_every_rule() -> None:
    seen = set(re.findall(r"WFE\d{3}", "".join(expected(main) for main in WRONG)))

    # These depend on what is installed: see the tests of step types, and the pages of the codes.
    assert set(MEANINGS) - seen == {"WFE061", "WFE111", "WFE112"}


def test_there_are_enough_wrong_files() -> None:
    assert len(WRONG) >= 150


# -- the advice -----------------------------------------------------------------------------------

_ADVICE = re.compile(r"did you mean `([^`(]+)`\?|quote it: (\"[^\"]*\")")
# The advice is right, and the value needs another edit: a unit.
_HALF = {"timeout-minutes"}


def advised(found: Diagnostic) -> str | None:
    """Return the line of a finding with its advice followed, ``None`` where that needs a person."""
    advice = _ADVICE.fullmatch(found.hint or "")
    if advice is None:
        return None
    new = advice[1] or advice[2]
    start, end = found.column - 1, found.column - 1 + found.width
    before, after = found.source_line[:start], found.source_line[end:]
    quote = found.source_line[start]
    if quote in "'\"" and advice[1]:
        new = quote + new + quote
    root, dot, _ = new.rpartition(".")
    if dot and before.endswith(root + dot):  # the caret stands under the last part of a path
        new = new.removeprefix(root + dot)
    return before + new + after


MECHANICAL = [
    main for main in WRONG if _ADVICE.search(expected(main)) and name_of(main) not in _HALF
]


@pytest.mark.parametrize("main", MECHANICAL, ids=name_of)
def test_following_the_advice_cures_the_file(main: Path, tmp_path: Path) -> None:
    (found,) = diagnostics(main)
    line = advised(found)
    if line is None:
        pytest.fail(f"no edit can be made of the help {found.hint!r}")
    case = tmp_path / main.name
    if main.name == "main.yaml":
        shutil.copytree(main.parent, tmp_path, dirs_exist_ok=True)
    else:
        shutil.copy(main, case)
    edited = tmp_path / found.file
    lines = edited.read_text(encoding="utf-8").split("\n")
    lines[found.line - 1] = line
    edited.write_text("\n".join(lines), encoding="utf-8")

    assert diagnostics(case) == ()


def test_much_of_the_advice_can_be_followed_word_by_word() -> None:
    same = [main for main in MECHANICAL if lines_of(twin_of(main)) == _followed(main)]

    assert len(MECHANICAL) >= 75
    assert len(same) >= 60


def _followed(main: Path) -> list[str]:
    (found,) = diagnostics(main)
    lines = lines_of(main)
    at = lines.index(f"# {found.file}") + found.line
    return [*lines[:at], advised(found) or "", *lines[at + 1 :]]


# -- several findings in one file -----------------------------------------------------------------


@pytest.mark.parametrize("main", SEVERAL, ids=name_of)
def test_all_that_is_wrong_is_told_in_one_run_in_order(main: Path) -> None:
    found = diagnostics(main)

    assert len(found) > 1
    assert [(each.line, each.column) for each in found] == sorted(
        (each.line, each.column) for each in found
    )
    assert render(found) + "\n" == expected(main)


def test_errors_of_different_kinds_come_together() -> None:
    found = diagnostics(CORPUS / "several" / "two-errors-and-more.yaml")

    assert [(d.line, d.code) for d in found] == [(7, "WFE012"), (9, "WFE032"), (10, "WFE016")]
    assert all(d.severity is Severity.ERROR for d in found)


# -- good files -----------------------------------------------------------------------------------


@good_files
def test_a_good_file_has_nothing_to_report(path: Path) -> None:
    assert check([path]) == []


@good_files
def test_a_good_file_becomes_definitions_that_are_data(path: Path) -> None:
    definitions = load_workflows(path)

    for definition in definitions:
        again = WorkflowDefinition.from_json(definition.to_json())
        assert again.hash == definition.hash
        assert definition.missing() == ()


def test_there_are_enough_good_files_and_long_ones() -> None:
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in GOOD]

    assert len(GOOD) >= 60
    assert sum(length >= 50 for length in lengths) >= 5


@pytest.mark.parametrize(
    "key",
    sorted(
        {
            *(FILE + WORKFLOW + MODIFIERS + LEAF_MODIFIERS + LEAF_KEYS + DEFAULTS),
            *(key for keys in KIND_KEYS.values() for key in keys),
        }
    ),
)
def test_every_key_of_the_language_stands_in_a_good_file(key: str) -> None:
    used = re.compile(rf"(?m)(?:^|[{{\s,]){key}:")

    assert any(used.search(path.read_text(encoding="utf-8")) for path in GOOD)


@pytest.mark.parametrize("kind", ["shell", "workflow", "http", "python", "git-repo", "deno"])
def test_every_step_type_stands_in_good_files(kind: str) -> None:
    used = [path for path in GOOD if re.search(rf"type: {kind}\b", path.read_text("utf-8"))]

    assert len(used) >= 3
