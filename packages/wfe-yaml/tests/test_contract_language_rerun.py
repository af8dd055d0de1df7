"""The contract of `--rerun-failed`: in the same run, only what failed and what never ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flow_files import load, ran

from wfe.yaml import load_workflows, start_data

pytest.importorskip("wfe.host")
testing = pytest.importorskip("wfe.testing")


async def rerun(tmp_path: Path, *definitions: Any, **inputs: object) -> tuple[list[str], list[str]]:
    """Run, make the file ``ok``, and try the failed run again; return what ran each time."""
    main = definitions[0]
    async with testing.WorkflowTest(patience=10) as test:
        for definition in definitions[1:]:
            test.host.register(definition)
        run = await test.start(main, start_data(main, inputs))
        failed = await run.wait(10)
        before = sorted(ran(tmp_path))
        assert failed.status == "failed"
        (tmp_path / "log").unlink()
        (tmp_path / "ok").touch()
        await test.host.retry(run.id)
        assert (await run.wait(10)).status == "complete"
    return before, sorted(ran(tmp_path))


async def test_of_a_matrix_only_the_runs_that_failed(tmp_path: Path) -> None:
    steps = """
    - name: tests
      matrix: {os: [linux, macos, windows], py: [a, b]}
      fail_fast: false
      do:
        - name: unit
          outputs: {made: string}
          run: |
            echo unit-${{ matrix.os }}-${{ matrix.py }} >> log
            echo "made=${{ matrix.os }}" >> "$WFE_OUTPUT"
        - name: check
          run: |
            test ${{ matrix.os }} = linux || test -e ok
            echo check-${{ steps.unit.outputs.made }}-${{ matrix.py }} >> log
    - name: last
      run: echo ${{ size(steps.tests.results) }} ${{ steps.tests.results[5].made }} >> log
"""
    before, after = await rerun(tmp_path, load(tmp_path, steps))

    units = [f"unit-{os}-{py}" for os in ("linux", "macos", "windows") for py in "ab"]
    assert before == ["check-linux-a", "check-linux-b", *units]
    again = [f"check-{os}-{py}" for os in ("macos", "windows") for py in "ab"]
    assert after == ["6 windows", *again]


async def test_of_parallel_branches_only_those_that_failed(tmp_path: Path) -> None:
    steps = """
    - fail_fast: false
      parallel:
        - do:
            - {name: a1, run: echo a1 >> log}
            - {name: a2, run: test -e ok}
            - {name: a3, run: echo a3 >> log}
        - do:
            - {name: b1, run: echo b1 >> log}
            - {name: b2, run: echo b2 >> log}
    - {name: c, run: echo c >> log}
"""
    assert await rerun(tmp_path, load(tmp_path, steps)) == (["a1", "b1", "b2"], ["a3", "c"])


async def test_of_a_graph_what_failed_and_what_could_not_run(tmp_path: Path) -> None:
    steps = """
    - {name: a, run: echo a >> log}
    - {name: b, needs: a, run: test -e ok}
    - {name: c, needs: [a], run: echo c >> log}
    - {name: d, needs: [b, c], run: echo d >> log}
    - {name: late, needs: d, when: always(), run: echo late >> log}
"""
    assert await rerun(tmp_path, load(tmp_path, steps)) == (["a", "c", "late"], ["d"])


async def test_of_child_workflows_too(tmp_path: Path) -> None:
    text = """
workflows:
  - id: main
    version: 1
    steps:
      - {name: middle, type: workflow, config: {workflow: middle}}
      - {name: after, run: echo after >> log}
  - id: middle
    version: 1
    steps:
      - {name: begin, run: echo begin >> log}
      - {name: inner, type: workflow, config: {workflow: inner}}
  - id: inner
    version: 1
    steps:
      - {name: one, run: echo one >> log}
      - {name: two, run: test -e ok}
      - {name: three, run: echo three >> log}
"""
    path = tmp_path / "flow.yaml"
    path.write_text(text, encoding="utf-8")

    found = await rerun(tmp_path, *load_workflows(path))

    assert found == (["begin", "one"], ["after", "three"])


async def test_a_child_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    text = """
workflows:
  - id: main
    version: 1
    steps:
      - parallel:
          - {name: kept, type: workflow, config: {workflow: slow}}
          - {name: boom, run: 'until test -e begun; do sleep 0.05; done; test -e ok'}
  - id: slow
    version: 1
    steps:
      - {name: one, run: echo one >> log}
      - {name: two, run: 'touch begun; test -e ok || sleep 60; echo two >> log'}
"""
    path = tmp_path / "flow.yaml"
    path.write_text(text, encoding="utf-8")

    assert await rerun(tmp_path, *load_workflows(path)) == (["one"], ["two"])
