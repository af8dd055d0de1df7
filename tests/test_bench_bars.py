"""The bars of the performance page: what is met, what is missed, and what cannot be said."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.bars import Verdict, samples, verdicts


def run(workload: str, contestant: str, **figures: list[float]) -> dict[str, Any]:
    return {"workload": workload, "contestant": contestant, "figures": figures}


def failed(workload: str, contestant: str) -> dict[str, Any]:
    return {"workload": workload, "contestant": contestant, "error": "it crashed"}


def one(runs: list[dict[str, Any]], workload: str, figure: str, store: str = "sqlite") -> Verdict:
    (found,) = [
        each
        for each in verdicts(runs)
        if (each.workload, each.figure, each.contestant) == (workload, figure, f"wfe, {store}")
    ]
    return found


@pytest.mark.parametrize(
    ("workload", "figure", "ours", "theirs", "met"),
    [
        pytest.param("SEQ", "ms_per_step", 0.2, 1.0, True, id="exactly-a-fifth"),
        pytest.param("SEQ", "ms_per_step", 0.21, 1.0, False, id="more-than-a-fifth"),
        pytest.param("MANY", "steps_per_s", 1000, 100, True, id="ten-times"),
        pytest.param("MANY", "steps_per_s", 999, 100, False, id="less-than-ten-times"),
        pytest.param("FANOUT", "steps_per_s", 5, 1, True, id="five-times"),
        pytest.param("LATENCY", "p99_ms", 1, 2, False, id="half-is-no-third"),
        pytest.param("EVENT", "p50_ms", 1, 6, True, id="a-sixth"),
        pytest.param("RECOVER", "recover_s", 1, 2.9, False, id="nearly-a-third"),
        pytest.param("IDLE", "all_cpu_s", 0.1, 0.1, True, id="the-same-is-enough"),
        pytest.param("IMPORT", "import_ms", 101, 100, False, id="one-more-is-too-much"),
    ],
)
def test_ours_is_held_against_theirs(
    workload: str, figure: str, ours: float, theirs: float, met: bool
) -> None:
    runs = [run(workload, "wfe, sqlite", **{figure: [ours]})]
    runs += [run(workload, "dbos, sqlite", **{figure: [theirs]})]

    found = one(runs, workload, figure)

    assert found.met is met
    assert found.ratio == pytest.approx(ours / theirs)


def test_the_best_rival_counts_whatever_its_store() -> None:
    runs = [
        run("SEQ", "wfe, sqlite", ms_per_step=[1.0]),
        run("SEQ", "dbos, sqlite", ms_per_step=[9.0]),
        run("SEQ", "langgraph, postgres", ms_per_step=[4.0]),
        failed("SEQ", "absurd, postgres"),
    ]

    found = one(runs, "SEQ", "ms_per_step")

    assert (found.rival, found.rival_value, found.met) == ("langgraph, postgres", 4.0, False)
    assert found.same_store == pytest.approx(1 / 9)


def test_more_is_better_takes_the_greatest() -> None:
    runs = [
        run("MANY", "wfe, sqlite", steps_per_s=[500.0]),
        run("MANY", "dbos, sqlite", steps_per_s=[10.0]),
        run("MANY", "restate, own server", steps_per_s=[100.0]),
    ]

    found = one(runs, "MANY", "steps_per_s")

    assert (found.rival, found.met) == ("restate, own server", False)


def test_the_median_of_all_turns_counts() -> None:
    runs = [
        run("SEQ", "wfe, sqlite", ms_per_step=[1.0, 50.0]),
        run("SEQ", "wfe, sqlite", ms_per_step=[2.0]),
        run("SEQ", "dbos, sqlite", ms_per_step=[10.0, 10.0, 11.0]),
    ]

    assert samples(runs, "SEQ", "ms_per_step")["wfe, sqlite"] == [1.0, 50.0, 2.0]
    assert one(runs, "SEQ", "ms_per_step").value == 2.0


def test_an_import_counts_at_its_best() -> None:
    runs = [
        run("IMPORT", "wfe, sqlite", import_ms=[90.0, 500.0, 400.0]),
        run("IMPORT", "absurd, postgres", import_ms=[100.0, 100.0, 100.0]),
    ]

    assert one(runs, "IMPORT", "import_ms").met is True


def test_weaker_stores_of_ours_prove_nothing() -> None:
    runs = [
        run("SEQ", "wfe, memory", ms_per_step=[0.01]),
        run("SEQ", "wfe, sqlite-normal", ms_per_step=[0.01]),
        run("SEQ", "dbos, sqlite", ms_per_step=[5.0]),
    ]

    found = one(runs, "SEQ", "ms_per_step")

    assert found.met is None
    assert found.why == "it has no figure in this run"


def test_without_rivals_nothing_is_met() -> None:
    runs = [run("SEQ", "wfe, sqlite", ms_per_step=[0.01]), failed("SEQ", "dbos, sqlite")]

    found = one(runs, "SEQ", "ms_per_step")

    assert found.met is None
    assert found.why == "no rival has a figure in this run"


@pytest.mark.parametrize(
    ("running", "twice", "lost", "met"),
    [
        pytest.param(200, 200, 0, True, id="all-that-were-running"),
        pytest.param(200, 201, 0, False, id="one-more"),
        pytest.param(200, 0, 1, False, id="one-lost"),
    ],
)
def test_no_more_runs_twice_than_was_running(
    running: float, twice: float, lost: float, met: bool
) -> None:
    fine = {"recover_s": [1.0], "running": [200.0], "twice": [3.0], "lost": [0.0]}
    bad = {"recover_s": [1.0], "running": [running], "twice": [twice], "lost": [lost]}
    runs = [run("RECOVER", "wfe, sqlite", **fine), run("RECOVER", "wfe, sqlite", **bad)]

    assert one(runs, "RECOVER", "twice").met is met


@pytest.mark.parametrize(
    ("workload", "share", "met"),
    [("SEQ", 0.4, True), ("SEQ", 0.39, False), ("MANY", 0.6, True), ("MANY", 0.59, False)],
)
def test_the_share_of_the_limit_has_a_bar_of_its_own(
    workload: str, share: float, met: bool
) -> None:
    runs = [run(workload, "wfe, postgres", limit_share=[share, share, 0.0])]

    assert one(runs, workload, "limit_share", "postgres").met is met


def test_workloads_that_did_not_run_are_left_out() -> None:
    runs = [run("SEQ", "wfe, sqlite", ms_per_step=[1.0])]

    assert {each.workload for each in verdicts(runs)} == {"SEQ"}
