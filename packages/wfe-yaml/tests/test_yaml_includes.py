"""Files that include others: confinement, diamonds, limits, and whose name a diagnostic bears."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest

from wfe.core.errors import DefinitionError
from wfe.yaml import Limits, check, load_workflow, load_workflows

STEPS = "steps: [{name: x, run: make}]"
MAIN = f"workflow: {{id: main, version: 1, {STEPS}}}\n"


def put(directory: Path, **files: str) -> Path:
    """Write files (``a__b`` is ``a/b.yaml``) and return the first."""
    paths: list[Path] = []
    for name, text in files.items():
        path = directory / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        paths.append(path)
    return paths[0]


def codes(path: Path, limits: Limits | None = None) -> list[tuple[str, int, str]]:
    """Return what is wrong: name of the file, line, code."""
    return [(Path(d.file).name, d.line, d.code) for d in check([path], limits=limits)]


def test_definitions_of_included_files_follow_those_of_the_main_file(tmp_path: Path) -> None:
    main = put(
        tmp_path,
        main=f"include: [parts/a.yaml, parts/b.yaml]\n{MAIN}",
        parts__a=f"include: [b.yaml]\nworkflow: {{id: a, version: 1, {STEPS}}}\n",
        parts__b=f"workflow: {{id: b, version: 1, {STEPS}}}\n",
    )

    found = load_workflows(main)

    assert [each.id for each in found] == ["main", "a", "b"]
    assert found[0].meta["source"] == found[2].meta["source"] == str(main)
    assert "file" not in found[0].meta
    assert found[2].meta["file"] == str(tmp_path / "parts" / "b.yaml")


def test_a_file_is_checked_once_however_often_it_is_included(tmp_path: Path) -> None:
    main = put(
        tmp_path,
        main=f"include: [a.yaml, b.yaml, ./a.yaml]\n{MAIN}",
        a="include: [b.yaml]\n_t: {x: {run: make}}\n",
        b="workflow: {id: b, version: 1, steps: [{name: x, rnu: make}]}\n",
    )

    assert codes(main) == [("b.yaml", 1, "WFE012")]


def test_an_error_names_its_own_file(tmp_path: Path) -> None:
    main = put(
        tmp_path,
        main=f"include: [parts/a.yaml]\n{MAIN}",
        parts__a="workflow:\n  id: a\n  version: 1\n  steps: [{name: x, run: make, timout: 1s}]\n",
    )

    (found,) = check([main])

    assert (found.file, found.line) == (str(tmp_path / "parts" / "a.yaml"), 4)
    assert "timout" in found.source_line


def test_a_link_may_not_lead_out(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    put(tmp_path, outside=MAIN)
    main = put(inside, main=f"include: [link.yaml, parts/x.yaml]\n{MAIN}")
    (inside / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (inside / "parts").symlink_to(tmp_path)

    found = check([main])

    assert [(d.line, d.column, d.code) for d in found] == [(1, 11, "WFE080"), (1, 22, "WFE080")]
    assert "a link leads out of the main file's directory" in found[0].message


def test_the_main_file_may_be_a_link_and_its_real_directory_counts(tmp_path: Path) -> None:
    put(tmp_path / "real", main=f"include: [a.yaml]\n{MAIN}", a="_t: {x: {run: make}}\n")
    link = tmp_path / "link.yaml"
    link.symlink_to(tmp_path / "real" / "main.yaml")

    assert codes(link) == []


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("none.yaml", "WFE081"),
        ("''", "WFE013"),
        ("'a\\0b.yaml'", "WFE081"),
        ('"a\\0b.yaml"', "WFE001"),
        ("x" * 5000, "WFE081"),
        ("pipe", "WFE081"),
        ("loop", "WFE081"),
        ("[a]", "WFE011"),
        ("{a: b}", "WFE011"),
        ("..", "WFE080"),
        (".", "WFE081"),
        ("~/x.yaml", "WFE081"),
        ("file:///etc/passwd", "WFE080"),
    ],
)
def test_what_cannot_be_included_is_said_where_it_is_asked_for(
    written: str, code: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    main = put(tmp_path, main=f"include: [{written}]\n{MAIN}")

    assert codes(main) == [("main.yaml", 1, code)]


def test_an_included_file_that_is_too_big_is_said_at_the_include(tmp_path: Path) -> None:
    main = put(tmp_path, main=f"include: [a.yaml]\n{MAIN}", a="# " + "x" * 2000)

    assert codes(main, Limits(file=1000)) == [("main.yaml", 1, "WFE002")]


def test_the_number_of_files_is_limited(tmp_path: Path) -> None:
    names = {f"f{i}": f"include: [f{i + 1}.yaml]\n" for i in range(20)}
    main = put(tmp_path, main=f"include: [f0.yaml]\n{MAIN}", **names, f20="_t: {}\n")

    assert codes(main) == []
    assert codes(main, Limits(files=10)) == [("f8.yaml", 1, "WFE002")]


def test_all_files_together_have_a_limit_of_nodes(tmp_path: Path) -> None:
    many = "_t: [" + "a, " * 40 + "]\n"
    main = put(tmp_path, main=f"include: [a.yaml, b.yaml]\n{MAIN}", a=many, b=many)

    assert codes(main, Limits(nodes=70)) == [("main.yaml", 1, "WFE002")]


def test_each_file_has_its_own_anchors_and_line_of_types(tmp_path: Path) -> None:
    main = put(
        tmp_path,
        main="""\
            include: [types.yaml]
            types:
              Pair: {left: Point, right: list<Point>}
            workflow:
              id: main
              version: 1
              inputs: {pair: Pair}
              steps: [{name: x, run: "echo ${{ inputs.pair.left.x }}"}]
            """,
        types="types: {Point: {x: number, y: number?}}\n",
    )

    (definition,) = load_workflows(main)

    assert definition.meta["inputs"]["pair"]["type"]["fields"]["left"]["name"] == "Point"


def test_a_file_does_not_see_the_types_of_who_includes_it(tmp_path: Path) -> None:
    main = put(
        tmp_path,
        main=f"include: [a.yaml]\ntypes: {{Point: {{x: number}}}}\n{MAIN}",
        a="types: {Line: {from: Point}}\n",
    )

    assert codes(main) == [("a.yaml", 1, "WFE017")]


def test_a_missing_variable_is_told_for_each_file(tmp_path: Path) -> None:
    main = put(tmp_path, main=f"include: [((part)).yaml]\n{MAIN}", a="_t: {x: ((y))}\n")

    assert [d.code for d in check([main])] == ["WFE021", "WFE081"]
    assert check([main], {"part": "a", "y": 1}) == []


def test_a_text_includes_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, a=f"workflow: {{id: a, version: 1, {STEPS}}}\n")
    monkeypatch.chdir(tmp_path)

    assert [each.id for each in load_workflows(f"include: [a.yaml]\n{MAIN}")] == ["main", "a"]


def test_a_library_has_nothing_to_load(tmp_path: Path) -> None:
    path = put(tmp_path, lib="_templates: {x: {run: make}}\n")

    assert load_workflows(path) == ()
    with pytest.raises(DefinitionError, match="the file has no workflow"):
        load_workflow(path)


def test_of_several_versions_the_highest_is_loaded(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        main=f"include: [old.yaml]\nworkflow: {{id: a, version: 2, {STEPS}}}\n",
        old=f"workflow: {{id: a, version: 1, {STEPS}}}\n",
    )

    assert load_workflow(path).version == load_workflow(path, workflow="a").version == 2
    assert [each.version for each in load_workflows(path)] == [2, 1]


def test_an_override_stands_for_the_included_workflow_everywhere(tmp_path: Path) -> None:
    main = put(
        tmp_path,
        main="""\
            include: [lib.yaml]
            workflow:
              id: build
              version: 1
              override: true
              steps: [{name: mine, run: make}]
            """,
        lib="""\
            workflows:
              - {id: build, version: 1, steps: [{name: theirs, run: make}]}
              - id: all
                version: 1
                steps: [{name: b, type: workflow, config: {workflow: build}}]
            """,
    )

    found = {each.id: each for each in load_workflows(main)}

    assert [node.name for node in found["build"].walk()] == ["mine"]
    assert sorted(found) == ["all", "build"]
