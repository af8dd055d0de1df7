"""What terminals of every kind get: wide, tiny, without colours, without Unicode, none at all."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pyte
import pytest
from pseudo_terminals import written_to_terminal
from rich.console import Console

from wfe.host.cli.driving import Feed
from wfe.host.cli.model import Picture, Times
from wfe.host.cli.view_live import LiveView

HOSTILE = """\
workflow:
  id: hostile
  version: 1
  steps:
    - name: talk
      run: |
        printf '\\033]0;owned\\007\\033[2J\\033[1;1Hfake prompt$ \\n'
        printf '::warning::\\033[31mred\\033[0m\\n'
        printf '# \\033]8;;http://evil\\033\\\\link\\n' >> "$WFE_SUMMARY"
        exit 3
"""

REPORT = """\
workflow:
  id: report
  version: 1
  inputs:
    extra: {type: bool, default: false}
  steps:
    - name: test
      matrix: {os: [linux, macos], py: ["3.12"]}
      do:
        - name: unit
          run: |
            echo "##wfe[group install]"
            echo "package one"
            echo "##wfe[endgroup]"
            echo "::warning file=app.py,line=3::unused import"
            echo "##wfe[progress 40 half way]"
    - name: sum
      run: |
        printf '# Coverage\\n\\n* 97 %%\\n\\n```\\n# no heading\\n```\\n' >> "$WFE_SUMMARY"
    - {name: never, when: inputs.extra, run: echo}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hostile.yaml").write_text(HOSTILE)
    (tmp_path / "report.yaml").write_text(REPORT)
    return tmp_path


def written(folder: Path, *args: str, size: tuple[int, int] = (40, 100), **env: str) -> bytes:
    """Run the command in a pseudo-terminal of this size; return every byte that it wrote."""
    dropped = {"NO_COLOR", "COLUMNS", "LINES", "GITHUB_ACTIONS", "CI"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WFE_") and k not in dropped}
    command = [sys.executable, "-m", "wfe", *args]
    return written_to_terminal(command, folder, {**kept, "TERM": "xterm-256color", **env}, size)


def screen(content: bytes, size: tuple[int, int] = (40, 100)) -> list[str]:
    lines, columns = size
    shown = pyte.Screen(columns, lines)
    pyte.ByteStream(shown).feed(content)
    return [line.rstrip() for line in shown.display if line.strip()]


def masked(lines: list[str]) -> list[str]:
    text = "\n".join(lines)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "RUN", text)
    return re.sub(r"\d+\.\ds", "T", text).split("\n")


def test_a_terminal_gets_tree_report_and_annotations(folder: Path) -> None:
    assert masked(screen(written(folder, "run", "report.yaml"))) == [
        "✔ report  T  run RUN",
        "├─ ✔ test  T",
        "│  ├─ ✔ unit [os=linux, py=3.12]  T",
        "│  └─ ✔ unit [os=macos, py=3.12]  T",
        "├─ ✔ sum  T",
        "└─ ⊘ never  when inputs.extra is false",
        "▸ sum",
        "  Coverage",
        "   • 97 %",
        "   # no heading",
        "✔ report (run RUN) complete in T",
        "  ! unit [os=linux, py=3.12]: unused import (app.py:3), 1 more step said so",
        "  steps: 3 complete, 1 skipped",
    ]


def test_a_pipe_gets_lines(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wfe", "run", "report.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )

    lines = [line for line in done.stdout.splitlines() if "os=linux" in line]
    assert masked(lines)[:6] == [
        "▶ unit [os=linux, py=3.12]",
        "unit [os=linux, py=3.12] | ▾ install",
        "unit [os=linux, py=3.12] | package one",
        "! unit [os=linux, py=3.12]: unused import (app.py:3)",
        "unit [os=linux, py=3.12] | 40% half way",
        "✔ unit [os=linux, py=3.12] T",
    ]
    assert "⊘ never skipped: when inputs.extra is false" in done.stdout
    assert "  summary of sum:\n  │ # Coverage\n" in done.stdout


def test_no_color_has_a_tree_without_colours(folder: Path) -> None:
    content = written(folder, "run", "report.yaml", NO_COLOR="1")

    assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", content)
    assert "├─ ✔ sum" in "\n".join(screen(content))


def test_a_dumb_terminal_gets_no_cursor_codes(folder: Path) -> None:
    content = written(folder, "run", "report.yaml", TERM="dumb")

    assert b"\x1b" not in content
    assert "✔ sum" in content.decode()


@pytest.mark.parametrize("size", [(6, 30), (3, 20), (10, 200)], ids=str)
def test_small_terminals_are_never_overflown(folder: Path, size: tuple[int, int]) -> None:
    content = written(folder, "run", "report.yaml", size=size)

    # As long as the tree moves the cursor goes up by less than the height, else lines pile up.
    ups = [content.count(b"\x1b[1A", m.start(), m.end()) for m in _MOVES.finditer(content)]
    assert max(ups) < size[0]
    assert b"complete in" in re.sub(rb"\s+", b" ", content)


_MOVES = re.compile(rb"(?:\x1b\[2K|\x1b\[1A|\r)+")


def test_a_terminal_without_unicode_gets_ascii(folder: Path) -> None:
    content = written(folder, "run", "report.yaml", WFE_ASCII="1")

    assert content.isascii()
    assert "|-- + sum" in "\n".join(screen(content)).replace("|- ", "|-- ")


@pytest.mark.parametrize("options", [(), ("--plain",)], ids=["tree", "lines"])
def test_hostile_output_never_reaches_the_terminal(folder: Path, options: tuple[str]) -> None:
    content = written(folder, "run", "hostile.yaml", *options)

    assert b"\x1b]" not in content
    assert b"\x07" not in content
    assert b"\x1b[2J" not in content
    shown = "\n".join(screen(content))
    assert "fake prompt$" in shown
    assert "✖ hostile (run" in shown


@pytest.mark.parametrize("command", ["logs", "show", "explain", "history"])
def test_hostile_output_is_harmless_when_it_is_read_later(folder: Path, command: str) -> None:
    written(folder, "run", "hostile.yaml")
    content = written(folder, command, "last")

    assert b"\x1b]" not in content
    assert b"\x1b[2J" not in content


def test_the_second_run_is_compared_with_the_first(folder: Path) -> None:
    slow = "workflow: {id: slow, version: 1, steps: [{name: a, run: 'sleep ${{ inputs.n }}'}]}"
    slow = slow.replace("steps:", "inputs: {n: string}, steps:")
    (folder / "slow.yaml").write_text(slow)
    written(folder, "run", "slow.yaml", "-i", "n=1.6")

    lines = masked(screen(written(folder, "run", "slow.yaml", "-i", "n=0.2")))

    assert "└─ ✔ a  T (last T)" in lines
    assert "✔ slow (run RUN) complete in T (last T)" in lines


def test_what_is_left_is_drawn() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    view = LiveView(console)
    feed = Feed(view)
    feed.show(Picture("r1", {}, "main", Times({"main": 100.0})))
    view.tick()
    view.close()

    file = console.file
    assert isinstance(file, io.StringIO)
    assert "0/0 steps" in file.getvalue()


def test_logs_show_groups_progress_and_annotations_for_people(folder: Path) -> None:
    written(folder, "run", "report.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "wfe", "logs", "last", "--step", "unit"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )

    assert sorted(set(done.stdout.splitlines())) == [
        "! unit: unused import (app.py:3)",
        "unit | 40% half way",
        "unit | package one",
        "unit | ▾ install",
    ]
