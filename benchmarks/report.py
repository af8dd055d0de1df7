"""Turns the stored figures of a race into the tables and plots of the performance page."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.bars import Verdict, samples, verdicts
from benchmarks.charts import Line, chart, shown

__all__ = ["BEGIN", "END", "PageError", "charts", "section", "write_page"]

BEGIN: Final = "<!-- race: written by `python -m benchmarks --render`; do not edit -->"
END: Final = "<!-- race: end -->"

Results: TypeAlias = Mapping[str, Any]
Runs: TypeAlias = Sequence[Mapping[str, Any]]

# Of each workload: what it is, the figure that is drawn (more is better?), and what else is told.
_WHAT: Final = {
    "SEQ": "1 workflow of {n} steps that do nothing",
    "MANY": "{n} workflows of 5 steps, started together",
    "FANOUT": "1 workflow of {n} parallel steps",
    "LATENCY": "{n} workflows of 1 step, one after the other: start to result",
    "EVENT": "{n} workflows that wait: from sending the event to the result",
    "RECOVER": "{n} workflows of 10 steps of 50 ms, killed (SIGKILL) when half of it is done",
    "IDLE": "{n} sleeping workflows for 20 s",
    "IMPORT": "a new process imports what an application imports",
}
_DRAWN: Final = {
    "SEQ": ("ms_per_step", "ms a step", False),
    "MANY": ("steps_per_s", "steps a second", True),
    "FANOUT": ("steps_per_s", "steps a second", True),
    "LATENCY": ("p50_ms", "ms, p50", False),
    "EVENT": ("p50_ms", "ms, p50", False),
    "RECOVER": ("recover_s", "seconds from restart to all done", False),
    "IDLE": ("all_cpu_s", "CPU seconds in 20 s, with server", False),
    "IMPORT": ("import_ms", "ms", False),
}
_COLUMNS: Final = {
    "SEQ": ("ms_per_step", "cpu_ms_per_step", "server_ms_per_step", "limit_share"),
    "MANY": ("steps_per_s", "cpu_ms_per_step", "server_ms_per_step", "limit_share"),
    "FANOUT": ("steps_per_s", "cpu_ms_per_step", "server_ms_per_step"),
    "LATENCY": ("p50_ms", "p99_ms"),
    "EVENT": ("p50_ms", "p99_ms"),
    "RECOVER": ("recover_s", "left", "running", "twice", "lost"),
    "IDLE": ("all_cpu_s", "cpu_s", "server_cpu_s"),
    "IMPORT": ("import_ms", "modules"),
}
_HEADS: Final = {
    "ms_per_step": "ms a step",
    "steps_per_s": "steps a second",
    "cpu_ms_per_step": "CPU a step, ms",
    "server_ms_per_step": "of the server, ms",
    "limit_share": "share of the limit",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "recover_s": "restart to all done, s",
    "left": "steps left",
    "running": "running at the crash",
    "twice": "begun twice",
    "lost": "lost",
    "all_cpu_s": "CPU in 20 s, s",
    "cpu_s": "of the process",
    "server_cpu_s": "of the server",
    "import_ms": "ms",
    "modules": "modules",
}
_TINY: Final = 20  # the most that a smoke test does of anything
_WEAKER: Final = ("memory", "sqlite-normal")


class PageError(ValueError):
    """The page has no place for the section."""


def write_page(page: Path, results: Results) -> None:
    """Put the section between the page's markers, and the plots beside it.

    Raises:
        PageError: The markers are not there, once and in order.
    """
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise PageError(f"{page} needs the lines\n{BEGIN}\n{END}\nonce and in this order")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    body = section(results, page.stem)
    page.write_text(f"{before}{BEGIN}\n\n{body}\n{END}{after}", encoding="utf-8")
    for name, svg in charts(results).items():
        page.with_name(_file(page.stem, name)).write_text(svg, encoding="utf-8")


def _file(stem: str, workload: str) -> str:
    return f"{stem}-{workload.lower()}.svg"


def section(results: Results, stem: str) -> str:
    """Return the section as Markdown; *stem* is the beginning of the plots' names."""
    runs: Runs = results["runs"]
    parts = [*_taken(results), "### Bars", "", *_bars(runs)]
    for workload in _WHAT:
        if any(run["workload"] == workload for run in runs):
            parts += ["", f"### {workload}", "", *_workload(workload, results, stem)]
    parts += ["", "### Settings and versions", "", *_settings(runs)]
    return "\n".join(parts) + "\n"


def _taken(results: Results) -> Iterator[str]:
    machine = results["machine"]
    loads = [run["load"] for run in results["runs"]]
    servers = ", ".join(f"{name} {said}" for name, said in results["servers"].items())
    yield (
        f"Taken on {results['date']} in one run of {results['minutes']:g} minutes: "
        f"Python {machine['python']}, {machine['cpus']} CPUs, {machine['system']}"
        f"{', ' + servers if servers else ''}. Load average before it {machine['load_before']}, "
        f"while it ran {min(loads)} to {max(loads)} (its own work counts), after it "
        f"{machine['load_after']}. Figures are medians, the least and greatest sample in brackets."
    )
    yield ""
    if all(size["n"] <= _TINY for size in results["sizes"].values()):
        yield "**Tiny sizes (`--smoke`): they show that the race works, and nothing else.**"
        yield ""


# -- bars -----------------------------------------------------------------------------------------


def _bars(runs: Runs) -> Iterator[str]:
    yield (
        "| workload | figure | ours | best rival | ours by theirs | bar | "
        "| on the same store, ours by theirs |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for one in verdicts(runs):
        cells = (
            one.workload,
            _HEADS[one.figure],
            f"{one.contestant}{_value(one.value)}",
            f"{one.rival}{_value(one.rival_value)}" if one.rival else "-",
            _by(one.ratio),
            one.wanted,
            _outcome(one),
            _by(one.same_store),
        )
        yield f"| {' | '.join(cells)} |"


def _value(value: float | None) -> str:
    return "" if value is None else f": {shown(value)}"


def _by(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3g}"


def _outcome(one: Verdict) -> str:
    if one.met is None:
        return one.why
    return "met" if one.met else "**MISSED**"


# -- tables and plots -----------------------------------------------------------------------------


def _workload(workload: str, results: Results, stem: str) -> Iterator[str]:
    runs: Runs = [run for run in results["runs"] if run["workload"] == workload]
    size = results["sizes"][workload]["n"]
    what = _WHAT[workload].format(n=f"{size:,}")
    yield f"{what[0].upper()}{what[1:]}."
    yield ""
    yield f"![{workload}]({_file(stem, workload)})"
    yield ""
    columns = _COLUMNS[workload]
    yield f"| contestant | turns | {' | '.join(_HEADS[name] for name in columns)} |"
    yield f"| --- | --- |{' --- |' * len(columns)}"
    for name in _ranked(workload, runs):
        mine = [run for run in runs if run["contestant"] == name]
        yield f"| {_named(name, mine, size)} | {len(mine)} | {_cells(mine, columns)} |"


def _ranked(workload: str, runs: Runs) -> list[str]:
    """Return contestants, best first; those without a figure last."""
    figure, _, more = _DRAWN[workload]
    values = {name: statistics.median(v) for name, v in samples(runs, workload, figure).items()}
    without = [
        name for name in dict.fromkeys(run["contestant"] for run in runs) if name not in values
    ]
    return [*sorted(values, key=values.__getitem__, reverse=more), *without]


def _named(name: str, runs: Runs, size: int) -> str:
    n = runs[0]["n"]
    return name if n == size else f"{name} (n = {n})"


def _cells(runs: Runs, columns: Sequence[str]) -> str:
    error = next((run["error"] for run in runs if run.get("error")), None)
    if error is not None:
        said = " ".join(error.split()).replace("|", "\\|")
        return f"FAILED: {said} {'| ' * (len(columns) - 1)}".rstrip()
    return " | ".join(_spread(runs, column) for column in columns)


def _spread(runs: Runs, figure: str) -> str:
    many = [value for run in runs for value in run["figures"].get(figure, [])]
    if not many:
        return "-"
    middle = shown(statistics.median(many))
    low, high = shown(min(many)), shown(max(many))
    return middle if low == high else f"{middle} ({low}-{high})"


def charts(results: Results) -> dict[str, str]:
    """Return the plot of each workload that has figures."""
    found: dict[str, str] = {}
    for workload, (figure, unit, more) in _DRAWN.items():
        lines = [
            Line(
                name=name,
                value=statistics.median(many),
                low=min(many),
                high=max(many),
                kind=_kind(name),
            )
            for name, many in samples(results["runs"], workload, figure).items()
        ]
        if lines:
            found[workload] = chart(workload, unit, lines, more_is_better=more)
    return found


def _kind(name: str) -> str:
    who, _, store = name.partition(", ")
    if who != "wfe":
        return "rival"
    return "weaker" if store in _WEAKER else "ours"


def _settings(runs: Runs) -> Iterator[str]:
    said = {run["contestant"]: run for run in runs if run.get("settings")}
    yield "| contestant | versions | settings |"
    yield "| --- | --- | --- |"
    for name, run in said.items():
        each = (f"{what} {v}" for what, v in run["versions"].items() if what != "python")
        yield f"| {name} | {', '.join(each)} | {run['settings']} |"
