"""Hooks, steps after a failure, and needs of files, run in memory: what runs, in which order."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flow_files import finish, load, ran

from wfe.yaml import load_workflow, start_data

pytest.importorskip("wfe.host")
testing = pytest.importorskip("wfe.testing")

# -- hooks ----------------------------------------------------------------------------------------

HOOKS = """
    - name: work
      run: RUN
      outputs: {word: 'string?'}
      retry: {max: 1, interval: 0s}
      on_success: {run: 'echo success ${{ step.outputs.word }} >> log'}
      on_failure: {run: 'echo failure ${{ step.name }} ${{ step.status }} >> log'}
      on_error: {run: 'echo error ${{ step.status }} >> log'}
      on_abort: {run: 'echo abort ${{ step.status }} >> log'}
      ensure: {run: 'echo ensure ${{ step.status }} >> log'}
"""


async def test_a_success_runs_its_hook_then_ensure(tmp_path: Path) -> None:
    run = """'echo ran >> log; echo "word=done" >> "$WFE_OUTPUT"'"""
    await finish(tmp_path, HOOKS.replace("RUN", run))

    assert ran(tmp_path) == ["ran", "success done", "ensure complete"]


async def test_a_failure_runs_its_hook_once_all_retries_are_used(tmp_path: Path) -> None:
    instance = await finish(tmp_path, HOOKS.replace("RUN", "echo ran >> log; exit 1"))

    assert instance.status == "failed"
    assert ran(tmp_path) == ["ran", "ran", "failure work failed", "ensure failed"]


async def test_an_error_is_no_failure(tmp_path: Path) -> None:
    steps = HOOKS.replace("RUN", "echo ran >> log")
    definition = load(tmp_path, steps)

    class BrokenError(Exception):
        errored = True

    async def broken(ctx: Any, call: Any) -> Any:
        if ctx.pointer.step == "work":
            message = "the network is down"
            raise BrokenError(message)
        return await call()

    class Middleware:
        handle = staticmethod(broken)

    async with testing.WorkflowTest(middleware=[Middleware()], patience=5) as test:
        instance = await test.run(definition, start_data(definition, {}))

    assert (instance.status, instance.error.message) == ("failed", "the network is down")
    assert ran(tmp_path) == ["error errored", "ensure errored"]


async def test_without_a_hook_for_errors_an_error_runs_ensure_only(tmp_path: Path) -> None:
    lines = HOOKS.splitlines(keepends=True)
    steps = "".join(line for line in lines if "on_error" not in line)
    definition = load(tmp_path, steps.replace("RUN", "echo ran >> log"))

    node = next(node for node in definition.walk() if node.name == "work")

    hook = node.hook("on_error")
    assert hook is not None
    assert hook.nodes == ()


async def test_terminating_runs_on_abort_then_ensure(tmp_path: Path) -> None:
    steps = """
    - name: wait
      do:
        - {name: inner, delay: 1h}
      on_abort: {run: 'echo abort ${{ step.status }} >> log'}
      ensure: {run: 'echo ensure ${{ step.status }} >> log'}
"""
    definition = load(tmp_path, steps)
    async with testing.WorkflowTest(patience=5) as test:
        run = await test.start(definition, start_data(definition, {}))
        await test.host.terminate(run.id, "enough")
        instance = await run.wait(timedelta(seconds=10))

    assert instance.status == "terminated"
    assert ran(tmp_path) == ["abort aborted", "ensure aborted"]


async def test_a_hook_that_fails_fails_its_step(tmp_path: Path) -> None:
    steps = """
    - name: work
      run: echo work >> log
      on_success: {run: exit 4}
      ensure: {run: 'echo ${{ step.status }} >> log'}
    - {name: never, run: echo never >> log}
"""
    instance = await finish(tmp_path, steps)

    assert (instance.status, instance.error.step) == ("failed", "work.on_success")
    assert ran(tmp_path) == ["work", "failed"]


async def test_hooks_of_a_round_see_its_item_and_its_outputs(tmp_path: Path) -> None:
    steps = """
    - name: all
      for_each: [a, b]
      sequential: true
      do:
        - name: work
          run: echo "word=${{ item }}${{ item }}" >> "$WFE_OUTPUT"
          outputs: {word: string}
          on_success: {run: 'echo ${{ item }} ${{ step.outputs.word }} >> log'}
      ensure: {run: echo all >> log}
"""
    await finish(tmp_path, steps)

    assert ran(tmp_path) == ["a aa", "b bb", "all"]


@pytest.mark.parametrize(
    "container",
    [
        "do: [{name: i, run: exit 1}]",
        "try: [{name: i, run: exit 1}]",
        "parallel: [{name: i, run: exit 1}]",
        "if: true\n      then: [{name: i, run: exit 1}]",
        "switch: 1\n      cases: {1: [{name: i, run: exit 1}]}",
        "for_each: [1]\n      do: [{name: i, run: exit 1}]",
        "matrix: {n: [1]}\n      do: [{name: i, run: exit 1}]",
        "while: true\n      do: [{name: i, run: exit 1}]",
        "saga: [{name: i, run: exit 1}]",
    ],
)
async def test_every_container_has_modifiers_and_hooks(tmp_path: Path, container: str) -> None:
    steps = f"""
    - name: box
      when: inputs.yes
      timeout: 1m
      retry: {{max: 1, interval: 0s}}
      continue_on_error: true
      on_failure: {{run: echo failure >> log}}
      ensure: {{run: echo ensure >> log}}
      {container}
    - {{name: after, run: echo after >> log}}
"""
    head = "  inputs: {yes: {type: bool, default: true}}\n"
    definition = load(tmp_path, steps, head)
    async with testing.WorkflowTest(patience=5) as test:
        instance = await test.run(definition, start_data(definition, {}))
        history = await test.host.history(instance.id)

    assert (instance.status, ran(tmp_path)) == ("complete", ["failure", "ensure", "after"])
    assert sum(e.kind == "step_retrying" and e.step == "box" for e in history) == 1


async def test_a_container_that_is_skipped_runs_no_hooks(tmp_path: Path) -> None:
    steps = """
    - name: box
      when: false
      do: [{name: inner, run: echo inner >> log}]
      ensure: {run: echo ensure >> log}
"""
    instance = await finish(tmp_path, steps)

    assert (instance.status, ran(tmp_path)) == ("complete", [])


async def test_a_container_times_out(tmp_path: Path) -> None:
    steps = """
    - name: box
      timeout: 1m
      parallel:
        - {name: inner, delay: 1h}
      on_failure: {run: 'echo ${{ step.error.type }} >> log'}
"""
    definition = load(tmp_path, steps)
    async with testing.WorkflowTest(patience=5) as test:
        run = await test.start(definition, start_data(definition, {}))
        await test.clock.advance(timedelta(minutes=2))
        instance = await run.wait(timedelta(seconds=10))

    assert (instance.status, ran(tmp_path)) == ("failed", ["StepTimeoutError"])


# -- after a failure, and needs -------------------------------------------------------------------

LATE = """
    - {name: build, run: 'echo build >> log; EXIT'}
    - {name: test, run: echo test >> log}
    - {name: report, when: always(), run: echo report >> log}
    - {name: blame, when: failure(), run: echo blame >> log}
    - {name: publish, run: echo publish >> log}
    - {name: praise, when: success(), run: echo praise >> log}
"""


async def test_some_steps_run_after_a_failure(tmp_path: Path) -> None:
    instance = await finish(tmp_path, LATE.replace("EXIT", "exit 5"))

    assert (instance.status, instance.error.step) == ("failed", "build")
    assert ran(tmp_path) == ["build", "report", "blame"]


async def test_without_a_failure_the_others_run(tmp_path: Path) -> None:
    instance = await finish(tmp_path, LATE.replace("EXIT", "true"))

    assert instance.status == "complete"
    assert ran(tmp_path) == ["build", "test", "report", "publish", "praise"]


async def test_a_late_step_that_fails_stops_what_follows(tmp_path: Path) -> None:
    steps = LATE.replace("EXIT", "true").replace("echo report >> log", "exit 6")

    instance = await finish(tmp_path, steps)

    assert (instance.status, instance.error.step) == ("failed", "report")
    assert ran(tmp_path) == ["build", "test", "blame"]


async def test_failure_is_seen_inside_of_what_runs_after_it(tmp_path: Path) -> None:
    steps = """
    - {name: build, run: exit 1}
    - name: tidy
      when: always()
      do:
        - {name: first, run: echo first >> log}
        - {name: told, when: failure(), run: echo told >> log}
        - {name: fine, when: success(), run: echo fine >> log}
"""
    await finish(tmp_path, steps)

    assert ran(tmp_path) == ["first", "told"]


async def test_in_a_hook_failure_is_that_of_its_step(tmp_path: Path) -> None:
    steps = """
    - name: work
      run: exit 1
      continue_on_error: true
      ensure: &hooks
        - {when: failure(), run: echo failed >> log}
        - {when: success(), run: echo well >> log}
    - name: well
      run: 'true'
      ensure: *hooks
"""
    await finish(tmp_path, steps)

    assert ran(tmp_path) == ["failed", "well"]


GRAPH = """
    - {name: a, run: 'echo a >> log; EXIT'}
    - {name: b, needs: a, run: echo b >> log}
    - {name: skipped, needs: a, when: false, run: echo skipped >> log}
    - {name: c, needs: skipped, run: echo c >> log}
    - {name: sweep, needs: [b, c], when: always(), run: echo sweep >> log}
    - {name: last, needs: sweep, run: echo last >> log}
"""


async def test_a_skipped_need_counts_as_done(tmp_path: Path) -> None:
    instance = await finish(tmp_path, GRAPH.replace("EXIT", "true"))

    lines = ran(tmp_path)
    assert instance.status == "complete"
    assert lines[0] == "a"
    assert sorted(lines[1:3]) == ["b", "c"]
    assert lines[3:] == ["sweep", "last"]


async def test_a_failed_need_skips_what_needs_it_by_way_of_a_late_step_too(tmp_path: Path) -> None:
    instance = await finish(tmp_path, GRAPH.replace("EXIT", "exit 1"))

    assert (instance.status, instance.error.step) == ("failed", "a")
    assert ran(tmp_path) == ["a", "sweep"]


async def test_needs_any_waits_for_the_first(tmp_path: Path) -> None:
    steps = """
    - {name: slow, delay: 1h}
    - {name: fast, run: echo fast >> log}
    - {name: then, needs_any: [slow, fast], run: echo then >> log}
    - {name: both, needs: [slow, fast], run: echo both >> log}
"""
    definition = load(tmp_path, steps)
    async with testing.WorkflowTest(patience=5) as test:
        run = await test.start(definition, start_data(definition, {}))
        early = ran(tmp_path)
        await test.clock.advance(timedelta(hours=2))
        await run.wait(timedelta(seconds=10))

    assert early == ["fast", "then"]
    assert ran(tmp_path) == ["fast", "then", "both"]


async def test_a_loop_that_turns_too_often_fails(tmp_path: Path) -> None:
    steps = """
    - name: again
      while: true
      max_iterations: 2
      do:
        - {name: turn, run: echo turn >> log}
"""
    instance = await finish(tmp_path, steps)

    assert (instance.status, instance.error.message) == ("failed", "max_iterations (2) reached")
    assert ran(tmp_path) == ["turn", "turn"]


async def test_a_child_has_a_status(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(
        """
workflows:
  - id: child
    version: 1
    outputs: {word: string}
    steps:
      - {name: make, run: 'echo "word=x" >> "$WFE_OUTPUT"', outputs: {word: string}}
  - id: main
    version: 1
    steps:
      - {name: call, type: workflow, config: {workflow: child}}
      - {name: show, run: 'echo ${{ steps.call.status }} ${{ steps.call.outputs.word }} >> log'}
""",
        encoding="utf-8",
    )
    child, main = load_workflow(path, workflow="child"), load_workflow(path, workflow="main")
    async with testing.WorkflowTest(child, main, patience=5) as test:
        await test.run(main, start_data(main, {}))

    assert ran(tmp_path) == ["complete x"]
