"""The performance page: the section that a race writes, its plots, and that it is up to date."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from benchmarks.charts import Line, chart, shown
from benchmarks.report import BEGIN, END, PageError, charts, section, write_page

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "performance.md"
SVG = "{http://www.w3.org/2000/svg}"
STORED = ROOT / "benchmarks" / "results.json"


def _run(workload: str, contestant: str, **figures: list[float]) -> dict[str, Any]:
    return {
        "workload": workload,
        "contestant": contestant,
        "n": 100,
        "load": 1.5,
        "figures": figures,
        "versions": {"python": "3.11", "thing": "1.2"},
        "settings": "as it comes",
    }


RESULTS: dict[str, Any] = {
    "date": "2026-01-02",
    "minutes": 3.5,
    "machine": {
        "cpus": 2,
        "system": "Linux 6 x86_64",
        "python": "3.11.7",
        "load_before": 0.1,
        "load_after": 0.9,
    },
    "servers": {"postgres": "17.10 (wheel)"},
    "sizes": {"SEQ": {"n": 100, "rounds": 2, "repeat": 1}},
    "runs": [
        _run("SEQ", "wfe, memory", ms_per_step=[0.01], cpu_ms_per_step=[0.01]),
        _run("SEQ", "wfe, sqlite", ms_per_step=[0.2, 0.4], limit_share=[0.5]),
        _run("SEQ", "wfe, sqlite", ms_per_step=[0.3]),
        _run("SEQ", "dbos, sqlite", ms_per_step=[1500.0]) | {"n": 50},
        {
            "workload": "SEQ",
            "contestant": "absurd, postgres",
            "n": 100,
            "load": 7.25,
            "error": "ended with 1: a | b",
        },
    ],
}


def _line(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found


def test_a_section_says_where_when_and_how_loaded() -> None:
    text = section(RESULTS, "performance")

    taken = _line(text, "Taken on")
    assert "2026-01-02" in taken
    assert "Python 3.11.7, 2 CPUs, Linux 6 x86_64, postgres 17.10 (wheel)" in taken
    assert "before it 0.1, while it ran 1.5 to 7.25" in taken


def test_a_smoke_test_is_not_taken_for_a_measurement() -> None:
    tiny = RESULTS | {"sizes": {"SEQ": {"n": 20}}}

    assert "**Tiny sizes" in section(tiny, "performance")
    assert "**Tiny sizes" not in section(RESULTS, "performance")


def test_rows_have_medians_spread_and_the_best_first() -> None:
    text = section(RESULTS, "performance")

    assert _line(text, "| wfe, sqlite | 2") == "| wfe, sqlite | 2 | 0.3 (0.2-0.4) | - | - | 0.5 |"
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| 1 |" in line]
    assert [row.split(" |")[0] for row in rows] == [
        "| wfe, memory",
        "| dbos, sqlite (n = 50)",
        "| absurd, postgres",
    ]


def test_a_failed_contestant_keeps_its_row() -> None:
    row = _line(section(RESULTS, "performance"), "| absurd, postgres | 1")

    assert row.startswith("| absurd, postgres | 1 | FAILED: ended with 1: a \\| b |")
    assert row.replace("\\|", "").count("|") == 7


def test_bars_are_met_missed_or_open() -> None:
    missed = copy.deepcopy(RESULTS)
    missed["runs"][3]["figures"]["ms_per_step"] = [1.0]

    assert _line(section(RESULTS, "p"), "| SEQ | ms a step | wfe, sqlite").endswith(
        "| met | 0.0002 |"
    )
    row = _line(section(missed, "p"), "| SEQ | ms a step | wfe, sqlite")
    assert row.endswith("| 0.3 | ≤ 0.2 | **MISSED** | 0.3 |")
    unknown = _line(section(RESULTS, "p"), "| SEQ | ms a step | wfe, postgres")
    assert unknown.endswith("| it has no figure in this run | - |")


def test_a_page_keeps_what_people_wrote(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")

    write_page(page, RESULTS)
    once = page.read_text()
    write_page(page, RESULTS)

    assert once.startswith(f"before\n\n{BEGIN}\n\nTaken on")
    assert once.endswith(f"{END}\n\nafter\n")
    assert "old" not in once
    assert page.read_text() == once
    assert (tmp_path / "page-seq.svg").is_file()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("nothing", id="none"),
        pytest.param(f"{END}\n{BEGIN}", id="wrong-order"),
        pytest.param(f"{BEGIN}\n{BEGIN}\n{END}", id="twice"),
    ],
)
def test_a_page_without_its_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)

    with pytest.raises(PageError, match="needs the lines"):
        write_page(page, RESULTS)

    assert page.read_text() == text


def test_a_plot_is_svg_with_a_bar_for_each() -> None:
    (svg,) = charts(RESULTS).values()

    root = ET.fromstring(svg)
    texts = [each.text for each in root.iter(f"{SVG}text")]
    bars = [each.get("fill") for each in root.iter(f"{SVG}rect")][1:]
    assert texts[1] == "ms a step, less is better"
    assert texts[2:] == ["wfe, memory", "0.01", "wfe, sqlite", "0.3", "dbos, sqlite", "1,500"]
    assert len(set(bars)) == 3


def test_bars_are_as_long_as_their_figures() -> None:
    lines = [
        Line(name="<a>", value=10, low=5, high=12, kind="ours"),
        Line(name="b", value=20, low=20, high=20, kind="rival"),
        Line(name="none", value=0, low=0, high=0, kind="rival"),
    ]

    root = ET.fromstring(chart("T & U", "ms", lines, more_is_better=True))

    rects = list(root.iter(f"{SVG}rect"))[1:]
    widths = [float(each.get("width", "")) for each in rects]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert widths[2] == 1


def test_a_bar_of_many_times_the_usual_is_cut_where_less_is_better() -> None:
    usual = [Line(name=str(k), value=k, low=k, high=k, kind="ours") for k in (1, 2, 3)]
    huge = Line(name="huge", value=900, low=900, high=900, kind="rival")

    root = ET.fromstring(chart("T", "ms", [*usual, huge]))

    widths = [float(each.get("width", "")) for each in list(root.iter(f"{SVG}rect"))[1:]]
    white = [each for each in root.iter(f"{SVG}path") if each.get("fill") == "#ffffff"]
    assert widths[3] == pytest.approx(widths[0] * 5 * 2.5, rel=0.01)
    assert len(white) == 1
    assert [each.text for each in root.iter(f"{SVG}text")][-1] == "900"


def test_a_plot_without_a_figure_above_zero_is_drawn() -> None:
    line = Line(name="idle", value=0, low=0, high=0, kind="ours")

    assert ET.fromstring(chart("IDLE", "s", [line])).get("aria-label") == "IDLE"


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (100, "100"), (99.94, "99.9"), (0.0123456, "0.0123"), (0, "0")],
)
def test_figures_are_short(value: float, text: str) -> None:
    assert shown(value) == text


def test_the_page_shows_the_stored_figures(tmp_path: Path) -> None:
    """Whoever changes the renderer or the figures writes the page anew, too (``--render``)."""
    page = tmp_path / PAGE.name
    shutil.copy(PAGE, page)

    write_page(page, json.loads(STORED.read_text()))

    assert page.read_text() == PAGE.read_text()
    for plot in tmp_path.glob("*.svg"):
        assert plot.read_text() == PAGE.with_name(plot.name).read_text()


def test_a_race_of_our_own_runs_in_seconds(tmp_path: Path) -> None:
    """Two workloads of the smoke test, with page and figures; CI runs all of it."""
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text(f"{BEGIN}\n{END}\n")
    command = [sys.executable, "-m", "benchmarks", "SEQ", "RECOVER", "--smoke"]
    command += ["--store", "sqlite", "--page", str(page), "--json", str(figures)]

    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=120
    )

    assert done.returncode == 0, done.stdout + done.stderr
    runs = {run["workload"]: run["figures"] for run in json.loads(figures.read_text())["runs"]}
    assert runs["RECOVER"]["lost"] == [0.0]
    assert runs["RECOVER"]["twice"][0] <= runs["RECOVER"]["running"][0]
    assert runs["SEQ"]["commits"] == [21.0]
    assert runs["SEQ"]["limit_share"][0] > 0
    assert "| wfe, sqlite | 1 |" in page.read_text()
    assert (tmp_path / "page-recover.svg").is_file()
