"""What the command shows and waits for when more than one run, or more than one try, is at work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

pytest.importorskip("wfe.yaml")

Wfe: TypeAlias = Callable[..., Any]


def test_hooks_of_a_child_that_is_cut_off_run_to_their_end(wfe: Wfe, folder: Path) -> None:
    (folder / "cut.yaml").write_text(
        """\
workflows:
  - id: main
    version: 1
    steps:
      - parallel:
          - {name: kept, type: workflow, config: {workflow: slow}}
          - {name: boom, run: 'until test -e begun; do sleep 0.05; done; exit 1'}
  - id: slow
    version: 1
    steps:
      - name: work
        run: touch begun; sleep 60
        on_abort: {run: sleep 0.3; echo aborted >> effects}
        ensure: {run: echo ensured >> effects}
"""
    )
    ended = wfe("run", "cut.yaml", "--plain")

    assert ended.code == 1
    assert (folder / "effects").read_text().split() == ["aborted", "ensured"]


def test_the_place_of_a_whole_run_is_no_step(wfe: Wfe, folder: Path) -> None:
    (folder / "one.yaml").write_text(
        "workflow:\n  id: one\n  version: 1\n  concurrency: 1\n"
        "  steps:\n    - {name: a, run: 'true'}\n    - {name: b, when: false, run: 'true'}\n"
    )
    shown = wfe("run", "one.yaml", "--plain").out

    assert "▶ (workflow)" not in shown
    assert "steps: 1 complete, 1 skipped" in shown


def test_a_try_again_leaves_no_trace_of_what_was_skipped(wfe: Wfe, folder: Path) -> None:
    (folder / "graph.yaml").write_text(
        """\
workflow:
  id: graph
  version: 1
  steps:
    - {name: a, run: test -e ok}
    - {name: b, needs: a, run: echo b}
    - {name: c, run: echo c >> effects}
"""
    )
    assert "1 complete, 1 skipped, 1 failed" in wfe("run", "graph.yaml", "--plain").out
    (folder / "ok").touch()
    again = wfe("run", "graph.yaml", "--resume", "last", "--rerun-failed", "--plain")

    assert again.code == 0
    assert "b #2" not in again.out
    assert "skipped" not in again.out
    assert "✖" not in wfe("show", "last").out
    assert (folder / "effects").read_text() == "c\n"


def test_what_was_cancelled_is_not_counted_as_skipped(wfe: Wfe, folder: Path) -> None:
    (folder / "race.yaml").write_text(
        "workflow:\n  id: race\n  version: 1\n  steps:\n    - join: any\n      parallel:\n"
        "        - {name: slow, run: sleep 60}\n        - {name: quick, run: 'true'}\n"
    )
    assert "steps: 1 complete, 1 cancelled" in wfe("run", "race.yaml", "--plain").out
