"""What control nodes make of their turn: branches to open, pauses, waits, questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import orjson

from wfe.core.codec import encode
from wfe.core.data import same
from wfe.core.definition import Kind
from wfe.core.engine.moments import after, moment, pause
from wfe.core.errors import DefinitionError
from wfe.core.matrices import combinations
from wfe.core.rules.inputs import (
    AsksPerson,
    Branched,
    Completed,
    Input,
    Items,
    Offers,
    Slept,
    WaitsSignal,
)
from wfe.core.steps import StepExecutionContext

if TYPE_CHECKING:
    from wfe.core.engine.nodes import NodeRunner

__all__ = ["CONTROL"]

Context: TypeAlias = StepExecutionContext[Any]


def _if(runner: NodeRunner, ctx: Context) -> Input:
    key, attempt = ctx.pointer.id, ctx.pointer.attempt
    if runner.exprs["condition"](ctx):
        return Branched(key, attempt, (0,))
    return Branched(key, attempt, (1,) if len(runner.node.blocks) > 1 else ())


def _while(runner: NodeRunner, ctx: Context) -> Input:
    blocks = (0,) if runner.exprs["condition"](ctx) else ()
    return Branched(ctx.pointer.id, ctx.pointer.attempt, blocks)


def _for_each(runner: NodeRunner, ctx: Context) -> Input:
    items = runner.exprs["items"](ctx)
    if runner.node.config.get("matrix"):
        items = _matrix(items, ctx)
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        problem = f"for_each needs a list of items, got {type(items).__name__}"  # pyright: ignore[reportUnknownArgumentType]
        raise DefinitionError(problem, ctx.pointer.step)
    return Items(
        ctx.pointer.id, ctx.pointer.attempt, encode(list(cast("Iterable[object]", items)), "items")
    )


def _matrix(parts: Mapping[str, Any], ctx: Context) -> list[dict[str, Any]]:
    """Return the runs of a matrix whose axes were computed."""
    axes: dict[str, list[Any]] = {}
    for name, values in parts["axes"].items():
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            problem = f"the axis {name!r} of a matrix needs a list, got {type(values).__name__}"  # pyright: ignore[reportUnknownArgumentType]
            raise DefinitionError(problem, ctx.pointer.step)
        axes[name] = encode(list(cast("Iterable[object]", values)), name)
    exclude, include = encode(parts["exclude"], "exclude"), encode(parts["include"], "include")
    return combinations(axes, exclude, include)


def _decide(runner: NodeRunner, ctx: Context) -> Input:
    value = encode(runner.exprs["value"](ctx), "value")
    blocks = runner.node.blocks
    cases = [(i, block) for i, block in enumerate(blocks) if not block.default]
    chosen = [i for i, block in cases if same(block.label, value)]
    otherwise = [i for i, block in enumerate(blocks) if block.default]
    return Branched(ctx.pointer.id, ctx.pointer.attempt, tuple(chosen or otherwise))


def _open(_runner: NodeRunner, ctx: Context) -> Input:
    return Branched(ctx.pointer.id, ctx.pointer.attempt, (0,))


def _delay(runner: NodeRunner, ctx: Context) -> Input:
    if "at" in runner.exprs:
        at = moment(runner.exprs["at"](ctx), runner.node.expr("at"), "schedule()")
        return Slept(ctx.pointer.id, ctx.pointer.attempt, at)
    micros = pause(runner.exprs["duration"](ctx), runner.node.expr("duration"), "delay()")
    until = after(runner.clock.now(), micros, "delay()")
    return Slept(ctx.pointer.id, ctx.pointer.attempt, until)


def _recur(runner: NodeRunner, ctx: Context) -> Input:
    """Wait for the interval, then run the block, unless *until* holds by then."""
    key, attempt = ctx.pointer.id, ctx.pointer.attempt
    if runner.exprs["until"](ctx):
        return Branched(key, attempt, ())
    if ctx.persistence_data is not None:
        return Branched(key, attempt, (0,))
    micros = pause(runner.exprs["interval"](ctx), runner.node.expr("interval"), "recur()")
    return Slept(key, attempt, after(runner.clock.now(), micros, "recur()"), memory=True)


def _activity(runner: NodeRunner, ctx: Context) -> Input:
    parameters = encode(runner.value(ctx, "parameters"), "parameters")
    return Offers(
        pointer=ctx.pointer.id,
        attempt=ctx.pointer.attempt,
        name=runner.node.config["name"],
        parameters=orjson.dumps(parameters).decode(),
        until=runner.until(),
    )


def _approval(runner: NodeRunner, ctx: Context) -> Input:
    config = runner.node.config
    prompt = runner.value(ctx, "prompt") if "prompt" in runner.exprs else config.get("prompt", "")
    if not isinstance(prompt, str):
        problem = f"the prompt must be a text, got {prompt!r} ({type(prompt).__name__})"
        raise DefinitionError(problem, ctx.pointer.step)
    return AsksPerson(
        pointer=ctx.pointer.id,
        attempt=ctx.pointer.attempt,
        prompt=prompt,
        options=tuple(config["options"]),
        until=runner.until(),
    )


def _wait_for(runner: NodeRunner, ctx: Context) -> Input:
    if runner.node.config.get("scope") == "run":
        return WaitsSignal(
            pointer=ctx.pointer.id,
            attempt=ctx.pointer.attempt,
            name=runner.node.config["event"],
            until=runner.until(),
        )
    key = runner.exprs["key"](ctx) if "key" in runner.exprs else ""
    as_of = runner.exprs["as_of"](ctx) if "as_of" in runner.exprs else None
    if isinstance(as_of, str):  # a datetime of the data, as CEL sees it
        as_of = datetime.fromisoformat(as_of)
    timeout = runner.node.config.get("timeout", runner.node.timeout)
    limit = None if timeout is None else timedelta(microseconds=timeout)
    return runner.wait(ctx, runner.node.config["event"], key, as_of, limit)


def _set(runner: NodeRunner, ctx: Context) -> Input:
    values = {name: runner.exprs[name](ctx) for name, _ in runner.node.exprs}
    field = runner.node.config.get("field")
    writes = runner.model.returned({field: values} if field else values, ctx.seq)
    return Completed(ctx.pointer.id, ctx.pointer.attempt, None, writes)


def _done(_runner: NodeRunner, ctx: Context) -> Input:
    return Completed(ctx.pointer.id, ctx.pointer.attempt)


CONTROL: Final[Mapping[Kind, Callable[[NodeRunner, Context], Input]]] = {
    Kind.IF: _if,
    Kind.WHILE: _while,
    Kind.FOR_EACH: _for_each,
    Kind.DECIDE: _decide,
    Kind.SEQUENCE: _open,
    Kind.PARALLEL: _open,
    Kind.DAG: _open,
    Kind.SAGA: _open,
    Kind.RECUR: _recur,
    Kind.ACTIVITY: _activity,
    Kind.APPROVAL: _approval,
    Kind.DELAY: _delay,
    Kind.WAIT_FOR: _wait_for,
    Kind.SET: _set,
    Kind.GOTO: _done,
    Kind.END: _done,
}
"""What a node without a body of its own makes of its turn, by its kind."""
