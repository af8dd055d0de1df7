"""``wfe init``: each template works at once, and nothing that is there is overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Wfe: TypeAlias = Callable[..., Any]


def python(folder: Path, *args: str, path: str = "") -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {path!r}); " if path else ""
    command = [sys.executable, *args]
    if code:
        command = [sys.executable, "-c", f"{code}{args[0]}"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def test_ci_is_checked_and_runs(wfe: Wfe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = wfe("init", "shop")
    monkeypatch.chdir(folder / "shop")

    assert ended == (
        0,
        "wrote shop/ci.yaml\nnext:\n  cd shop\n  wfe validate ci.yaml\n  wfe run ci.yaml\n",
        "",
    )
    assert wfe("validate", "ci.yaml") == (0, "✔ 1 file checked: no errors\n", "")
    assert wfe("fmt", "--check", "ci.yaml").code == 0
    assert wfe("graph", "ci.yaml").code == 0
    rows = wfe("run", "ci.yaml", "--json").rows
    assert (rows[-1]["status"], rows[-1]["outputs"]) == (
        "complete",
        {"archive": "dist/shop.tar.gz"},
    )
    assert (folder / "shop" / "dist" / "shop.tar.gz").is_file()
    assert wfe("run", "ci.yaml", "-i", "package=false").code == 0


def test_ci_finds_what_is_wrong(wfe: Wfe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wfe("init", "shop")
    monkeypatch.chdir(folder / "shop")
    tests = folder / "shop" / "tests"
    tests.mkdir()
    (tests / "test_x.py").write_text(
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.fail('no')\n"
    )

    ended = wfe("run", "ci.yaml")

    assert ended.code == 1
    assert "AssertionError: no" in ended.out


def test_service_runs_and_its_tests_pass(wfe: Wfe, folder: Path) -> None:
    ended = wfe("init", "--template", "service", "--name", "orders", "app")

    run = python(folder / "app", "app.py")
    tests = python(folder / "app", "-m", "unittest")

    assert ended.code == 0
    assert "wfe list --db sqlite:///orders.db" in ended.out
    assert run.stdout.endswith("order 1001: complete\n"), run.stderr
    assert tests.returncode == 0, tests.stderr
    assert (
        json.loads(wfe("list", "--db", f"sqlite:///{folder}/app/orders.db", "--json").out)[0][
            "definition"
        ]
        == "orders-order"
    )


def test_plugin_is_a_distribution_with_a_step_type(wfe: Wfe, folder: Path) -> None:
    wfe("init", "--template", "plugin", "wfe-greet")
    made = folder / "wfe-greet"

    project = tomllib.loads((made / "pyproject.toml").read_text())
    described = python(
        made,
        "from wfe.core.step_types import describe; from wfe_greet import Greet;"
        "print([s.name for s in describe('wfe-greet', Greet).settings])",
        path=str(made / "src"),
    )
    tests = python(
        made,
        "import unittest; unittest.main('tests.test_greet', argv=['x'])",
        path=str(made / "src"),
    )

    assert project["project"]["entry-points"]["wfe.steps"] == {"wfe-greet": "wfe_greet:Greet"}
    assert described.stdout == "['who', 'times']\n", described.stderr
    assert tests.returncode == 0, tests.stderr


def test_plugin_example_runs_when_it_is_installed(wfe: Wfe, folder: Path) -> None:
    wfe("init", "--template", "plugin", "wfe-greet")
    made = folder / "wfe-greet"
    info = made / "src" / "wfe_greet-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wfe-greet\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[wfe.steps]\nwfe-greet = wfe_greet:Greet\n")

    run = python(
        made,
        "from wfe.host.cli import main; sys.exit(main(['run', 'example.yaml']))",
        path=str(made / "src"),
    )

    assert run.returncode == 0, run
    assert "show | it said Hello, world! Hello, world!" in run.stdout


def test_nothing_is_overwritten(wfe: Wfe, folder: Path) -> None:
    (folder / "workflow.py").write_text("mine")

    ended = wfe("init", "--template", "service", "--name", "x")

    assert ended == (
        2,
        "",
        (
            "error: workflow.py is there already\n"
            "  nothing was written; name another directory: wfe init DIR\n"
        ),
    )
    assert (folder / "workflow.py").read_text() == "mine"
    assert not (folder / "app.py").exists()


@pytest.mark.parametrize(
    ("name", "fitting"), [("My Shop", "my-shop"), ("1st", "my-1st"), ("__", "my"), ("a_b", "a-b")]
)
def test_names_fit_everywhere(wfe: Wfe, folder: Path, name: str, fitting: str) -> None:
    assert f"for example {fitting!r}" in wfe("init", "d", "--name", name).err
    assert not (folder / "d").exists()

    assert wfe("init", name).code == 0
    assert f"id: {fitting}-ci" in (folder / name / "ci.yaml").read_text()


def test_a_directory_that_cannot_be_made(wfe: Wfe, folder: Path) -> None:
    (folder / "file").write_text("")

    assert wfe("init", "file/x").err.startswith(
        "error: 'file/x' cannot be written: Not a directory"
    )
