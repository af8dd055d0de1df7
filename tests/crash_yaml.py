"""Workflow files under kill -9: all that a file can say, what its steps do, and who starts it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

from tests.crash_outside import Outside

from wfe.core import StepExecutionContext, WorkflowDefinition
from wfe.yaml import load_workflows

__all__ = ["SECRET", "build", "definitions", "keep", "lane", "pipe", "warm"]

Ctx: TypeAlias = StepExecutionContext[Any]
SECRET: Final = "nobody-may-read-this"

_FILE: Final = r"""
_steps:
  effect: {type: python, config: {call: "tests.crash_yaml:effect"}}
  boom: {type: python, config: {call: "tests.crash_yaml:boom"}}
workflows:
  - id: pipeline
    version: 1
    inputs: {mode: {type: string, default: deep}}
    outputs:
      digests: {type: any, value: "${{ steps.builds.results.map(r, r.digest) }}"}
      went: {type: any, value: "${{ [steps.booking.status, steps.attempt.status] }}"}
    steps:
      - name: builds
        matrix: {os: [linux, macos], py: [3, 4]}
        exclude: [{py: 4}]
        do:
          - name: build
            type: python
            config: {call: "tests.crash_yaml:build"}
            inputs: {os: "${{ matrix.os }}"}
            outputs: {digest: string}
            on_success: {extends: effect}
      - name: booking
        saga:
          steps:
            - {name: hotel, extends: effect, compensate: {extends: effect}}
            - name: flight
              extends: boom
              retry: {max: 1, interval: 1ms}
              compensate: {extends: effect}
          then: continue
      - name: attempt
        try:
          - name: tests
            run: |
              printf '%s\t%s\ttests\t%s\n' "$WFE_RUN_ID@tests" "$WFE_ATTEMPT" $$ >> effects
              exit 3
            retry: {max: 1, interval: 1ms, on: ["exit:3"]}
            on_failure: {extends: effect}
            ensure: {extends: effect}
          - {name: never, extends: effect}
      - name: trouble
        type: python
        config: {call: "tests.crash_yaml:errored"}
        continue_on_error: true
        on_failure: {name: wrong, extends: effect}
        on_error: {extends: effect}
      - switch: inputs.mode
        cases:
          deep: [{name: deep, extends: effect}]
        default: [{name: shallow, extends: effect}]
      - name: graph
        continue_on_error: true
        do:
          - {name: a, extends: boom}
          - {name: b, needs: [a], extends: effect}
          - {name: tell, needs: [a], when: failure(), extends: effect}
          - {name: sweep, needs: [b, tell], when: always(), extends: effect}
  - id: keeping
    version: 1
    outputs:
      sums: {type: any, value: "${{ steps.rounds.results.map(r, r.sum) }}"}
      content: string
    steps:
      - name: rounds
        for_each: [7, 7]
        do:
          - name: sum
            type: python
            config: {call: "tests.crash_yaml:add"}
            inputs: {value: "${{ item }}"}
            outputs: {sum: integer}
            cache: true
      - name: pack
        secrets: {TOKEN: token}
        run: |
          printf '%s\t%s\tpack\t%s\n' "$WFE_RUN_ID@pack" "$WFE_ATTEMPT" $$ >> effects
          mkdir -p dist
          printf '%s' "${#TOKEN}" > dist/wheel
          echo "packed with $TOKEN"
        cache: {key: fixed}
        artifacts: {upload: [{name: wheel, path: dist/*}]}
      - name: fetch
        type: python
        config: {call: "tests.crash_yaml:read"}
        outputs: {content: string}
        artifacts: {download: [{name: wheel, path: got}]}
  - id: lane
    version: 1
    inputs: {last: bool}
    concurrency: {key: lane, on_conflict: cancel_running}
    steps:
      - name: ride
        on_abort: {extends: effect}
        do:
          - {name: enter, extends: effect}
          - {name: stay, when: inputs.last == false, wait_for: {event: never}}
          - {name: leave, extends: effect}
  - id: sharing
    version: 1
    inputs: {group: integer}
    outputs: {value: integer}
    steps:
      - name: made
        type: python
        config: {call: "tests.crash_yaml:make"}
        inputs: {wanted: "${{ inputs.group }}"}
        outputs: {value: integer}
        cache: {inputs: false, key: "${{ inputs.group }}"}
      - name: held
        type: python
        config: {call: "tests.crash_shared:held"}
        concurrency: {key: pool, limit: 2}
"""


class NoPowerError(Exception):
    """What a step needs does not work."""

    errored: ClassVar[bool] = True


async def effect(ctx: Ctx) -> None:
    """Have one effect."""
    ctx.app.note(ctx)


async def boom(ctx: Ctx) -> None:
    """Have one effect, and fail."""
    ctx.app.note(ctx)
    raise ValueError(ctx.pointer.step)


async def errored(ctx: Ctx) -> None:
    """Have one effect, and say that it could not be done."""
    ctx.app.note(ctx)
    raise NoPowerError


async def build(ctx: Ctx, os: str) -> dict[str, str]:
    """Build for a system."""
    ctx.app.note(ctx)
    return {"digest": f"for {os}"}


async def add(ctx: Ctx, value: int) -> dict[str, int]:
    """Add something, once for all runs."""
    ctx.app.note(ctx)
    return {"sum": value + 1}


async def make(ctx: Ctx, wanted: int) -> dict[str, int]:
    """Make something slowly."""
    ctx.app.note(ctx)
    await asyncio.sleep(0.03)
    return {"value": wanted * 10}


async def read(ctx: Ctx) -> dict[str, str]:
    """Read what was fetched, where the effects are."""
    ctx.app.note(ctx)
    text = (Path(ctx.app.path).parent / "got" / "dist" / "wheel").read_text(encoding="utf-8")
    return {"content": text}


def definitions(folder: Path, *wanted: str) -> list[WorkflowDefinition]:
    """Return workflows of the file, which works in *folder*."""
    path = folder / "crash.yaml"
    path.write_text(_FILE, encoding="utf-8")
    return [each for each in load_workflows(path) if each.id in wanted]


def warm() -> None:
    """Import what reading a file needs, before processes are forked that all need it."""
    with tempfile.TemporaryDirectory() as folder:
        definitions(Path(folder))


async def pipe(outside: Outside) -> None:
    """Run the pipeline to its end."""
    run = await outside.host.start_workflow(
        "pipeline", {"inputs": {"mode": "deep"}}, idempotency_key="pipeline"
    )
    await run.result()


async def keep(outside: Outside) -> None:
    """Run one after the other; the second one takes what the first one kept."""
    for number in (1, 2):
        data: dict[str, Any] = {"inputs": {}}
        run = await outside.host.start_workflow("keeping", data, idempotency_key=f"keep {number}")
        await run.result()


async def lane(outside: Outside) -> None:
    """Let one run take the place of another."""
    host = outside.host
    data: dict[str, Any] = {"inputs": {"last": False}}
    one = await host.start_workflow("lane", data, idempotency_key="one")
    await outside.until(lambda: outside.did("enter"))
    data = {"inputs": {"last": True}}
    two = await host.start_workflow("lane", data, idempotency_key="two")
    assert (await two.wait()).status == "complete"
    assert (await one.wait()).status == "terminated"
