"""The benchmarks' gates: what is planted into a workload breaks them, and nothing else does."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmarks import gates, importing, measuring, workloads
from benchmarks.counting import CountingStore
from benchmarks.marks import Marks
from benchmarks.measuring import Measured
from benchmarks.memory import Peak

from wfe.core import ExecutionResult, StepExecutionContext, WorkflowBuilder, WorkflowDefinition
from wfe.core.memory import MemoryStore
from wfe.core.providers import Item, Outcome

__all__: list[str] = []

ROOT = Path(__file__).parent.parent


async def measured(store: Any = None) -> dict[str, float]:
    """Return the figures of SEQ over *store*."""
    found: Measured = await workloads.seq(CountingStore(store or MemoryStore()))
    return {
        "commits": found.commits,
        "rows": found.rows,
        "cpu_us": found.cpu / found.steps * 1e6,
        **found.extra,
    }


def broken(figures: Mapping[str, float], name: str = "SEQ", kind: str = "memory") -> list[str]:
    return [each.split(" is ")[0] for each in gates.broken(name, kind, figures)]


def planted(monkeypatch: pytest.MonkeyPatch, body: Callable[..., Any], name: str = "seq") -> None:
    """Let SEQ's workflow of that name have *body* in the place of steps that do nothing."""
    sound = measuring.sequence

    def sequence(wanted: str, steps: int) -> WorkflowDefinition:
        if wanted != name:
            return sound(wanted, steps)
        builder = WorkflowBuilder().start_with(body)
        for _ in range(steps - 1):
            builder = builder.then(body)
        return builder.build(wanted)

    monkeypatch.setattr(workloads, "sequence", sequence)


async def test_a_sound_engine_breaks_no_gate() -> None:
    figures = await measured()

    assert {each for each in broken(figures) if "cpu_us" not in each} == set()
    assert (figures["commits"], figures["rows"]) == (101, 102)


async def test_one_more_commit_a_step_breaks_a_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    async def twice(ctx: StepExecutionContext[Any]) -> ExecutionResult:
        if ctx.persistence_data is None:
            return ExecutionResult.persist("seen")
        return ExecutionResult.next()

    planted(monkeypatch, twice)

    assert {"SEQ on memory: commits", "SEQ on memory: rows"} <= set(broken(await measured()))


async def test_a_commit_that_is_repeated_breaks_a_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A regression below the engine: each commit is looked at by an empty one after it."""
    sound = CountingStore.commit

    async def commit(
        self: CountingStore, epoch: int | None, items: Sequence[Item]
    ) -> Sequence[Outcome]:
        outcomes = await sound(self, epoch, items)
        await sound(self, epoch, ())
        return outcomes

    monkeypatch.setattr(CountingStore, "commit", commit)

    assert "SEQ on memory: commits" in broken(await measured())


async def test_steps_that_burn_cpu_break_a_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    async def burn() -> None:
        until = time.process_time() + 0.001
        while time.process_time() < until:
            pass

    planted(monkeypatch, burn)

    assert "SEQ on memory: cpu_us" in broken(await measured())


@pytest.mark.parametrize("figure", ["commits", "rows", "statements", "round_trips"])
def test_one_more_of_each_on_a_server_breaks_a_gate(figure: str) -> None:
    sound = {"commits": 101, "rows": 102, "statements": 101, "round_trips": 101}
    assert broken(sound, kind="postgres") == []

    assert broken({**sound, figure: sound[figure] + 1}, kind="postgres") == [
        f"SEQ on postgres: {figure}"
    ]


def test_a_figure_that_is_not_measured_or_is_no_number_breaks_its_gate() -> None:
    (missing,) = gates.broken("LIMITS", "memory", {"most": 10, "commits_each": 1})
    assert missing == "LIMITS on memory: rows_each was not measured"

    nan = float("nan")
    assert broken({"most": nan, "commits_each": 1, "rows_each": 1}, "LIMITS") == [
        "LIMITS on memory: most"
    ]


def test_time_that_grows_with_the_square_breaks_a_gate() -> None:
    marks = Marks(40)
    for step in range(40):
        marks.hit()
        until = time.process_time() + 0.0002 * step
        while time.process_time() < until:
            pass
    quarters = marks.last_to_first()

    sound = {"grown_mb": 0, "rows_a_step": 2.0, "quarters": 1.0}
    assert broken(sound, "LONG", "sqlite") == []
    assert broken({**sound, "quarters": quarters}, "LONG", "sqlite") == ["LONG on sqlite: quarters"]


def test_memory_that_grows_breaks_a_gate() -> None:
    peak = Peak()
    kept = b"x" * (64 << 20)

    assert len(kept) == 64 << 20
    sound = {"rows_a_step": 1.0, "quarters": 1.0}
    figures = {**sound, "grown_mb": peak.grown()}
    assert broken(figures, "WIDE100K", "sqlite") == ["WIDE100K on sqlite: grown_mb"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_peak_that_was_before_does_not_hide_what_grows() -> None:
    large = b"x" * (96 << 20)
    del large
    peak = Peak()
    kept = b"x" * (48 << 20)

    assert len(kept) == 48 << 20
    assert 40 < peak.grown() < 80


@pytest.mark.parametrize(
    ("larger", "base"),
    [("LONG100K", "LONG"), ("WIDE1M", "WIDE"), ("LOGS100MB", "LOGS"), ("SEQ", "SEQ")],
)
def test_larger_workloads_have_the_gates_of_their_base(larger: str, base: str) -> None:
    assert gates.base_of(larger) == base
    of_base = gates.limits_of(gates.GATES, base, "sqlite")
    assert of_base.keys() == gates.limits_of(gates.GATES, larger, "sqlite").keys()
    assert of_base


def test_gates_and_targets_are_of_workloads_that_exist() -> None:
    known = {*workloads.WORKLOADS, *workloads.BY_HAND}

    assert {name for name, _ in gates.GATES} - known == set()
    assert {name for name, _ in gates.TARGETS} - known == set()
    assert {gates.base_of(name) for name in workloads.BY_HAND} - known == set()
    assert set(gates.ON_SERVERS) - known == set()


def test_a_planted_import_breaks_the_gates() -> None:
    """As if the library imported a driver and a mail server at its top."""
    plain = importing.loaded(["-c", "import asyncio"])
    code = "import sqlite3, xmlrpc.server, unittest.mock; from wfe.core import WorkflowBuilder"
    figures = dict.fromkeys(gates.IMPORT_GATES, 0.0)
    assert list(importing.broken(figures)) == []

    found = importing.loaded(["-c", code])
    figures["modules_core"] = len(found - plain)
    figures["heavy"] = len(importing.heavy(found))

    assert [each.split(" is ")[0] for each in importing.broken(figures)] == [
        "IMPORT: modules_core",
        "IMPORT: heavy",
    ]


def test_what_is_imported_now_is_within_its_gates() -> None:
    figures = importing.imports(1)

    assert list(importing.broken(figures)) == []
    assert set(gates.IMPORT_TARGETS) <= set(figures)


def test_a_broken_gate_fails_the_command(tmp_path: Path) -> None:
    """The whole program, with gates that nobody can keep."""
    code = (
        "import sys; from benchmarks import gates\n"
        "gates.GATES[('SEQ', 'commits')]['memory'] = 50\n"
        "from benchmarks.__main__ import main; sys.exit(main())"
    )
    json = tmp_path / "figures.json"
    arguments = ["SEQ", "--store", "memory", "--tries", "1", "--json", str(json)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "GATE BROKEN SEQ on memory: commits is 101.0, more than 50" in done.stdout
    assert ast.literal_eval(json.read_text())["SEQ memory"]["commits"] == 101
