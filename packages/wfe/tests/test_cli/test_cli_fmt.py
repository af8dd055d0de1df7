"""``wfe fmt``, ``wfe validate`` on stdin and with codes, ``wfe schema`` and ``wfe steps``."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Wfe: TypeAlias = Callable[..., Any]

UGLY = "workflow:\n   version: 1\n   id: x\n   steps:\n   - run:  echo\n     name: a  # why\n"
PRETTY = "workflow:\n  id: x\n  version: 1\n  steps:\n    - name: a  # why\n      run: echo\n"


@pytest.fixture
def ugly(folder: Path) -> Path:
    path = folder / "ugly.yaml"
    path.write_text(UGLY)
    return path


def given(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_fmt_writes_in_place_and_keeps_the_mode(wfe: Wfe, ugly: Path) -> None:
    ugly.chmod(0o750)

    first, second = wfe("fmt", "ugly.yaml"), wfe("fmt", "ugly.yaml")

    assert first == (0, "formatted ugly.yaml\n", "1 file: 1 formatted, 0 left as they are\n")
    assert second == (0, "", "1 file: 0 formatted, 1 left as they are\n")
    assert ugly.read_text() == PRETTY
    assert stat.S_IMODE(ugly.stat().st_mode) == 0o750
    assert not [path for path in ugly.parent.iterdir() if path.name.startswith(".ugly")]


def test_fmt_follows_a_link(wfe: Wfe, ugly: Path) -> None:
    link = ugly.with_name("link.yaml")
    link.symlink_to(ugly)

    wfe("fmt", "link.yaml")

    assert link.is_symlink()
    assert ugly.read_text() == PRETTY


def test_fmt_check_changes_nothing(wfe: Wfe, ugly: Path) -> None:
    ended = wfe("fmt", "ugly.yaml", "gate.yaml", "--check")

    assert (ended.code, ended.out) == (1, "would format ugly.yaml\n")
    assert ended.err == "2 files: 1 to format, 1 left as they are\n"
    assert ugly.read_text() == UGLY


def test_fmt_diff_shows_what_would_change(wfe: Wfe, ugly: Path) -> None:
    ended = wfe("fmt", "ugly.yaml", "--diff")

    assert ended.code == 1
    assert "-     name: a  # why" in ended.out
    assert "+    - name: a  # why" in ended.out
    assert ugly.read_text() == UGLY


def test_fmt_of_stdin(wfe: Wfe, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, UGLY)

    assert wfe("fmt", "-") == (0, PRETTY, "")


def test_fmt_refuses_what_it_cannot_read(wfe: Wfe, folder: Path, ugly: Path) -> None:
    (folder / "wrong.yaml").write_text("a: 1\na: 2\n")
    (folder / "binary.yaml").write_bytes(b"\xff\xfe")

    ended = wfe("fmt", "wrong.yaml", "ugly.yaml")

    assert ended.code == 2
    assert "wrong.yaml:2:1: error[WFE003]" in ended.err
    assert ended.err.endswith("2 files: 1 formatted, 0 left as they are, 1 wrong\n")
    assert (folder / "wrong.yaml").read_text() == "a: 1\na: 2\n"
    assert ugly.read_text() == PRETTY
    assert wfe("fmt", "gone.yaml").err.startswith("error: 'gone.yaml' cannot be read: No such")
    assert "is not UTF-8 text: byte 0xff" in wfe("fmt", "binary.yaml").err


def test_fmt_says_when_it_leaves_a_file(wfe: Wfe, folder: Path) -> None:
    (folder / "odd.yaml").write_text("? a\n: b\n")

    ended = wfe("fmt", "odd.yaml")

    assert ended.code == 0
    assert ended.err.startswith("warning: odd.yaml has a form that is left as it is")


def test_fmt_cannot_write(wfe: Wfe, ugly: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    ended = wfe("fmt", "ugly.yaml")

    assert ended.code == 2
    assert "cannot be written: No space left on device" in ended.err
    assert ugly.read_text() == UGLY
    assert not [path for path in ugly.parent.iterdir() if path.name.startswith(".ugly")]


# -- validate


def test_validate_of_stdin(wfe: Wfe, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, PRETTY)
    assert wfe("validate", "-") == (0, "✔ 1 file checked: no errors\n", "")

    given(monkeypatch, "workflow: {idd: x}\n")
    ended = wfe("validate", "-")
    assert ended.code == 2
    assert "<stdin>:1:12: error[WFE012]" in ended.err


def test_validate_of_stdin_that_is_no_text(wfe: Wfe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))

    assert wfe("validate", "-").err.startswith("error: stdin is not UTF-8 text")


def test_validate_checks_a_file_once(wfe: Wfe) -> None:
    assert wfe("validate", "hello.yaml", "hello.yaml").out == "✔ 1 file checked: no errors\n"


def test_validate_shows_hostile_text_harmless(wfe: Wfe, folder: Path) -> None:
    (folder / "evil.yaml").write_text('workflow: {"\\e]0;owned\\a\\e[2Jid": 1}\n')

    ended = wfe("validate", "evil.yaml")

    assert ended.code == 2
    assert "\x1b" not in ended.err
    assert "\x07" not in ended.err


def test_validate_compat_only_warns_of_what_wfe_ignores(wfe: Wfe, folder: Path) -> None:
    text = (
        "workflow: {id: x, version: 1, steps: [{name: a, type: shell, config: {run: echo}, x: 1}]}"
    )
    (folder / "old.yaml").write_text(text)

    assert wfe("validate", "old.yaml").code == 2
    ended = wfe("validate", "old.yaml", "--wfe-compat")
    assert ended.code == 0
    assert "warning[" in ended.err


# -- schema and steps


def test_schema_is_json_schema(wfe: Wfe, folder: Path) -> None:
    ended = wfe("schema")
    schema = json.loads(ended.out)

    assert ended.code == 0
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert wfe("schema", "-o", "s.json").out == "wrote s.json\n"
    assert json.loads((folder / "s.json").read_text()) == schema
    assert wfe("schema", "-o", "no/s.json").err.startswith("error: 'no/s.json' cannot be written")


def test_steps_lists_types_and_explains_one(wfe: Wfe) -> None:
    listed = wfe("steps").out
    one = wfe("steps", "shell").out
    rows = wfe("steps", "--json").out

    assert any(line.startswith("shell ") and "wfe-yaml" in line for line in listed.splitlines())
    assert one.startswith("shell  (wfe-yaml ")
    assert "config:\n" in one
    assert "  run " in one
    assert {row["name"] for row in json.loads(rows)} >= {"shell", "workflow"}
    assert json.loads(wfe("steps", "shell", "--json").out)["name"] == "shell"
    assert (
        wfe("steps", "shel").err == "error: there is no step type 'shel'\n  did you mean 'shell'?\n"
    )
