"""``wfe cache`` and ``wfe artifacts``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Wfe: TypeAlias = Callable[..., Any]

BUILD = """\
workflow:
  id: build
  version: 1
  inputs: {target: {type: string, default: linux}}
  steps:
    - name: compile
      run: mkdir -p out && cat src.txt > out/app && echo ${{ inputs.target }} >> out/app
      cache: {files: [src.txt], ttl: 1d}
      artifacts:
        upload:
          - {name: app, path: out}
    - {name: plain, run: echo plain}
"""


@pytest.fixture
def build(wfe: Wfe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the workflow in a folder of its own and return the run's id."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "build.yaml").write_text(BUILD)

    def run(text: str, *options: str) -> str:
        (folder / "src.txt").write_text(text)
        ended = wfe("run", "build.yaml", *options)
        assert ended.code == 0, ended
        return str(ended.run)

    return run


def test_explain_says_what_differs(wfe: Wfe, build: Callable[..., str]) -> None:
    first = build("one")
    second = build("one")
    third = build("two", "-i", "target=mac")

    assert "there is no earlier result" in wfe("cache", "explain", first, "compile").out
    assert f"of run {first}" in wfe("cache", "explain", second, "compile").out
    told = wfe("cache", "explain", third, "compile").out
    assert told.startswith("miss     compile: there is no result for this key")
    assert f"compared with the result of run {first}" in told
    assert "files.src.txt: 644 " in told
    assert "linux -> mac" in told
    assert wfe("cache", "explain", third, "plain").out.startswith("no cache plain")
    found = json.loads(wfe("cache", "explain", "last", "compile", "--json").out)
    assert (found["outcome"], found["nearest"]) == ("miss", first)


def test_a_run_can_make_results_anew_or_leave_them(wfe: Wfe, build: Callable[..., str]) -> None:
    build("one")

    anew = build("one", "--cache", "refresh")
    taken = build("one")
    without = build("one", "--cache", "off")

    assert f"of run {anew}" in wfe("cache", "explain", taken, "compile").out
    assert not wfe("cache", "explain", without, "compile").out.startswith("hit")


def test_results_are_listed_and_purged(wfe: Wfe, build: Callable[..., str]) -> None:
    run = build("one")

    (line,) = wfe("cache", "list").out.splitlines()
    assert "build: compile" in line
    assert f"run {run}" in line
    (entry,) = json.loads(wfe("cache", "list", "--json", "--step", "compile").out)
    assert entry["document"]["files"]["count"] == 1
    assert wfe("cache", "list", "--step", "other").out == "no results are kept\n"
    assert wfe("cache", "purge", "--expired").out == "0 results deleted\n"
    assert wfe("cache", "purge").code == 2
    assert json.loads(wfe("cache", "purge", "--all", "--json").out) == {"deleted": 1}
    assert wfe("cache", "list").out == "no results are kept\n"


def test_artifacts_are_listed_and_fetched(wfe: Wfe, build: Callable[..., str]) -> None:
    run = build("one\n")

    (line,) = wfe("artifacts", "list", "last").out.splitlines()
    assert line.startswith("app  10 B  1 file  from compile  sha256:")
    (info,) = json.loads(wfe("artifacts", "list", run, "--json").out)
    assert (info["name"], info["run"], info["size"]) == ("app", run, 10)
    assert wfe("artifacts", "download", "last").out == "app: 1 file in app\n"
    assert Path("app/out/app").read_text() == "one\nlinux\n"
    assert wfe("artifacts", "download", "last", "app", "-o", "mine").code == 0
    assert Path("mine/out/app").is_file()
    missing = wfe("artifacts", "download", "last", "docs")
    assert missing.code != 0
    assert "no artifact 'docs' (it has: app)" in missing.err


def test_artifacts_go_when_nothing_names_them(wfe: Wfe, build: Callable[..., str]) -> None:
    build("one")

    assert wfe("artifacts", "export").out == "1 names written\n"
    assert wfe("artifacts", "gc", "--older-than", "0s").out == "0 B freed\n"
    wfe("purge", "--all")
    assert wfe("artifacts", "gc", "--older-than", "0s").out == "0 B freed\n"  # the result is left
    wfe("cache", "purge", "--all")
    assert wfe("artifacts", "gc").out == "0 B freed\n"  # too young
    assert wfe("artifacts", "gc", "--older-than", "0s").out != "0 B freed\n"
    assert "is no time" in wfe("artifacts", "gc", "--older-than", "soon").err


def test_a_run_without_artifacts_says_so(wfe: Wfe) -> None:
    wfe("run", "hello.yaml")

    assert wfe("artifacts", "list", "last").out == "the run has no artifacts\n"
    assert wfe("artifacts", "download", "last").out == ""
