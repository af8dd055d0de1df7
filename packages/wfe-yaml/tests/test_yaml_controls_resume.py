"""Runs of files that go on on another host: what control steps and hooks keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.core.memory import MemoryStore
from wfe.yaml import load_workflow, start_data

host = pytest.importorskip("wfe.host")

Between = Callable[[Any, str], Awaitable[None]]


async def approve(running: Any, _id: str) -> None:
    for asked in await running.approvals():
        step = f"{asked.step} [{asked.round}]" if asked.round else asked.step
        await running.approve(asked.run_id, asked.options[0], step=step)


async def through_a_stop(tmp_path: Path, steps: str, waiting: int, between: Between) -> Any:
    """Run until *waiting* approvals are open, stop the host, go on on another one."""
    path = tmp_path / "flow.yaml"
    path.write_text(f"workflow:\n  id: flow\n  version: 1\n  steps:\n{steps}", encoding="utf-8")
    definition, store = load_workflow(path), MemoryStore()
    async with host.WorkflowHost(store) as first:
        events = first.subscribe(["step_waiting"])
        run = await first.start_workflow(definition, start_data(definition, {}))
        async for _ in events:
            if len(await first.approvals()) == waiting:
                break
    async with host.WorkflowHost(store) as second:
        second.register(definition)
        await between(second, run.id)
        again = await second.run(run.id)
        return await again.wait(timedelta(seconds=20))


def ran(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text(encoding="utf-8").split("\n")[:-1]


async def test_a_matrix_keeps_what_its_rounds_gave(tmp_path: Path) -> None:
    steps = """
    - name: build
      matrix: {os: [linux, macos], n: [1, 2]}
      do:
        - name: compile
          run: |
            echo ${{ matrix.os }}${{ matrix.n }} >> log
            echo "digest=${{ matrix.os }}${{ matrix.n }}" >> "$WFE_OUTPUT"
          outputs: {digest: string}
        - name: ask
          when: matrix.n == 2
          approval: {prompt: Go on?, options: [go]}
    - name: show
      run: echo ${{ steps.build.results.map(r, r.digest) }} >> log
"""
    instance = await through_a_stop(tmp_path, steps, 2, approve)

    assert instance.status == "complete"
    lines = ran(tmp_path)
    assert lines[-1] == '["linux1","linux2","macos1","macos2"]'
    assert sorted(lines[:-1]) == ["linux1", "linux2", "macos1", "macos2"]


async def test_a_hook_still_knows_what_became_of_its_step(tmp_path: Path) -> None:
    steps = """
    - name: work
      run: exit 3
      continue_on_error: true
      on_failure:
        - {name: ask, approval: {prompt: Seen it?, options: [seen]}}
        - name: told
          run: echo ${{ step.name }} ${{ step.status }} ${{ step.error.message }} >> log
      ensure: {run: 'echo ${{ step.status }} >> log'}
"""
    instance = await through_a_stop(tmp_path, steps, 1, approve)

    assert instance.status == "complete"
    assert ran(tmp_path) == ["work failed the command exited with code 3", "failed"]


async def test_what_runs_after_a_failure_still_knows_of_it(tmp_path: Path) -> None:
    steps = """
    - {name: work, run: exit 3}
    - {name: ask, when: always(), approval: {prompt: Tidy up?, options: [tidy]}}
    - {name: tidy, when: failure(), run: echo tidy >> log}
    - {name: publish, run: echo publish >> log}
"""
    instance = await through_a_stop(tmp_path, steps, 1, approve)

    assert (instance.status, instance.error.step) == ("failed", "work")
    assert ran(tmp_path) == ["tidy"]


async def test_a_saga_still_knows_what_to_undo(tmp_path: Path) -> None:
    steps = """
    - name: booking
      saga:
        - {name: hotel, run: echo hotel >> log, compensate: {run: echo cancel >> log}}
        - {name: ask, approval: {prompt: Pay?, options: [pay]}}
        - {name: pay, run: exit 1}
"""
    instance = await through_a_stop(tmp_path, steps, 1, approve)

    assert (instance.status, instance.error.step) == ("failed", "pay")
    assert ran(tmp_path) == ["hotel", "cancel"]
