"""Control steps of files, run in memory: what they do, and in which order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flow_files import finish, load, ran

from wfe.yaml import start_data

pytest.importorskip("wfe.host")
testing = pytest.importorskip("wfe.testing")

# -- try, switch, matrix --------------------------------------------------------------------------


async def test_a_try_goes_on_after_a_failure_and_says_so(tmp_path: Path) -> None:
    steps = """
    - name: risky
      try:
        - {name: a, run: echo a >> log; exit 3}
        - {name: b, run: echo b >> log}
      on_failure: {run: 'echo ${{ step.error.message }} >> log'}
    - name: smooth
      try:
        - {name: c, run: echo c >> log}
    - name: show
      run: echo ${{ steps.risky.status }} ${{ steps.smooth.status }} >> log
"""
    instance = await finish(tmp_path, steps)

    assert instance.status == "complete"
    assert ran(tmp_path) == ["a", "the command exited with code 3", "c", "failed complete"]


@pytest.mark.parametrize(
    ("count", "line"), [(1, "one"), (16, "sixteen"), (3, "many"), (-1, "many")]
)
async def test_a_switch_takes_the_case_of_its_value(tmp_path: Path, count: int, line: str) -> None:
    steps = """
    - switch: inputs.count
      cases:
        1:
          - {name: one, run: echo one >> log}
        0x10:
          - {name: sixteen, run: echo sixteen >> log}
      default:
        - {name: many, run: echo many >> log}
"""
    instance = await finish(tmp_path, steps, "  inputs: {count: integer}\n", count=count)

    assert (instance.status, ran(tmp_path)) == ("complete", [line])


async def test_a_switch_without_a_fitting_case_does_nothing(tmp_path: Path) -> None:
    steps = """
    - switch: inputs.word
      cases:
        a:
          - {name: one, run: echo one >> log}
"""
    instance = await finish(tmp_path, steps, "  inputs: {word: string}\n", word="b")

    assert (instance.status, ran(tmp_path)) == ("complete", [])


MATRIX = """
    - name: build
      matrix:
        os: [linux, macos]
        py: [3.11, 3.12]
      exclude:
        - {os: macos, py: 3.11}
      include:
        - {os: linux, py: 3.12, extra: cover}
        - {os: windows, py: 3.12}
      do:
        - name: compile
          run: |
            echo "digest=${{ matrix.os }}-${{ matrix.py }}-${{ index }}" >> "$WFE_OUTPUT"
            echo "extra=${{ matrix.?extra.orValue('none') }}" >> "$WFE_OUTPUT"
          outputs: {digest: string, extra: string}
"""


async def test_a_matrix_runs_each_combination_the_first_axis_slowest(tmp_path: Path) -> None:
    outputs = """  outputs:
    all: {type: any, value: '${{ steps.build.results.map(r, r.digest + "-" + r.extra) }}'}
"""
    instance = await finish(tmp_path, MATRIX, outputs)

    assert instance.data["outputs"]["all"] == [
        "linux-3.11-0-none",
        "linux-3.12-1-cover",
        "macos-3.12-2-none",
        "windows-3.12-3-none",
    ]


COMPUTED = """
    - name: build
      matrix:
        os: ${{ inputs.systems }}
        n: [1, 2]
      exclude:
        - {os: '${{ inputs.without }}', n: 2}
      sequential: true
      do:
        - {name: compile, run: 'echo ${{ matrix.os }}${{ matrix.n }} >> log'}
"""
SYSTEMS = "  inputs: {systems: list<string>, without: string}\n"


async def test_the_axes_of_a_matrix_may_be_computed(tmp_path: Path) -> None:
    inputs = {"systems": ["x", "y"], "without": "x"}
    instance = await finish(tmp_path, COMPUTED, SYSTEMS, **inputs)

    assert (instance.status, ran(tmp_path)) == ("complete", ["x1", "y1", "y2"])


async def test_a_computed_axis_without_values_fails_the_step(tmp_path: Path) -> None:
    instance = await finish(tmp_path, COMPUTED, SYSTEMS, systems=[], without="x")

    assert instance.status == "failed"
    assert instance.error.message == "the axis 'os' of the matrix has no values"


async def test_rounds_have_names_in_the_history(tmp_path: Path) -> None:
    definition = load(tmp_path, MATRIX)
    async with testing.WorkflowTest(patience=5) as test:
        instance = await test.run(definition, start_data(definition, {}))
        history = await test.host.history(instance.id)

    names = [e.data["round"] for e in history if e.step == "compile" and e.kind == "step_completed"]
    assert sorted(names) == [
        "os=linux, py=3.11",
        "os=linux, py=3.12, extra=cover",
        "os=macos, py=3.12",
        "os=windows, py=3.12",
    ]


async def test_a_round_that_is_passed_over_gives_nothing(tmp_path: Path) -> None:
    steps = """
    - name: all
      for_each: [1, 2, 3]
      do:
        - name: maybe
          run: test ${{ item }} != 2 && echo "n=${{ item }}" >> "$WFE_OUTPUT"
          outputs: {n: 'integer?'}
          continue_on_error: true
    - name: none
      for_each: []
      do:
        - {name: never, run: echo never >> log}
    - name: show
      run: echo ${{ steps.all.results }} ${{ size(steps.none.results) }} >> log
"""
    await finish(tmp_path, steps)

    assert ran(tmp_path) == ['[{"n":1},{},{"n":3}] 0']


# -- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "until", ["2025-01-01T02:00:00+01:00", "timestamp(inputs.at)", "${{ inputs.at }}"]
)
async def test_until_waits_for_a_moment(tmp_path: Path, until: str) -> None:
    steps = f"""
    - name: wait
      until: {until}
    - {{name: after, run: echo after >> log}}
"""
    head = "  inputs: {at: {type: timestamp, default: 2025-01-01T01:00:00Z}}\n"
    definition = load(tmp_path, steps, head)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    async with testing.WorkflowTest(start=start, patience=5) as test:
        run = await test.start(definition, start_data(definition, {}))
        await test.clock.advance(timedelta(minutes=59))
        assert (await test.host.get(run.id)).status == "runnable"

        await test.clock.advance(timedelta(minutes=2))
        await run.wait(timedelta(seconds=10))

    assert ran(tmp_path) == ["after"]


APPROVAL = """
    - name: go
      approval:
        prompt: Deploy ${{ inputs.image }}?
OPTIONS
    - name: show
      run: echo ${{ steps.go.outputs.choice }} ${{ data.choice }} >> log
"""
IMAGE = "  inputs: {image: string}\n"


async def answered(tmp_path: Path, options: str, answer: str) -> Any:
    definition = load(tmp_path, APPROVAL.replace("OPTIONS\n", options), IMAGE)
    async with testing.WorkflowTest(patience=5) as test:
        run = await test.start(definition, start_data(definition, {"image": "app:1"}))
        (asked,) = await test.host.approvals()
        assert asked.prompt == "Deploy app:1?"
        await test.host.approve(run.id, answer, actor="ann", comment="after lunch")
        return await run.wait(timedelta(seconds=10))


async def test_an_answer_is_the_choice(tmp_path: Path) -> None:
    instance = await answered(tmp_path, "        options: [now, reject]\n", "reject")

    assert (instance.status, ran(tmp_path)) == ("complete", ["reject reject"])


async def test_without_options_reject_fails_the_step(tmp_path: Path) -> None:
    instance = await answered(tmp_path, "", "reject")

    assert instance.status == "failed"
    assert instance.error.message == "answered 'reject' by ann: after lunch"


async def test_without_options_approve_goes_on(tmp_path: Path) -> None:
    instance = await answered(tmp_path, "", "approve")

    assert (instance.status, ran(tmp_path)) == ("complete", ["approve approve"])


async def test_nobody_answering_is_a_failure(tmp_path: Path) -> None:
    steps = """
    - name: go
      approval: {prompt: Go?, timeout: 1h}
      on_failure: {run: 'echo ${{ step.error.type }} >> log'}
"""
    definition = load(tmp_path, steps)
    async with testing.WorkflowTest(patience=5) as test:
        run = await test.start(definition, start_data(definition, {}))
        await test.clock.advance(timedelta(hours=2))
        instance = await run.wait(timedelta(seconds=10))

    assert (instance.status, ran(tmp_path)) == ("failed", ["StepTimeoutError"])


async def test_a_payload_is_an_output(tmp_path: Path) -> None:
    steps = """
    - name: pushed
      wait_for: {event: push, key: main, output: what}
    - name: show
      run: echo ${{ steps.pushed.outputs.what.author }} ${{ data.what.author }} >> log
"""
    definition = load(tmp_path, steps)
    async with testing.WorkflowTest(patience=5) as test:
        run = await test.start(definition, start_data(definition, {}))
        await test.host.publish_event("push", "main", {"author": "ann"})
        await run.wait(timedelta(seconds=10))

    assert ran(tmp_path) == ["ann ann"]


TYPED = """
    - name: pushed
      wait_for: {event: push, key: '${{ inputs.branch }}', output: {what: Push}TIMEOUT}
      on_failure: {run: 'echo ${{ step.error.type }} >> log'}
    - name: show
      run: echo ${{ steps.pushed.outputs.what.commits + 1 }} ${{ data.what.author }} >> log
"""
BRANCH = "  inputs: {branch: {type: string, default: main}}\n"


async def pushed(tmp_path: Path, timeout: str, payload: Any) -> Any:
    definition = load(tmp_path, TYPED.replace("TIMEOUT", timeout), BRANCH)
    async with testing.WorkflowTest(patience=5) as test:
        run = await test.start(definition, start_data(definition, {}))
        if payload is not None:
            await test.host.publish_event("push", "main", payload)
        else:
            await test.clock.advance(timedelta(hours=2))
        return await run.wait(timedelta(seconds=10))


async def test_a_payload_may_have_a_type(tmp_path: Path) -> None:
    instance = await pushed(tmp_path, "", {"author": "ann", "commits": 2})

    assert (instance.status, ran(tmp_path)) == ("complete", ["3 ann"])


async def test_a_payload_of_another_type_fails_the_step(tmp_path: Path) -> None:
    instance = await pushed(tmp_path, "", {"author": "ann"})

    assert (instance.status, ran(tmp_path)) == ("failed", ["StepOutputError"])
    assert instance.error.message == "output 'what': the field `commits` of Push is missing"


@pytest.mark.parametrize("timeout", [", timeout: 1h", "}\n      timeout: 1h #"])
async def test_a_typed_wait_times_out(tmp_path: Path, timeout: str) -> None:
    instance = await pushed(tmp_path, timeout, None)

    assert (instance.status, ran(tmp_path)) == ("failed", ["StepTimeoutError"])


# -- sagas ----------------------------------------------------------------------------------------

BOOKING = """
    - name: booking
      saga:
        THEN
        steps:
          - name: hotel
            run: |
              echo hotel >> log
              echo "number=7" >> "$WFE_OUTPUT"
            outputs: {number: string}
            compensate: {run: 'echo cancel ${{ steps.hotel.?outputs.number.orValue("?") }} >> log'}
          - name: flight
            run: echo flight >> log; test -f found || { touch found; exit 1; }
            compensate:
              - {run: echo half a flight >> log}
              - {run: echo tell >> log}
    - name: after
      when: always()
      run: echo after ${{ steps.?booking.?status.orValue('none') }} >> log
"""
UNDONE = ["hotel", "flight", "half a flight", "tell", "cancel 7"]


@pytest.mark.parametrize(
    ("then", "status", "lines"),
    [
        ("fail", "failed", [*UNDONE, "after none"]),
        ("continue", "complete", [*UNDONE, "after failed"]),
        ("retry", "complete", [*UNDONE, "hotel", "flight", "after complete"]),
    ],
)
async def test_a_saga_undoes_what_it_did(
    tmp_path: Path, then: str, status: str, lines: list[str]
) -> None:
    definition = load(tmp_path, BOOKING.replace("THEN", f"then: {then}"))
    async with testing.WorkflowTest(patience=5) as test:
        run = await test.start(definition, start_data(definition, {}))
        await test.clock.advance(timedelta(seconds=5))
        instance = await run.wait(timedelta(seconds=10))

    assert (instance.status, ran(tmp_path)) == (status, lines)


async def test_the_names_of_undo_steps_and_hooks_say_whose_they_are(tmp_path: Path) -> None:
    definition = load(tmp_path, BOOKING.replace("THEN", "then: fail"))

    names = {node.name for node in definition.walk()}

    assert {"hotel.compensate", "flight.compensate", "flight.compensate-2"} <= names
