"""What is checked of Deno steps before anything runs."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from deno_scripts import needs_deno, run

from wfe.yaml.codes import MEANINGS
from wfe.yaml.deno import (
    DenoStartError,
    Permissions,
    attempt,
    binary,
    checking,
    step,
)
from wfe.yaml.deno.modules import cached_modules
from wfe.yaml.diagnostics import Diagnostic
from wfe.yaml.loader import check, check_text, load_workflow

pytestmark = pytest.mark.usefixtures("cache")


FILE = """
workflow:
  id: checked
  version: 1
  steps:
    - name: Script
      type: deno
      config:
        {config}
"""


def told(config: str) -> list[Diagnostic]:
    lines = config.strip().replace("\n", "\n        ")
    return check_text(FILE.format(config=lines).lstrip())


@needs_deno
class TestChecks:
    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ("{}", "needs `script` or `file`"),
            ("{ script: '0', file: a.ts }", "either `script` or `file`"),
            ("{ file: ../a.ts }", "not inside the workspace"),
            ("{ file: a.py }", "no script that Deno runs"),
            ("{ script: '0', permissions: { net: true } }", "`net: true` would grant everything"),
            ("{ script: '0', permissions: { run: true } }", "`run: true` would grant everything"),
            ("{ script: '0', permissions: { ffi: true } }", "`ffi` is never granted"),
            ("{ script: '0', permissions: { net: ['http://a.com/b'] } }", "is not a host"),
            ("{ script: '0', permissions: { read: ['../a'] } }", "leaves the workspace"),
            ("{ script: '0', permissions: { dynamic_import: true } }", "has no hosts"),
            ("{ script: '0', permissions: { netz: [] } }", "netz"),
            ("{ script: '0', permissions: { net: a.com } }", "net"),
            ("{ script: '0', memory: lots }", "expected a size such as 256MiB"),
            ("{ script: '0', memory: 1MiB }", "at least 16MiB"),
            ("{ script: '0', modules: [./a.ts] }", "not a module of the network"),
            ("{ script: 'log(${{ run.id }})' }", "JavaScript"),
        ],
    )
    def test_what_is_wrong_in_a_file_is_told(self, config: str, message: str) -> None:
        found = told(config)

        assert [row.severity for row in found] == ["error"]
        assert message in found[0].message
        assert found[0].line >= 7

    def test_programs_are_told_as_unsandboxed(self) -> None:
        (found,) = told("{ script: '0', permissions: { run: [git] } }")

        assert (found.severity, found.code) == ("warning", "WFE110")
        assert "unsandboxed: `git`" in found.message

    def test_type_errors_stand_at_their_place(self) -> None:
        found = told(
            """
script: |
  // ö
  const n: number = inputs<{ s: string }>().s;
  outputt("a", n);
"""
        )

        assert [(row.line, row.column, row.code, row.message) for row in found] == [
            (10, 17, "WFE112", "Type 'string' is not assignable to type 'number'"),
            (
                *(11, 11, "WFE112"),
                "Cannot find name 'outputt'. Did you mean 'output'?",
            ),
        ]
        assert found[1].source_line == '          outputt("a", n);'
        assert found[1].width == 7

    def test_one_broken_script_does_not_hide_the_others(self, tmp_path: Path) -> None:
        (tmp_path / "x.ts").write_text('import { h } from "./h.ts";\nconst s: string = h;\n')
        (tmp_path / "h.ts").write_text("export const h = 1;\n")
        path = tmp_path / "wf.yaml"
        path.write_text(
            "workflow:\n  id: a\n  version: 1\n  steps:\n"
            "    - { name: A, type: deno, config: { script: 'if (x {' } }\n"
            "    - { name: B, type: deno, config: { script: 'nothing()' } }\n"
            "    - { name: C, type: deno, config: { file: x.ts, permissions: { read: [.] } } }\n"
            "    - { name: D, type: deno, config: { script: 'log(1)' } }\n"
        )

        for _ in range(2):  # the second time from the cache
            found = check([path])

            assert [(Path(row.file).name, row.line, row.column, row.message) for row in found] == [
                ("wf.yaml", 5, 55, "SyntaxError: Expected ')', got '{'"),
                ("wf.yaml", 6, 49, "Cannot find name 'nothing'"),
                ("x.ts", 2, 7, "Type 'number' is not assignable to type 'string'"),
            ]

    def test_what_was_checked_is_not_checked_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        config = "{ script: 'log(1);' }"
        assert told(config) == []

        def run_again(*_: Any, **__: Any) -> None:
            pytest.fail("a process was started")

        monkeypatch.setattr("subprocess.run", run_again)
        assert told(config) == []

    def test_javascript_without_types_is_fine(self) -> None:
        script = """
script: |
  function add(a, b) { return a + b }
  const things = {};
  things.x = add(1, 2);
  let late; late = 1;
  try { log(add(late, things["x"])) } catch (error) { log(error.message) }
  globalThis.shared = inputs().a.b.c;
  for (const [name, value] of Object.entries(Wfe.getData())) output(name, value);
"""

        assert told(script) == []

    def test_scripts_with_modules_that_are_not_here_are_left_alone(self) -> None:
        assert (
            told("{ script: 'import \"https://a.example/x\"', modules: ['https://a.example/x'] }")
            == []
        )

    def test_modules_bring_their_types(self, site: str) -> None:
        program = binary.find_deno()
        assert program is not None
        modules = (f"{site}/mod.ts",)
        cached_modules(program, modules)
        script = checking.Script(
            text=f"import {{ sum }} from '{modules[0]}';\nsum('a');", modules=modules
        )

        found = checking.type_check([script])

        assert [(f.line, f.column) for f in found[script]] == [(2, 5)]

    def test_literal_outputs_may_be_read(self) -> None:
        text = FILE.format(config="script: output('a', 1)") + (
            "    - name: A\n      run: echo ${{ steps.Script.outputs.a }}\n"
            "    - name: B\n      run: echo ${{ steps.Script.outputs.b }}\n"
        )

        found = [row for row in check_text(text.lstrip()) if row.severity == "error"]

        assert [(row.code, row.line) for row in found] == [("WFE034", 12)]


def test_the_example_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "find_deno", lambda: None)
    page = (files("wfe.yaml") / "explained" / "WFE111.md").read_text(encoding="utf-8")
    wrong, right = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)

    assert page.startswith(f"# WFE111: {MEANINGS['WFE111']}\n")
    assert [row.code for row in check_text(wrong)] == ["WFE111"]
    assert check_text(right) == []


@needs_deno
def test_scripts_of_the_guide_are_right(tmp_path: Path) -> None:
    guide = Path(__file__).parents[3] / "docs" / "how-to" / "deno-steps.md"
    if not guide.exists():
        pytest.skip("the documentation is not beside the package")
    (whole, *_) = re.findall(r"```yaml\n(workflow:.*?)```", guide.read_text(), re.DOTALL)

    assert check_text(whole) == []


def test_without_deno_the_file_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "find_deno", lambda: None)
    monkeypatch.setattr(checking, "find_deno", lambda: None)

    (found,) = told("{ script: '0' }")

    assert found.code == "WFE111"
    assert found.hint == 'pip install "wfe-yaml[deno]"'
    assert found.line == 6


async def test_without_deno_a_run_is_errored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "find_deno", lambda: None)

    with pytest.raises(DenoStartError, match=r'pip install "wfe-yaml\[deno\]"') as caught:
        await run("0")

    assert caught.value.errored
    assert not caught.value.retryable


@needs_deno
def test_a_definition_can_be_stored_with_its_permissions() -> None:
    text = FILE.format(config="{ script: 'log(1)', permissions: { net: [a.com], read: [x] } }")
    definition = load_workflow(text.lstrip())

    (node,) = [node for node in definition.walk() if node.name == "Script"]

    assert json.loads(json.dumps(dict(node.config)))["type"] == "deno"
    assert Permissions.of({"net": ["a.com"]}).net == ["a.com"]
